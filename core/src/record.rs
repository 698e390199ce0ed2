//! What is known of a member, and what somebody claims about it.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{fmt, net::SocketAddr};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    bounded::{BoundedString, BoundedVec},
    identity::{Name, NodeId, Version},
};

/// What a member publishes about itself at one [`Version`].
///
/// Invariant (S4): one content per (id, version): whatever changes here raises the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The member.
    pub id: NodeId,
    /// How new this is.
    pub version: Version,
    /// Its name, unique among live members.
    pub name: Name,
    /// Where it is reached: the gossip port, UDP and TCP.
    pub addr: SocketAddr,
    /// Client or server.
    pub role: Role,
    /// Oldest and newest protocol version it speaks.
    pub protocol: (u8, u8),
    /// What the agent says of itself (`build`, ...).
    pub tags: Pairs,
    /// What the operator says of the node (`-node-meta`).
    pub meta: Pairs,
    /// How many holders of the name are known to have come before; 0: none.
    pub turn: u32,
}

impl Record {
    /// A client at the lowest version that speaks the first protocol version only and says nothing
    /// else of itself: what others differ from (`Record { role, ..Record::of_client(..) }`).
    pub fn of_client(id: NodeId, name: Name, addr: SocketAddr) -> Self {
        Self {
            id,
            version: Version::default(),
            name,
            addr,
            role: Role::Client,
            protocol: (1, 1),
            tags: Pairs::default(),
            meta: Pairs::default(),
            turn: 0,
        }
    }

    /// Has it held the name for longer than `other`, which has the same one? All who know both
    /// records answer alike, and exactly one of two members does.
    pub fn is_senior_to(&self, other: &Self) -> bool {
        (self.turn, self.id) < (other.turn, other.id)
    }
}

/// What part a member plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// An agent that serves applications on its host.
    Client,
    /// An agent that may become a voter of the bootstrap quorum.
    Server {
        /// The TCP port for servers among themselves (8300).
        port: u16,
        /// How many servers the bootstrap quorum wants; 0: joins an existing one only.
        expect: u8,
        /// Told to be the first server on its own (`-bootstrap`).
        bootstrap: bool,
    },
}

impl Role {
    /// Is it a server?
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Server { .. })
    }
}

/// Why pairs cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairsError {
    /// The same key twice.
    #[error("the key '{0}' is there twice")]
    Duplicate(String),
    /// A key that is empty or has blanks or control characters.
    #[error("'{0}' cannot be a key: keys have no blanks and are not empty")]
    Key(String),
    /// Keys and values together are too large for a datagram.
    #[error(
        "keys and values have {0} bytes together, at most {max} are allowed",
        max = Pairs::MAX_BYTES
    )]
    TooLarge(usize),
    /// Too many pairs.
    #[error("{0} pairs, at most {max} are allowed", max = Pairs::MAX)]
    TooMany(usize),
}

/// Sorted `key = value` pairs, at most 64 and [`Pairs::MAX_BYTES`] bytes of text together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pairs(BoundedVec<(BoundedString<255>, BoundedString<512>), 64>);

impl Pairs {
    /// Pairs allowed.
    pub const MAX: usize = 64;
    /// Bytes of all keys and values: a record must fit a datagram beside a ping.
    pub const MAX_BYTES: usize = 480;

    /// Sorts and checks.
    ///
    /// # Errors
    /// [`PairsError`]: a key twice, a key with blanks, or more than a datagram carries.
    pub fn new<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, PairsError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let mut v: Vec<(String, String)> =
            pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        v.sort();
        let bytes = v.iter().map(|(k, v)| k.len() + v.len()).sum();
        if bytes > Self::MAX_BYTES {
            return Err(PairsError::TooLarge(bytes));
        }
        if v.len() > Self::MAX {
            return Err(PairsError::TooMany(v.len()));
        }
        let mut out = Vec::with_capacity(v.len());
        for (k, v) in v {
            let (Ok(key), Ok(value)) = (BoundedString::new(k.clone()), BoundedString::new(v))
            else {
                return Err(PairsError::Key(k));
            };
            out.push((key, value));
        }
        let out = Self(BoundedVec::truncated(out));
        out.check()?;
        Ok(out)
    }

    /// Keys are usable, sorted and unique; the text fits.
    fn check(&self) -> Result<(), PairsError> {
        let mut bytes = 0;
        for (i, (k, v)) in self.0.iter().enumerate() {
            if k.is_empty() || k.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(PairsError::Key(k.as_str().into()));
            }
            if i > 0 && self.0[i - 1].0 >= *k {
                return Err(PairsError::Duplicate(k.as_str().into()));
            }
            bytes += k.len() + v.len();
        }
        if bytes > Self::MAX_BYTES { Err(PairsError::TooLarge(bytes)) } else { Ok(()) }
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No pair at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let p = Self(Deserialize::deserialize(d)?);
        p.check().map_err(de::Error::custom)?;
        Ok(p)
    }
}

/// What a member is held to be. The order is the order of strength at equal versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Works.
    Alive,
    /// Accused, may still refute; counts as a member.
    Suspect,
    /// Did not refute in time.
    Failed,
    /// Left on its own (or was told to be gone by an operator). Final for its generation.
    Left,
}

impl State {
    /// Alive or merely suspected.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Left => "left",
        })
    }
}

/// What a prober met where an answer should have been; the suspicion timeout follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// The kernel accepts streams but nobody answers: a paused or starved process.
    Mute,
    /// No packet at all: a dead host, cable or partition.
    Silent,
    /// The host answers that nobody listens, and an independent helper met the same.
    Refused,
}

/// What is said about a member, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statement {
    /// It works, as it says itself.
    Alive,
    /// Somebody got no answer.
    Suspect {
        /// The accuser.
        by: NodeId,
        /// What the accuser met.
        evidence: Evidence,
        /// Helpers that tried on their own and met no answer either.
        witnesses: u8,
    },
    /// A suspicion ran out at somebody.
    Failed {
        /// Where it ran out.
        by: NodeId,
    },
    /// It left, or was told to be gone by an operator at `by`.
    Left {
        /// The member itself, or the agent that was given `force-leave`.
        by: NodeId,
        /// Forget it at once.
        prune: bool,
    },
}

impl Statement {
    /// The state that is claimed.
    pub const fn state(self) -> State {
        match self {
            Self::Alive => State::Alive,
            Self::Suspect { .. } => State::Suspect,
            Self::Failed { .. } => State::Failed,
            Self::Left { .. } => State::Left,
        }
    }
}

/// A statement about a member at a version, with the record of that version.
///
/// The record travels with every claim, so whoever hears of a version also knows what the member
/// published at it (S4), whichever claim arrives first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whom it is about, and at which version.
    pub record: Arc<Record>,
    /// What is claimed.
    pub statement: Statement,
}

impl Claim {
    /// The member it is about.
    pub fn id(&self) -> NodeId {
        self.record.id
    }

    /// The version it speaks of.
    pub fn version(&self) -> Version {
        self.record.version
    }

    /// The state it claims.
    pub fn state(&self) -> State {
        self.statement.state()
    }

    /// Does it say alive or merely suspected?
    pub fn is_live(&self) -> bool {
        self.state().is_live()
    }

    /// What the merge order compares.
    pub fn rank(&self) -> (Version, State) {
        (self.version(), self.state())
    }
}
