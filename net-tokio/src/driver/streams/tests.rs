//! Streams against real sockets: order, ends, caps, backpressure.

use super::*;
use crate::transport::{TokioNet, bind_tcp};
use std::net::Ipv4Addr;
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Streams that accept at most `max` at the returned address.
fn start(max: usize) -> (Streams<TokioNet>, SocketAddr, Arc<IoCounters>) {
    let listener = bind_tcp(loopback()).unwrap();
    let addr = listener.local_addr().unwrap();
    let io = Arc::new(IoCounters::default());
    let net = TokioNet::new(addr.ip());
    (Streams::start(net, listener, max, Arc::clone(&io)), addr, io)
}

async fn next(s: &mut Streams<TokioNet>) -> (StreamId, Input) {
    timeout(PATIENCE, s.next()).await.expect("an input in time")
}

/// Accepts one connection, made from outside.
async fn accepted(s: &mut Streams<TokioNet>, addr: SocketAddr) -> (StreamId, TcpStream) {
    let remote = TcpStream::connect(addr).await.unwrap();
    let (id, input) = next(s).await;
    let Input::Accepted { from } = input else { panic!("{input:?}") };
    assert_eq!(from, remote.local_addr().unwrap());
    (id, remote)
}

/// Ids of the node's own streams are not to be had here; any other will do.
fn own_id() -> StreamId {
    StreamId::accepted(1 << 40)
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_end_is_told_once() {
    let (mut s, addr, _) = start(4);
    let (id, mut remote) = accepted(&mut s, addr).await;
    remote.write_all(b"ping").await.unwrap();
    let (got, Input::Data(bytes)) = next(&mut s).await else { panic!() };
    assert_eq!((got, &bytes[..]), (id, &b"ping"[..]));
    s.write(id, b"po".to_vec()).unwrap();
    s.write(id, Vec::new()).unwrap();
    s.write(id, b"ng".to_vec()).unwrap();
    let mut answer = [0; 4];
    remote.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"pong");
    remote.shutdown().await.unwrap();
    assert!(matches!(next(&mut s).await, (got, Input::Finished) if got == id));
    // Half closed: this side can still send.
    s.write(id, b"bye".to_vec()).unwrap();
    s.close(id);
    let mut rest = Vec::new();
    remote.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
    assert_eq!(s.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn connects_or_tells_why_not() {
    let (mut s, _, _) = start(4);
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let to = listener.local_addr().unwrap();
    s.open(own_id(), to);
    // Before it is connected: kept and sent then.
    s.write(own_id(), b"early".to_vec()).unwrap();
    assert!(matches!(next(&mut s).await, (_, Input::Connected)));
    let (mut remote, _) = listener.accept().await.unwrap();
    let mut got = [0; 5];
    remote.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"early");
    drop((remote, listener));
    assert!(matches!(next(&mut s).await, (_, Input::Finished)));
    s.close(own_id());

    s.open(StreamId::accepted(1 << 41), to);
    let (id, input) = next(&mut s).await;
    assert!(matches!(input, Input::Failed(StreamError::Refused)), "{input:?}");
    assert_eq!(id, StreamId::accepted(1 << 41));
    assert!(s.links.is_empty());
}

#[tokio::test]
async fn a_close_delivers_all_that_was_queued() {
    let (mut s, addr, _) = start(4);
    let (id, mut remote) = accepted(&mut s, addr).await;
    // Unread bytes at this end must not turn the close into a reset that destroys the answer.
    remote.write_all(&[7; 1000]).await.unwrap();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|i| (i % 251) as u8).collect();
    for chunk in sent.chunks(300_000) {
        s.write(id, chunk.to_vec()).unwrap();
    }
    s.close(id);
    let mut got = Vec::new();
    timeout(PATIENCE, remote.read_to_end(&mut got)).await.unwrap().unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}

#[tokio::test]
async fn an_abort_resets_and_nothing_follows() {
    let (mut s, addr, _) = start(4);
    let (id, mut remote) = accepted(&mut s, addr).await;
    remote.write_all(b"late").await.unwrap();
    s.abort(id);
    let e = timeout(PATIENCE, remote.read(&mut [0; 8])).await.unwrap().unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::ConnectionReset);
    // The next stream's input is the next of all.
    let (other, _remote) = accepted(&mut s, addr).await;
    assert_ne!(other, id);
}

#[tokio::test]
async fn a_reset_by_the_remote_end_is_told() {
    let (mut s, addr, _) = start(4);
    let (id, remote) = accepted(&mut s, addr).await;
    remote.set_zero_linger().unwrap();
    drop(remote);
    let (got, input) = next(&mut s).await;
    assert!(matches!(input, Input::Failed(StreamError::Reset)), "{input:?}");
    assert_eq!(got, id);
}

#[tokio::test]
async fn accepted_streams_are_capped_and_come_free_again() {
    let (mut s, addr, io) = start(2);
    let (first, _keep) = accepted(&mut s, addr).await;
    let (_, _keep2) = accepted(&mut s, addr).await;
    let mut third = TcpStream::connect(addr).await.unwrap();
    let refused = timeout(PATIENCE, third.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(refused, Ok(0) | Err(_)));
    assert_eq!(io.io_streams_refused.load(Ordering::Relaxed), 1);
    s.abort(first);
    // The permit returns with the task's end: soon, not at once.
    let started = tokio::time::Instant::now();
    loop {
        let mut again = TcpStream::connect(addr).await.unwrap();
        if timeout(Duration::from_millis(200), again.read(&mut [0; 1])).await.is_err() {
            break;
        }
        assert!(started.elapsed() < PATIENCE);
    }
    assert!(matches!(next(&mut s).await, (_, Input::Accepted { .. })));
}

#[tokio::test]
async fn a_remote_end_that_does_not_read_is_cut_off() {
    let (mut s, addr, io) = start(2);
    let (id, _remote) = accepted(&mut s, addr).await;
    let failed = (0..64).find_map(|_| s.write(id, vec![0; 1 << 20]).err());
    assert_eq!(failed, Some(StreamError::TimedOut));
    assert_eq!(io.io_streams_stalled.load(Ordering::Relaxed), 1);
    // To a stream that is gone: ignored.
    s.write(id, vec![0; 1 << 20]).unwrap();
    s.finish(PATIENCE).await;
}

#[tokio::test]
async fn a_driver_that_does_not_read_makes_the_remote_end_wait() {
    let (mut s, addr, _) = start(2);
    let (_, mut remote) = accepted(&mut s, addr).await;
    // Far more than kernel buffers, channel and chunk hold together.
    let flood = vec![1; 64 << 20];
    assert!(timeout(Duration::from_millis(500), remote.write_all(&flood)).await.is_err());
    assert!(s.inputs.len() <= CHUNKS);
}

#[tokio::test]
async fn the_end_flushes_what_is_closing_and_leaves_no_task() {
    let (mut s, addr, _) = start(2);
    let (id, mut remote) = accepted(&mut s, addr).await;
    let (_, idle) = accepted(&mut s, addr).await;
    s.write(id, b"last words".to_vec()).unwrap();
    s.close(id);
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        remote.read_to_end(&mut got).await.map(|_| got)
    });
    timeout(PATIENCE, s.finish(PATIENCE)).await.unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), b"last words");
    drop(idle);
    assert!(TcpStream::connect(addr).await.is_err());
}
