//! Obituaries: failures that others report of members that are held alive here.
//!
//! Whoever was cut off holds all others for failed, and says so when it is back. Who dies is
//! suspected before, and all hear of that; so a failure of somebody whom nobody here suspects is
//! looked into before it is believed: the accusation rides on a ping, the refutation on the ack. If
//! the look meets nobody, the report is believed, without a suspicion of its own.
//!
//! Of a member that was not met here, only talk is known: that it lives is no better than that it
//! failed. Who is killed just after it came was met by few, and their word must reach all at once.
//!
//! An accusation near the limit of what is believed is believed unseen: its refutation is above
//! that limit for whoever did not hear of both.
//!
//! Nothing is stored and nothing passed on meanwhile, so each report costs one look at most.

use alloc::sync::Arc;

use super::{Node, claims::Origin, probe::Kind};
use crate::{
    identity::{NodeId, Version},
    merge::{Order, compare, plausible},
    planted::Bug,
    record::State,
    stats::Counter,
    time::Instant,
    wire::Packed,
};

/// What a member says that refutes a failure, if `known` is no older than what it said last.
const fn refutation(failed: Version, known: Version) -> Version {
    if failed.generation > known.generation {
        Version { generation: failed.generation.saturating_add(1), incarnation: 0 }
    } else {
        Version { incarnation: failed.incarnation.saturating_add(1), ..failed }
    }
}

impl Node {
    /// Is this a failure to be looked into first? Then that has begun.
    pub(super) fn look_first(
        &mut self,
        now: Instant,
        claim: &Arc<Packed>,
        known: (Version, State),
        origin: Origin,
    ) -> bool {
        let id = claim.id();
        if known.1 != State::Alive
            || claim.state() != State::Failed
            || !plausible(known.0, refutation(claim.version(), known.0))
            || origin == Origin::Own
            || self.is_unmet(id)
            || !self.cfg.tuning.doubt_failures
            || self.broken(Bug::ObituaryBelieved)
        {
            return false;
        }
        // Whoever forges them gets no more looks out of us than answers. What was not looked into
        // comes again, by a sync.
        if matches!(origin, Origin::Packet(_)) && !self.may_react() {
            return true;
        }
        self.stats.count(Counter::FailuresDoubted);
        self.start_probe(now, id, Kind::Verify);
        if let Some(p) = self.probes.values_mut().find(|p| p.verifies(id)) {
            p.told.get_or_insert_with(|| Arc::clone(claim));
        }
        true
    }

    /// A look into a report met nobody: it is believed, if it still says something new.
    pub(super) fn believe_told(&mut self, now: Instant, told: &Arc<Packed>) -> bool {
        let newer = |e: &super::table::Entry| compare(e.rank(), told.rank()) == Order::Newer;
        let believed = self.table.get(told.id()).is_some_and(newer);
        if believed {
            self.accept(now, told, Origin::Stream { spread: true });
        }
        believed
    }

    /// What to tell the target of a ping that it is accused of.
    pub(super) fn told_of(&self, target: NodeId) -> Option<&Arc<Packed>> {
        self.probes.values().find(|p| p.verifies(target))?.told.as_ref()
    }
}
