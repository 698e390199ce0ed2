//! Asks the recursors about names outside of our domain.
//!
//! In the order given, each with its own time, over UDP and then TCP if the reply is truncated.
//! A reply counts only if it comes from the address asked, with the random id and the question
//! of the query (RFC 5452). Invariant: at most [`MAX_FORWARDS`] queries are on their way;
//! one more fails at once.

use std::{io, net::SocketAddr, time::Duration};

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};
use tracing::debug;

use super::fit::same_question;

/// Queries on their way to recursors at once.
pub const MAX_FORWARDS: usize = 256;
/// A datagram of a recursor; what is cut off here is asked for again over TCP.
const MAX_DATAGRAM_BYTES: usize = 4096;

/// The recursors and the room for queries to them.
#[derive(Debug)]
pub(super) struct Forwarder {
    recursors: Vec<SocketAddr>,
    patience: Duration,
    slots: Semaphore,
}

impl Forwarder {
    pub(super) fn new(recursors: Vec<SocketAddr>, patience: Duration) -> Self {
        Self { recursors, patience, slots: Semaphore::new(MAX_FORWARDS) }
    }

    /// The first good reply, else the first bad one; `None` if none came or too many wait.
    pub(super) async fn ask(&self, raw: &[u8], query: &Query) -> Option<Message> {
        let _slot = self.slots.try_acquire().ok()?;
        let mut fallback = None;
        for &to in &self.recursors {
            match timeout(self.patience, exchange(to, raw, query)).await {
                Ok(Ok(m)) => match m.metadata.response_code {
                    ResponseCode::ServFail | ResponseCode::Refused => {
                        fallback.get_or_insert(m);
                    }
                    _ => return Some(m),
                },
                Ok(Err(error)) => debug!(recursor = %to, %error, "recursor failed"),
                Err(_) => debug!(recursor = %to, "recursor did not answer in time"),
            }
        }
        fallback
    }
}

/// The query under a fresh id: who cannot see it cannot forge the reply.
fn with_random_id(raw: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let mut packet = raw.to_vec();
    let head = packet.get_mut(..2).ok_or(io::ErrorKind::InvalidInput)?;
    head.copy_from_slice(&id);
    Ok((u16::from_be_bytes(id), packet))
}

/// Is it the reply to that query?
fn matching(packet: &[u8], id: u16, query: &Query) -> Option<Message> {
    // More questions than the one that was sent are not decoded at all.
    if packet.get(4..6) != Some(&[0, 1]) {
        return None;
    }
    let m = Message::from_vec(packet).ok()?;
    let belongs = m.metadata.id == id
        && m.metadata.message_type == MessageType::Response
        && same_question(&m, query);
    belongs.then_some(m)
}

async fn exchange(to: SocketAddr, raw: &[u8], query: &Query) -> io::Result<Message> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected: the kernel drops what comes from elsewhere and tells if nobody listens.
    socket.connect(to).await?;
    let (id, packet) = with_random_id(raw)?;
    socket.send(&packet).await?;
    let mut buf = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let n = socket.recv(&mut buf).await?;
        let truncated = buf[..n].get(2).is_some_and(|flags| flags & 0x02 != 0);
        let same_id = buf[..n].get(..2) == Some(&id.to_be_bytes()[..]);
        match matching(&buf[..n], id, query) {
            Some(m) if !truncated => return Ok(m),
            // Forged, late or broken: the real one may still come.
            None if !(same_id && (truncated || n == buf.len())) => {}
            _ => return exchange_stream(to, raw, query).await,
        }
    }
}

async fn exchange_stream(to: SocketAddr, raw: &[u8], query: &Query) -> io::Result<Message> {
    let (id, packet) = with_random_id(raw)?;
    let len = u16::try_from(packet.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&[&len.to_be_bytes()[..], &packet].concat()).await?;
    let len = u64::from(stream.read_u16().await?);
    let mut reply = Vec::new();
    stream.take(len).read_to_end(&mut reply).await?;
    matching(&reply, id, query).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
