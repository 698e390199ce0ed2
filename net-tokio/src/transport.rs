//! Sockets behind small traits, so that a simulated network can stand in for the system's.
//!
//! Guarantee of [`TokioUdp`]: `try_recv_from` says `WouldBlock` only when the kernel's buffer is
//! empty at that moment. The runtime's own readiness may lag behind by as long as the process was
//! off the CPU, and timers fired on it would accuse members whose answers wait in the buffer.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use quorate_core::StreamError;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

/// Bytes asked for the receive buffer of the gossip socket: the system may give less.
const UDP_BUFFER_BYTES: usize = 2 << 20;
/// A connection that takes longer is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A datagram socket.
pub trait Udp: Send + Sync + 'static {
    /// The next datagram, cut off at the length of `buf`.
    ///
    /// # Errors
    /// `WouldBlock` if none waits; others concern one datagram and do not end the socket.
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends one datagram.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now; others concern this datagram only.
    fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Waits until a datagram may wait. Cancel safe.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until there may be room to send. Cancel safe.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Accepts streams.
pub trait Listener<S>: Send + 'static {
    /// The next stream and its remote end. Cancel safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(S, SocketAddr)>> + Send;
}

/// A network: what its sockets are and how to connect.
pub trait Net: Clone + Send + Sync + 'static {
    /// Datagrams.
    type Udp: Udp;
    /// Byte streams.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Accepts byte streams.
    type Listener: Listener<Self::Stream>;

    /// Connects to `to`. Dropping the future gives it up.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Closes at once, with a reset where that can be.
    fn abort(stream: Self::Stream);
}

/// The error of a stream in the node's terms; `connecting`: it was not open yet.
pub fn stream_error(e: &io::Error, connecting: bool) -> StreamError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => StreamError::Refused,
        io::ErrorKind::TimedOut => StreamError::TimedOut,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => StreamError::Unreachable,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => StreamError::Reset,
        _ if connecting => StreamError::Unreachable,
        _ => StreamError::Reset,
    }
}

/// The system's network through tokio.
#[derive(Clone, Debug)]
pub struct TokioNet {
    /// Connections come from here, so that others see the address that they know.
    source: IpAddr,
}

/// A gossip socket of the system.
#[derive(Debug)]
pub struct TokioUdp {
    socket: UdpSocket,
    /// An IPv6 socket shows IPv4 addresses in their mapped form, and wants them so.
    mapped: bool,
}

impl TokioNet {
    /// Connects from `source`; an unspecified address leaves the choice to the system.
    pub const fn new(source: IpAddr) -> Self {
        Self { source }
    }
}

impl TokioUdp {
    /// Binds `addr`, with a large receive buffer where the system allows it.
    ///
    /// # Errors
    /// What the system says about the address.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(addr).await?;
        // Not vital: with the system's default, bursts are lost a little sooner.
        let _ = SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES);
        Ok(Self { socket, mapped: addr.is_ipv6() })
    }

    /// The bound address.
    ///
    /// # Errors
    /// What the system says; not to be expected.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Udp for TokioUdp {
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = match self.socket.try_recv_from(buf) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => recv_now(&self.socket, buf)?,
            other => other?,
        };
        Ok((len, canonical(from)))
    }

    fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = match to {
            SocketAddr::V4(v4) if self.mapped => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        };
        self.socket.try_send_to(bytes, to).map(|_| ())
    }

    async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}

/// An IPv4 address in its own form, also when an IPv6 socket reported it.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Asks the kernel itself, whatever the runtime believes.
fn recv_now(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    use rustix::net::{RecvFlags, recvfrom};
    let (_, len, from) = recvfrom(socket, &mut *buf, RecvFlags::DONTWAIT)?;
    let from = from
        .and_then(|a| SocketAddr::try_from(a).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((len.min(buf.len()), from))
}

impl Listener<TcpStream> for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = TcpListener::accept(self).await?;
        let _ = stream.set_nodelay(true);
        Ok((stream, canonical(from)))
    }
}

impl Net for TokioNet {
    type Udp = TokioUdp;
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if self.source.is_ipv4() == to.is_ipv4() && !self.source.is_unspecified() {
            socket.bind(SocketAddr::new(self.source, 0))?;
        }
        let stream = timeout(CONNECT_TIMEOUT, socket.connect(to))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn abort(stream: TcpStream) {
        // Without it the close is an ordinary one: no harm.
        let _ = stream.set_zero_linger();
    }
}

/// Binds the gossip sockets: UDP and TCP on one port, a free one if `addr` has port 0.
///
/// # Errors
/// What the system says, and whether it was about UDP (`true`) or TCP.
pub async fn bind_gossip(addr: SocketAddr) -> Result<(TokioUdp, TcpListener), (bool, io::Error)> {
    const ATTEMPTS: u32 = 16;
    let mut attempt = 1;
    loop {
        let udp = TokioUdp::bind(addr).await.map_err(|e| (true, e))?;
        let bound = udp.local_addr().map_err(|e| (true, e))?;
        match bind_tcp(bound) {
            Ok(tcp) => return Ok((udp, tcp)),
            // The free UDP port may be a taken TCP port: try another one.
            Err(e) if addr.port() == 0 && attempt < ATTEMPTS => {
                attempt += 1;
                tracing::debug!("port {} is free for UDP only: {e}", bound.port());
            }
            Err(e) => return Err((false, e)),
        }
    }
}

/// A TCP listener on `addr`; a port that only lingers from a run before is taken over.
///
/// # Errors
/// What the system says.
pub fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn receives_what_the_runtime_does_not_know_of_yet() {
        let udp = TokioUdp::bind(loopback()).await.unwrap();
        let to = udp.local_addr().unwrap();
        let mut buf = [0; 16];
        assert_eq!(udp.try_recv_from(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // A blocking socket: the runtime has had no chance to poll since.
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"hello", to).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match udp.try_recv_from(&mut buf) {
                Ok((n, from)) => {
                    assert_eq!((&buf[..n], from), (&b"hello"[..], other.local_addr().unwrap()));
                    break;
                }
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(Instant::now() < deadline);
        }
        assert_eq!(udp.try_recv_from(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn gossip_sockets_share_a_port_and_name_the_taken_one() {
        let (udp, tcp) = bind_gossip(loopback()).await.unwrap();
        let addr = udp.local_addr().unwrap();
        assert_eq!(addr, tcp.local_addr().unwrap());
        let (udp_failed, e) = bind_gossip(addr).await.map(|_| ()).unwrap_err();
        assert!(udp_failed);
        assert_eq!(e.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn connects_from_the_bind_address_and_tells_refusals() {
        let mut listener = bind_tcp(loopback()).unwrap();
        let to = listener.local_addr().unwrap();
        let net = TokioNet::new(IpAddr::from([127, 0, 0, 1]));
        let stream = net.connect(to).await.unwrap();
        let (_, from) = Listener::accept(&mut listener).await.unwrap();
        assert_eq!(from, stream.local_addr().unwrap());
        drop(listener);
        let e = net.connect(to).await.unwrap_err();
        assert_eq!(stream_error(&e, true), StreamError::Refused);
    }

    #[tokio::test]
    async fn an_ipv6_socket_speaks_ipv4_too() {
        let Ok(udp) = TokioUdp::bind("[::]:0".parse().unwrap()).await else { return };
        let port = udp.local_addr().unwrap().port();
        let other = UdpSocket::bind(loopback()).await.unwrap();
        let from = other.local_addr().unwrap();
        other.send_to(b"hi", ("127.0.0.1", port)).await.unwrap();
        udp.readable().await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(udp.try_recv_from(&mut buf).unwrap(), (2, from));
        udp.writable().await.unwrap();
        udp.try_send_to(b"ho", from).unwrap();
        let (n, _) = other.recv_from(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"ho");
    }
}
