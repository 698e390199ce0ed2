//! Protocol versions in a mixed cluster. Each record says which range its member speaks; two
//! members use the newest that both speak, and who has none in common with a cluster cannot join.
//!
//! What is new comes as a new message with a new tag, which older members skip and count: bodies
//! have one encoding and never grow. A member is sent a newer message only once its record says
//! that it understands it; what is gossiped must be understood by all, so a new kind of it would
//! wait until every live member's record does.
//!
//! Version 1: all but what follows. Version 2: `PlacedAck`.

use super::Node;
use crate::{identity::NodeId, planted::Bug, wire::Sender};

/// Oldest and newest protocol version that this code speaks.
pub const SPOKEN: (u8, u8) = (1, 2);
/// From this version on an answer to a ping may say where the member is.
pub(super) const PLACED_ACKS: u8 = 2;

/// The newest version in both ranges.
pub(crate) fn common(a: (u8, u8), b: (u8, u8)) -> Option<u8> {
    let newest = a.1.min(b.1);
    (newest >= a.0.max(b.0)).then_some(newest)
}

impl Node {
    /// The newest protocol version that a member and this node both speak, as far as its record is
    /// known; `None` for a stranger, and for a member without one.
    pub fn version_with(&self, id: NodeId) -> Option<u8> {
        common(self.cfg.tuning.protocol, self.table.get(id)?.record.protocol)
    }

    /// May `s`, who asks, be sent an answer with a coordinate? Its record must be of this life: one
    /// that came back with an older program is known by its last one for a moment.
    pub(super) fn takes_placed_acks(&self, s: Sender) -> bool {
        let known = self.table.get(s.id).map(|e| e.record.version.generation);
        self.broken(Bug::VersionIgnored)
            || known == Some(s.version.generation)
                && self.version_with(s.id).is_some_and(|v| v >= PLACED_ACKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_both_speak() {
        assert_eq!(common((1, 1), (1, 2)), Some(1));
        assert_eq!(common((1, 3), (2, 5)), Some(3));
        assert_eq!(common((1, 1), (2, 2)), None);
        assert_eq!(common((2, 2), (1, 1)), None);
    }
}
