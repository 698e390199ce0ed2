//! What the node waits for: one deadline per timer, and a paused process shifts them all.
//!
//! Most nodes wait for a dozen things, which stand sorted in one piece of memory; a node that waits
//! for many (a mass join, a mass failure) keeps them in trees meanwhile.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
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
    /// Nobody was heard for a while: ask somebody.
    Alone,
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

/// More deadlines than this are kept in trees, until they are fewer than the second.
const FEW: (usize, usize) = (48, 16);

#[derive(Debug)]
pub(super) struct Timers {
    /// The latest first. Empty while there are trees.
    few: Vec<(Instant, Timer)>,
    many: Option<Box<Many>>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { few: Vec::with_capacity(FEW.0 + 1), many: None }
    }
}

#[derive(Debug, Default)]
struct Many {
    due: BTreeSet<(Instant, Timer)>,
    at: BTreeMap<Timer, Instant>,
}

impl Many {
    fn set(&mut self, t: Timer, at: Instant) {
        if let Some(old) = self.at.insert(t, at) {
            self.due.remove(&(old, t));
        }
        self.due.insert((at, t));
    }
}

impl Timers {
    /// See [`super::Node::touch`].
    pub(super) fn touch(&self) -> u64 {
        let (first, second) = (self.few.len().checked_sub(1), self.few.len().checked_sub(3));
        let at = |i: Option<usize>| self.few.get(i?).map(|x| x.0.as_nanos());
        at(first).unwrap_or(0) ^ at(second).unwrap_or(0)
    }

    /// When it is due, if it is set.
    pub(super) fn at(&self, t: Timer) -> Option<Instant> {
        match &self.many {
            Some(m) => m.at.get(&t).copied(),
            None => self.few.iter().rev().find(|x| x.1 == t).map(|x| x.0),
        }
    }

    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, t: Timer, at: Instant) {
        if let Some(m) = &mut self.many {
            m.set(t, at);
            return;
        }
        // What is moved or stopped is mostly due soon.
        if let Some(old) = self.few.iter().rposition(|x| x.1 == t) {
            self.few.remove(old);
        }
        self.add(t, at);
    }

    /// Sets a deadline of a timer that has none: nobody need look for an old one.
    pub(super) fn add(&mut self, t: Timer, at: Instant) {
        debug_assert!(self.at(t).is_none(), "{t:?} is set");
        if let Some(m) = &mut self.many {
            m.set(t, at);
            return;
        }
        // Most is due soon, so it is looked for from there.
        let place = self.few.iter().rposition(|x| *x > (at, t)).map_or(0, |later| later + 1);
        self.few.insert(place, (at, t));
        if self.few.len() > FEW.0 {
            let mut many = Many::default();
            self.few.drain(..).for_each(|(at, t)| many.set(t, at));
            self.many = Some(Box::new(many));
        }
    }

    /// Sets a deadline unless one is set.
    pub(super) fn set_if_idle(&mut self, t: Timer, at: Instant) {
        if self.at(t).is_none() {
            self.set(t, at);
        }
    }

    /// Sets a deadline, or moves it forward.
    pub(super) fn set_earlier(&mut self, t: Timer, at: Instant) {
        if self.at(t).is_none_or(|old| at < old) {
            self.set(t, at);
        }
    }

    pub(super) fn stop(&mut self, t: Timer) {
        match &mut self.many {
            Some(m) => {
                if let Some(old) = m.at.remove(&t) {
                    m.due.remove(&(old, t));
                }
                self.are_few_again();
            }
            None => {
                if let Some(old) = self.few.iter().rposition(|x| x.1 == t) {
                    self.few.remove(old);
                }
            }
        }
    }

    /// Stops all that waits for an answer with this cookie.
    pub(super) fn stop_probe(&mut self, cookie: Cookie) {
        use Timer::{ProbeEnd, ProbeLate, ProbeRepeat};
        if self.many.is_some() {
            [ProbeRepeat, ProbeLate, ProbeEnd].into_iter().for_each(|t| self.stop(t(cookie)));
        } else {
            // There are three of them at most, which are due soon.
            let (mut at, mut left) = (self.few.len(), 3);
            while at > 0 && left > 0 {
                at -= 1;
                let t = self.few[at].1;
                if matches!(t, ProbeRepeat(c) | ProbeLate(c) | ProbeEnd(c) if c == cookie) {
                    self.few.remove(at);
                    left -= 1;
                }
            }
        }
    }

    fn are_few_again(&mut self) {
        if let Some(m) = self.many.take_if(|m| m.due.len() < FEW.1) {
            self.few.extend(m.due.into_iter().rev());
        }
    }

    pub(super) fn clear(&mut self) {
        self.few.clear();
        self.many = None;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        match &self.many {
            Some(m) => m.due.first().map(|x| x.0),
            None => self.few.last().map(|x| x.0),
        }
    }

    /// Takes one timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let Some(m) = &mut self.many else { return self.few.pop().map(|x| x.1) };
        let (_, t) = m.due.pop_first()?;
        m.at.remove(&t);
        self.are_few_again();
        Some(t)
    }

    /// Puts all deadlines off.
    pub(super) fn shift(&mut self, gap: Duration) {
        let m = self.many.take().map(|m| m.due).unwrap_or_default();
        for (at, t) in core::mem::take(&mut self.few).into_iter().chain(m) {
            self.set(t, at + gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        /// Few or many: against a map.
        #[test]
        fn deadlines_come_in_order_however_many_they_are(
            steps in prop::collection::vec((0u8..8, 0u64..90, 1u64..50), 0..400),
        ) {
            let s = |n| Instant::ZERO + Duration::from_secs(n);
            let mut timers = Timers::default();
            let mut model: BTreeMap<Timer, Instant> = BTreeMap::new();
            for (what, n, at) in steps {
                let of = [Timer::ProbeRepeat, Timer::ProbeLate, Timer::ProbeEnd];
                let (cookie, t) = (n / 3, of[n as usize % 3](n / 3));
                match what {
                    0 => {
                        timers.stop(t);
                        model.remove(&t);
                    }
                    1 => {
                        timers.set_if_idle(t, s(at));
                        model.entry(t).or_insert(s(at));
                    }
                    2 => {
                        timers.set_earlier(t, s(at));
                        model.entry(t).and_modify(|x| *x = s(at).min(*x)).or_insert(s(at));
                    }
                    3 if at < 3 => {
                        timers.shift(Duration::from_secs(1));
                        model.values_mut().for_each(|x| *x = *x + Duration::from_secs(1));
                    }
                    5 if !model.contains_key(&t) => {
                        timers.add(t, s(at));
                        model.insert(t, s(at));
                    }
                    6 => {
                        timers.stop_probe(cookie);
                        model.retain(|t, _| of.iter().all(|of| *t != of(cookie)));
                    }
                    4 => {
                        let first = model.iter().map(|(t, at)| (*at, *t)).min();
                        let due = first.filter(|x| x.0 <= s(at)).map(|x| x.1);
                        prop_assert_eq!(timers.pop(s(at)), due);
                        model.retain(|t, _| Some(*t) != due);
                    }
                    _ => {
                        timers.set(t, s(at));
                        model.insert(t, s(at));
                    }
                }
                prop_assert_eq!(timers.next(), model.values().min().copied());
            }
        }
    }
}
