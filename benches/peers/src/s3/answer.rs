//! Requests of the protocol and their answers: objects whole and in ranges, uploads in parts, lists, deletes.
//!
//! **Failure**: what a client may expect (nothing there, a condition that does not hold) has the protocol's status;
//! everything else is a 500, which clients repeat and then report.
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use alluvium_env::Error;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use hyper::http::response::Builder;
use hyper::{Method, Request, Response, StatusCode};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion,
};

use super::objects::Objects;
use super::query::{Asked, object};

type Answer = Response<Full<Bytes>>;

/// Why there is no answer.
enum Refusal {
    Store(object_store::Error),
    /// The request cannot be understood.
    Wrong(Error),
}

impl From<object_store::Error> for Refusal {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Wrong(error)
    }
}

/// Answers one request.
pub(super) async fn answer(objects: Arc<Objects>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(status(StatusCode::BAD_REQUEST, "the body broke off"));
    };
    let answered = match Asked::new(parts) {
        Ok(asked) => dispatch(&objects, &asked, body.to_bytes()).await,
        Err(error) => Err(error.into()),
    };
    Ok(answered.unwrap_or_else(|refusal| refused(&refusal)))
}

async fn dispatch(objects: &Objects, asked: &Asked, body: Bytes) -> Result<Answer, Refusal> {
    if asked.name.is_empty() {
        return told(objects, asked).await;
    }
    let is_bucket = !asked.name.trim_end_matches('/').contains('/');
    match asked.method {
        Method::GET if is_bucket => list(objects, asked).await,
        Method::POST if asked.parameter("delete").is_some() => delete_all(objects, asked, &body).await,
        // A folder's mark: there are no folders.
        Method::PUT | Method::HEAD if asked.name.ends_with('/') => Ok(ok(Response::builder(), Bytes::new())),
        Method::GET => get(objects, asked, false).await,
        Method::HEAD => get(objects, asked, true).await,
        Method::PUT => put(objects, asked, body).await,
        Method::POST => upload(objects, asked).await,
        Method::DELETE => {
            match asked.parameter("uploadId") {
                Some(id) => objects.abort(&asked.object()?, &id.to_owned()).await?,
                None => objects.store().delete(&asked.object()?).await?,
            }
            Ok(ok(Response::builder().status(StatusCode::NO_CONTENT), Bytes::new()))
        }
        _ => Ok(status(StatusCode::METHOD_NOT_ALLOWED, "NotImplemented")),
    }
}

/// What is no part of the protocol: the counters, and how far away the objects are.
async fn told(objects: &Objects, asked: &Asked) -> Result<Answer, Refusal> {
    if asked.method == Method::PUT {
        objects.set_far(asked.parameter("far").is_some());
    }
    let told = serde_json::to_vec(&objects.told().await?);
    let told = told.map_err(|e| Error::internal("cannot write the counters as JSON").with_source(e))?;
    Ok(ok(Response::builder(), told.into()))
}

async fn get(objects: &Objects, asked: &Asked, head: bool) -> Result<Answer, Refusal> {
    let options = GetOptions {
        range: asked.header(RANGE).map(range).transpose()?,
        if_match: asked.header(IF_MATCH).map(str::to_owned),
        if_none_match: asked.header(IF_NONE_MATCH).map(str::to_owned),
        head,
        ..GetOptions::default()
    };
    let is_part = options.range.is_some();
    let found = objects.store().get_opts(&asked.object()?, options).await?;
    let (meta, range) = (found.meta.clone(), found.range.clone());
    let mut response = about(Response::builder(), &meta);
    if is_part {
        let last = range.end.saturating_sub(1);
        let which = format!("bytes {}-{last}/{}", range.start, meta.size);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, which);
    }
    if head {
        return Ok(ok(response.header(CONTENT_LENGTH, meta.size), Bytes::new()));
    }
    Ok(ok(response, found.bytes().await?))
}

async fn put(objects: &Objects, asked: &Asked, body: Bytes) -> Result<Answer, Refusal> {
    let path = asked.object()?;
    if let (Some(id), Some(number)) = (asked.parameter("uploadId"), asked.parameter("partNumber")) {
        let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let at = at.ok_or_else(|| Error::invalid(format!("{number} is no number of a part")))?;
        let part = objects.part(&path, &id.to_owned(), at, body).await?;
        return Ok(ok(Response::builder().header(ETAG, format!("\"{}\"", part.content_id)), Bytes::new()));
    }
    if let Some(source) = asked.header(hyper::header::HeaderName::from_static("x-amz-copy-source")) {
        let source = object(source.trim_start_matches('/'))?;
        objects.store().copy(&source, &path).await?;
        let meta = objects.store().head(&path).await?;
        let tag = meta.e_tag.as_deref().map(escaped).unwrap_or_default();
        let at = meta.last_modified.to_rfc3339();
        let said = format!("<ETag>{tag}</ETag><LastModified>{at}</LastModified>");
        return Ok(xml("CopyObjectResult", &said));
    }
    let mode = match (asked.header(IF_NONE_MATCH), asked.header(IF_MATCH)) {
        (Some(_), _) => PutMode::Create,
        (None, Some(tag)) => PutMode::Update(UpdateVersion { e_tag: Some(tag.to_owned()), version: None }),
        (None, None) => PutMode::Overwrite,
    };
    let put = objects.store().put_opts(&path, body.into(), PutOptions::from(mode)).await?;
    Ok(ok(Response::builder().header(ETAG, put.e_tag.unwrap_or_default()), Bytes::new()))
}

/// Begins or ends an upload in parts.
async fn upload(objects: &Objects, asked: &Asked) -> Result<Answer, Refusal> {
    let path = asked.object()?;
    if asked.parameter("uploads").is_some() {
        let id = objects.begin(&path).await?;
        return Ok(xml("InitiateMultipartUploadResult", &format!("<UploadId>{}</UploadId>", escaped(&id))));
    }
    let id = asked.parameter("uploadId").ok_or_else(|| Error::invalid("a POST that is no upload"))?;
    let put = objects.complete(&path, &id.to_owned()).await?;
    let tag = put.e_tag.as_deref().map(escaped).unwrap_or_default();
    Ok(xml("CompleteMultipartUploadResult", &format!("<ETag>{tag}</ETag>")))
}

/// All that a list holds, in one page.
async fn list(objects: &Objects, asked: &Asked) -> Result<Answer, Refusal> {
    let bucket = asked.name.trim_end_matches('/');
    let all: Vec<ObjectMeta> = objects.store().list(Some(&Path::from(bucket))).try_collect().await?;
    let prefix = asked.parameter("prefix").unwrap_or_default();
    let after = asked.parameter("start-after").unwrap_or_default();
    let (mut said, mut last_folder) = (String::from("<IsTruncated>false</IsTruncated>"), String::new());
    // In order of their names, so that those of a folder follow each other.
    for meta in &all {
        let name = meta.location.as_ref().strip_prefix(bucket).unwrap_or_default().trim_start_matches('/');
        let Some(rest) = name.strip_prefix(prefix).filter(|_| name > after) else { continue };
        if let (Some(_), Some((folder, _))) = (asked.parameter("delimiter"), rest.split_once('/')) {
            let folder = format!("{prefix}{folder}/");
            if folder != last_folder {
                let prefix = escaped(&folder);
                let _ = write!(said, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
                last_folder = folder;
            }
            continue;
        }
        let (key, size, at) = (escaped(name), meta.size, meta.last_modified.to_rfc3339());
        let tag = meta.e_tag.as_deref().map(escaped).unwrap_or_default();
        let _ = write!(
            said,
            "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{at}</LastModified><ETag>{tag}</ETag></Contents>"
        );
    }
    Ok(xml("ListBucketResult", &said))
}

async fn delete_all(objects: &Objects, asked: &Asked, body: &Bytes) -> Result<Answer, Refusal> {
    let text = String::from_utf8_lossy(body);
    let mut said = String::new();
    for after in text.split("<Key>").skip(1) {
        let key = after.split("</Key>").next().unwrap_or_default();
        let path = object(&format!("{}/{}", asked.name.trim_end_matches('/'), unescaped(key)))?;
        objects.store().delete(&path).await?;
        let _ = write!(said, "<Deleted><Key>{key}</Key></Deleted>");
    }
    Ok(xml("DeleteResult", &said))
}

/// `bytes=1-2`, `bytes=1-` or `bytes=-1`.
fn range(text: &str) -> Result<GetRange, Error> {
    let wrong = || Error::invalid(format!("{text} is no range"));
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    match text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) {
        Some(("", length)) => Ok(GetRange::Suffix(number(length)?)),
        Some((start, "")) => Ok(GetRange::Offset(number(start)?)),
        Some((start, last)) => Ok(GetRange::Bounded(number(start)?..number(last)?.saturating_add(1))),
        None => Err(wrong()),
    }
}

fn about(response: Builder, meta: &ObjectMeta) -> Builder {
    let at = meta.last_modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    response.header(LAST_MODIFIED, at).header(ETAG, meta.e_tag.as_deref().unwrap_or_default())
}

fn ok(response: Builder, body: Bytes) -> Answer {
    response.body(Full::new(body)).unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR, "a header"))
}

fn status(status: StatusCode, code: &str) -> Answer {
    let mut answer = xml("Error", &format!("<Code>{code}</Code><Message>{code}</Message>"));
    *answer.status_mut() = status;
    answer
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Wrong(error) => status(StatusCode::BAD_REQUEST, &escaped(&error.to_string())),
        Refusal::Store(object_store::Error::NotFound { .. }) => status(StatusCode::NOT_FOUND, "NoSuchKey"),
        Refusal::Store(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => status(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
        Refusal::Store(object_store::Error::NotModified { .. }) => {
            status(StatusCode::NOT_MODIFIED, "NotModified")
        }
        Refusal::Store(error) => status(StatusCode::INTERNAL_SERVER_ERROR, &escaped(&error.to_string())),
    }
}

fn xml(root: &str, content: &str) -> Answer {
    Response::new(Full::new(Bytes::from(format!("<{root}>{content}</{root}>"))))
}

const ESCAPES: [(&str, &str); 4] = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")];

fn escaped(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (plain, escape)| text.replace(plain, escape))
}

fn unescaped(text: &str) -> String {
    ESCAPES.iter().rev().fold(text.to_owned(), |text, (plain, escape)| text.replace(escape, plain))
}
