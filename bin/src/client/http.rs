//! One request, one answer, with an end: a small HTTP client on hyper.
//!
//! Invariant: an answer larger than [`MAX_BODY_BYTES`] or later than the given time is an error,
//! so that no command hangs or grows without bound.

use std::{error::Error as _, io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::Endpoint;

/// 4,096 members with all their tags are far below this.
const MAX_BODY_BYTES: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The request did not reach the agent, or the answer did not come back.
    #[error("{verb} \"{url}\": {cause}")]
    Transport {
        /// `Get`, `Put`, `Post` or `Delete`.
        verb: &'static str,
        /// The whole URL.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The agent refused.
    #[error("Unexpected response code: {code} ({body})")]
    Status {
        /// The HTTP status.
        code: u16,
        /// What the agent said.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("the agent's answer cannot be understood: {0}")]
    Body(String),
}

/// Talks to one agent.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    endpoint: Endpoint,
    token: Option<String>,
}

impl Client {
    /// A client of the agent at `endpoint`.
    pub(crate) fn new(endpoint: Endpoint, token: Option<String>) -> Self {
        Self { endpoint, token }
    }

    /// Sends a request without a body; the body of the answer, if its status is 200.
    ///
    /// # Errors
    /// [`HttpError`]: no answer within `limit`, another status, or too much of an answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Bytes, HttpError> {
        self.send_body(method, path, Bytes::new(), limit).await
    }

    /// The same with a body.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn send_body(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, HttpError> {
        let verb = match method {
            Method::PUT => "Put",
            Method::POST => "Post",
            Method::DELETE => "Delete",
            _ => "Get",
        };
        let url = format!("http://{}{path}", self.endpoint.authority());
        let outcome = timeout(limit, self.exchange(method, path, body)).await;
        let (status, body) = match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause)) => return Err(HttpError::Transport { verb, url, cause }),
            Err(_) => {
                let cause = format!("no answer within {} seconds", limit.as_secs());
                return Err(HttpError::Transport { verb, url, cause });
            }
        };
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(&body).trim().to_owned();
            return Err(HttpError::Status { code: status.as_u16(), body });
        }
        Ok(body)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
        let driven = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.endpoint.authority())
            .header("connection", "close");
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let answer = sender.send_request(request).await.map_err(|e| lost(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY_BYTES);
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        driven.abort();
        Ok((status, body))
    }

    /// Connects to the first address that answers; the last one's error if none does.
    async fn connect(&self) -> Result<TcpStream, String> {
        let Endpoint { host, port } = &self.endpoint;
        let found = lookup_host((host.as_str(), *port)).await;
        let addrs: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
        let mut last = format!("dial tcp: lookup {host}: no such host");
        for addr in addrs {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => last = format!("dial tcp {addr}: connect: {}", reason(&e)),
                Err(_) => last = format!("dial tcp {addr}: i/o timeout"),
            }
        }
        Err(last)
    }
}

/// Why a connection that was made brought no answer: what the system said, where it said anything.
fn lost(e: &hyper::Error) -> String {
    if e.is_incomplete_message() {
        return "EOF".into();
    }
    match e.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => reason(cause),
        None => e.to_string(),
    }
}

/// The system's reason in the words that scripts look for.
fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        _ => e.to_string(),
    }
}

/// Percent-encodes a path segment.
pub(crate) fn escape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for b in segment.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(b));
            }
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket},
    };

    fn local() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn client(port: u16) -> Client {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port };
        Client::new(endpoint, Some("secret".into()))
    }

    /// Answers one connection with `answer`; the request's bytes.
    async fn serve(listener: TcpListener, answer: &'static str) -> String {
        let (mut s, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            let mut buf = [0; 512];
            let n = s.read(&mut buf).await.unwrap();
            got.extend_from_slice(&buf[..n]);
        }
        s.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(got).unwrap()
    }

    async fn ask(answer: &'static str) -> (Result<Bytes, HttpError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limit = Duration::from_secs(20);
        let c = client(port);
        tokio::join!(c.send(Method::PUT, "/v1/x", limit), serve(listener, answer))
    }

    #[test]
    fn answers_and_refusals() {
        local().block_on(async {
            let (got, request) = ask("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
            assert_eq!(got.unwrap(), "hi");
            assert!(request.starts_with("PUT /v1/x HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("x-consul-token: secret\r\n"), "{request}");
            let (got, _) = ask("HTTP/1.1 500 X\r\ncontent-length: 6\r\n\r\nno go\n").await;
            assert_eq!(got.unwrap_err().to_string(), "Unexpected response code: 500 (no go)");
            let (got, _) = ask("nonsense\r\n\r\n").await;
            assert!(got.unwrap_err().to_string().starts_with("Put \"http://127.0.0.1:"));
        });
    }

    #[test]
    fn nobody_there_and_nobody_answering() {
        local().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let slow = client(port).send(Method::GET, "/x", Duration::from_millis(50)).await;
            assert!(slow.unwrap_err().to_string().contains("no answer within"));
            // Bound and deaf: a port that is only let go may be taken, or a child of this process
            // may still hold its listener until it runs its own program.
            let deaf = TcpSocket::new_v4().unwrap();
            deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let port = deaf.local_addr().unwrap().port();
            let e = client(port).send(Method::GET, "/x", Duration::from_secs(20)).await;
            assert_eq!(
                e.unwrap_err().to_string(),
                format!(
                    "Get \"http://127.0.0.1:{port}/x\": dial tcp 127.0.0.1:{port}: connect: \
                     connection refused"
                )
            );
        });
    }

    #[test]
    fn a_connection_that_is_cut_says_how() {
        local().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let cut = async |reset| {
                let (mut s, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                assert!(s.read(&mut request).await.unwrap() > 0);
                if reset {
                    s.set_zero_linger().unwrap();
                }
            };
            for (reset, want) in [(false, "EOF"), (true, "connection reset by peer")] {
                let c = client(port);
                let limit = Duration::from_secs(20);
                let (got, ()) = tokio::join!(c.send(Method::GET, "/x", limit), cut(reset));
                let want = format!("Get \"http://127.0.0.1:{port}/x\": {want}");
                assert_eq!(got.unwrap_err().to_string(), want);
            }
        });
    }

    #[test]
    fn path_segments_are_escaped() {
        assert_eq!(escape("a/b c?%"), "a%2Fb%20c%3F%25");
        assert_eq!(escape("10.0.0.1:8301"), "10.0.0.1:8301");
    }
}
