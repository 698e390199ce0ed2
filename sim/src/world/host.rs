//! A host with its process: what is up, what waits for the processor, which clocks and disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use quorate_core::{
    EventId, Instant, JoinId, Memory, Name, Node, PersistToken, StreamError, Version,
    wire::{KeyOp, Keyring},
};

use super::{processor::Share, queue::Side, stream::playback::Spoken};
use crate::{clock::Clock, disk::Disk, program::NodeClock, scenario::Topic};

/// The gossip port of every node.
const PORT: u16 = 8301;

/// Whether there is a process, and what its absence looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// Never started. The host is not there either.
    Never,
    /// Runs.
    Up,
    /// Ended; the host answers that nobody listens.
    Ended,
    /// The whole host is silent.
    Off,
}

/// Something that waits for the process to get the processor.
#[derive(Debug)]
pub(super) enum Input {
    /// A datagram.
    Datagram { from: SocketAddr, bytes: Vec<u8>, cause: u64 },
    /// Something on a stream.
    Stream { slot: u32, generation: u32, side: Side, what: OnStream, cause: u64 },
    /// A write is acknowledged.
    Persisted { token: PersistToken, cause: u64 },
    /// An operator's command.
    Command { what: Order, cause: u64 },
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Contact the next of the host's join targets.
    Join,
    /// Leave.
    Leave,
    /// Publish other metadata: the number.
    Retag(u64),
    /// Declare these names as left.
    ForceLeave(Name),
    /// Tell all members something.
    Event(Topic),
    /// Ask all members something.
    Query(Topic),
    /// Answer a query.
    Answer(EventId),
    /// Change the keys of all members.
    Keyring(KeyOp),
}

/// What the kernel tells of a stream.
#[derive(Debug)]
pub(super) enum OnStream {
    Accepted,
    Connected,
    Data(Vec<u8>),
    Finished,
    Failed(StreamError),
}

impl OnStream {
    /// Bytes that the kernel holds for it.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Data(b) = self { b.len() } else { 0 }
    }
}

/// Whom to join, until it works.
#[derive(Clone, Debug, Default)]
pub(super) struct Joining {
    /// Numbers of hosts.
    pub targets: Vec<u32>,
    /// Attempts so far.
    pub tries: u32,
    /// The attempt under way.
    pub id: Option<JoinId>,
    /// Somebody answered in this round, which goes on to the last address all the same.
    pub met: bool,
}

/// Isolated and back in turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flapping {
    pub every: u64,
    pub until: u64,
    pub isolated: bool,
    /// When its next turn is.
    pub next: u64,
}

/// One host.
///
/// What each event reads comes first, together: there are too many hosts for any cache.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Host {
    pub process: Process,
    /// A wake-up is planned.
    pub waking: bool,
    /// Its answers say that it is far away.
    pub misplaced: bool,
    /// Which of its clocks the node is driven by.
    pub driven_by: NodeClock,
    /// From 1.
    pub number: u32,
    /// When the earliest planned deadline is.
    pub timer_at: u64,
    /// Stopped (SIGSTOP) until then.
    pub paused_until: u64,
    /// Frozen with its machine until then.
    pub suspended_until: u64,
    pub node: Option<Box<Node>>,
    pub inbox: VecDeque<Input>,
    /// How it shares the processor.
    pub share: Share,
    pub clock: Clock,
    pub addr: SocketAddr,
    /// The node's revision when it was last looked at.
    pub revision: u64,
    /// Tombstones that the node had no room for.
    pub tombstones_dropped: u64,
    /// Its process is a server.
    pub is_server: bool,
    /// Packets sent to each host so far, by its number.
    pub sent: Vec<u32>,
    /// Stream number to place in the slab.
    pub streams: BTreeMap<u64, u32>,
    /// Datagrams in the inbox (the socket's buffer).
    pub inbox_datagrams: usize,
    /// When its link out is free again (bandwidth).
    pub link_free_at: u64,
    /// What its node last asked to have written, and the generation in it.
    pub asked: Option<(PersistToken, u64)>,
    /// Those that are being written there.
    pub keys_asked: Vec<(PersistToken, Keyring)>,
    pub name: Name,
    /// How many addresses it has had before.
    pub moves: u8,
    /// Index of its member in the world's table; rises with each empty disk.
    pub identity: u32,
    /// It never ran, but there is talk of a member on it.
    pub rumoured: bool,
    /// Counts processes; what was planned for an earlier one is void.
    pub life: u32,
    pub disk: Disk,
    /// Streams accepted so far.
    pub accepted: u64,
    /// Writes to disk so far.
    pub writes: u64,
    /// The recent past, if the scenario replays it: time, to, bytes.
    pub history: VecDeque<(u64, u32, Vec<u8>)>,
    /// As above, of the streams that it opened.
    pub spoken: VecDeque<Spoken>,
    /// Hashes of the sealed datagrams that this process was given.
    pub delivered: BTreeSet<u64>,
    /// The keyring on its disk.
    pub keys: Option<Keyring>,
    pub joining: Joining,
    pub flapping: Option<Flapping>,
    /// The protocol versions of its program, if the scenario says.
    pub protocol: Option<(u8, u8)>,
    /// Its own version when it was last looked at; none before it took part.
    pub published: Option<Version>,
    /// What its server had on disk of the bootstrap when it was last looked at.
    pub memory: Option<Memory>,
    /// When it last listed its members for the checker.
    pub listed_at: u64,
    /// Since when its process runs undisturbed.
    pub well_since: u64,
    /// When its process started.
    pub started_at: u64,
    /// When it was last lost (crash, power, leave).
    pub lost_at: u64,
}

impl Host {
    /// A host on which nothing ever ran.
    pub(super) fn new(number: u32, name: Name, driven_by: NodeClock) -> Self {
        Self {
            number,
            name,
            addr: address(number, 0),
            moves: 0,
            identity: 0,
            process: Process::Never,
            rumoured: false,
            node: None,
            life: 0,
            clock: Clock::new(0, 0),
            driven_by,
            disk: Disk::default(),
            paused_until: 0,
            suspended_until: 0,
            share: Share::default(),
            timer_at: u64::MAX,
            waking: false,
            inbox: VecDeque::new(),
            inbox_datagrams: 0,
            streams: BTreeMap::new(),
            accepted: 0,
            sent: Vec::new(),
            writes: 0,
            history: VecDeque::new(),
            spoken: VecDeque::new(),
            delivered: BTreeSet::new(),
            keys: None,
            keys_asked: Vec::new(),
            joining: Joining::default(),
            flapping: None,
            misplaced: false,
            is_server: false,
            protocol: None,
            revision: 0,
            tombstones_dropped: 0,
            published: None,
            memory: None,
            asked: None,
            listed_at: 0,
            link_free_at: 0,
            well_since: 0,
            started_at: 0,
            lost_at: 0,
        }
    }

    /// What the clock that drives the node shows at world time `t`.
    pub(super) fn clock_shows(&self, t: u64) -> Instant {
        Instant::from_nanos(match self.driven_by {
            NodeClock::Monotonic => self.clock.monotonic(t),
            NodeClock::Wall => self.clock.wall(t),
        })
    }

    /// The first world time at which it shows that; none while it stands.
    pub(super) fn when_clock_shows(&self, shown: Instant) -> Option<u64> {
        match self.driven_by {
            NodeClock::Monotonic => self.clock.when(shown.as_nanos()),
            NodeClock::Wall => Some(self.clock.wall_when(shown.as_nanos())),
        }
    }

    /// Does a process run (maybe stopped for the moment)?
    pub(super) fn is_up(&self) -> bool {
        self.process == Process::Up
    }

    /// Is the process stopped, or its machine?
    pub(super) fn is_stopped(&self, now: u64) -> bool {
        self.paused_until > now || self.suspended_until > now
    }

    /// Does the host's kernel see packets?
    pub(super) fn hears(&self, now: u64) -> bool {
        matches!(self.process, Process::Up | Process::Ended) && self.suspended_until <= now
    }

    /// The n-th packet to that host: counts it.
    pub(super) fn count_packet(&mut self, to: u32, hosts: usize) -> u64 {
        let to = to as usize;
        if self.sent.len() < hosts {
            self.sent.reserve_exact(hosts - self.sent.len());
            self.sent.resize(hosts, 0);
        }
        self.sent[to] = self.sent[to].wrapping_add(1);
        u64::from(self.sent[to])
    }

    /// Nothing of the process is left.
    pub(super) fn forget_process(&mut self) {
        self.node = None;
        self.life += 1;
        self.inbox.clear();
        self.inbox_datagrams = 0;
        self.delivered.clear();
        self.timer_at = u64::MAX;
        self.waking = false;
        self.joining = Joining::default();
        self.published = None;
        self.asked = None;
        self.paused_until = 0;
        self.share.forget();
    }
}

/// Where host `number` is after so many moves: 10.MOVES.HIGH.LOW.
pub(super) fn address(number: u32, moves: u8) -> SocketAddr {
    let [_, _, high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, moves, high, low)), PORT)
}

/// The number of the host that has or had this address.
pub(super) fn number_of(addr: SocketAddr) -> Option<u32> {
    match addr.ip() {
        IpAddr::V4(ip) if ip.octets()[0] == 10 => {
            let [_, _, high, low] = ip.octets();
            Some(u32::from(high) << 8 | u32::from(low))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_their_host() {
        for (n, moves) in [(1, 0), (255, 3), (256, 0), (10_000, 255)] {
            assert_eq!(number_of(address(n, moves)), Some(n));
        }
        assert_eq!(number_of("127.0.0.1:8301".parse().unwrap()), None);
    }
}
