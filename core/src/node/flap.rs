//! Flap damping: a member that fails and comes back again and again is given more time before the
//! next failure is told, so that one bad link or crash loop does not keep all others busy.
//!
//! Each return from `Failed` is a flap; one is forgotten per minute in which the member is not even
//! suspected. From the third on a suspicion runs four times as long, then sixteen times, and so on,
//! but never more than half a minute longer: who really dies is reported.
//!
//! A member that spoke up lately, accused or unasked, is slow rather than dead: if its kernel
//! still accepts (a starved process), it is given four times as long from the first time on, for
//! the next long wait of a process that had some is as likely as that one was.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::Node;
use crate::{identity::NodeId, planted::Bug, record::State, stats::Counter, time::Instant};

/// Flaps that nobody minds.
const FREE: u32 = 2;
/// More are not counted: calm comes back within so many times [`DECAY`].
const MOST: u32 = 6;
/// One flap is forgotten after this long without another.
const DECAY: Duration = Duration::from_secs(60);
/// No suspicion is made longer by more than this.
const LONGEST: Duration = Duration::from_secs(30);
/// Members on which flaps are counted.
const COUNTED: usize = 4096;
/// A mute member that spoke up lately is given so many times as long.
const SLOW: u32 = 4;

#[derive(Clone, Copy, Debug)]
struct Flap {
    count: u32,
    last: Instant,
}

impl Flap {
    /// What is left of the count.
    fn level(self, now: Instant) -> u32 {
        let quiet = now.since(self.last).as_nanos() / DECAY.as_nanos();
        self.count.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX))
    }
}

#[derive(Debug, Default)]
pub(super) struct Flaps {
    back: BTreeMap<NodeId, Flap>,
    /// When each last said that it lives after all; we, too.
    spoke_up: BTreeMap<NodeId, Instant>,
}

impl Flaps {
    /// Counts a return; how many there are now.
    fn count(&mut self, now: Instant, id: NodeId) -> u32 {
        if self.back.len() >= COUNTED && !self.back.contains_key(&id) {
            self.calm_down(now);
            if self.back.len() >= COUNTED {
                return 0;
            }
        }
        let flap = self.back.entry(id).or_insert(Flap { count: 0, last: now });
        *flap = Flap { count: (flap.level(now) + 1).min(MOST), last: now };
        flap.count
    }

    /// It is accused again: nothing is forgotten meanwhile.
    fn keep(&mut self, now: Instant, id: NodeId) {
        if let Some(f) = self.back.get_mut(&id) {
            *f = Flap { count: f.level(now), last: now };
        }
    }

    /// How long a suspicion of this patience runs.
    fn damp(&self, now: Instant, id: NodeId, patience: Duration) -> Duration {
        let level = self.back.get(&id).map_or(0, |f| f.level(now));
        let longer = patience * (1 << (2 * level.saturating_sub(FREE).min(MOST)));
        longer.min(patience + LONGEST)
    }

    /// It says that it lives after all.
    fn speaks_up(&mut self, now: Instant, id: NodeId) {
        if self.spoke_up.len() >= COUNTED && !self.spoke_up.contains_key(&id) {
            self.calm_down(now);
            if self.spoke_up.len() >= COUNTED {
                return;
            }
        }
        self.spoke_up.insert(id, now);
    }

    /// How long a mute member is given that others are given `patience`.
    fn slow(&self, now: Instant, id: NodeId, patience: Duration) -> Duration {
        match self.spoke_up.get(&id) {
            Some(t) if now.since(*t) < DECAY => (patience * SLOW).min(patience + LONGEST),
            _ => patience,
        }
    }

    /// Did it speak up so lately that others will still know when it may be accused next?
    pub(super) fn spoke_lately(&self, now: Instant, id: NodeId) -> bool {
        self.spoke_up.get(&id).is_some_and(|t| now.since(*t) < DECAY / 2)
    }

    /// Forgets whose flaps are all forgotten, and who was not slow lately.
    fn calm_down(&mut self, now: Instant) {
        self.back.retain(|_, f| f.level(now) > 0);
        self.spoke_up.retain(|_, t| now.since(*t) < DECAY);
    }
}

impl Node {
    /// What is believed of a member changed from `was`: is it back?
    pub(super) fn count_flap(&mut self, now: Instant, id: NodeId, was: Option<State>, is: State) {
        if is == State::Suspect {
            self.notes.flaps.keep(now, id);
        }
        if was == Some(State::Failed)
            && is.is_live()
            && !self.broken(Bug::FlapsNotDamped)
            && self.notes.flaps.count(now, id) > FREE
        {
            self.stats.count(Counter::FlapsDamped);
        }
    }

    /// It said that it lives after all.
    pub(super) fn spoke_up(&mut self, now: Instant, id: NodeId) {
        if !self.broken(Bug::SlowForgotten) {
            self.notes.flaps.speaks_up(now, id);
        }
    }

    /// The time that a suspicion runs from `started`; is the member mute?
    pub(super) fn damped(
        &self,
        started: Instant,
        id: NodeId,
        patience: Duration,
        mute: bool,
    ) -> Duration {
        let flaps = &self.notes.flaps;
        let damped = flaps.damp(started, id, patience);
        if mute { damped.max(flaps.slow(started, id, patience)) } else { damped }
    }

    pub(super) fn forget_flaps(&mut self, now: Instant) {
        self.notes.flaps.calm_down(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(4);

    #[test]
    fn patience_grows_from_the_third_flap_to_half_a_minute_more() {
        let (mut flaps, id) = (Flaps::default(), NodeId::from_bytes([1; 16]));
        let now = Instant::from_nanos(5);
        let mut seen = alloc::vec::Vec::new();
        for n in 1..=8 {
            assert_eq!(flaps.count(now, id), n.min(MOST));
            seen.push(flaps.damp(now, id, PATIENCE).as_secs());
        }
        assert_eq!(seen, [4, 4, 16, 34, 34, 34, 34, 34]);
        let grace = Duration::from_millis(300);
        assert_eq!(flaps.damp(now, id, grace), grace + LONGEST);
        assert_eq!(flaps.damp(now, NodeId::from_bytes([2; 16]), grace), grace);
    }

    #[test]
    fn who_spoke_up_is_given_more_time_for_a_minute() {
        let (mut flaps, id) = (Flaps::default(), NodeId::from_bytes([1; 16]));
        let now = Instant::from_nanos(5);
        let slow = |flaps: &Flaps, t, secs| flaps.slow(t, id, Duration::from_secs(secs)).as_secs();
        assert_eq!(slow(&flaps, now, 10), 10);
        flaps.speaks_up(now, id);
        assert_eq!([2, 10, 15].map(|s| slow(&flaps, now, s)), [8, 40, 45]);
        assert_eq!(slow(&flaps, now + Duration::from_secs(59), 10), 40);
        assert_eq!(slow(&flaps, now + MINUTE, 10), 10);
        flaps.calm_down(now + MINUTE);
        assert!(flaps.spoke_up.is_empty());
        for n in 0..2 * COUNTED as u128 {
            flaps.speaks_up(now, NodeId::from_bytes(n.to_be_bytes()));
        }
        assert_eq!(flaps.spoke_up.len(), COUNTED);
    }

    #[test]
    fn calm_comes_back_one_flap_a_minute() {
        let (mut flaps, id) = (Flaps::default(), NodeId::from_bytes([1; 16]));
        let now = Instant::from_nanos(5);
        for _ in 0..4 {
            flaps.count(now, id);
        }
        let after = |flaps: &Flaps, n| flaps.damp(now + MINUTE * n, id, PATIENCE).as_secs();
        assert_eq!([0, 1, 2].map(|n| after(&flaps, n)), [34, 16, 4]);
        flaps.keep(now + MINUTE, id);
        assert_eq!([1, 2, 3].map(|n| after(&flaps, n)), [16, 4, 4]);
        flaps.calm_down(now + MINUTE * 3);
        assert_eq!(flaps.back.len(), 1);
        flaps.calm_down(now + MINUTE * 4);
        assert!(flaps.back.is_empty());
    }

    #[test]
    fn members_on_which_flaps_are_counted_are_capped() {
        let mut flaps = Flaps::default();
        let now = Instant::from_nanos(5);
        for n in 0..2 * COUNTED as u128 {
            flaps.count(now, NodeId::from_bytes(n.to_be_bytes()));
        }
        assert_eq!(flaps.back.len(), COUNTED);
    }
}
