//! DNS: nodes, servers and addresses by name, from the view, without ever waiting for the node.
//!
//! [`answer`](answer()) is a pure function from (zone, view, question) to the records of a
//! reply; [`Responder`] puts it behind hickory-server's `RequestHandler`, adds recursion and
//! fits the reply to its transport; [`DnsServer`] carries packets between the caller's sockets
//! and the responder.
//!
//! The socket loops are ours rather than `hickory_server::Server`'s so that everything is
//! bounded. Its UDP side starts a task per packet without bound, also for the seconds that a
//! recursor takes; ours answers in place, and only a query for a recursor becomes a task, at
//! most [`MAX_FORWARDS`] of them. Its TCP side accepts connections without bound and spins when
//! the process is out of file descriptors; ours holds [`MAX_CONNECTIONS`]. It logs every query
//! at info; ours logs none. Node lookups per second on two cores shared with dnsperf (debug
//! profile, its logs off): equal with 100 in flight (159k ours, 170k its), 182k against 154k
//! with 4,000 in flight, at 4 MB against 10 MB resident. `Responder` runs under `Server`
//! unchanged (a test does). A log filter needs to quieten the targets `hickory_proto`,
//! `hickory_net` and `hickory_server` below warn only.
//!
//! Invariants: UDP replies have at most 512 bytes without EDNS and at most 1,232 with it; what
//! does not fit is said with TC. A negative answer carries the SOA. No bytes from the network
//! panic or allocate more than a few KiB.

mod answer;
mod fit;
mod forward;
mod responder;
mod server;
mod zone;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

pub use self::{
    answer::{Answer, Context, Outcome, Question, answer},
    forward::MAX_FORWARDS,
    responder::Responder,
    server::{DnsError, DnsServer, MAX_CONNECTIONS, reply_to_packet},
    zone::{Transport, Zone, ZoneError},
};

/// The operator's settings (`dns_config`, `recursors`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// TTL of everything about nodes, in seconds (`node_ttl`).
    pub node_ttl_s: u32,
    /// TTL of answers about services, in seconds (`service_ttl` of `*`).
    pub service_ttl_s: u32,
    /// Whether address answers carry the node's meta as TXT (`node_meta_txt`).
    pub node_meta_txt: bool,
    /// The zone's SOA record.
    pub soa: SoaConfig,
    /// Instances in a UDP answer about a service without EDNS (`udp_answer_limit`).
    pub udp_answer_limit: usize,
    /// Where queries outside of the domain go, in this order.
    pub recursors: Vec<SocketAddr>,
    /// How long each of them has (`recursor_timeout`).
    pub recursor_timeout: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            node_ttl_s: 0,
            service_ttl_s: 0,
            node_meta_txt: true,
            soa: SoaConfig::default(),
            udp_answer_limit: 3,
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
        }
    }
}

/// Timers of the SOA record (`dns_config.soa`), all in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoaConfig {
    /// When a secondary asks again.
    pub refresh_s: u32,
    /// When it does after a failure.
    pub retry_s: u32,
    /// When it gives up.
    pub expire_s: u32,
    /// How long a negative answer may be cached.
    pub min_ttl_s: u32,
}

impl Default for SoaConfig {
    fn default() -> Self {
        Self { refresh_s: 3600, retry_s: 600, expire_s: 86_400, min_ttl_s: 0 }
    }
}
