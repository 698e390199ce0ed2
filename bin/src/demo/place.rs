//! Where the demo's agents live: 127.0.0.10 to 12 with the usual ports where these addresses
//! exist and are free, else 127.0.0.1 with free ports.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

use crate::client::{Client, Endpoint};

/// Agents of the demo.
const AGENTS: u8 = 3;

/// One agent's name and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The node's name.
    pub(super) name: String,
    /// Gossip, UDP and TCP.
    pub(super) gossip: SocketAddr,
    /// HTTP.
    pub(super) http: SocketAddr,
    /// DNS, UDP and TCP.
    pub(super) dns: SocketAddr,
}

impl Place {
    /// A client of this agent.
    pub(super) fn client(&self) -> Client {
        let endpoint = Endpoint { host: self.http.ip().to_string(), port: self.http.port() };
        Client::new(endpoint, None)
    }
}

/// The places of all agents.
///
/// # Errors
/// The system has no free ports.
pub(super) fn places() -> io::Result<Vec<Place>> {
    let usual: Vec<Place> = (0..AGENTS).map(usual).collect();
    if usual.iter().all(is_free) {
        return Ok(usual);
    }
    // All are held until all are known, so that no port is given twice.
    let mut held = Vec::new();
    (0..AGENTS)
        .map(|i| {
            let mut free = || {
                let pair = free_pair()?;
                let addr = pair.0.local_addr()?;
                held.push(pair);
                Ok::<_, io::Error>(addr)
            };
            Ok(Place { name: name(i), gossip: free()?, http: free()?, dns: free()? })
        })
        .collect()
}

fn name(i: u8) -> String {
    format!("demo-{}", i + 1)
}

fn usual(i: u8) -> Place {
    let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10 + i));
    let at = |port| SocketAddr::new(ip, port);
    Place { name: name(i), gossip: at(8301), http: at(8500), dns: at(8600) }
}

fn is_free(p: &Place) -> bool {
    let both = |addr| UdpSocket::bind(addr).is_ok() && TcpListener::bind(addr).is_ok();
    both(p.gossip) && both(p.dns) && TcpListener::bind(p.http).is_ok()
}

/// A port that is free for TCP and UDP.
fn free_pair() -> io::Result<(TcpListener, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..32 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(e) => last = e,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn places_do_not_meet() {
        let places = places().unwrap();
        assert_eq!(places.len(), usize::from(AGENTS));
        let addrs: BTreeSet<_> = places.iter().flat_map(|p| [p.gossip, p.http, p.dns]).collect();
        assert_eq!(addrs.len(), 3 * places.len());
    }

    #[test]
    fn a_busy_port_is_not_free() {
        let (tcp, _udp) = free_pair().unwrap();
        let busy = tcp.local_addr().unwrap();
        let (gossip, dns) = (free_pair().unwrap(), free_pair().unwrap());
        let place = Place {
            name: "x".into(),
            gossip: gossip.0.local_addr().unwrap(),
            dns: dns.0.local_addr().unwrap(),
            http: busy,
        };
        drop((gossip, dns));
        assert!(!is_free(&place));
    }
}
