//! Streams that go on for days: once the head of a `text/event-stream` answer is written, its connection leaves the HTTP
//! machinery, with its two buffers and what else it keeps for the next request, and goes on as a small task that copies
//! the stream. That is what lets thousands of idle listeners cost little.
//!
//! - The answer is made as any other, through all layers; only the copying is done here, in chunks for HTTP/1.1 and until the
//!   connection closes for HTTP/1.0. The connection ends with the stream.
//! - What the client still sends is thrown away: up to [`MAX_SAID`] bytes, then it is let go. One that closes is let go
//!   at once, one that stops reading as any other connection is, after [`Config::idle_after`](super::Config::idle_after).
//! - HTTP/2, where one connection has many streams, is not handed over.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Version, header},
    middleware::Next,
    response::Response,
};
use bytes::{Buf, Bytes};
use futures_util::stream::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::TaskTracker;

/// Bytes that a client may say on a connection that became a stream; nothing has to.
const MAX_SAID: usize = 16 << 10;
/// Pieces of a stream that are written at once when they wait.
const MAX_PIECES: usize = 16;
/// Bytes of them; one alone may be more.
const MAX_PIECE_BYTES: usize = 64 << 10;
/// A stream that is to leave.
struct Leaving {
    body: Body,
    chunked: bool,
}

/// From a request to its connection: where an answer leaves its stream, and the connection finds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Leaving>>>);

impl std::fmt::Debug for Leaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaving")
            .field("chunked", &self.chunked)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn put(&self, leaving: Leaving) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaving);
    }

    fn take(&self) -> Option<Leaving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The layer: an event stream becomes one that leaves as soon as its head is written.
pub(super) async fn hand_over(request: Request, next: Next) -> Response {
    let slot = request.extensions().get::<Slot>().cloned();
    let chunked = match request.version() {
        Version::HTTP_10 => Some(false),
        Version::HTTP_11 => Some(true),
        _ => None,
    };
    let gets = request.method() == Method::GET;
    let response = next.run(request).await;
    let streams = response.status() == StatusCode::OK
        && response.headers().get(header::CONTENT_TYPE)
            == Some(&HeaderValue::from_static("text/event-stream"))
        && response.body().size_hint().exact().is_none();
    match (slot, chunked) {
        (Some(slot), Some(chunked)) if gets && streams => ending(response).map(|body| {
            let mut leaving = Some(Leaving { body, chunked });
            // The HTTP machinery asks for the first time when it has the head ready to be written, and hears nothing.
            Body::from_stream(poll_fn(move |_| {
                if let Some(leaving) = leaving.take() {
                    slot.put(leaving);
                }
                Poll::<Option<Result<Bytes, Infallible>>>::Pending
            }))
        }),
        _ => response,
    }
}

/// Says that the connection ends with the answer: a client must not ask its next question on it, just as it closes.
fn ending(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// A connection for as long as it is not a stream.
#[derive(Debug)]
pub(super) struct Held<S> {
    connection: Option<S>,
    slot: Slot,
    streams: TaskTracker,
}

impl<S: Unpin> Held<S> {
    /// A stream that is found in `slot` goes on in a task among `streams`.
    pub(super) const fn new(connection: S, slot: Slot, streams: TaskTracker) -> Self {
        Self {
            connection: Some(connection),
            slot,
            streams,
        }
    }

    fn connection(&mut self) -> io::Result<Pin<&mut S>> {
        self.connection
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection()?.poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection
            .as_ref()
            .is_none_or(AsyncWrite::is_write_vectored)
    }

    /// Asked for when all that was to be written is: with a stream in the slot, that is the whole head.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.connection()?.poll_flush(cx))?;
        if let Some(leaving) = self.slot.take()
            && let Some(connection) = self.connection.take()
        {
            self.streams.spawn(Streaming::new(connection, leaving));
            // The one way to make the machinery let go.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection()?.poll_shutdown(cx)
    }
}

/// Copies a stream to its connection until one of them ends.
struct Streaming<S> {
    connection: S,
    body: Body,
    chunked: bool,
    ended: bool,
    /// What the client has said.
    said: usize,
    /// What is being written. Nothing is kept of it once that is done.
    pieces: Vec<Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Streaming<S> {
    fn new(connection: S, Leaving { body, chunked }: Leaving) -> Self {
        Self {
            connection,
            body,
            chunked,
            ended: false,
            said: 0,
            pieces: Vec::new(),
        }
    }

    /// Ready when the client is gone, or says too much.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waste = [0; 256];
        while self.said <= MAX_SAID {
            let mut waste = ReadBuf::new(&mut waste);
            ready!(Pin::new(&mut self.connection).poll_read(cx, &mut waste))?;
            if waste.filled().is_empty() {
                break;
            }
            self.said += waste.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut done = 0;
        while done < self.pieces.len() {
            let mut slices = [IoSlice::new(&[]); MAX_PIECES + 2];
            let waiting = self.pieces.iter().skip(done);
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(waiting) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let written = Pin::new(&mut self.connection)
                .poll_write_vectored(cx, slices.get(..count).unwrap_or_default());
            let mut written = match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.pieces.drain(..done);
                    return Poll::Pending;
                }
            };
            while let Some(piece) = self.pieces.get_mut(done) {
                let of_piece = written.min(piece.len());
                piece.advance(of_piece);
                written -= of_piece;
                if !piece.is_empty() {
                    break;
                }
                done += 1;
            }
        }
        self.pieces = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Gathers what the stream has to say now. Pending: nothing.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = 0;
        while self.pieces.len() < MAX_PIECES && bytes < MAX_PIECE_BYTES {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    bytes += piece.len();
                    if !piece.is_empty() {
                        self.pieces.push(piece);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Pending if bytes == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if self.chunked {
            self.frame(bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Makes one chunk of the pieces (RFC 9112, 7.1).
    fn frame(&mut self, bytes: usize) {
        let mut tail: &'static [u8] = b"";
        if bytes > 0 {
            self.pieces.insert(0, Bytes::from(format!("{bytes:x}\r\n")));
            tail = b"\r\n";
        }
        if self.ended {
            tail = if bytes > 0 {
                b"\r\n0\r\n\r\n"
            } else {
                b"0\r\n\r\n"
            };
        }
        self.pieces.push(Bytes::from_static(tail));
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(gone) = self.poll_gone(cx) {
            return Poll::Ready(gone);
        }
        loop {
            ready!(self.poll_write(cx))?;
            if self.ended {
                return Pin::new(&mut self.connection).poll_shutdown(cx);
            }
            ready!(self.poll_gather(cx))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Streaming<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_copy(cx).map(|end| {
            if let Err(error) = end {
                tracing::trace!(%error, "a stream broke off");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, response::IntoResponse as _, routing::get};
    use futures_util::StreamExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::mpsc,
        time::timeout,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{Config, Metrics, serve};

    const SOON: Duration = Duration::from_secs(20);

    struct Server {
        address: std::net::SocketAddr,
        metrics: Metrics,
        stop: CancellationToken,
        serving: tokio::task::JoinHandle<()>,
        /// Says a word on the one stream; the stream ends with it.
        words: mpsc::Sender<Bytes>,
    }

    async fn server(config: Config) -> Server {
        let (words, said) = mpsc::channel::<Bytes>(64);
        let said = Arc::new(Mutex::new(Some(said)));
        let stream = get(async move || {
            let said = said.lock().unwrap().take().unwrap();
            let stream = futures_util::stream::unfold(said, async |mut said| {
                let word = said.recv().await?;
                Some((Ok::<_, Infallible>(word), said))
            });
            let headers = [(header::CONTENT_TYPE, "text/event-stream")];
            (headers, Body::from_stream(stream.boxed())).into_response()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, metrics) = (CancellationToken::new(), Metrics::default());
        let router = Router::new().route("/", stream);
        let (token, counted) = (stop.clone(), metrics.clone());
        let serving =
            tokio::spawn(
                async move { serve(listener, router, &config, None, counted, token).await },
            );
        Server {
            address,
            metrics,
            stop,
            serving,
            words,
        }
    }

    impl Server {
        async fn ask(&self, request: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        }

        async fn say(&self, word: &'static str) {
            self.words
                .send(Bytes::from_static(word.as_bytes()))
                .await
                .unwrap();
        }

        async fn all_let_go(&self) {
            let gone = async {
                while self.metrics.open() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(SOON, gone).await.unwrap();
        }
    }

    const NEW: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    async fn until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = timeout(SOON, stream.read_u8()).await.unwrap().unwrap();
            text.push(char::from(byte));
        }
        text
    }

    #[tokio::test]
    async fn each_word_is_a_chunk_at_once_and_the_end_is_told() {
        let server = server(Config::default()).await;
        let mut stream = server.ask(NEW).await;
        let head = until(&mut stream, "\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        server.say("one").await;
        until(&mut stream, "3\r\none\r\n").await;
        // Further requests on this connection are not answered.
        stream.write_all(NEW.as_bytes()).await.unwrap();
        server.say("sixteen letters!").await;
        assert_eq!(
            until(&mut stream, "!\r\n").await,
            "10\r\nsixteen letters!\r\n"
        );
        drop(server.words);
        let mut rest = String::new();
        timeout(SOON, stream.read_to_string(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(rest, "0\r\n\r\n");
    }

    #[tokio::test]
    async fn an_old_client_gets_no_chunks() {
        let server = server(Config::default()).await;
        let mut stream = server.ask("GET / HTTP/1.0\r\n\r\n").await;
        let head = until(&mut stream, "\r\n\r\n").await;
        assert!(!head.contains("chunked"), "{head}");
        server.say("one").await;
        server.say("two").await;
        drop(server.words);
        let mut rest = String::new();
        timeout(SOON, stream.read_to_string(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(rest, "onetwo");
    }

    #[tokio::test]
    async fn one_that_vanishes_gives_its_place_back_though_nothing_is_said() {
        let server = server(Config::default()).await;
        let mut stream = server.ask(NEW).await;
        until(&mut stream, "\r\n\r\n").await;
        assert_eq!(server.metrics.open(), 1);
        drop(stream);
        server.all_let_go().await;
        timeout(SOON, server.words.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_does_not_read_is_let_go() {
        let config = Config {
            idle_after: Duration::from_millis(300),
            ..Config::default()
        };
        let server = server(config).await;
        let mut stream = server.ask(NEW).await;
        until(&mut stream, "\r\n\r\n").await;
        let word: &'static str = "x".repeat(64 << 10).leak();
        let talking = async {
            while server
                .words
                .send(Bytes::from_static(word.as_bytes()))
                .await
                .is_ok()
            {}
        };
        timeout(SOON, talking).await.unwrap();
        server.all_let_go().await;
    }

    #[tokio::test]
    async fn one_that_talks_is_let_go() {
        let server = server(Config::default()).await;
        let mut stream = server.ask(NEW).await;
        until(&mut stream, "\r\n\r\n").await;
        let talking = async {
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, talking).await.unwrap();
        server.all_let_go().await;
    }

    #[tokio::test]
    async fn a_stop_waits_for_streams_until_the_deadline() {
        let quick = Config {
            drain_within: Duration::from_millis(200),
            ..Config::default()
        };
        for (config, ends) in [(quick, false), (Config::default(), true)] {
            let server = server(config).await;
            let mut stream = server.ask(NEW).await;
            until(&mut stream, "\r\n\r\n").await;
            server.stop.cancel();
            if ends {
                server.say("bye").await;
                drop(server.words);
                until(&mut stream, "3\r\nbye\r\n0\r\n\r\n").await;
            }
            timeout(SOON, server.serving).await.unwrap().unwrap();
        }
    }
}
