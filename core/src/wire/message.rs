//! The messages: one table gives each its tag and name, for the codec, traces, docs and fuzzing.

use alloc::vec::Vec;
use core::{hash::Hasher, net::SocketAddr};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::{
    keys::{KeyOp, KeyReply},
    packed::ClaimList,
    quick, strict,
};
use crate::{
    bootstrap::Memory,
    bounded::{BoundedString, BoundedVec},
    coordinate::Place,
    event::{EVENT_WINDOW, EventId, Query, QueryReceipt, QueryReply, UserEvent},
    identity::{Label, Name, NodeId, Version},
    record::{Claim, Record, State},
};

/// Random, so that nobody can answer for another without having seen the question: who knows it
/// was asked. On the wire always 8 bytes, for a random number gains nothing from a varint.
pub type Cookie = u64;

/// Whom a ping means, in 8 bytes: SipHash-1-3 of the id, keyed by the ping's cookie.
///
/// Somebody else takes a ping for its own with probability 2^-64, and because the key is drawn
/// anew for each ping, two ids that meet once do not meet again: a member whose address another
/// one has now is not held for alive for longer than that one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(pub(super) [u8; 8]);

impl Mark {
    /// The mark of `id` in a ping with `cookie`.
    pub fn new(cookie: Cookie, id: NodeId) -> Self {
        let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, cookie);
        h.write(id.as_bytes());
        Self(h.finish().to_le_bytes())
    }
}

/// Who sends, at which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The sender.
    pub id: NodeId,
    /// Its version now.
    pub version: Version,
}

/// Are you there? (SWIM §3.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back in the answer.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// Who asks.
    pub from: Sender,
    /// Who is meant. Another member at that address answers [`NotMe`].
    pub target: Mark,
    /// Digest of the sender's member list.
    #[serde(with = "postcard::fixint::le")]
    pub root: u64,
}

/// Yes. Who says so is known by the cookie: only the member that was meant answers with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Of the ping, or of the request that a helper fulfils.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// The version of who is there.
    pub version: Version,
    /// Digest of its member list; 0 when relayed.
    #[serde(with = "postcard::fixint::le")]
    pub root: u64,
}

/// Yes, and where that is in the space of round trips. Only for live members, and only from the
/// member itself: a relayed answer has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedAck {
    /// As without.
    pub ack: Ack,
    /// Where the answering member is.
    pub place: Place,
}

/// Somebody else is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMe {
    /// Of the ping.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// Who is here instead.
    pub from: Sender,
}

/// Ping somebody on my behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Comes back in the ack or nack.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// Who asks.
    pub from: Sender,
    /// Whom to ping.
    pub target: NodeId,
    /// Where.
    pub addr: SocketAddr,
    /// How long the asker waits, milliseconds.
    pub budget_ms: u32,
}

/// What a helper met instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NackReason {
    /// Nothing.
    Silent,
    /// A stream that opens, and no answer.
    Mute,
    /// The host answers that nobody listens.
    Refused,
    /// Another member is at that address.
    NotMe,
}

/// I tried too, without success (Lifeguard §IV.A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// Of the request.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// The helper.
    pub from: NodeId,
    /// What it met.
    pub reason: NackReason,
}

/// I leave; please confirm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Comes back in the confirmation.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// The claim that is to be spread.
    pub claim: Claim,
}

/// Your leave is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveAck {
    /// Of the [`Leave`].
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// Who confirms.
    pub from: NodeId,
}

/// Where a server stands in the bootstrap agreement; from a client, a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapReport {
    /// Who tells.
    pub from: Sender,
    /// To be echoed, so that the sender knows whom it hears.
    #[serde(with = "postcard::fixint::le")]
    pub cookie: Cookie,
    /// The receiver's own cookie, as heard last; 0: none yet.
    #[serde(with = "postcard::fixint::le")]
    pub echo: Cookie,
    /// An answer is wanted.
    pub ask: bool,
    /// What is on the sender's disk.
    pub memory: Memory,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Merge two clusters: both sides tell all they know.
    Join,
    /// Exchange what differs.
    Sync,
    /// A ping over a stream.
    Probe {
        /// Comes back in the ack.
        #[serde(with = "postcard::fixint::le")]
        cookie: Cookie,
        /// Who is meant.
        target: NodeId,
    },
    /// Merge two clusters by exchanging what differs.
    Merge,
    /// Stay open, so that each side notices when the other's process ends.
    Watch {
        /// Who is meant.
        target: NodeId,
    },
    /// Look at the keyring, or change it.
    Keys {
        /// Who is meant.
        target: NodeId,
    },
}

/// First message of the side that opened a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What for.
    pub purpose: Purpose,
    /// Who we are.
    pub record: Record,
}

/// Answer to a [`Hello`] that is welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who answers.
    pub record: Record,
}

/// Answer to a [`Hello`] that is not; the stream closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reject {
    /// Another datacenter.
    Label {
        /// Who answers.
        name: Name,
        /// Where it belongs.
        label: Label,
    },
    /// The name has a live holder.
    NameTaken {
        /// The holder.
        holder: NodeId,
        /// Its address.
        addr: SocketAddr,
    },
    /// No common protocol version.
    Incompatible {
        /// Oldest spoken here.
        min: u8,
        /// Newest spoken here.
        max: u8,
    },
    /// Leaving, not started, or full.
    Unavailable,
    /// For later versions: a reason in words.
    Other(BoundedString<256>),
    /// Only one of the two seals, or with a key that the other does not have.
    Key,
}

/// Which of 256 buckets differ, and what is in them here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// One bit a bucket.
    pub bits: [u64; 4],
}

/// One member in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The member.
    pub id: NodeId,
    /// Its version.
    pub version: Version,
    /// Its state.
    pub state: State,
}

/// Members of differing buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summaries {
    /// Some of them.
    pub items: BoundedVec<Summary, 1024>,
    /// The last part?
    pub last: bool,
}

/// Members that were forgotten here: whoever still lists them as gone may forget them, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// What each was when it was forgotten.
    pub items: BoundedVec<Summary, 1024>,
}

/// Records wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Of these members.
    pub ids: BoundedVec<NodeId, 2048>,
}

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before its length says.
    #[error("a message is cut off")]
    Truncated,
    /// The body of this tag is not what the tag wants, or not in its only encoding.
    #[error("the body of a message with tag {0} does not decode")]
    Body(u8),
    /// A frame that was changed, left out or put elsewhere.
    #[error("a sealed frame does not open")]
    Sealed,
}

macro_rules! messages {
    ($($tag:literal $variant:ident($ty:ty) $doc:literal $by:ident,)+) => {
        /// All messages.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message { $(#[doc = $doc] $variant($ty),)+ }

        /// Tag, name and meaning of every message.
        pub const TAGS: &[(u8, &str, &str)] = &[$(($tag, stringify!($variant), $doc),)+];

        impl Message {
            /// The name, for traces.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant),)+ }
            }

            /// The tag on the wire.
            pub const fn tag(&self) -> u8 {
                match self { $(Self::$variant(_) => $tag,)+ }
            }

            /// Decodes a body strictly; `None` for a tag that this version does not know.
            ///
            /// # Errors
            /// [`MessageError::Body`].
            pub fn decode(tag: u8, body: &[u8]) -> Result<Option<Self>, MessageError> {
                match tag {
                    $($tag => $by::decode(body)
                        .map(|b| Some(Self::$variant(b)))
                        .ok_or(MessageError::Body(tag)),)+
                    _ => Ok(None),
                }
            }

            /// Appends the body.
            pub fn encode_body(&self, out: &mut Vec<u8>) {
                match self { $(Self::$variant(b) => $by::encode(b, out),)+ }
            }
        }
    };
}

messages! {
    1 Ping(Ping) "direct probe" quick,
    2 Ack(Ack) "answer to a probe" quick,
    3 NotMe(NotMe) "answer of another member at that address" strict,
    4 ProbeRequest(ProbeRequest) "asks a helper to probe" strict,
    5 Nack(Nack) "a helper's probe met no answer" strict,
    6 Claim(Claim) "gossip about one member" strict,
    7 Leave(Leave) "a leave to be confirmed" strict,
    8 LeaveAck(LeaveAck) "confirms a leave" strict,
    9 BootstrapReport(BootstrapReport) "where a server stands in the bootstrap agreement" strict,
    10 UserEvent(UserEvent) "what an application tells all members" strict,
    11 Query(Query) "what an application asks members" strict,
    12 QueryReply(QueryReply) "answers a query, or says that it was heard" strict,
    13 QueryReceipt(QueryReceipt) "a reply need not be repeated" strict,
    14 PlacedAck(PlacedAck) "answer to a probe, with the network coordinate" quick,
    16 Hello(Hello) "opens a stream" strict,
    17 Welcome(Welcome) "accepts a stream" strict,
    18 Reject(Reject) "refuses a stream" strict,
    19 Claims(ClaimList) "what is known" strict,
    20 Buckets(BoundedVec<u64, 256>) "digest by bucket" strict,
    21 Mismatch(Mismatch) "which buckets differ" strict,
    22 Summaries(Summaries) "members of differing buckets, in short" strict,
    23 Want(Want) "asks for records" strict,
    24 Done(()) "nothing more will come" strict,
    25 StreamAck(Ack) "answer to a probe over a stream" quick,
    26 Forgotten(Forgotten) "members that need not be listed any more" strict,
    27 Watching(Sender) "accepts a watch stream" strict,
    28 Beat(()) "a watch stream is still wanted" strict,
    29 EventDigest(u64) "digest of the remembered events" strict,
    30 EventKeys(BoundedVec<(u64, EventId), EVENT_WINDOW>) "which events are remembered" strict,
    31 Events(BoundedVec<UserEvent, 64>) "events that are missing there" strict,
    32 KeyRequest(KeyOp) "looks at a keyring or changes it" strict,
    33 KeyReply(KeyReply) "what became of that" strict,
}
