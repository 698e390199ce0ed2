//! What a node is told at its start: who it is, how patient, how much it may hold.

use alloc::sync::Arc;
use core::{net::SocketAddr, time::Duration};

use crate::{
    bootstrap::MAX_VOTERS,
    identity::{Label, Name},
    node::SPOKEN,
    output::Durable,
    record::{Pairs, Role},
    wire::Keyring,
};

/// Who the node is and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name, unique among live members.
    pub name: Name,
    /// The address that others reach us at (gossip port, UDP and TCP).
    pub addr: SocketAddr,
    /// The datacenter. Packets of another one are dropped and counted.
    pub label: Label,
    /// Seal everything with the primary key, and accept what is sealed with any of them; `None`:
    /// clear mode, which only notices damage.
    pub keys: Option<Keyring>,
    /// Client or server.
    pub role: Role,
    /// What the agent says of itself.
    pub tags: Pairs,
    /// What the operator says of the node.
    pub meta: Pairs,
    /// What an earlier run left behind; [`Durable::new`] for a first one.
    pub durable: Durable,
    /// After a restart contact the peers in `durable`, even if it says we left.
    pub rejoin_after_leave: bool,
    /// Intervals and multipliers. Nodes of one process may share them, and the caps.
    pub tuning: Arc<Tuning>,
    /// Caps.
    pub limits: Arc<Limits>,
}

/// Intervals and multipliers of the protocol. `docs/constants.md` has the measurement behind each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// One member is probed every so often (SWIM's protocol period).
    pub probe_interval: Duration,
    /// Without an ack to the direct ping for this long, helpers and a stream are tried.
    pub probe_timeout: Duration,
    /// An unanswered ping is repeated so many times per probe timeout, until the probe ends.
    pub ping_repeats: u32,
    /// In the last probe interval of a suspicion every member looks for itself, in a large
    /// cluster about so many of them; 0: nobody does.
    pub last_look: usize,
    /// How many helpers ping on our behalf.
    pub indirect_checks: u32,
    /// A helper that met nothing says so at this percentage of its budget.
    pub nack_percent: u32,
    /// A member that is silent is given this long, after confirmation and at most.
    pub silent: Patience,
    /// A member whose kernel accepts streams is given this long: more than one stands that has a
    /// twentieth of a processor.
    pub mute: Patience,
    /// Patience grows with `max(1, log10 n)`, as memberlist's does.
    pub patience_by_size: bool,
    /// Independent accusers that shorten a suspicion to its minimum.
    pub suspicion_confirmations: u32,
    /// Grace of a process whose host answers that nobody listens.
    pub refused_grace: Duration,
    /// Evidence of the kernel (refused, mute) counts; if not, all is `Silent`.
    pub graded_evidence: bool,
    /// A failure that others report of a member held alive is looked into before it is believed.
    pub doubt_failures: bool,
    /// Who heard no member for this long asks one of them per probe interval, until one answers;
    /// zero: never.
    pub alone_after: Duration,
    /// Members to which each keeps a watch stream; 0: none.
    pub observers: usize,
    /// Gossip goes out this often.
    pub gossip_interval: Duration,
    /// To so many members.
    pub gossip_fanout: usize,
    /// So many of them follow us in the order of ids, the others are random.
    pub ring_hearers: usize,
    /// An item is sent `mult * ceil(log10(n + 1))` times.
    pub retransmit_mult: u32,
    /// Hearing a claim that is being spread here counts as having sent it once.
    pub count_hearing: bool,
    /// New information leaves at once instead of at the next gossip tick.
    pub immediate_gossip: bool,
    /// At most so many immediate rounds between two gossip ticks.
    pub immediate_rounds: u32,
    /// Gossip still reaches members that failed less than this ago.
    pub gossip_to_dead: Duration,
    /// Highest local health score (Lifeguard).
    pub awareness_max: u32,
    /// A full exchange with a random member this often, scaled by `log2(n / 32) + 1`; zero: never.
    pub full_sync_interval: Duration,
    /// Exchange differences when digests differ and nothing moved here for this long; zero: never.
    /// Where something always moves, eight times as long is waited.
    pub digest_quiet: Duration,
    /// A failed member is contacted this often, by somebody.
    pub reconnect_interval: Duration,
    /// A failed member is forgotten after this.
    pub reconnect_timeout: Duration,
    /// A left member is forgotten after this.
    pub tombstone_timeout: Duration,
    /// An exchange over a stream ends within this.
    pub stream_timeout: Duration,
    /// A join or an exchange whose stream is not connected after this is tried over another one,
    /// too. Zero: not.
    pub connect_hedge: Duration,
    /// A leave ends within this, confirmed or not.
    pub leave_timeout: Duration,
    /// Oldest and newest protocol version to speak; within what this code speaks (1 to 2).
    pub protocol: (u8, u8),
    /// Measure round trips, and tell where we are in answers to pings (network coordinates).
    pub coordinates: bool,
    /// Being this late for a deadline means that others could not be heard meanwhile: all deadlines
    /// move by as much.
    pub lateness: Duration,
    /// Being this late for a deadline means that the process was away.
    pub pause_threshold: Duration,
    /// A rule to break, for tests of the simulator.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub bug: Option<crate::planted::Bug>,
}

/// How long a suspicion runs: `max` without confirmation, `min` with enough of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// With enough confirmations.
    pub min: Duration,
    /// Without any.
    pub max: Duration,
}

impl Patience {
    /// From milliseconds.
    pub const fn millis(min: u64, max: u64) -> Self {
        Self { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            ping_repeats: 2,
            last_look: 128,
            indirect_checks: 3,
            nack_percent: 80,
            silent: Patience::millis(1500, 4000),
            mute: Patience::millis(12_000, 15_000),
            patience_by_size: false,
            suspicion_confirmations: 2,
            refused_grace: Duration::from_millis(300),
            graded_evidence: true,
            doubt_failures: true,
            alone_after: Duration::from_secs(3),
            observers: 3,
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            ring_hearers: 2,
            retransmit_mult: 4,
            count_hearing: true,
            immediate_gossip: true,
            immediate_rounds: 8,
            gossip_to_dead: Duration::from_secs(30),
            awareness_max: 8,
            full_sync_interval: Duration::ZERO,
            digest_quiet: Duration::from_millis(50),
            reconnect_interval: Duration::from_secs(5),
            reconnect_timeout: Duration::from_secs(72 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            stream_timeout: Duration::from_secs(10),
            connect_hedge: Duration::from_millis(500),
            leave_timeout: Duration::from_millis(900),
            protocol: SPOKEN,
            coordinates: true,
            lateness: Duration::from_millis(100),
            pause_threshold: Duration::from_millis(1500),
            #[cfg(test)]
            bug: crate::planted::chosen(),
            #[cfg(all(feature = "planted-bugs", not(test)))]
            bug: None,
        }
    }
}

impl Tuning {
    /// memberlist's LAN profile on this state machine, to compare with on equal seeds.
    pub fn memberlist() -> Self {
        Self {
            ping_repeats: 0,
            last_look: 0,
            nack_percent: 100,
            silent: Patience::millis(4000, 24_000),
            patience_by_size: true,
            graded_evidence: false,
            doubt_failures: false,
            alone_after: Duration::ZERO,
            observers: 0,
            ring_hearers: 0,
            count_hearing: false,
            immediate_gossip: false,
            full_sync_interval: Duration::from_secs(30),
            digest_quiet: Duration::ZERO,
            reconnect_interval: Duration::from_secs(30),
            connect_hedge: Duration::ZERO,
            lateness: Duration::from_secs(u32::MAX as u64),
            pause_threshold: Duration::from_secs(u32::MAX as u64),
            ..Self::default()
        }
    }
}

impl Tuning {
    /// Checks what a node relies on; [`Node::new`](crate::Node::new) does so, too.
    ///
    /// # Errors
    /// [`ConfigError::Tuning`] says which values do not fit together.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.probe_interval.is_zero() || self.gossip_interval.is_zero() {
            return Err(ConfigError::Tuning("probe and gossip intervals cannot be zero"));
        }
        if self.probe_timeout >= self.probe_interval {
            return Err(ConfigError::Tuning("the probe timeout must be below the probe interval"));
        }
        if [self.silent, self.mute].iter().any(|p| p.min > p.max) {
            return Err(ConfigError::Tuning("confirmed patience cannot be above the unconfirmed"));
        }
        let (min, max) = self.protocol;
        if min > max || min < SPOKEN.0 || max > SPOKEN.1 {
            return Err(ConfigError::Tuning("protocol versions 1 to 2 are spoken here"));
        }
        Ok(())
    }
}

/// Caps on everything that others can make grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a datagram's payload.
    pub datagram_bytes: usize,
    /// Members known, in any state.
    pub members: usize,
    /// For so many of them room is made at the start, for more when they come.
    pub room: usize,
    /// Forgotten members whose version is still remembered.
    pub tombstones: usize,
    /// Streams open at once, both ways.
    pub streams: usize,
    /// Members watched over a stream at once; they are among the streams.
    pub watches: usize,
    /// Joins under way at once.
    pub joins: usize,
    /// Pings relayed for others at once.
    pub relays: usize,
    /// Datagrams waiting to be written.
    pub transmits: usize,
    /// Events waiting to be taken.
    pub events: usize,
    /// Claims waiting to be gossiped.
    pub queued_claims: usize,
}

impl Limits {
    /// A node works with queues of so many datagrams and events, if badly: a full one costs what
    /// a lost packet costs, and an application is told how many events it missed.
    pub const QUEUE_MIN: usize = 4;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagram_bytes: 1400,
            members: 16_384,
            room: 0,
            tombstones: 16_384,
            streams: 256,
            watches: 64,
            joins: 64,
            relays: 512,
            transmits: 4096,
            events: 65_536,
            queued_claims: 2048,
        }
    }
}

/// Why a node cannot start with this configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Others could not reach it.
    #[error("the advertised address {0} is unspecified or has no port")]
    Address(SocketAddr),
    /// A generation above this one does not exist.
    #[error("the generation counter is used up: give the node a new id")]
    GenerationExhausted,
    /// More servers than a quorum can begin with.
    #[error("a quorum of {0} servers is expected, at most {MAX_VOTERS} are possible")]
    Expect(u8),
    /// An interval is zero, or a timeout is not below its interval.
    #[error("{0}")]
    Tuning(&'static str),
    /// A cap that leaves no room to work.
    #[error("{0}")]
    Limit(&'static str),
}

impl Config {
    /// Checks all that the node relies on.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.addr.ip().is_unspecified() || self.addr.port() == 0 {
            return Err(ConfigError::Address(self.addr));
        }
        if self.durable.generation >= u64::MAX - 1 {
            return Err(ConfigError::GenerationExhausted);
        }
        if let Role::Server { expect, .. } = self.role
            && usize::from(expect) > MAX_VOTERS
        {
            return Err(ConfigError::Expect(expect));
        }
        self.tuning.check()?;
        let l = &self.limits;
        if l.datagram_bytes < 1400 {
            return Err(ConfigError::Limit("datagrams of at least 1400 bytes are needed"));
        }
        if l.queued_claims == 0
            || l.members < 2
            || l.streams < 4
            || l.joins == 0
            || l.transmits < Limits::QUEUE_MIN
            || l.events < Limits::QUEUE_MIN
        {
            return Err(ConfigError::Limit(
                "at least 2 members, 4 streams, 1 join, 4 transmits, 4 events, 1 claim must fit",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_that_do_not_fit_together_are_refused() {
        assert_eq!(Tuning::default().check(), Ok(()));
        assert_eq!(Tuning::memberlist().check(), Ok(()));
        let with = |change: fn(&mut Tuning)| {
            let mut t = Tuning::default();
            change(&mut t);
            t.check()
        };
        assert!(with(|t| t.gossip_interval = Duration::ZERO).is_err());
        assert!(with(|t| t.probe_timeout = t.probe_interval).is_err());
        assert!(with(|t| t.silent.min = t.silent.max + Duration::from_millis(1)).is_err());
        assert!(with(|t| t.mute.max = t.mute.min - Duration::from_millis(1)).is_err());
        assert!(with(|t| t.mute.max = t.mute.min).is_ok());
        assert!(with(|t| t.protocol = (2, 1)).is_err());
    }
}
