//! The bootstrap quorum as a node shows it.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, net::SocketAddr};

use crate::{
    bootstrap::ClusterId,
    identity::{Name, NodeId},
};

/// Where a node is on the way to a bootstrap quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootstrapState {
    /// Not a server, and no server told of a quorum yet.
    #[default]
    Client,
    /// A server without `expect`: waits for a quorum that others form.
    Joining,
    /// Too few servers are in contact, or the lowest of them has not proposed yet.
    Waiting,
    /// Bound to a proposal whose outcome is not known here.
    Agreeing,
    /// The quorum exists.
    Final,
    /// The disk is older than what others saw of this server: it takes no part in the agreement.
    Forgetful,
}

impl fmt::Display for BootstrapState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Joining => "joining",
            Self::Waiting => "waiting",
            Self::Agreeing => "agreeing",
            Self::Final => "final",
            Self::Forgetful => "forgetful",
        })
    }
}

/// A voter of the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumVoter {
    /// The server.
    pub id: NodeId,
    /// Where servers reach it (port 8300): its address now, or when the quorum was formed.
    pub addr: SocketAddr,
}

/// The quorum: who the initial voters are, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Its identity.
    pub cluster: ClusterId,
    /// Its voters, in the order of their ids.
    pub voters: Vec<QuorumVoter>,
}

/// The bootstrap quorum as seen from one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootstrapStatus {
    /// Where the node is.
    pub state: BootstrapState,
    /// How many servers it expects; 0: none of its own.
    pub expect: u8,
    /// Servers in contact that expect as many, this one included, by name. Empty once final.
    pub contact: Vec<Name>,
    /// Servers that are missing in it; 0 once final.
    pub missing: usize,
    /// Servers of the proposal it is bound to that are not in contact.
    pub awaited: Vec<(NodeId, Option<Name>)>,
    /// The quorum, once it exists.
    pub quorum: Option<Quorum>,
    /// Is this node one of its voters?
    pub voter: bool,
}

impl BootstrapStatus {
    /// The names of those awaited; the id of one whose name is not known.
    pub fn awaited_names(&self) -> Vec<String> {
        let Self { awaited, .. } = self;
        let text = |(id, name): &(NodeId, Option<Name>)| match name {
            Some(name) => name.to_string(),
            None => id.to_string(),
        };
        awaited.iter().map(text).collect()
    }
}

/// Why two servers cannot bootstrap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapConflict {
    /// They were told different `-bootstrap-expect` values; neither counts the other.
    Expect {
        /// What this server was told.
        ours: u8,
        /// What the other one was told.
        theirs: u8,
    },
    /// Each belongs to a quorum of its own; neither gives it up.
    Cluster {
        /// The quorum of this server.
        ours: ClusterId,
        /// The quorum of the other one.
        theirs: ClusterId,
    },
    /// This server itself: others know more of its past than its disk does. It is no voter.
    Forgotten,
}
