//! Tags and meta that change while the node runs: a new version carries them, as for anything that
//! a member publishes (S4: one content per version).

use super::{LocalState, Node};
use crate::{identity::Version, planted::Bug, record::Record, time::Instant};

impl Node {
    /// Publishes the tags and meta of the configuration, if they differ from what is published. A
    /// node that is only starting takes them along when its generation is on disk.
    pub(super) fn publish_changes(&mut self, now: Instant) {
        let same = (&self.me.tags, &self.me.meta) == (&self.cfg.tags, &self.cfg.meta);
        if same || self.state != LocalState::Running {
            return;
        }
        let old = self.me.version;
        if self.broken(Bug::RetagKeepsVersion) {
            self.me = self.record_at(old).into();
            self.revision += 1;
            return;
        }
        match old.incarnation.checked_add(1) {
            Some(incarnation) => self.publish(now, Version { incarnation, ..old }),
            // Nothing wraps: they come with the next generation.
            None => self.mint_generation(old.generation),
        }
    }

    /// Our record at a version, with what is to be told now.
    pub(super) fn record_at(&self, version: Version) -> Record {
        let mut me = (*self.me).clone();
        me.version = version;
        me.tags.clone_from(&self.cfg.tags);
        me.meta.clone_from(&self.cfg.meta);
        me
    }
}
