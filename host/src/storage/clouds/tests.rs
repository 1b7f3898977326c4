//! Google's and Azure's clients against a server that refuses as theirs do: a name is created once, and what is there is read.
#![cfg(all(feature = "gcs", feature = "azure"))]
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use alluvium_env::{ErrorKind, HashMap, IoRuntime, spawn_thread};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStoreExt as _, PutMode, PutOptions};

use super::*;

/// How a cloud says that a name is to be created, and that it is there.
#[derive(Clone, Copy)]
struct Manners {
    condition: (&'static str, &'static str),
    refusal: &'static str,
}

const GOOGLE: Manners =
    Manners { condition: ("x-goog-if-generation-match", "0"), refusal: "412 Precondition Failed" };
const AZURE: Manners = Manners { condition: ("if-none-match", "*"), refusal: "409 Conflict" };

/// Answers at the returned URL for as long as the tests run.
fn serve(manners: Manners) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = move || {
        let mut objects = HashMap::default();
        for connection in listener.incoming().flatten() {
            // Who goes away without a word has no more to ask.
            let _ = answer(&connection, manners, &mut objects);
        }
    };
    drop(spawn_thread("cloud", serving).unwrap());
    url
}

fn answer(
    mut connection: &TcpStream,
    manners: Manners,
    objects: &mut HashMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let (mut line, mut headers) = (String::new(), HashMap::default());
    reader.read_line(&mut line)?;
    let request: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let [method, path, _] = request.as_slice() else { return Ok(()) };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (name, value) = manners.condition;
    let to_create = headers.get(name).is_some_and(|told| told == value);
    let (status, body) = match (method.as_str(), objects.get(path)) {
        ("PUT", Some(_)) if to_create => (manners.refusal, Vec::new()),
        ("PUT", _) => {
            objects.insert(path.clone(), body);
            ("201 Created", Vec::new())
        }
        ("GET", Some(known)) => ("200 OK", known.clone()),
        _ => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\netag: \"1\"\r\nx-goog-generation: 1\r\n\
         last-modified: Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(&body)
}

fn creates_a_name_once(store: &dyn ObjectStore) {
    IoRuntime::new(1).unwrap().block_on(async {
        let (name, create) = (Path::from("ledger/1"), || PutOptions::from(PutMode::Create));
        assert!(matches!(store.get(&name).await, Err(object_store::Error::NotFound { .. })));
        store.put_opts(&name, "first".into(), create()).await.unwrap();
        let again = store.put_opts(&name, "second".into(), create()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "{again:?}");
        assert_eq!(store.get(&name).await.unwrap().bytes().await.unwrap(), "first");
        store.put(&name, "third".into()).await.unwrap();
        assert_eq!(store.get(&name).await.unwrap().bytes().await.unwrap(), "third");
    });
}

#[test]
fn google_creates_a_name_once() {
    // Without it each write would ask for a token; none of these is ever used.
    let account = r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
    let builder = GoogleCloudStorageBuilder::new()
        .with_config(GoogleConfigKey::BaseUrl, serve(GOOGLE))
        .with_config(GoogleConfigKey::ServiceAccountKey, account);
    let url = Url::parse("gs://bucket/prefix").unwrap();
    creates_a_name_once(&gcs::configure(builder, &url, url.as_str()).unwrap());
}

#[test]
fn azure_creates_a_name_once() {
    let builder = MicrosoftAzureBuilder::new()
        .with_config(AzureConfigKey::Endpoint, serve(AZURE))
        .with_config(AzureConfigKey::Client(ClientConfigKey::AllowHttp), "true")
        .with_config(AzureConfigKey::AccountName, "account")
        .with_config(AzureConfigKey::AccessKey, "a2V5");
    let url = Url::parse("az://container/prefix").unwrap();
    creates_a_name_once(&azure::configure(builder, &url, url.as_str()).unwrap());
}

#[test]
fn what_a_url_and_the_environment_lack_is_named() {
    let refusal = |url: &str| {
        let url = Url::parse(url).unwrap();
        let error = match url.scheme() {
            "gs" => gcs::configure(GoogleCloudStorageBuilder::new(), &url, url.as_str()).unwrap_err(),
            _ => azure::configure(MicrosoftAzureBuilder::new(), &url, url.as_str()).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    };
    assert!(refusal("gs:///prefix").contains("names no bucket"));
    assert!(refusal("az:///prefix").contains("names no container"));
    assert!(refusal("az://container/prefix").contains("set AZURE_STORAGE_ACCOUNT_NAME"));
    assert!(refusal("abfss://container@elsewhere.example/prefix").contains("check the AZURE_*"));
    let whole = Url::parse("abfss://container@account.dfs.core.windows.net/prefix").unwrap();
    let builder = MicrosoftAzureBuilder::new().with_config(AzureConfigKey::AccessKey, "a2V5");
    assert!(azure::configure(builder, &whole, whole.as_str()).unwrap().to_string().contains("account"));
}
