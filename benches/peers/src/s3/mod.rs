//! A server that speaks the protocol of S3, a round trip away, for systems that bring a client of their own.
//!
//! What it holds is in its memory. It counts what is asked of it by the code that counts for Alluvium, and tells over the
//! same port (see [`ServerClient`]). It checks no signatures: clients pay for making them, nobody waits for a check.
//!
//! **Threads**: one for requests, one that keeps the time.
mod answer;
mod client;
mod objects;
mod query;

use std::io::Write as _;
use std::sync::Arc;

use alluvium_env::{Error, Result};
use clap::Args;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::units::Delay;
pub(crate) use client::ServerClient;
use objects::Objects;

/// Options of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// The round trip of a request
    #[arg(long, value_name = "DUR", default_value = "15ms")]
    latency: Delay,
}

/// Environment variables that point a client at the server.
pub(crate) fn environment(address: &str) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ]
}

/// What clients sign with; the server does not look.
pub(crate) const ACCESS_KEY: &str = "alluvium-bench";
pub(crate) const SECRET_KEY: &str = "not-a-secret";
/// There is one; every other name would do as well.
pub(crate) const BUCKET: &str = "bucket";

/// Prints the address it listens on and serves until it is killed.
///
/// # Errors
/// `Unavailable` if there is no port or thread for it.
pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let failed = |what: &'static str| move |e| Error::unavailable(what).with_source(e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("cannot start the server's runtime"))?;
    let objects = Arc::new(Objects::new(args.latency.0)?);
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed("cannot listen"))?;
        println!("{}", listener.local_addr().map_err(failed("cannot find out where it listens"))?);
        std::io::stdout().flush().map_err(failed("cannot say where it listens"))?;
        accept(listener, objects).await
    })
}

async fn accept(listener: TcpListener, objects: Arc<Objects>) -> Result<()> {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        // A small answer must not wait for the next one.
        let _ = socket.set_nodelay(true);
        let objects = Arc::clone(&objects);
        let answer = service_fn(move |request| answer::answer(Arc::clone(&objects), request));
        // A client that ends breaks its connections.
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

#[cfg(test)]
mod tests;
