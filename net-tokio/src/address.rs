//! Addresses of members as people write them: `10.0.0.1`, `host:9301`, `[fe80::1]:8301`.
//!
//! Invariant: an error always names the text it is about and a form that works.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The gossip port unless the configuration gives another one.
pub const DEFAULT_GOSSIP_PORT: u16 = 8301;
/// A host name stands for at most so many addresses; more are not tried.
pub const MAX_CANDIDATES: usize = 16;

/// Where to look for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinAddr {
    /// An address, ready to be contacted.
    Socket(SocketAddr),
    /// A host name that must be looked up first.
    Host {
        /// The name.
        name: String,
        /// The gossip port.
        port: u16,
    },
}

/// Why a text is not the address of a member.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty: give an IP address or host name, with or without :port")]
    Empty,
    /// What follows the colon is not a port.
    #[error("'{text}' has the port '{port}': a port is a number from 1 to 65535")]
    Port {
        /// The whole text.
        text: String,
        /// What stands where the port should be.
        port: String,
    },
    /// Brackets, but no IPv6 address inside, or something behind them.
    #[error("'{0}' is not an IPv6 address with port: write it like [::1]:8301")]
    Brackets(String),
    /// Not an IP address and not a host name either.
    #[error("'{0}' is neither an IP address nor a host name, with or without :port")]
    Host(String),
    /// The system's resolver failed.
    #[error("lookup {host}: {cause}")]
    Lookup {
        /// The name that was looked up.
        host: String,
        /// What the resolver said.
        cause: std::io::Error,
    },
    /// The name exists but has no address.
    #[error("lookup {0}: no address")]
    NoAddress(String),
}

/// Reads `ip`, `ip:port`, `host`, `host:port`, `[v6]` or `[v6]:port`.
///
/// # Errors
/// [`AddressError`], never [`AddressError::Lookup`]: nothing is looked up here.
pub fn parse_join_addr(text: &str, default_port: u16) -> Result<JoinAddr, AddressError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(JoinAddr::Socket(SocketAddr::new(ip, default_port)));
    }
    if let Some(rest) = text.strip_prefix('[') {
        return parse_brackets(text, rest, default_port);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, parse_port(text, port)?),
        None => (text, default_port),
    };
    if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
        return Ok(JoinAddr::Socket(SocketAddr::new(ip.into(), port)));
    }
    if !is_host_name(host) {
        return Err(AddressError::Host(text.to_owned()));
    }
    Ok(JoinAddr::Host { name: host.to_owned(), port })
}

fn parse_brackets(text: &str, rest: &str, default_port: u16) -> Result<JoinAddr, AddressError> {
    let bad = || AddressError::Brackets(text.to_owned());
    let (ip, tail) = rest.split_once(']').ok_or_else(bad)?;
    let ip: Ipv6Addr = ip.parse().map_err(|_| bad())?;
    let port = match tail.strip_prefix(':') {
        Some(port) => parse_port(text, port)?,
        None if tail.is_empty() => default_port,
        None => return Err(bad()),
    };
    Ok(JoinAddr::Socket(SocketAddr::new(ip.into(), port)))
}

fn parse_port(text: &str, port: &str) -> Result<u16, AddressError> {
    match port.parse::<u16>() {
        Ok(n) if n > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
        _ => Err(AddressError::Port { text: text.to_owned(), port: port.to_owned() }),
    }
}

/// Labels of letters, digits, dashes and underscores; 253 bytes at most. A text of digits and
/// dots only is a mistyped IPv4 address, not a name.
fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && !name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

impl JoinAddr {
    /// The addresses to try, in the resolver's order: at least one, at most
    /// [`MAX_CANDIDATES`].
    ///
    /// # Errors
    /// [`AddressError::Lookup`] or [`AddressError::NoAddress`], both for host names only.
    pub async fn candidates(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let (name, port) = match self {
            Self::Socket(addr) => return Ok(vec![*addr]),
            Self::Host { name, port } => (name, *port),
        };
        let found = tokio::net::lookup_host((name.as_str(), port))
            .await
            .map_err(|cause| AddressError::Lookup { host: name.clone(), cause })?;
        let mut out: Vec<SocketAddr> = Vec::new();
        for addr in found {
            if !out.contains(&addr) && out.len() < MAX_CANDIDATES {
                out.push(addr);
            }
        }
        if out.is_empty() { Err(AddressError::NoAddress(name.clone())) } else { Ok(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_forms_are_read() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1:8301"),
            (" 10.0.0.1:9 ", "10.0.0.1:9"),
            ("::1", "[::1]:8301"),
            ("[::1]", "[::1]:8301"),
            ("[2001:db8::7]:9301", "[2001:db8::7]:9301"),
        ] {
            let want = JoinAddr::Socket(want.parse().unwrap());
            assert_eq!(parse_join_addr(text, DEFAULT_GOSSIP_PORT).unwrap(), want, "{text}");
        }
        for (text, name, port) in
            [("n1.example.com", "n1.example.com", 8301), ("my_host-2:53", "my_host-2", 53)]
        {
            let want = JoinAddr::Host { name: name.into(), port };
            assert_eq!(parse_join_addr(text, DEFAULT_GOSSIP_PORT).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn errors_name_the_input() {
        for text in [
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:+5",
            "host:",
            "host:http",
            "[::1",
            "[::1]9",
            "[host]:9",
            "10.0.0",
            "10.0.0.256",
            "a b",
            "a..b",
            "http://n1:8301",
            "x/y",
            "-:-",
        ] {
            let e = parse_join_addr(text, DEFAULT_GOSSIP_PORT).expect_err(text).to_string();
            assert!(e.contains(text), "{text}: {e}");
        }
        assert!(matches!(parse_join_addr("  ", DEFAULT_GOSSIP_PORT), Err(AddressError::Empty)));
    }

    #[tokio::test]
    async fn localhost_resolves_and_an_impossible_name_does_not() {
        let local = parse_join_addr("localhost:77", DEFAULT_GOSSIP_PORT)
            .unwrap()
            .candidates()
            .await
            .unwrap();
        assert!(local.iter().all(|a| a.ip().is_loopback() && a.port() == 77), "{local:?}");
        let none = parse_join_addr("no-such-host.invalid", DEFAULT_GOSSIP_PORT)
            .unwrap()
            .candidates()
            .await;
        assert!(none.unwrap_err().to_string().starts_with("lookup no-such-host.invalid: "));
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in "\\PC{0,40}") {
            let _ = parse_join_addr(&text, DEFAULT_GOSSIP_PORT);
        }

        #[test]
        fn sockets_round_trip(ip: [u8; 4], v6: [u8; 16], port in 1u16..) {
            for addr in [SocketAddr::new(ip.into(), port), SocketAddr::new(v6.into(), port)] {
                let read = parse_join_addr(&addr.to_string(), DEFAULT_GOSSIP_PORT).unwrap();
                prop_assert_eq!(read, JoinAddr::Socket(addr));
            }
        }
    }
}
