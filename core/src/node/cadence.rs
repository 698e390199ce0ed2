//! Cadence: every other probe of a member goes to one of its observers in turn, so each of them
//! hears from it at steady times, and notices when that ends.
//!
//! Who is probed by chance only is first probed after a time without bound: of 50 members each
//! picks it once in 49 s, so the wait for the first is about exponential (mean 1 s, p99 4.6 s).
//! With half of the pings on a cadence some observer misses one within two intervals, and no
//! further packet is sent for it. A missing ping proves nothing: its observer probes in its turn,
//! and that is all.

use core::time::Duration;

use super::{Node, Timer, probe::Kind};
use crate::{identity::NodeId, planted::Bug, time::Instant};

/// A ping may be so late. Longer than packets differ, shorter than a lost one is repeated thrice.
const SLACK: Duration = Duration::from_millis(400);

impl Node {
    /// Whom to probe now: a doubt; or in turns one of our observers, and somebody only heard of (at
    /// most two times of three) or the round's next (SWIM §4.3).
    pub(super) fn next_target(&mut self) -> Option<NodeId> {
        self.watches.turn = self.watches.turn.wrapping_add(1);
        let turn = self.watches.turn;
        self.next_doubtful()
            .or_else(|| match turn % 6 {
                0 | 2 | 4 if self.broken(Bug::ObserversByChance) => None,
                0 | 2 | 4 => self.observer_in_turn(turn / 2),
                // Else the round would stand for as long as somebody makes members up.
                5 if !self.broken(Bug::RoundStands) => None,
                _ => self.next_unmet(),
            })
            .or_else(|| self.next_of_round())
    }

    /// Observers have their turns already, and one that is pinged between them could not tell
    /// when the next is due: they are passed over, unless there is nobody else.
    fn next_of_round(&mut self) -> Option<NodeId> {
        let mut next = None;
        for _ in 0..=self.cfg.tuning.observers {
            next = self.table.next_probe(&mut self.rng);
            if !next.is_some_and(|id| self.is_observer(id)) {
                break;
            }
        }
        next
    }

    fn observer_in_turn(&self, turn: usize) -> Option<NodeId> {
        let n = self.observers().count();
        self.observers().nth(turn.checked_rem(n)?)
    }

    /// Is a round trip to this member to be measured? Observers are pinged more often than others,
    /// and one of them that lies about where it is must not weigh more for that.
    pub(super) fn samples_fairly(&mut self, id: NodeId) -> bool {
        let k = self.cfg.tuning.observers;
        let others = self.table.live_count().saturating_sub(k);
        others <= k || !self.is_observer(id) || self.rng.below(others) < k
    }

    /// A ping of a member came, or it has just begun to be observed: the next is due.
    pub(super) fn expect_ping(&mut self, now: Instant, from: NodeId) {
        if self.observes(from) {
            let t = &self.cfg.tuning;
            let turns = 2 * u32::try_from(t.observers).unwrap_or(1);
            let wait = self.patient(t.probe_interval * turns + SLACK);
            self.timers.set(Timer::Overdue(from), now + wait);
        }
    }

    /// A member that we observe did not ping as it should.
    pub(super) fn on_overdue(&mut self, now: Instant, id: NodeId) {
        if self.observes(id) && !self.broken(Bug::OverdueUnminded) {
            self.expect_ping(now, id);
            // Beside the round, so neither our health nor coordinates follow from it.
            self.start_probe(now, id, Kind::Verify);
        }
    }
}
