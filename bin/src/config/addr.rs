//! Addresses of this host: literal ones, templates such as `{{ GetPrivateIP }}`, and the one to
//! advertise when nobody said.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The forms that a template may have.
const FORMS: &str = "{{ GetPrivateIP }}, {{ GetPublicIP }} or {{ GetInterfaceIP \"eth0\" }}";

/// The addresses of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) name: String,
    /// Its addresses with the interface of each, in the system's order.
    pub(crate) addrs: Vec<(String, IpAddr)>,
    /// The address that packets to far away would have.
    pub(crate) outbound: Option<IpAddr>,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddrError {
    /// Neither an IP nor a template.
    #[error("'{0}' is not an IP address; use one, or {FORMS}")]
    NotAnIp(String),
    /// A template that is not supported.
    #[error("the template '{0}' is not supported; use {FORMS}")]
    Template(String),
    /// No address that fits.
    #[error("this host has no {what} address (it has {}); name one with -bind", list(found))]
    Missing { what: &'static str, found: Vec<IpAddr> },
    /// No interface of that name.
    #[error("this host has no interface '{name}' with an address (it has {})", names.join(", "))]
    NoInterface { name: String, names: Vec<String> },
    /// More than one that could be meant.
    #[error(
        "this host has several {what} addresses: {}; choose one with -bind or -advertise",
        list(found)
    )]
    Several { what: &'static str, found: Vec<IpAddr> },
    /// Empty where an address must be.
    #[error("no address is given")]
    Empty,
}

fn list(ips: &[IpAddr]) -> String {
    if ips.is_empty() {
        return "none".into();
    }
    ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// RFC 1918.
fn is_private(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.is_private())
}

fn is_public_v4(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4)
        if !v4.is_private() && !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified())
}

fn is_far_v6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6)
        if !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified())
}

impl Host {
    /// This host, as it is now. What the system does not tell is missing.
    pub(crate) fn current() -> Self {
        let addrs = if_addrs::get_if_addrs().unwrap_or_default();
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let addrs = addrs.into_iter().map(|i| (i.name.clone(), i.ip())).collect();
        Self { name, addrs, outbound: outbound() }
    }

    fn ips(&self) -> Vec<IpAddr> {
        self.addrs.iter().map(|(_, ip)| *ip).filter(|ip| !ip.is_loopback()).collect()
    }

    fn matching(&self, fits: fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let mut v: Vec<IpAddr> = self.ips().into_iter().filter(fits).collect();
        v.sort();
        v.dedup();
        v
    }

    /// One of those that fit: that of the default route if it is among them.
    fn preferred(
        &self,
        what: &'static str,
        fits: fn(&IpAddr) -> bool,
    ) -> Result<IpAddr, AddrError> {
        let all = self.matching(fits);
        let default = self.outbound.filter(|ip| all.contains(ip));
        default
            .or_else(|| all.first().copied())
            .ok_or_else(|| AddrError::Missing { what, found: self.ips() })
    }

    /// The only one that fits.
    fn only(&self, what: &'static str, fits: fn(&IpAddr) -> bool) -> Result<IpAddr, AddrError> {
        match self.matching(fits).as_slice() {
            [ip] => Ok(*ip),
            [] => Err(AddrError::Missing { what, found: self.ips() }),
            several => Err(AddrError::Several { what, found: several.to_vec() }),
        }
    }

    /// The address to advertise for a socket that is bound to all addresses of a family.
    ///
    /// # Errors
    /// [`AddrError::Missing`] or [`AddrError::Several`], with those that there are.
    pub(crate) fn advertised_for(&self, any: IpAddr) -> Result<IpAddr, AddrError> {
        match any {
            IpAddr::V4(_) => self.only("private IPv4", is_private),
            IpAddr::V6(_) => self.only("routable IPv6", is_far_v6),
        }
    }

    /// One address: an IP or a template.
    ///
    /// # Errors
    /// [`AddrError`] with the forms that work.
    pub(crate) fn one(&self, text: &str) -> Result<IpAddr, AddrError> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")) {
            return self.template(text, inner.trim());
        }
        if text.is_empty() {
            return Err(AddrError::Empty);
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_err(|_| AddrError::NotAnIp(text.to_owned()))
    }

    /// Several addresses with blanks between them.
    ///
    /// # Errors
    /// [`AddrError`] of the first that does not work, or that there is none at all.
    pub(crate) fn several(&self, text: &str) -> Result<Vec<IpAddr>, AddrError> {
        let mut out = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = match rest.strip_prefix("{{").and_then(|t| t.find("}}")) {
                Some(inner) => inner + 4,
                None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            };
            let ip = self.one(&rest[..end])?;
            if !out.contains(&ip) {
                out.push(ip);
            }
            rest = rest[end..].trim_start();
        }
        if out.is_empty() { Err(AddrError::Empty) } else { Ok(out) }
    }

    fn template(&self, whole: &str, inner: &str) -> Result<IpAddr, AddrError> {
        let words: Vec<&str> = inner.split_whitespace().collect();
        match words.as_slice() {
            ["GetPrivateIP"] => self.preferred("private IPv4", is_private),
            ["GetPublicIP"] => self.preferred("public IPv4", is_public_v4),
            ["GetInterfaceIP", quoted] => {
                let name = quoted.trim_matches(['"', '`', '\'']);
                self.of_interface(name)
            }
            _ => Err(AddrError::Template(whole.to_owned())),
        }
    }

    /// The first IPv4 address of an interface, or its first routable IPv6 one.
    fn of_interface(&self, name: &str) -> Result<IpAddr, AddrError> {
        let own = || self.addrs.iter().filter(|(n, _)| n == name).map(|(_, ip)| *ip);
        let v6 = || own().find(|ip| is_far_v6(ip) || ip.is_loopback());
        own().find(IpAddr::is_ipv4).or_else(v6).ok_or_else(|| {
            let mut names: Vec<String> = self.addrs.iter().map(|(n, _)| n.clone()).collect();
            names.sort();
            names.dedup();
            AddrError::NoInterface { name: name.to_owned(), names }
        })
    }
}

/// The local address of the default route. Connecting a UDP socket sends nothing.
fn outbound() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // RFC 5737's documentation range: never a neighbour, so the default route decides.
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The loopback address.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// All IPv4 addresses.
pub(crate) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// IPv6's loopback address, for the same question asked of the other family.
#[cfg(test)]
pub(crate) const LOOPBACK_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    fn host(addrs: &[(&str, &str)]) -> Host {
        let addrs = addrs.iter().map(|(n, a)| ((*n).to_owned(), ip(a))).collect();
        Host { name: "h".into(), addrs, outbound: None }
    }

    fn two() -> Host {
        host(&[
            ("lo", "127.0.0.1"),
            ("eth0", "10.0.0.2"),
            ("eth0", "fe80::1"),
            ("eth1", "192.168.1.2"),
            ("eth2", "203.0.113.5"),
            ("eth3", "fe80::2"),
            ("eth3", "2001:db8::2"),
        ])
    }

    #[test]
    fn templates() {
        let mut h = two();
        assert_eq!(h.one("{{ GetPrivateIP }}"), Ok(ip("10.0.0.2")));
        h.outbound = Some(ip("192.168.1.2"));
        assert_eq!(h.one("{{GetPrivateIP}}"), Ok(ip("192.168.1.2")));
        assert_eq!(h.one("{{ GetPublicIP }}"), Ok(ip("203.0.113.5")));
        assert_eq!(h.one("{{ GetInterfaceIP \"eth0\" }}"), Ok(ip("10.0.0.2")));
        assert_eq!(h.one("{{ GetInterfaceIP \"eth3\" }}"), Ok(ip("2001:db8::2")));
        let e = h.one("{{ GetInterfaceIP \"eth9\" }}").unwrap_err().to_string();
        assert!(e.contains("'eth9'") && e.contains("eth0, eth1, eth2, eth3, lo"), "{e}");
        let e = h.one("{{ GetAllInterfaces | attr \"x\" }}").unwrap_err().to_string();
        assert!(e.contains("GetAllInterfaces") && e.contains("GetPrivateIP"), "{e}");
    }

    #[test]
    fn literal_addresses_and_lists() {
        let h = two();
        assert_eq!(h.one(" ::1 "), Ok(LOOPBACK_V6));
        assert_eq!(h.one("[::1]"), Ok(LOOPBACK_V6));
        assert_eq!(h.one("here"), Err(AddrError::NotAnIp("here".into())));
        assert_eq!(h.one(""), Err(AddrError::Empty));
        assert_eq!(
            h.several("127.0.0.1  {{ GetInterfaceIP \"eth1\" }} 127.0.0.1"),
            Ok(vec![LOOPBACK, ip("192.168.1.2")])
        );
        assert_eq!(h.several("  "), Err(AddrError::Empty));
        assert!(h.several("{{ GetPrivateIP").is_err());
    }

    #[test]
    fn what_to_advertise_when_nobody_said() {
        let one = host(&[("lo", "127.0.0.1"), ("a", "172.20.0.1"), ("b", "203.0.113.5")]);
        assert_eq!(one.advertised_for(ANY), Ok(ip("172.20.0.1")));
        let e = two().advertised_for(ANY).unwrap_err().to_string();
        assert!(e.contains("10.0.0.2, 192.168.1.2") && e.contains("-bind"), "{e}");
        let e = host(&[("b", "203.0.113.5")]).advertised_for(ANY).unwrap_err().to_string();
        assert!(e.contains("no private IPv4") && e.contains("203.0.113.5"), "{e}");
        assert_eq!(two().advertised_for(ip("::")), Ok(ip("2001:db8::2")));
    }
}
