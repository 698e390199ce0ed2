//! The zone: which names are ours, and what a name asks for.
//!
//! Matching ignores the case of ASCII letters. A name is read from its end: the domain, the
//! datacenter if it is given, the kind (`node`, `service`, `addr`), and the rest, so that node
//! names may have dots in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

use super::DnsConfig;
use crate::view::AgentInfo;

/// What a query came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: replies are small.
    Udp,
    /// A stream: replies may have 65,535 bytes.
    Tcp,
}

/// Why the zone cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// A domain that is no DNS name.
    #[error(
        "the DNS domain '{0}' is not a valid name: labels of 1 to 63 characters with dots between"
    )]
    Domain(String),
}

/// One domain that is answered.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    /// Absolute and in lower case.
    pub(super) apex: Name,
    labels: Vec<Vec<u8>>,
}

/// All that answers need to know beside the view.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The first one is where reverse lookups point into.
    domains: Vec<Domain>,
    /// In lower case.
    pub(super) datacenter: String,
    /// The operator's settings.
    pub config: DnsConfig,
}

/// What a name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The domain itself.
    Apex,
    /// A node, in lower case.
    Node(String),
    /// A service, in lower case, perhaps only its instances with a tag.
    Service { name: String, tag: Option<String> },
    /// An address spelt as a name.
    Addr(IpAddr),
    /// Something that does not exist, in our domain or datacenter.
    Nothing,
}

/// Where a name belongs.
#[derive(Clone, Debug)]
pub(super) enum Place<'a> {
    /// In one of our domains.
    Inside(&'a Domain, Target),
    /// The address of a reverse lookup.
    Reverse(IpAddr),
    /// Elsewhere.
    Outside,
}

impl Zone {
    /// The zone of an agent.
    ///
    /// # Errors
    /// [`ZoneError::Domain`] if a domain is not a DNS name.
    pub fn new(info: &AgentInfo, config: DnsConfig) -> Result<Self, ZoneError> {
        let mut domains = vec![Domain::new(&info.domain)?];
        for alt in info.alt_domain.iter().filter(|a| !a.trim_matches('.').is_empty()) {
            domains.push(Domain::new(alt)?);
        }
        let datacenter = info.label.as_str().to_ascii_lowercase();
        Ok(Self { domains, datacenter, config })
    }

    /// The domain that reverse lookups point into.
    pub(super) fn main(&self) -> &Domain {
        &self.domains[0]
    }

    /// Reads a name. The longest of our domains wins where one lies in the other.
    pub(super) fn place(&self, name: &Name) -> Place<'_> {
        let labels: Vec<Vec<u8>> = name.iter().map(<[u8]>::to_ascii_lowercase).collect();
        let inside = self.domains.iter().filter(|d| labels.ends_with(&d.labels));
        if let Some(domain) = inside.max_by_key(|d| d.labels.len()) {
            let rest = &labels[..labels.len() - domain.labels.len()];
            return Place::Inside(domain, self.target(rest));
        }
        reverse(&labels).map_or(Place::Outside, Place::Reverse)
    }

    fn target(&self, labels: &[Vec<u8>]) -> Target {
        if labels.is_empty() {
            return Target::Apex;
        }
        // A dot inside of a label is not a separator; nothing of ours is spelt that way.
        let texts: Option<Vec<&str>> = labels
            .iter()
            .map(|l| std::str::from_utf8(l).ok().filter(|t| !t.contains('.')))
            .collect();
        let Some(texts) = texts else { return Target::Nothing };
        let kind = texts.iter().rposition(|t| matches!(*t, "node" | "service" | "addr"));
        let Some(at) = kind else { return Target::Nothing };
        match &texts[at + 1..] {
            [] => {}
            [dc] if *dc == self.datacenter => {}
            _ => return Target::Nothing,
        }
        let parts = &texts[..at];
        match (texts[at], parts) {
            (_, []) => Target::Nothing,
            ("node", _) => Target::Node(parts.join(".")),
            ("addr", [hex]) => spelt_address(hex).map_or(Target::Nothing, Target::Addr),
            ("service", _) => service(parts),
            _ => Target::Nothing,
        }
    }
}

impl Domain {
    fn new(text: &str) -> Result<Self, ZoneError> {
        let trimmed = text.trim_matches('.').to_ascii_lowercase();
        let name = Name::from_labels(trimmed.split('.').map(str::as_bytes));
        let apex = name.map_err(|_| ZoneError::Domain(text.to_owned()))?;
        let labels = apex.iter().map(<[u8]>::to_vec).collect();
        Ok(Self { apex, labels })
    }

    /// A name in this domain; `None` if the labels are too long for DNS.
    pub(super) fn child<'l>(&'l self, labels: impl IntoIterator<Item = &'l str>) -> Option<Name> {
        let below = labels.into_iter().map(str::as_bytes);
        Name::from_labels(below.chain(self.apex.iter())).ok()
    }
}

/// `[TAG.]NAME`, or RFC 2782's `_NAME._tcp` and `_NAME._TAG`.
fn service(parts: &[&str]) -> Target {
    let (name, tag) = match parts {
        [s, p] if s.starts_with('_') && p.starts_with('_') => match &p[1..] {
            "tcp" => (&s[1..], None),
            tag => (&s[1..], Some(tag.to_owned())),
        },
        [tags @ .., name] => (*name, (!tags.is_empty()).then(|| tags.join("."))),
        [] => return Target::Nothing,
    };
    Target::Service { name: name.to_owned(), tag }
}

/// 8 hexadecimal digits for IPv4, 32 for IPv6.
fn spelt_address(hex: &str) -> Option<IpAddr> {
    if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?))),
        32 => Some(IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?))),
        _ => None,
    }
}

/// The address of a whole reverse name (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(labels: &[Vec<u8>]) -> Option<IpAddr> {
    match labels {
        [d @ .., kind, arpa] if d.len() == 4 && kind == b"in-addr" && arpa == b"arpa" => {
            let mut octets = [0; 4];
            for (octet, label) in octets.iter_mut().zip(d.iter().rev()) {
                let text = std::str::from_utf8(label).ok()?;
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                *octet = text.parse().ok().filter(|_| digits)?;
            }
            Some(IpAddr::from(octets))
        }
        [d @ .., kind, arpa] if d.len() == 32 && kind == b"ip6" && arpa == b"arpa" => {
            let bits = d.iter().rev().try_fold(0_u128, |sum, label| match label[..] {
                [c] => Some(sum << 4 | u128::from(char::from(c).to_digit(16)?)),
                _ => None,
            })?;
            Some(IpAddr::from(Ipv6Addr::from(bits)))
        }
        _ => None,
    }
}
