//! Metrics over HTTP, served by one thread.
//!
//! Clients are not trusted. A connection carries one request with a head of at most [`HEAD`] bytes, and is closed after
//! [`LIMIT`]. When there are [`MOST`] connections, a new one replaces the oldest. So slow or silent clients do not block others,
//! and the memory for connections is bounded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use memif_os::thread::spawn;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::error::ToolError;

/// The media type of OpenMetrics text.
const OPENMETRICS: &str = memif_metrics::CONTENT_TYPE;
/// The path of the metrics.
const PATH: &str = "/metrics";
/// Most connections at the same time.
const MOST: usize = 64;
/// How long a connection may last.
const LIMIT: Duration = Duration::from_secs(5);
/// Largest head of a request, in bytes: the smallest limit that hyper accepts.
const HEAD: usize = 8192;
/// How long a text is served again before `source` is called for a new one.
const FRESH: Duration = Duration::from_millis(100);
/// Time between two attempts to accept while the process has no free file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns the text to serve.
pub(crate) trait Source: Fn() -> String + Send + Sync + 'static {}
impl<F: Fn() -> String + Send + Sync + 'static> Source for F {}

/// An HTTP server on a thread of its own. It ends when it is dropped.
pub(crate) struct Server {
    /// The address that it listens on.
    address: SocketAddr,
    /// Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the text that `source` returns. With port 0 the kernel chooses a free port.
    ///
    /// # Errors
    /// [`ToolError::Listen`]: the address is in use, or is not an address of this host. [`ToolError::Thread`]: the thread cannot
    /// be started.
    pub(crate) fn start(address: SocketAddr, source: impl Source) -> Result<Self, ToolError> {
        let failed = |error| ToolError::Listen { address, error };
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let source = rate_limited(source);
        let body = move || {
            runtime.spawn(accept(listener, Arc::new(source)));
            // returns an error when the sender is dropped, which is the signal to end
            let _ = runtime.block_on(stopped);
        };
        let thread = spawn("memif-http", None, body).map_err(ToolError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The URL of the metrics.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // an error would be a panic of the thread, which the panic hook has reported
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A source that calls `source` at most once in [`FRESH`], however many requests there are.
fn rate_limited(source: impl Source) -> impl Source {
    let last = Mutex::new(None::<(Instant, String)>);
    move || {
        // nothing panics while the text is replaced
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, text)) if at.elapsed() < FRESH => text.clone(),
            _ => last.insert((Instant::now(), source())).1.clone(),
        }
    }
}

/// Accepts connections until the runtime ends.
async fn accept(listener: TcpListener, source: Arc<impl Source>) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() == MOST {
            connections.drain(..1).for_each(|oldest| oldest.abort());
        }
        let connection = tokio::spawn(timeout(LIMIT, serve(stream, Arc::clone(&source))));
        connections.push_back(connection.abort_handle());
    }
}

/// Answers one request.
async fn serve(stream: TcpStream, source: Arc<impl Source>) {
    let answer = service_fn(move |request| {
        let answer = answer(&request, &*source);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD);
    // the client is told what is wrong with its request; nobody else needs to know
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(request: &Request<Incoming>, source: &impl Source) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        let text = format!("metrics are at {PATH}\n");
        return response(StatusCode::NOT_FOUND, (CONTENT_TYPE, "text/plain"), text);
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return response(StatusCode::METHOD_NOT_ALLOWED, (ALLOW, "GET, HEAD"), String::new());
    }
    response(StatusCode::OK, (CONTENT_TYPE, OPENMETRICS), source())
}

fn response(
    status: StatusCode,
    (name, value): (HeaderName, &'static str),
    text: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// Parses an address to listen on. A port alone, with or without a colon before it, is one of 127.0.0.1.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = port.parse().map(loopback).or_else(|_| text.parse());
    address.map_err(|_| "write ADDRESS:PORT with an IP address, or a port of the loopback address".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};
    use std::net::{Shutdown, TcpStream};

    use super::*;

    fn server() -> Server {
        Server::start(address("0").unwrap(), || "a_metric 1\n# EOF\n".to_owned()).unwrap()
    }

    /// What the server answers, until it closes the connection.
    fn ask(server: &Server, request: &[u8]) -> String {
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(request).unwrap();
        let mut answer = Vec::new();
        // a server that refuses closes before it has read all
        let _ = client.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn metrics_are_served_and_nothing_else() {
        let server = server();
        for (request, status, text) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200, "a_metric 1\n# EOF\n"),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200, "a_metric 1\n# EOF\n"),
            ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200, "\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404, "metrics are at /metrics\n"),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405, "\r\n\r\n"),
            ("nonsense\r\n\r\n", 400, ""),
        ] {
            let answer = ask(&server, request.as_bytes());
            let line = answer.lines().next().unwrap_or_default();
            assert!(line.contains(&format!(" {status} ")) && answer.ends_with(text), "{request}: {answer}");
            assert_eq!(answer.contains(OPENMETRICS), status == 200, "{answer}");
        }
    }

    #[test]
    fn silent_clients_do_not_block_others() {
        let server = server();
        let mut silent: Vec<_> = (0..3 * MOST).map(|_| TcpStream::connect(server.address).unwrap()).collect();
        for client in &mut silent {
            let _ = client.write_all(b"GET /metrics HTTP/1.1\r\nHost:"); // the oldest may be closed already
        }
        assert!(ask(&server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").ends_with("# EOF\n"));
        // the oldest was closed to make room
        assert!(!matches!(silent[0].read(&mut [0]), Ok(1..)));
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let server = server();
        let answer = ask(&server, &[b"GET /metrics HTTP/1.1\r\nA: ", &[b'a'; 16 * HEAD][..]].concat());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[test]
    fn the_address_is_free_once_it_ends() {
        let first = server();
        let Err(ToolError::Listen { error, .. }) = Server::start(first.address, String::new) else {
            panic!("listens twice")
        };
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let address = first.address;
        let open = TcpStream::connect(address).unwrap();
        drop(first);
        open.shutdown(Shutdown::Both).unwrap_or_default();
        Server::start(address, String::new).unwrap();
    }

    #[test]
    fn a_port_alone_is_one_of_the_loopback_address() {
        for (text, expected) in [
            ("9100", "127.0.0.1:9100"),
            (":9100", "127.0.0.1:9100"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["", ":", "host:80", "10.0.0.1", "70000", "::1:80", "1.2.3.4:80:"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
