//! Connections: how many, how long one may be idle, and how they end.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, serve::Listener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;

use super::Config;

/// How long accepting pauses when the process has no file left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Answers on `listener` until `stop`, then lets open requests go on for [`Config::drain_within`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    stop: CancellationToken,
) {
    let capped = Capped {
        listener,
        places: Arc::new(Semaphore::new(config.max_connections)),
        idle_after: config.idle_after,
        failing: false,
    };
    let stopped = stop.clone();
    let serving = axum::serve(capped, router)
        .with_graceful_shutdown(async move { stopped.cancelled().await })
        .into_future();
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(config.drain_within).await;
    };
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::error!(%error, "the HTTP listener ended");
        },
        () = deadline => tracing::warn!("HTTP requests were still open at the deadline"),
    }
}

/// A listener with a bounded number of connections: the next is accepted when one ends.
#[derive(Debug)]
struct Capped {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle_after: Duration,
    failing: bool,
}

impl Listener for Capped {
    type Io = Connection;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Connection, Self::Addr) {
        // The semaphore is never closed; if it were, nothing more would be accepted.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return std::future::pending().await;
        };
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.failing = false;
                    // Events are small and must not wait for one another.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    return (Connection::new(stream, self.idle_after, place), address);
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

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
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
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, idle_after: Duration, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            idle_after,
            moved_at: Instant::now(),
            wait: Box::pin(tokio::time::sleep(idle_after)),
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
            let until = self.moved_at + self.idle_after;
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
        let task = tokio::spawn(async move { serve(listener, router, &config, token).await });
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
    async fn one_connection_too_many_waits_for_a_place() {
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
        let early = tokio::time::timeout(Duration::from_millis(200), second.read(&mut some)).await;
        assert!(early.is_err(), "answered before a place was free");
        drop(first);
        let answer = tokio::time::timeout(Duration::from_secs(5), second.read(&mut some)).await;
        assert!(answer.unwrap().unwrap() > 0);
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
