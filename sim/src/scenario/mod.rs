//! The scenario language: one step a line, parsed from text and printed back to it.
//!
//! Guarantees: whatever parses prints to a text that parses to the same scenario; every number
//! is bounded, so no text can ask for unbounded memory or time; errors name line, column and
//! what was expected there. Every step is total: healing what is whole does nothing, so that the
//! shrinker may take out any of them.

mod goals;
mod hostile;
mod lex;
mod parse;
mod print;
mod steps;
#[cfg(test)]
mod tests;
mod values;
mod vocabulary;

pub use goals::{GOALS, Goal, GoalSource};
pub use hostile::{Forged, KeyNo, KeyVerb, Lie};
pub use parse::ParseError;
pub use values::{Drift, Factor, NodeNo, NodeSet, Offset, Rate, Span, Time, Topic};
pub use vocabulary::VOCABULARY;

/// Most nodes that a scenario may have.
pub const MAX_NODES: u32 = 10_000;
/// Most lines that a scenario may have.
pub const MAX_LINES: usize = 20_000;
/// Most groups of a partition: the network keeps so many apart.
pub const MAX_GROUPS: usize = 64;
/// Latest virtual time, and longest duration (40 days: reaping takes three).
pub const MAX_TIME: Time = Time::from_secs(40 * 24 * 3600);

/// A whole scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The comment that opens the file, line by line without the `#`.
    pub about: Vec<String>,
    /// The first line.
    pub cluster: Cluster,
    /// Everything else, in the order of the file.
    pub lines: Vec<Line>,
}

/// `cluster 5 servers 3 expect 3 seed 42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// n1 to n*nodes*.
    pub nodes: u32,
    /// The first so many are servers.
    pub servers: u32,
    /// What the servers expect; clients expect nothing.
    pub expect: Option<u8>,
    /// Every random decision is a keyed function of it.
    pub seed: u64,
}

/// One line after the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Settings of every link, from the start.
    Net(LinkSettings),
    /// Settings of some links, from the start.
    Link(LinkLine),
    /// Clocks, from the start.
    Clock(ClockLine),
    /// What a server was told, unlike the others.
    Server(ServerLine),
    /// Which protocol versions nodes speak, from the start.
    Protocol(ProtocolLine),
    /// All packets and streams are sealed; the keys that every node begins with, the first seals.
    Keys(Vec<KeyNo>),
    /// All processes share so many cores.
    Cores(u32),
    /// In each node so many datagrams and so many events can wait to be taken.
    Queues(u32),
    /// Something happens.
    At(Time, Action),
    /// Something must be true.
    Expect(Expect),
}

/// What is set of a link; what is not named keeps its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Shortest and longest time a packet travels.
    pub latency: Option<(Time, Time)>,
    /// Packets lost, each by itself.
    pub loss: Option<Rate>,
    /// Quarter seconds in which every packet is lost.
    pub burst: Option<Rate>,
    /// Packets that arrive twice.
    pub dup: Option<Rate>,
    /// Packets that are held back by up to ten times the latency.
    pub reorder: Option<Rate>,
    /// Packets with a flipped bit.
    pub corrupt: Option<Rate>,
    /// Bytes of the largest datagram that passes.
    pub mtu: Option<u32>,
    /// Bytes a second that a node can send; more waits in a queue of one second.
    pub bandwidth: Option<u32>,
}

/// One way or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `->`
    OneWay,
    /// `<->`
    Both,
}

/// `n1 -> n2 loss 100%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLine {
    /// Senders.
    pub from: NodeSet,
    /// One way or both.
    pub direction: Direction,
    /// Receivers.
    pub to: NodeSet,
    /// What is set.
    pub settings: LinkSettings,
}

/// `n3 drift +200ppm offset -1.5s step +3s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockLine {
    /// Whose clocks.
    pub nodes: NodeSet,
    /// Rate of monotonic and wall clock from now on.
    pub drift: Option<Drift>,
    /// What the wall clock is off by.
    pub offset: Option<Offset>,
    /// The wall clock jumps (only as a step).
    pub step: Option<Offset>,
}

/// `n4 expect 5`: these are servers, told this in place of what the first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// Which nodes.
    pub nodes: NodeSet,
    /// `expect N`; 0: joins an existing quorum only.
    pub expect: u8,
    /// `bootstrap`: the first server, on its own.
    pub bootstrap: bool,
}

/// `protocol n3 1..2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolLine {
    /// Which nodes.
    pub nodes: NodeSet,
    /// Oldest and newest version.
    pub range: (u8, u8),
}

/// A fault of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// What was not yet acknowledged is lost at the next crash.
    LoseUnsynced,
    /// The newest copy is torn now; the next write under way at a crash is torn too.
    Torn,
    /// No room: writes wait until `ok`.
    Full,
    /// Bits flip in one of the two copies.
    Corrupt,
    /// A backup of it is made.
    Backup,
    /// The backup is put back: what was written since is lost. Takes effect at the next start.
    Restore,
    /// Writes work again.
    Ok,
}

/// How a process starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// With an empty disk, hence as a new member.
    pub fresh: bool,
    /// At an address that nobody had.
    pub new_address: bool,
    /// With another node's name.
    pub name: Option<NodeNo>,
    /// A program that speaks these protocol versions: oldest and newest.
    pub protocol: Option<(u8, u8)>,
    /// Whom to join.
    pub join: Option<NodeSet>,
    /// With this keyring in place of the one on its disk; empty: with that.
    pub keys: Vec<KeyNo>,
}

/// What happens at a step. The example shows each field.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `join all via n1`
    Join { nodes: NodeSet, via: NodeSet },
    /// `partition n1 n2 | n3`: groups cannot reach each other; who is in none reaches all.
    Partition { groups: Vec<NodeSet> },
    /// `isolate n2`
    Isolate { nodes: NodeSet },
    /// `cut n1 -> n2`: nothing passes until `mend` or `heal`.
    Cut { from: NodeSet, direction: Direction, to: NodeSet },
    /// `mend n2`: the isolation of these and every cut at them ends.
    Mend { nodes: NodeSet },
    /// `flap n2 every 2s for 20s`: isolated and back in turns.
    Flap { nodes: NodeSet, every: Time, lasts: Time },
    /// `heal`: partitions, cuts and isolation end.
    Heal,
    /// `crash n3`: the process dies, the host lives.
    Crash { nodes: NodeSet },
    /// `poweroff n3`: the host is silent.
    Poweroff { nodes: NodeSet },
    /// `pause n5 for 3s`: SIGSTOP.
    Pause { nodes: NodeSet, lasts: Time },
    /// `suspend n5 for 3s`: the virtual machine is frozen with its monotonic clock.
    Suspend { nodes: NodeSet, lasts: Time },
    /// `saturate 500 for 10s`
    Saturate { processes: u32, lasts: Time },
    /// `starve n1 20x for 10s`
    Starve { nodes: NodeSet, factor: Factor, lasts: Time },
    /// `clock n2 step +3s`
    Clock(ClockLine),
    /// `net loss 30%`
    Net(LinkSettings),
    /// `link n1 -> n2 loss 30%`
    Link(LinkLine),
    /// `restart n4 fresh at new-address as n2 join n1`
    Restart { nodes: NodeSet, options: StartOptions },
    /// `start n6 as n2 join n1`
    Start { nodes: NodeSet, options: StartOptions },
    /// `leave n5`
    Leave { nodes: NodeSet },
    /// `force-leave n4 on n1`
    ForceLeave { nodes: NodeSet, on: Option<NodeSet> },
    /// `replay n1 10s`
    Replay { nodes: NodeSet, window: Time },
    /// `garbage n2 100`
    Garbage { nodes: NodeSet, count: u32 },
    /// `event deploy on n1`: applications at these nodes tell all members.
    Event { name: Topic, on: NodeSet },
    /// `query ping on n1`: applications at these nodes ask all members.
    Query { name: Topic, on: NodeSet },
    /// `forge n2 ahead 5000`: an event from so much later than n2's clock shows.
    ForgeEvent { nodes: NodeSet, ahead: u64 },
    /// `retag n2`: it publishes other metadata.
    Retag { nodes: NodeSet },
    /// `misplace n3`: from now on its answers say that it is somewhere far away.
    Misplace { nodes: NodeSet },
    /// `rumour n6 on n1`: gossip tells n1 of n6, which never ran.
    Rumour { nodes: NodeSet, on: NodeSet },
    /// `disk n1 torn`
    Disk { nodes: NodeSet, fault: DiskFault },
    /// `key install k2 on n1`
    Key { verb: KeyVerb, key: KeyNo, on: Option<NodeSet> },
    /// `forge n2 accuse n3 highest`: somebody who has the key sends from the address of n2.
    Forge { nodes: NodeSet, lie: Lie, accused: NodeSet, version: Forged },
}

/// What a member is held to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Works, in the version it has now.
    Alive,
    /// Accused.
    Suspect,
    /// Failed.
    Failed,
    /// Left.
    Left,
    /// Not in the list at all.
    Unknown,
    /// Works, but is reached through others or over streams only.
    Degraded,
}

/// In whose view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewers {
    /// Every live node.
    Everywhere,
    /// These, as far as they live.
    On(NodeSet),
}

/// What must become true. The example shows each field.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All live, connected nodes agree.
    Converged,
    /// `n3 alive everywhere`
    Held { nodes: NodeSet, held: Held, viewers: Viewers },
    /// `quorum n1 n2 n3`: this voter set; without nodes: one and the same on all servers that can
    /// reach each other.
    Quorum { voters: Option<NodeSet> },
    /// `event deploy everywhere`: told at each whose process was there when it was fired.
    Event { name: Topic, viewers: Viewers },
    /// `query ping answered`: by all who were members when it was asked.
    Query { name: Topic },
    /// `rtt n1 n2 20%`: the round trip between any two of them, as estimated at the first from
    /// coordinates, is that of the link within so much.
    Rtt { nodes: NodeSet, off: Rate },
}

/// A line that is checked. The example shows each field.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// True at some time until so long after the last step above.
    Within(Time, Condition),
    /// All the time, until so long after the last step above.
    For { lasts: Time, nodes: NodeSet, not: bool, held: Held, viewers: Viewers },
    /// `never false-failed`
    NeverFalseFailed,
    /// `never quorum`
    NeverQuorum,
    /// `never drop-key`
    Never(Goal),
    /// `sometimes suspicion-refuted`
    Sometimes(Goal),
}

/// The text in the bytes of a scenario's file.
///
/// # Errors
/// [`ParseError`] with the place of the first byte that is not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, ParseError> {
    parse::decode(bytes)
}

/// The text without a byte order mark before it.
pub(crate) fn without_mark(text: &str) -> &str {
    parse::without_mark(text)
}

impl Scenario {
    /// Parses and checks a whole file. A byte order mark before it is passed over.
    ///
    /// # Errors
    /// [`ParseError`] with line, column and what was expected there.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::scenario(text)
    }

    /// Are packets sealed, whatever the command line says?
    pub fn is_sealed(&self) -> bool {
        self.lines.iter().any(|l| match l {
            Line::Keys(_) | Line::At(_, Action::Key { .. }) => true,
            Line::At(_, Action::Restart { options, .. } | Action::Start { options, .. }) => {
                !options.keys.is_empty()
            }
            _ => false,
        })
    }

    /// The keys that every node begins with, if they are sealed.
    pub fn first_keys(&self) -> Vec<KeyNo> {
        let line = self.lines.iter().find_map(|l| match l {
            Line::Keys(keys) => Some(keys.clone()),
            _ => None,
        });
        line.unwrap_or_else(|| vec![KeyNo(1)])
    }

    /// The highest node number that ever exists.
    pub fn highest_node(&self) -> u32 {
        let started = self.lines.iter().filter_map(|l| match l {
            Line::At(_, Action::Start { nodes, .. } | Action::Rumour { nodes, .. }) => {
                nodes.highest()
            }
            _ => None,
        });
        started.chain([self.cluster.nodes]).max().unwrap_or(1)
    }

    /// The time of the last step above line `index` (0 if there is none).
    pub fn base_time(&self, index: usize) -> Time {
        let above = self.lines.iter().take(index).rev();
        above
            .filter_map(|l| if let Line::At(t, _) = l { Some(*t) } else { None })
            .next()
            .unwrap_or(Time::ZERO)
    }

    /// When there is nothing left to do or to check.
    pub fn end_time(&self) -> Time {
        let mut end = Time::ZERO;
        let mut open_ended = true;
        for (i, line) in self.lines.iter().enumerate() {
            match line {
                Line::At(t, _) => {
                    end = end.max(*t);
                    open_ended = true;
                }
                Line::Expect(Expect::Within(d, _) | Expect::For { lasts: d, .. }) => {
                    end = end.max(self.base_time(i).saturating_add(*d));
                    open_ended = false;
                }
                _ => {}
            }
        }
        // Nothing bounds what the last step leads to: give it a while to show.
        if open_ended { end.saturating_add(Time::from_secs(10)) } else { end }
    }
}
