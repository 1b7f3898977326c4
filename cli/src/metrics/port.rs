//! A port of this machine that answers `GET /metrics`, for a collector that asks.
//!
//! **Threads**: connections are answered on the I/O runtime; an answer takes the time of writing some kilobytes of text.
//!
//! **Failure**: a port that is taken is found at the start. A client that misbehaves loses its connection.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_host::exposition;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections that are answered at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8;

/// For one connection, from its first byte to its last: whoever is silent makes room for others.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a connection is accepted again after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that is answered until it is dropped.
pub(super) struct MetricsPort {
    accepting: JoinHandle<()>,
}

impl MetricsPort {
    pub(super) fn start(address: SocketAddr, registry: Arc<Registry>, io: &IoRuntime) -> Result<Self> {
        let listener = io.block_on(TcpListener::bind(address)).map_err(|e| {
            Error::invalid(format!("cannot listen on --metrics {address}; choose another port"))
                .with_source(e)
        })?;
        let bound = listener.local_addr().unwrap_or(address);
        eprintln!("Metrics are on http://{bound}/metrics.");
        Ok(Self { accepting: io.spawn(accept(listener, registry)) })
    }
}

async fn accept(listener: TcpListener, registry: Arc<Registry>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            // A process without a free file descriptor: a later connection may find one.
            sleep(PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let registry = Arc::clone(&registry);
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let answer = answer(&request, &registry);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).keep_alive(false);
            let _ = timeout(PATIENCE, server.serve_connection(TokioIo::new(stream), answer)).await;
        });
    }
}

fn answer<B>(request: &Request<B>, registry: &Registry) -> Response<Full<Bytes>> {
    let refused = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return refused(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(text) = exposition(registry) else { return refused(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    response
}

impl Drop for MetricsPort {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
