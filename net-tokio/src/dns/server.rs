//! The socket loops: bytes in, [`Responder`], bytes out. See the parent module for why they are
//! ours.
//!
//! A datagram is answered where it was read; only a query that waits for a recursor becomes a
//! task. A connection is served query by query, and is closed when a query does not arrive, or
//! its reply is not taken, within [`IDLE`].

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use hickory_proto::{op::Edns, rr::Record, serialize::binary::BinEncoder};
use hickory_server::{
    net::{NetError, runtime::TokioTime, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponse,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::debug;

use super::{
    DnsConfig,
    fit::{EDNS_UDP_BYTES, PLAIN_UDP_BYTES},
    responder::Responder,
    zone::{Transport, Zone, ZoneError},
};
use crate::{
    counters::{DnsCounters, count},
    handle::AgentHandle,
};

/// Connections open at once; further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 256;
/// A longer query is none: a question has at most 271 bytes, the rest is EDNS.
const MAX_QUERY_BYTES: usize = 4096;
/// A connection without a query (or without taking its reply) for so long is closed.
const IDLE: Duration = Duration::from_secs(5);
/// After an error of a socket that need not be the last one.
const PAUSE: Duration = Duration::from_millis(20);

/// Why the server cannot start. Nothing is running then.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// A domain is not usable.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// A recursor is this server: every query would go round until nothing is left.
    #[error("the recursor {0} is this agent's own DNS address: name another one")]
    OwnRecursor(SocketAddr),
    /// The kernel gives no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
    /// A socket that is not bound.
    #[error("a DNS socket is not usable: {0}")]
    Socket(#[from] io::Error),
}

/// A running DNS server. Dropping it ends it at once.
#[derive(Debug)]
pub struct DnsServer {
    tasks: JoinSet<()>,
    counters: Arc<DnsCounters>,
}

impl DnsServer {
    /// Serves `udp` and `tcp`, which are bound already. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`DnsError`]; nothing is running then.
    pub fn start(
        handle: AgentHandle,
        config: DnsConfig,
        udp: Vec<UdpSocket>,
        tcp: Vec<TcpListener>,
    ) -> Result<Self, DnsError> {
        for socket in &udp {
            let own = socket.local_addr()?;
            if config.recursors.contains(&own) {
                return Err(DnsError::OwnRecursor(own));
            }
        }
        let zone = Zone::new(&handle.info, config)?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(DnsError::Random)?;
        let responder = Arc::new(Responder::new(handle, zone, u64::from_le_bytes(seed)));
        let counters = Arc::clone(&responder.counters);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = JoinSet::new();
        for socket in udp {
            tasks.spawn(serve_udp(Arc::new(socket), Arc::clone(&responder)));
        }
        for listener in tcp {
            tasks.spawn(serve_tcp(listener, Arc::clone(&responder), Arc::clone(&slots)));
        }
        Ok(Self { tasks, counters })
    }

    /// What came in since the start.
    pub fn counters(&self) -> Arc<DnsCounters> {
        Arc::clone(&self.counters)
    }

    /// Stops, and returns when the sockets are closed. Queries on their way are dropped.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// What to do with bytes, from their header alone.
enum Screened {
    Ignore,
    Refuse([u8; 12]),
    Decode,
}

/// Replies are never answered (two servers could keep each other busy), and a header that
/// announces more than one question would cost memory before it is found to be wrong. The bytes
/// of the question go back as they came, so its name must be whole: there is nothing before it
/// that a compression pointer could mean, but the header, which is another one in the reply.
fn screen(packet: &[u8]) -> Screened {
    let Some(head) = packet.first_chunk::<12>() else { return Screened::Ignore };
    if head[2] & 0x80 != 0 {
        return Screened::Ignore;
    }
    match u16::from_be_bytes([head[4], head[5]]) {
        0 => Screened::Decode,
        1 if !first_name_is_compressed(packet) => Screened::Decode,
        _ => Screened::Refuse(form_error(head)),
    }
}

/// Does the name after the header use a pointer (RFC 1035 §4.1.4), or another form of label that
/// has more than a length?
fn first_name_is_compressed(packet: &[u8]) -> bool {
    let mut rest = packet.get(12..).unwrap_or_default();
    while let Some((&length @ 1.., labels)) = rest.split_first() {
        if length & 0xc0 != 0 {
            return true;
        }
        rest = labels.get(usize::from(length)..).unwrap_or_default();
    }
    false
}

/// FORMERR with nothing but a header: id, opcode and RD as asked.
fn form_error(head: &[u8; 12]) -> [u8; 12] {
    let mut reply = [0; 12];
    reply[..2].copy_from_slice(&head[..2]);
    reply[2] = 0x80 | (head[2] & 0x79);
    reply[3] = 1;
    reply
}

type Reply = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// The reply to a packet; `None` if it deserves none.
fn reply_to(
    responder: &Arc<Responder>,
    packet: &[u8],
    from: SocketAddr,
    protocol: Protocol,
) -> Option<Result<Reply, [u8; 12]>> {
    let counters = &responder.counters;
    match screen(packet) {
        Screened::Ignore => {
            count(&counters.dns_drop_not_queries);
            return None;
        }
        Screened::Refuse(reply) => {
            count(&counters.dns_drop_malformed);
            return Some(Err(reply));
        }
        Screened::Decode => {}
    }
    let Ok(request) = Request::from_bytes(packet.to_vec(), from, protocol) else {
        count(&counters.dns_drop_malformed);
        return packet.first_chunk().map(|head| Err(form_error(head)));
    };
    count(&counters.dns_queries);
    let responder = Arc::clone(responder);
    Some(Ok(Box::pin(async move {
        let out = Collector { protocol, bytes: Arc::default() };
        responder.handle_request::<_, TokioTime>(&request, out.clone()).await;
        out.take()
    })))
}

/// The reply to one packet, with the checks of the socket loops, for sockets that are not the
/// system's. `None`: it deserves none.
pub async fn reply_to_packet(
    responder: &Arc<Responder>,
    packet: &[u8],
    from: SocketAddr,
    transport: Transport,
) -> Option<Vec<u8>> {
    let protocol = match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    };
    match reply_to(responder, packet, from, protocol)? {
        Err(refusal) => Some(refusal.to_vec()),
        Ok(reply) => Some(reply.await).filter(|bytes| !bytes.is_empty()),
    }
}

/// Takes the encoded reply instead of sending it.
#[derive(Clone)]
struct Collector {
    protocol: Protocol,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait::async_trait]
impl ResponseHandler for Collector {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::with_capacity(usize::from(PLAIN_UDP_BYTES));
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(match self.protocol {
            Protocol::Udp => {
                response.edns().map_or(PLAIN_UDP_BYTES, Edns::max_payload).min(EDNS_UDP_BYTES)
            }
            _ => u16::MAX,
        });
        let info = response.destructive_emit(&mut encoder)?;
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(info)
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, responder: Arc<Responder>) {
    let mut forwards = JoinSet::new();
    let mut buf = vec![0; MAX_QUERY_BYTES];
    loop {
        while forwards.try_join_next().is_some() {}
        let (n, from) = match socket.recv_from(&mut buf).await {
            Ok(got) => got,
            Err(error) => {
                debug!(%error, "reading a DNS socket");
                sleep(PAUSE).await;
                continue;
            }
        };
        if from.port() == 0 {
            continue;
        }
        match reply_to(&responder, &buf[..n], from, Protocol::Udp) {
            None => {}
            Some(Err(refusal)) => send(&socket, &refusal, from).await,
            Some(Ok(mut reply)) => {
                // What needs no recursor is ready at its first poll.
                match poll_fn(|cx| Poll::Ready(reply.as_mut().poll(cx))).await {
                    Poll::Ready(bytes) => send(&socket, &bytes, from).await,
                    Poll::Pending => {
                        let socket = Arc::clone(&socket);
                        forwards.spawn(async move { send(&socket, &reply.await, from).await });
                    }
                }
            }
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
    if bytes.is_empty() {
        return;
    }
    if let Err(error) = socket.send_to(bytes, to).await {
        debug!(%error, client = %to, "sending a DNS reply");
    }
}

async fn serve_tcp(listener: TcpListener, responder: Arc<Responder>, slots: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let responder = Arc::clone(&responder);
                connections.spawn(async move {
                    if let Err(error) = serve_connection(stream, from, &responder).await {
                        debug!(%error, client = %from, "a DNS connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                debug!(%error, "accepting a DNS connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    mut stream: TcpStream,
    from: SocketAddr,
    responder: &Arc<Responder>,
) -> io::Result<()> {
    let mut packet = Vec::new();
    loop {
        timeout(IDLE, read_query(&mut stream, &mut packet)).await??;
        let bytes = match reply_to(responder, &packet, from, Protocol::Tcp) {
            None => return Ok(()),
            Some(Err(refusal)) => refusal.to_vec(),
            Some(Ok(reply)) => reply.await,
        };
        let len = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let framed = [&len.to_be_bytes()[..], &bytes].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

async fn read_query(stream: &mut TcpStream, packet: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_QUERY_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    packet.resize(len, 0);
    stream.read_exact(packet).await?;
    Ok(())
}

/// The reply to a datagram if it is ready at once, without sockets.
#[cfg(test)]
pub(super) fn reply_now(responder: &Arc<Responder>, packet: &[u8]) -> Option<Vec<u8>> {
    let from = SocketAddr::from(([127, 0, 0, 1], 9));
    match reply_to(responder, packet, from, Protocol::Udp)? {
        Err(refusal) => Some(refusal.to_vec()),
        Ok(mut reply) => {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            match reply.as_mut().poll(&mut cx) {
                Poll::Ready(bytes) => Some(bytes),
                Poll::Pending => None,
            }
        }
    }
}
