//! What an agent is told at its start. Checked by the types it is made of; addresses are bound
//! (and so proven) by [`super::Agent::start`].

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use quorate_core::{Label, Limits, Name, NodeId, Pairs, Role, Tuning, wire::Keyring};

use crate::{dns::DnsConfig, http::ReloadSender};

/// An agent's whole configuration.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The name, unique among live members (`-node`).
    pub name: Name,
    /// The id to use (`-node-id`); `None`: the one in the data directory, or a new one.
    pub node_id: Option<NodeId>,
    /// The datacenter (`-datacenter`).
    pub label: Label,
    /// Keys that seal what agents say to each other (`-encrypt`); `None`: it is readable.
    pub keys: Option<Keyring>,
    /// Client or server.
    pub role: Role,
    /// Where the gossip port is bound, UDP and TCP (`-bind`, `-serf-lan-port`). Port 0 takes a
    /// free one, the same for both.
    pub bind: SocketAddr,
    /// The gossip address that others are told (`-advertise`). Port 0: the bound one.
    pub advertise: SocketAddr,
    /// Where identity and generation are kept (`-data-dir`); `None`: nothing is kept.
    pub data_dir: Option<PathBuf>,
    /// What the operator says of the node (`-node-meta`).
    pub meta: Pairs,
    /// The version of the build; published as the tag `build`.
    pub version: String,
    /// The revision of the build, or empty.
    pub revision: String,
    /// The DNS domain without dots at its ends, in lower case (`-domain`).
    pub domain: String,
    /// A second domain that is answered too (`-alt-domain`).
    pub alt_domain: Option<String>,
    /// Where DNS listens, UDP and TCP each (`-client`, `-dns-port`); empty: no DNS.
    pub dns_addrs: Vec<SocketAddr>,
    /// Where HTTP listens (`-client`, `-http-port`); empty: no HTTP.
    pub http_addrs: Vec<SocketAddr>,
    /// How DNS answers (recursors, TTLs).
    pub dns: DnsConfig,
    /// Addresses to contact once, at the start (`-join`): at least one must answer.
    pub start_join: Vec<String>,
    /// Addresses to contact until one answers (`-retry-join`).
    pub retry_join: Vec<String>,
    /// The pause between two rounds of `retry_join` (`-retry-interval`).
    pub retry_interval: Duration,
    /// Rounds of `retry_join` before the agent gives up; 0: no limit (`-retry-max`).
    pub retry_max: u32,
    /// Contact the known peers after a restart even though the agent had left (`-rejoin`).
    pub rejoin_after_leave: bool,
    /// A failed member is forgotten after this (`reconnect_timeout`).
    pub reconnect_timeout: Duration,
    /// Where `PUT /v1/agent/reload` goes; `None`: there is nothing to reload.
    pub reload: Option<ReloadSender>,
    /// Intervals of the protocol; `reconnect_timeout` above replaces the one in here.
    pub tuning: Tuning,
    /// Caps of the protocol.
    pub limits: Limits,
}

impl AgentConfig {
    /// A client named `name` at `addr`, all else as Consul's defaults have it: datacenter `dc1`,
    /// domain `consul`, nothing kept on disk, neither DNS nor HTTP, nobody to join.
    pub fn new(name: Name, label: Label, addr: SocketAddr) -> Self {
        let tuning = Tuning::default();
        Self {
            name,
            node_id: None,
            label,
            keys: None,
            role: Role::Client,
            bind: addr,
            advertise: addr,
            data_dir: None,
            meta: Pairs::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
            domain: "consul".to_owned(),
            alt_domain: None,
            dns_addrs: Vec::new(),
            http_addrs: Vec::new(),
            dns: DnsConfig::default(),
            start_join: Vec::new(),
            retry_join: Vec::new(),
            retry_interval: Duration::from_secs(30),
            retry_max: 0,
            rejoin_after_leave: false,
            reconnect_timeout: tuning.reconnect_timeout,
            reload: None,
            tuning,
            limits: Limits::default(),
        }
    }
}
