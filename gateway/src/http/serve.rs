//! Connections: how many, how long one may be idle, and how they end.
//!
//! One over the limit is told so at once (503 with `Retry-After`) and closed. A connection that never asks goes soon, so that
//! idle ones, however many, can't keep people out for long.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, middleware};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::{
    Config,
    handover::{self, Held, Slot},
};
use crate::tls::Tls;

/// Bytes of a connection that may wait in the system's buffer before no more are written: a slow reader's events are put
/// together in the hub, where they can be, and not there.
const MAX_UNSENT: u32 = 64 << 10;
/// How long accepting pauses when the process has no file left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A connection that has not asked anything in this time is closed.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Connections over the limit that are told so at once; more are closed without a word.
const MAX_REFUSALS: usize = 64;
/// How long one that is refused may take to read why.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\n\
    Content-Type: application/problem+json\r\nContent-Length: 97\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"detail\":\"too many connections\",\"status\":503}";

/// Requests at once on one connection with HTTP/2.
const MAX_STREAMS: u32 = 64;
/// Bytes of one answer that wait for the client to read, with HTTP/2.
const MAX_SENT_AHEAD: usize = 64 << 10;

/// How many connections there are and were refused.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    connections: Gauge,
    refused: Counter,
}

impl Metrics {
    /// Registers `gateway_http_connections` and `gateway_http_refused_total`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "gateway_http_connections",
            "HTTP connections open now",
            metrics.connections.clone(),
        );
        registry.register(
            "gateway_http_refused",
            "HTTP connections refused because there were too many",
            metrics.refused.clone(),
        );
        metrics
    }

    /// Connections open now.
    #[cfg(test)]
    pub(super) fn open(&self) -> i64 {
        self.connections.get()
    }
}

/// Answers on `listener` until `stop`, then lets open requests go on for [`Config::drain_within`]. With `tls`, to clients that speak it.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    tls: Option<Tls>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let router = router.layer(middleware::from_fn(handover::hand_over));
    let mut capped = Capped {
        listener,
        metrics,
        refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        places: Arc::new(Semaphore::new(config.max_connections)),
        idle_after: config.idle_after,
        failing: false,
    };
    // As many as there are places.
    let conversations = TaskTracker::new();
    loop {
        let (connection, address) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = capped.accept() => accepted,
        };
        let conversation = Conversation {
            router: router.clone(),
            peer: Peer(address),
            stop: stop.clone(),
            streams: conversations.clone(),
        };
        match tls.clone() {
            None => conversations.spawn(conversation.hold(connection, false)),
            Some(tls) => conversations.spawn(async move {
                match tls.accept(connection).await {
                    Ok((stream, is_http2)) => conversation.hold(stream, is_http2).await,
                    Err(error) => tracing::trace!(%error, %address, "no TLS was agreed on"),
                }
            }),
        };
    }
    drop(capped);
    conversations.close();
    let ended = tokio::time::timeout(config.drain_within, conversations.wait()).await;
    if ended.is_err() {
        tracing::warn!("HTTP requests were still open at the deadline");
    }
}

/// From where a request comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What is said on one connection.
struct Conversation {
    router: Router,
    peer: Peer,
    stop: CancellationToken,
    /// Takes those of its streams that leave the HTTP machinery.
    streams: TaskTracker,
}

impl Conversation {
    /// Until the client goes, or after `stop` the requests that are open are answered.
    async fn hold<S>(self, stream: S, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self {
            router,
            peer,
            stop,
            streams,
        } = self;
        let slot = Slot::default();
        let left = slot.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            let extensions = request.extensions_mut();
            extensions.insert(ConnectInfo(peer));
            extensions.insert(left.clone());
            router.clone().call(request)
        });
        let ended = if is_http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .max_concurrent_streams(MAX_STREAMS)
                .max_send_buf_size(MAX_SENT_AHEAD);
            let stream = TokioIo::new(stream);
            let mut open = pin!(builder.serve_connection(stream, service));
            tokio::select! {
                ended = open.as_mut() => ended,
                () = stop.cancelled() => {
                    open.as_mut().graceful_shutdown();
                    open.await
                }
            }
        } else {
            let builder = hyper::server::conn::http1::Builder::new();
            let stream = TokioIo::new(Held::new(stream, slot, streams));
            let mut open = pin!(builder.serve_connection(stream, service).with_upgrades());
            tokio::select! {
                ended = open.as_mut() => ended,
                () = stop.cancelled() => {
                    open.as_mut().graceful_shutdown();
                    open.await
                }
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection broke");
        }
    }
}

/// A listener with a bounded number of connections: one more is refused.
#[derive(Debug)]
struct Capped {
    listener: TcpListener,
    metrics: Metrics,
    refusals: Arc<Semaphore>,
    places: Arc<Semaphore>,
    idle_after: Duration,
    failing: bool,
}

impl Capped {
    /// The next one that has a place.
    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.failing = false;
                    let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                        self.refuse(stream);
                        continue;
                    };
                    // Events are small and must not wait for one another.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT) {
                        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
                    }
                    let place = Place::new(place, &self.metrics.connections);
                    let connection = Connection::new(stream, self.idle_after, place);
                    return (connection, address);
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "cannot accept HTTP connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn refuse(&self, mut stream: TcpStream) {
        if self.metrics.refused.inc() == 0 {
            tracing::warn!(
                "there are too many HTTP connections; those refused are counted in gateway_http_refused_total"
            );
        }
        let Ok(turn) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            // The request is read away, or the system would throw away the answer with it.
            let telling = async {
                stream.write_all(REFUSAL).await?;
                stream.shutdown().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            };
            if let Err(error) = tokio::time::timeout(REFUSE_WITHIN, telling).await {
                tracing::trace!(%error, "a refused connection did not close in time");
            }
            drop(turn);
        });
    }
}

/// One of the places; free again when dropped.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    connections: Gauge,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, connections: &Gauge) -> Self {
        connections.inc();
        Self {
            _permit: permit,
            connections: connections.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// Whether an error of `accept` is about one connection that went away, not about the listener.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// A connection that ends when nothing moved on it for too long: a client that stopped reading, or never asked.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    idle_after: Duration,
    moved_at: Instant,
    wait: Pin<Box<Sleep>>,
    asked: bool,
    _place: Place,
}

impl Connection {
    fn new(stream: TcpStream, idle_after: Duration, place: Place) -> Self {
        Self {
            stream,
            idle_after,
            moved_at: Instant::now(),
            wait: Box::pin(tokio::time::sleep(idle_after.min(FIRST_REQUEST_WITHIN))),
            asked: false,
            _place: place,
        }
    }

    /// Passes progress on; turns a wait that lasts too long into an error.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.moved_at = Instant::now();
            return progress;
        }
        // The timer is moved only when it rings: far cheaper than at every read and write.
        while self.wait.as_mut().poll(cx).is_ready() {
            let patience = if self.asked {
                self.idle_after
            } else {
                self.idle_after.min(FIRST_REQUEST_WITHIN)
            };
            let until = self.moved_at + patience;
            if Instant::now() >= until {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.wait.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.asked |= progress.is_ready();
        self.watched(cx, progress)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watched(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush of a TCP stream is always ready and moves nothing.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(
        config: Config,
        router: Router,
    ) -> (
        std::net::SocketAddr,
        CancellationToken,
        tokio::task::JoinHandle<()>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            serve(listener, router, &config, None, Metrics::default(), token).await
        });
        (address, stop, task)
    }

    /// Reads until the server closes.
    async fn to_end(stream: &mut TcpStream) -> usize {
        let mut all = Vec::new();
        let reading = stream.read_to_end(&mut all);
        match tokio::time::timeout(Duration::from_secs(10), reading).await {
            Ok(Ok(n)) => n,
            Ok(Err(_)) => all.len(),
            Err(_) => panic!("the connection is still open"),
        }
    }

    #[tokio::test]
    async fn a_connection_that_never_asks_is_closed() {
        let config = Config {
            idle_after: Duration::from_millis(200),
            ..Config::default()
        };
        let (address, _stop, _task) = start(config, Router::new()).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(to_end(&mut silent).await, 0);
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_let_go() {
        let config = Config {
            idle_after: Duration::from_millis(300),
            ..Config::default()
        };
        let (gone, mut noticed) = tokio::sync::mpsc::channel::<()>(1);
        let endless = get(async move || {
            let guard = gone.clone();
            Body::from_stream(futures_util::stream::repeat_with(move || {
                let _held = &guard;
                Ok::<_, std::convert::Infallible>(Bytes::from(vec![0; 64 << 10]))
            }))
        });
        let (address, stop, task) = start(config, Router::new().route("/", endless)).await;
        let mut stalled = TcpStream::connect(address).await.unwrap();
        stalled
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut some = [0; 1024];
        assert!(stalled.read(&mut some).await.unwrap() > 0);
        // The router's own clone goes with the server; the stream's goes when the client is let go.
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), noticed.recv()).await;
        assert_eq!(ended.unwrap(), None);
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_finds_a_place_later() {
        let config = Config {
            max_connections: 1,
            ..Config::default()
        };
        let router = Router::new().route("/", get(async || "here"));
        let (address, _stop, _task) = start(config, router).await;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(request).await.unwrap();
        let mut some = [0; 1024];
        assert!(first.read(&mut some).await.unwrap() > 0);
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(request).await.unwrap();
        let mut refusal = String::new();
        second.read_to_string(&mut refusal).await.unwrap();
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: 10"));
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{refusal}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                let mut third = TcpStream::connect(address).await.unwrap();
                third.write_all(request).await.unwrap();
                let n = third.read(&mut some).await.unwrap();
                if some[..n].starts_with(b"HTTP/1.1 200") {
                    return;
                }
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_stop_waits_for_open_requests_only_until_the_deadline() {
        let config = Config {
            drain_within: Duration::from_millis(200),
            ..Config::default()
        };
        let router = Router::new().route("/", get(async || std::future::pending::<()>().await));
        let (address, stop, task) = start(config, router).await;
        let mut open = TcpStream::connect(address).await.unwrap();
        open.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }
}
