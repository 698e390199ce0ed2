//! The server on a real socket: limits, slow clients, many connections, shutdown.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    handle::{AgentHandle, HandleParts},
    http::{HttpConfig, HttpCounter, HttpServer, tests},
};

/// Far above anything these tests wait for, to end them when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    server: HttpServer,
    addr: SocketAddr,
    /// Held: blocking queries end when the driver's end is gone.
    _view: std::sync::Arc<arc_swap::ArcSwap<crate::view::View>>,
    _index: tokio::sync::watch::Sender<u64>,
}

async fn rig(config: HttpConfig) -> Rig {
    let (handle, HandleParts { view, index, requests }) =
        AgentHandle::new(tests::info(), tests::view(20));
    tests::driver(requests);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = HttpServer::start(handle, vec![listener], config);
    Rig { server, addr, _view: view, _index: index }
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

/// All that comes until the server closes, or resets (which counts as closing).
async fn rest(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut out)).await.expect("the server closes");
    String::from_utf8(out).unwrap()
}

async fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut stream = connect(addr).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

const CLOSE: &str = "Host: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn headers_of_a_read() {
    let rig = rig(HttpConfig::default()).await;
    let text =
        exchange(rig.addr, &format!("GET /v1/catalog/datacenters HTTP/1.1\r\n{CLOSE}")).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        "content-type: application/json",
        "x-consul-index: 20",
        "x-consul-knownleader: true",
        "x-consul-lastcontact: 0",
        "content-length: 7",
    ] {
        assert!(head.lines().any(|l| l == line), "{line} in {head}");
    }
    assert_eq!(body, r#"["dc1"]"#);
    let text = exchange(rig.addr, &format!("POST /v1/agent/self HTTP/1.1\r\n{CLOSE}")).await;
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("allow: OPTIONS,GET\r\n"), "{text}");
    assert!(text.contains("content-type: text/plain"), "{text}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let rig = rig(HttpConfig::default()).await;
    let one = "GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = format!("GET /v1/catalog/datacenters HTTP/1.1\r\n{CLOSE}");
    let text = exchange(rig.addr, &format!("{}{last}", one.repeat(20))).await;
    assert_eq!(text.matches("\"127.0.0.10:8300\"").count(), 20);
    assert!(text.ends_with(r#"["dc1"]"#));
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let body_timeout = Duration::from_millis(300);
    let rig = rig(HttpConfig { body_bytes: 1000, body_timeout, ..HttpConfig::default() }).await;
    let put = "PUT /v1/agent/force-leave/dead HTTP/1.1\r\nHost: x\r\n";
    let close = "Connection: close\r\n";
    let fits = format!("{put}{close}Content-Length: 1000\r\n\r\n{}", "x".repeat(1000));
    assert!(exchange(rig.addr, &fits).await.starts_with("HTTP/1.1 200 "));
    let large = format!("{put}Content-Length: 1001\r\n\r\n{}", "x".repeat(1001));
    assert!(exchange(rig.addr, &large).await.starts_with("HTTP/1.1 413 "));
    let slow = format!("{put}Content-Length: 1000\r\n\r\nx");
    assert!(exchange(rig.addr, &slow).await.starts_with("HTTP/1.1 408 "));
    // A body without end: the server closes although the client never stops.
    let mut stream = connect(rig.addr).await;
    stream.write_all(format!("{put}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let endless = async { while stream.write_all(chunk.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, endless).await.expect("the server cuts it off");
    assert_eq!(rig.server.counters().get(HttpCounter::BodiesRefused), 3);
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_time() {
    let head_timeout = Duration::from_millis(300);
    let rig = rig(HttpConfig { head_timeout, ..HttpConfig::default() }).await;
    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut stream = connect(rig.addr).await;
    // The server may close before it has read all of it.
    let _ = stream.write_all(large.as_bytes()).await;
    let text = rest(&mut stream).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431 "), "{text}");
    assert!(!exchange(rig.addr, "GET / HTTP/1.1\r\nHost:").await.contains("200 OK"));
    // An idle connection is closed as well.
    let idle = exchange(rig.addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(idle.ends_with("Consul Agent"), "{idle}");
    let garbage = exchange(rig.addr, "\x16\x03\x01 what is this\r\n\r\n").await;
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
    assert!(rig.server.counters().get(HttpCounter::ConnectionsBroken) >= 2);
}

#[tokio::test]
async fn too_many_connections_are_closed_and_counted() {
    let rig = rig(HttpConfig { max_connections: 8, ..HttpConfig::default() }).await;
    let ask = "GET /v1/catalog/nodes?index=20 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(rig.addr).await;
        stream.write_all(ask.as_bytes()).await.unwrap();
        held.push(stream);
    }
    for _ in 0..40 {
        assert_eq!(rest(&mut connect(rig.addr).await).await, "");
    }
    assert_eq!(rig.server.counters().get(HttpCounter::ConnectionsRefused), 40);
    // A client that goes away in the middle of a blocking query frees its place.
    drop(held);
    let again = async {
        loop {
            let mut stream = connect(rig.addr).await;
            let request = format!("GET / HTTP/1.1\r\n{CLOSE}");
            let _ = stream.write_all(request.as_bytes()).await;
            if rest(&mut stream).await.ends_with("Consul Agent") {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("places become free");
}

#[tokio::test]
async fn shutdown_ends_blocking_queries_and_flushes_answers() {
    let rig = rig(HttpConfig::default()).await;
    let mut blocked = connect(rig.addr).await;
    let ask = "GET /v1/catalog/nodes?index=20 HTTP/1.1\r\nHost: x\r\n\r\n";
    blocked.write_all(ask.as_bytes()).await.unwrap();
    let mut half = connect(rig.addr).await;
    half.write_all(b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    let leave = format!("PUT /v1/agent/leave HTTP/1.1\r\n{CLOSE}");
    let left = exchange(rig.addr, &leave).await;
    assert!(left.starts_with("HTTP/1.1 200 "), "{left}");
    while rig.server.counters().get(HttpCounter::Connections) < 3 {
        tokio::task::yield_now().await;
    }
    // Time for the server to read what was written before it stops.
    tokio::time::sleep(Duration::from_millis(200)).await;
    timeout(PATIENCE, rig.server.shutdown()).await.expect("bounded");
    let answer = rest(&mut blocked).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("agent-two"), "{answer}");
    rest(&mut half).await;
    assert!(TcpStream::connect(rig.addr).await.is_err());
}
