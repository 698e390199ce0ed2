//! The member list as DNS and HTTP see it: immutable, cheap to share, never in the node's way.
//!
//! The driver builds a new [`View`] after a change and swaps it in; readers keep the one they
//! have for as long as they answer. Invariant: `index` rises with every change and is never 0.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quorate_core::{BootstrapStatus, Label, Name, NodeId, Record, Role};

/// Serf's status codes, as `agent/members` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Works (or is merely suspected).
    Alive = 1,
    /// Is leaving.
    Leaving = 2,
    /// Left.
    Left = 3,
    /// Failed.
    Failed = 4,
}

impl Status {
    /// The word in the `Status` column of `members`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }

    /// The status of a code, as in JSON.
    pub const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Alive),
            2 => Some(Self::Leaving),
            3 => Some(Self::Left),
            4 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it published.
    pub record: Arc<Record>,
    /// What it is held to be.
    pub status: Status,
    /// Is it accused at the moment? (It counts as alive.)
    pub suspect: bool,
    /// The index at which it was first seen.
    pub create_index: u64,
    /// The index at which it last changed.
    pub modify_index: u64,
}

/// What is known at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Rises with every change; starts at 1.
    pub index: u64,
    /// This agent's node id.
    pub local_id: NodeId,
    /// The datacenter.
    pub label: Label,
    /// All members, this agent among them, sorted: servers first, then by name, then by id.
    members: Vec<Member>,
    by_name: BTreeMap<String, usize>,
    by_ip: BTreeMap<IpAddr, usize>,
    bootstrap: BootstrapStatus,
    degraded: BTreeSet<NodeId>,
}

impl View {
    /// Sorts and indexes `members`. Where two share a name or address, the more alive wins, and of
    /// two that are equally alive the one that has held the name for longer.
    pub fn new(index: u64, local_id: NodeId, label: Label, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| Self::sort_key(a).cmp(&Self::sort_key(b)));
        let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
        let mut by_ip: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let better =
            |new: usize, old: usize| Self::liveness(&members[new]) > Self::liveness(&members[old]);
        for (i, m) in members.iter().enumerate() {
            let name = by_name.entry(m.record.name.as_str().to_ascii_lowercase()).or_insert(i);
            if better(i, *name) {
                *name = i;
            }
            let ip = by_ip.entry(m.record.addr.ip()).or_insert(i);
            if better(i, *ip) {
                *ip = i;
            }
        }
        let (bootstrap, degraded) = (BootstrapStatus::default(), BTreeSet::new());
        Self { index, local_id, label, members, by_name, by_ip, bootstrap, degraded }
    }

    /// The same, with the members in another order; equal ones stay as they are.
    #[must_use]
    pub fn sorted_by(&self, order: impl FnMut(&Member, &Member) -> std::cmp::Ordering) -> Self {
        let mut out = self.clone();
        out.members.sort_by(order);
        let places: BTreeMap<NodeId, usize> =
            out.members.iter().enumerate().map(|(i, m)| (m.record.id, i)).collect();
        let moved = |i: &mut usize| {
            let id = self.members.get(*i).map(|m| m.record.id);
            *i = id.and_then(|id| places.get(&id)).copied().unwrap_or(*i);
        };
        out.by_name.values_mut().chain(out.by_ip.values_mut()).for_each(moved);
        out
    }

    /// The same, with what is known of the bootstrap quorum.
    #[must_use]
    pub fn with_bootstrap(self, bootstrap: BootstrapStatus) -> Self {
        Self { bootstrap, ..self }
    }

    /// The same, with the members that this agent reaches through others or over streams only.
    #[must_use]
    pub fn with_degraded(self, degraded: BTreeSet<NodeId>) -> Self {
        Self { degraded, ..self }
    }

    /// Does this agent reach the member through others or over streams only?
    pub fn is_degraded(&self, m: &Member) -> bool {
        self.degraded.contains(&m.record.id)
    }

    /// The bootstrap quorum as this agent sees it.
    pub const fn bootstrap(&self) -> &BootstrapStatus {
        &self.bootstrap
    }

    fn sort_key(m: &Member) -> (bool, &str, NodeId) {
        (!m.record.role.is_server(), m.record.name.as_str(), m.record.id)
    }

    /// Alive before leaving before failed before left. Among the live the senior one, who keeps the
    /// name; among others the one that had it last.
    fn liveness(m: &Member) -> impl Ord + use<> {
        let rank = match m.status {
            Status::Alive => 3,
            Status::Leaving => 2,
            Status::Failed => 1,
            Status::Left => 0,
        };
        let (turn, generation) = (m.record.turn, m.record.version.generation);
        let live = m.status == Status::Alive;
        (rank, live.then_some(Reverse((turn, m.record.id))), turn, generation)
    }

    /// All members: servers first, then by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that name; letter case does not matter.
    pub fn by_name(&self, name: &str) -> Option<&Member> {
        self.by_name.get(&name.to_ascii_lowercase()).map(|&i| &self.members[i])
    }

    /// A member at that address.
    pub fn by_ip(&self, ip: IpAddr) -> Option<&Member> {
        self.by_ip.get(&ip).map(|&i| &self.members[i])
    }

    /// This agent.
    pub fn local(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.record.id == self.local_id)
    }

    /// Servers that are alive.
    pub fn live_servers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.record.role.is_server() && m.status == Status::Alive)
    }

    /// The address for servers among themselves, if the member is one.
    pub fn server_addr(m: &Member) -> Option<SocketAddr> {
        match m.record.role {
            Role::Server { port, .. } => Some(SocketAddr::new(m.record.addr.ip(), port)),
            Role::Client => None,
        }
    }

    /// The leader, where there can be no doubt: the sole voter of a quorum of one, while it is
    /// alive. Several voters have none until there is an election.
    pub fn leader(&self) -> Option<SocketAddr> {
        match &self.bootstrap.quorum.as_ref()?.voters[..] {
            [only] => {
                let alive = self.live_servers().any(|m| m.record.id == only.id);
                alive.then_some(only.addr)
            }
            _ => None,
        }
    }

    /// The voters of the quorum (`status/peers`); none before it is final.
    pub fn peers(&self) -> Vec<SocketAddr> {
        let quorum = self.bootstrap.quorum.as_ref();
        quorum.map_or_else(Vec::new, |q| q.voters.iter().map(|v| v.addr).collect())
    }
}

/// What does not change while the agent runs, for banners, `agent/self` and the like.
#[derive(Clone, Debug)]
pub struct AgentInfo {
    /// The version of the build, as in `build=` tags.
    pub version: String,
    /// The revision of the build, or empty.
    pub revision: String,
    /// This agent's name.
    pub name: Name,
    /// This agent's id.
    pub id: NodeId,
    /// The datacenter.
    pub label: Label,
    /// Is what agents say to each other sealed?
    pub encrypted: bool,
    /// Client or server.
    pub role: Role,
    /// The gossip address that is advertised.
    pub advertise: SocketAddr,
    /// `consul.` and the like: without dots at the ends, in lower case.
    pub domain: String,
    /// A second domain that is answered too.
    pub alt_domain: Option<String>,
    /// The DNS addresses in use.
    pub dns_addrs: Vec<SocketAddr>,
    /// The HTTP addresses in use.
    pub http_addrs: Vec<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Pairs, Version};

    fn member(id: u8, turn: u32, status: Status) -> Member {
        let record = Record {
            id: NodeId::from_bytes([id; 16]),
            version: Version::default(),
            name: Name::new("twin").unwrap(),
            addr: ([127, 0, 0, id], 8301).into(),
            role: Role::Client,
            protocol: (1, 1),
            tags: Pairs::default(),
            meta: Pairs::default(),
            turn,
        };
        Member {
            record: Arc::new(record),
            status,
            suspect: false,
            create_index: 1,
            modify_index: 1,
        }
    }

    #[test]
    fn a_name_is_its_senior_live_holders() {
        let found = |members: &[Member]| {
            let id = NodeId::from_bytes([9; 16]);
            let view = View::new(1, id, Label::new("dc1").unwrap(), members.to_vec());
            view.by_name("TWIN").map(|m| m.record.addr.ip().to_string())
        };
        let (first, later) = (member(5, 0, Status::Alive), member(2, 1, Status::Alive));
        assert_eq!(found(&[first.clone(), later.clone()]).as_deref(), Some("127.0.0.5"));
        assert_eq!(found(&[later.clone(), first]).as_deref(), Some("127.0.0.5"));
        let gone = member(5, 0, Status::Failed);
        assert_eq!(found(&[gone, later]).as_deref(), Some("127.0.0.2"));
        let equals = [member(5, 0, Status::Alive), member(4, 0, Status::Alive)];
        assert_eq!(found(&equals).as_deref(), Some("127.0.0.4"));
    }
}
