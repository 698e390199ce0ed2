//! What the node waits for: one deadline per timer, and a paused process shifts them all.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::{event::EventId, identity::NodeId, output::StreamId, time::Instant, wire::Cookie};

/// Everything that can come due. The order breaks ties between equal deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Start the next regular probe.
    Probe,
    /// Repeat an unanswered ping.
    ProbeRepeat(Cookie),
    /// The direct ping was not answered: ask helpers and try a stream.
    ProbeLate(Cookie),
    /// Nothing answered: accuse.
    ProbeEnd(Cookie),
    /// Repeat an unanswered ping for somebody else.
    RelayRepeat(Cookie),
    /// Tell the asker that nothing was met.
    RelayNack(Cookie),
    /// Forget a relay.
    RelayEnd(Cookie),
    /// A suspicion is about to run out: look for ourselves.
    LastLook(NodeId),
    /// A suspicion has run out.
    Suspicion(NodeId),
    /// Repeat what is queued.
    Gossip,
    /// After a burst of changes, compare digests with somebody.
    Settle,
    /// memberlist's push/pull.
    FullSync,
    /// Contact somebody who failed.
    Reconnect,
    /// Forget members that are gone for long.
    Reap,
    /// Write down whom to contact after a restart.
    SavePeers,
    /// Look for the cluster of an earlier run.
    Rejoin,
    /// A stream takes too long.
    Stream(StreamId),
    /// A stream does not connect: try another one beside it.
    Hedge(StreamId),
    /// Pick observers and open the missing watch streams.
    Watch,
    /// An observed member has not pinged for too long.
    Overdue(NodeId),
    /// Tell the observers that we are still there.
    Beat,
    /// Repeat an unconfirmed leave.
    Leave,
    /// Leave without confirmation.
    LeaveEnd,
    /// The next round of reports between servers.
    Bootstrap,
    /// Repeat the events and queries that are queued.
    UserGossip,
    /// A query of ours waits no longer.
    QueryEnd(EventId),
    /// Repeat a reply that was not confirmed.
    QueryReply(EventId),
    /// A query of somebody else waits no longer.
    Asked(EventId),
    /// Ask those again whose keys were still in use.
    Keyring,
    /// Look whether a senior holder of our name is there.
    NameRival,
    /// The holder of a name is gone: joins that wait for that go on.
    NameFree,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
    at: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, t: Timer, at: Instant) {
        if let Some(old) = self.at.insert(t, at) {
            self.due.remove(&(old, t));
        }
        self.due.insert((at, t));
    }

    /// Sets a deadline unless one is set.
    pub(super) fn set_if_idle(&mut self, t: Timer, at: Instant) {
        if !self.at.contains_key(&t) {
            self.set(t, at);
        }
    }

    /// Sets a deadline, or moves it forward.
    pub(super) fn set_earlier(&mut self, t: Timer, at: Instant) {
        if self.at.get(&t).is_none_or(|&old| at < old) {
            self.set(t, at);
        }
    }

    pub(super) fn stop(&mut self, t: Timer) {
        if let Some(old) = self.at.remove(&t) {
            self.due.remove(&(old, t));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|d| d.0)
    }

    /// Takes one timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let &(at, t) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        self.at.remove(&t);
        Some(t)
    }

    /// Puts all deadlines off.
    pub(super) fn shift(&mut self, gap: Duration) {
        let all = core::mem::take(&mut self.at);
        self.due.clear();
        for (t, at) in all {
            self.set(t, at + gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_deadline_per_timer_in_order() {
        let s = |n| Instant::ZERO + Duration::from_secs(n);
        let mut t = Timers::default();
        t.set(Timer::Probe, s(5));
        t.set(Timer::Gossip, s(3));
        t.set(Timer::Probe, s(2));
        t.set_if_idle(Timer::Gossip, s(1));
        assert_eq!(t.next(), Some(s(2)));
        t.shift(Duration::from_secs(10));
        assert_eq!(t.pop(s(11)), None);
        assert_eq!(t.pop(s(20)), Some(Timer::Probe));
        t.stop(Timer::Gossip);
        assert_eq!((t.pop(s(99)), t.next()), (None, None));
    }
}
