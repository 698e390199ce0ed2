//! The sockets that the driver gets: turmoil's, with the network's faults in front.
//!
//! Guarantee: nothing here is refused or reset merely because it was lost. A lost datagram
//! vanishes, a lost segment is sent again later, and a connection to where nothing answers times
//! out.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::turmoil::net::{TcpListener, TcpStream, UdpSocket};
use net_tokio::transport::{Listener, Net, Udp};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep, timeout},
};

use super::{
    clock::world_ns,
    fabric::{Fabric, Flight},
};

/// A connection that takes longer is given up, as on the system's network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// First wait before a connection is tried again; doubles.
const SYN_RETRY: Duration = Duration::from_secs(1);
/// First wait before a segment is sent again; doubles up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A stream is given up when one segment took this long.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the largest segment.
const SEGMENT: usize = 32 * 1024;

/// A node's network.
#[derive(Clone, Debug)]
pub(super) struct SimNet {
    /// The node's number.
    pub me: u32,
    /// What is between the nodes.
    pub fabric: Fabric,
}

/// A datagram socket.
#[derive(Debug)]
pub(super) struct SimUdp {
    pub socket: Arc<UdpSocket>,
    pub net: SimNet,
}

impl SimUdp {
    fn launch(&self, bytes: &[u8], to: SocketAddr, flight: Flight) -> io::Result<()> {
        let bytes = flight.carry(bytes);
        if flight.wait_ns == 0 {
            return self.socket.try_send_to(&bytes, to).map(|_| ());
        }
        let socket = Arc::clone(&self.socket);
        tokio::spawn(async move {
            sleep(Duration::from_nanos(flight.wait_ns)).await;
            // Whatever is wrong by then: the packet is lost.
            let _ = socket.try_send_to(&bytes, to);
        });
        Ok(())
    }
}

impl Udp for SimUdp {
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if let Some((from, bytes)) = self.net.fabric.take_injected(self.net.me) {
            let len = bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            return Ok((len, from));
        }
        self.socket.try_recv_from(buf)
    }

    fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let flights = self.net.fabric.send(self.net.me, to, bytes, world_ns());
        flights.into_iter().flatten().try_for_each(|flight| self.launch(bytes, to, flight))
    }

    async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            biased;
            result = self.socket.readable() => result,
            () = self.net.fabric.injected(self.net.me) => Ok(()),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}

/// Accepts streams.
pub(super) struct SimListener {
    pub listener: TcpListener,
    pub net: SimNet,
}

impl Listener<SimStream> for SimListener {
    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (stream, from) = self.listener.accept().await?;
        Ok((SimStream::new(stream, self.net.clone(), from.ip()), from))
    }
}

impl Net for SimNet {
    type Udp = SimUdp;
    type Stream = SimStream;
    type Listener = SimListener;

    async fn connect(&self, to: SocketAddr) -> io::Result<SimStream> {
        let tries = async {
            let mut wait = SYN_RETRY;
            loop {
                if let Some(epoch) = self.fabric.connects(self.me, to.ip(), world_ns()) {
                    match TcpStream::connect(to).await {
                        Ok(s) => return Ok(SimStream::new(s, self.clone(), to.ip())),
                        // What turmoil cuts off on its way it calls refused: it was lost.
                        Err(_) if self.fabric.epoch() != epoch => {}
                        Err(e) => return Err(e),
                    }
                }
                sleep(wait).await;
                wait *= 2;
            }
        };
        timeout(CONNECT_TIMEOUT, tries).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// turmoil resets only where bytes are unread: else the other end sees an ordinary end.
    fn abort(stream: SimStream) {
        drop(stream);
    }
}

/// A byte stream. What it writes may be lost on the way, and is then sent again.
#[derive(Debug)]
pub(super) struct SimStream {
    inner: TcpStream,
    net: SimNet,
    to: IpAddr,
    /// Runs while a lost segment waits to be sent again.
    resend: Option<Pin<Box<Sleep>>>,
    wait: Duration,
    waited: Duration,
    /// The network has let the next segment pass.
    admitted: bool,
}

impl SimStream {
    fn new(inner: TcpStream, net: SimNet, to: IpAddr) -> Self {
        let waited = Duration::ZERO;
        Self { inner, net, to, resend: None, wait: RETRY, waited, admitted: false }
    }

    /// Waits until the network lets a segment pass.
    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.admitted {
            if let Some(resend) = &mut self.resend {
                ready!(resend.as_mut().poll(cx));
                self.resend = None;
            }
            if self.net.fabric.passes(self.net.me, self.to, world_ns()) {
                self.admitted = true;
                (self.wait, self.waited) = (RETRY, Duration::ZERO);
            } else if self.waited >= SEND_TIMEOUT {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            } else {
                self.resend = Some(Box::pin(sleep(self.wait)));
                self.waited += self.wait;
                self.wait = (self.wait * 2).min(RETRY_MAX);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_admitted(cx))?;
        let segment = buf.get(..SEGMENT).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, segment));
        self.admitted = false;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_admitted(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
