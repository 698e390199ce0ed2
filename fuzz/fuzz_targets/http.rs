//! HTTP requests as bytes on a connection, and the texts that requests carry. No panic; what comes
//! back is HTTP with a status that this server gives; every request ends.
//!
//! The input is one connection's bytes, or, without a line end, a duration and an address to join.
#![no_main]

use std::{cell::RefCell, sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use net_tokio::{
    address::parse_join_addr,
    http::{HttpConfig, HttpStreams, parse_duration},
};
use quorate_fuzz::agent;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::{Builder, Runtime},
    time::timeout,
};

static SERVER: LazyLock<HttpStreams> =
    LazyLock::new(|| HttpStreams::new(agent::handle(), HttpConfig::default()));

thread_local! {
    /// Its clock stands while something is done, and jumps while all wait.
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"),
    );
}

fn texts(text: &str) {
    if let Ok(d) = parse_duration(text) {
        assert!(d <= Duration::from_nanos(i64::MAX as u64), "{text}: {d:?}");
        assert_eq!(parse_duration(&format!("{}ns", d.as_nanos())), Ok(d), "{text}");
    }
    let _ = parse_join_addr(text, 8301);
}

async fn connection(data: &[u8]) -> Vec<u8> {
    let (mut client, server) = duplex(1 << 16);
    let serve = SERVER.serve(server);
    let ask = async {
        // It may close before it has taken all of it.
        let _ = client.write_all(data).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    // The longest that a blocking query waits, for each that fits.
    let limit = Duration::from_secs(700 * 64);
    let both = async { tokio::join!(serve, ask).1 };
    timeout(limit, both).await.expect("a connection that does not end")
}

fuzz_target!(|data: &[u8]| {
    if !data.contains(&b'\n') {
        return std::str::from_utf8(data).map_or((), texts);
    }
    // A join would ask the system's resolver.
    if data.windows(6).any(|w| w.eq_ignore_ascii_case(b"/join/")) || data.len() > 1 << 14 {
        return;
    }
    let answer = RUNTIME.with_borrow_mut(|r| r.block_on(connection(data)));
    if answer.is_empty() {
        return;
    }
    assert!(answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
    let status: u16 = answer
        .get(9..12)
        .and_then(|s| std::str::from_utf8(s).ok()?.parse().ok())
        .expect("a status");
    let known = [100, 200, 400, 403, 404, 405, 408, 413, 414, 431, 500, 501, 503, 505];
    assert!(known.contains(&status), "status {status}");
});
