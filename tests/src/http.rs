//! A small blocking HTTP/1.1 client: one request per connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// Blocking queries are answered within this, too.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: String,
}

impl Reply {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON, keys in their order.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("{} is not JSON: {e}: {}", self.status, self.body))
    }

    /// The index of a read.
    ///
    /// # Panics
    /// If there is none.
    pub fn index(&self) -> u64 {
        let index = self.header("x-consul-index").and_then(|v| v.parse().ok());
        index.unwrap_or_else(|| panic!("no X-Consul-Index: {:?}", self.headers))
    }
}

/// Sends a request without a body.
///
/// # Errors
/// The system's, or `InvalidData` for an answer that is none.
pub fn request(to: SocketAddr, method: &str, path: &str) -> io::Result<Reply> {
    request_with(to, method, path, b"")
}

/// Sends a request with a body.
///
/// # Errors
/// As [`request`].
pub fn request_with(to: SocketAddr, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = match body.len() {
        0 => String::new(),
        n => format!("Content-Length: {n}\r\n"),
    };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n{length}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    read_reply(stream)
}

/// Reads one answer to the end of the connection.
///
/// # Errors
/// As [`request`].
pub fn read_reply(mut stream: impl Read) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("not an answer: {text:?}"))
    })
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let mut reply = Reply { status, headers, body: String::new() };
    let raw = &bytes[end + 4..];
    let body = match reply.header("transfer-encoding") {
        Some("chunked") => dechunk(raw)?,
        _ => raw.to_vec(),
    };
    let announced = reply.header("content-length").map(str::parse::<usize>);
    if announced.is_some_and(|n| n != Ok(body.len())) {
        return None;
    }
    reply.body = String::from_utf8(body).ok()?;
    Some(reply)
}

fn dechunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = raw.windows(2).position(|w| w == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&raw[..end]).ok()?, 16).ok()?;
        raw = raw.get(end + 2..)?;
        out.extend_from_slice(raw.get(..len)?);
        raw = raw.get(len + 2..)?;
        if len == 0 {
            return Some(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_framings() {
        let plain =
            parse(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nA: b\r\n\r\nno").unwrap();
        assert_eq!((plain.status, plain.body.as_str(), plain.header("a")), (404, "no", Some("b")));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "abc");
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno"), None);
        assert_eq!(parse(b"SSH-2.0\r\n\r\n"), None);
    }
}
