//! The server as the client that Alluvium has sees it.
use std::time::Duration;

use alluvium_env::{Clock as _, SystemClock, spawn_thread};
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use tokio::runtime::Runtime;

use super::*;

const LATENCY: Duration = Duration::from_millis(20);

/// A server on a runtime of its own, and its client.
struct Pair {
    client: AmazonS3,
    server: ServerClient,
    runtime: Runtime,
}

fn pair() -> Pair {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    runtime.spawn(accept(listener, Arc::new(Objects::new(LATENCY).unwrap())));
    let client = AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap();
    Pair { client, server: ServerClient::new(&address), runtime }
}

#[test]
fn objects_come_back_whole_and_in_ranges_and_their_requests_are_counted() {
    let Pair { client, server, runtime } = pair();
    let path = Path::from("a/b c&d");
    runtime.block_on(async {
        client.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
        assert_eq!(client.get(&path).await.unwrap().bytes().await.unwrap(), "0123456789");
        assert_eq!(client.get_range(&path, 2..5).await.unwrap(), "234");
        for (range, expected) in [(GetRange::Suffix(3), "789"), (GetRange::Offset(8), "89")] {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            assert_eq!(client.get_opts(&path, options).await.unwrap().bytes().await.unwrap(), expected);
        }
        assert_eq!(client.head(&path).await.unwrap().size, 10);
        let missing = client.get(&Path::from("missing")).await.unwrap_err();
        assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing}");
    });
    let requests = server.requests().unwrap();
    assert_eq!((requests.gets, requests.puts, requests.bytes_read, requests.bytes_written), (6, 1, 18, 10));
    assert_eq!(server.holds().unwrap(), (10, 20_000));
}

#[test]
fn conditions_hold_or_are_refused() {
    let Pair { client, runtime, .. } = pair();
    let path = Path::from("manifest");
    let put = |mode: PutMode| client.put_opts(&path, PutPayload::from_static(b"x"), PutOptions::from(mode));
    runtime.block_on(async {
        let first = put(PutMode::Create).await.unwrap();
        let second = put(PutMode::Create).await.unwrap_err();
        assert!(matches!(second, object_store::Error::AlreadyExists { .. }), "{second}");
        let version = UpdateVersion { e_tag: first.e_tag, version: None };
        put(PutMode::Update(version.clone())).await.unwrap();
        let stale = put(PutMode::Update(version)).await.unwrap_err();
        assert!(matches!(stale, object_store::Error::Precondition { .. }), "{stale}");
    });
}

#[test]
fn uploads_in_parts_are_put_together_and_lists_and_deletes_see_them() {
    let Pair { client, server, runtime } = pair();
    let names = ["a/1", "a/2", "b/1", "c"].map(Path::from);
    runtime.block_on(async {
        for name in &names {
            let mut upload = client.put_multipart(name).await.unwrap();
            upload.put_part(PutPayload::from_static(b"one, ")).await.unwrap();
            upload.put_part(PutPayload::from_static(b"two")).await.unwrap();
            upload.complete().await.unwrap();
        }
        assert_eq!(client.get(&names[0]).await.unwrap().bytes().await.unwrap(), "one, two");
        let listed: Vec<_> = client.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(listed, names);
        let top = client.list_with_delimiter(None).await.unwrap();
        assert_eq!(top.common_prefixes, ["a", "b"].map(Path::from));
        assert_eq!(top.objects.len(), 1);
        let after = client.list_with_offset(None, &names[1]);
        assert_eq!(after.try_collect::<Vec<_>>().await.unwrap().len(), 2);
        let (some, last) = names.split_at(3);
        let some: Vec<_> = some.iter().cloned().map(Ok).collect();
        let deleted = client.delete_stream(Box::pin(futures_util::stream::iter(some)));
        assert_eq!(deleted.try_collect::<Vec<_>>().await.unwrap().len(), 3);
        let left: Vec<_> = client.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(left, last);
    });
    let requests = server.requests().unwrap();
    assert_eq!((requests.puts, requests.bytes_written, requests.deletes), (8, 32, 3));
}

#[test]
fn a_request_takes_its_round_trip_while_the_server_is_far() {
    let Pair { client, server, runtime } = pair();
    let (path, clock) = (Path::from("a"), SystemClock::new());
    let timed = || {
        let begun = clock.monotonic();
        runtime.block_on(client.put(&path, PutPayload::from_static(b"x"))).unwrap();
        clock.monotonic().saturating_sub(begun)
    };
    assert!(timed() >= LATENCY);
    server.set_far(false).unwrap();
    let quickest = (0..20).map(|_| timed()).min().unwrap();
    assert!(quickest < LATENCY, "{quickest:?} at no distance");
    server.set_far(true).unwrap();
    assert!(timed() >= LATENCY);
}

#[test]
fn a_server_that_is_gone_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // One that hangs up instead of answering.
    let hangs_up = spawn_thread("hangs-up", move || drop(listener.accept())).unwrap();
    let error = ServerClient::new(&address).requests().unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    hangs_up.join().unwrap();
}
