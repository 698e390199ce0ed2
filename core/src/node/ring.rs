//! The members that follow this node in the order of ids, which is a ring: some of those that hear
//! news from it. Told at random only, news misses some members for a while (e^-3 of them, when each
//! tells three); with the next one told by each, it goes round to all, and those told at random
//! make the way short (`RingCast`: Voulgaris and van Steen 2007, "Hybrid Dissemination").

use alloc::vec::Vec;

use crate::identity::NodeId;

/// The nearest live followers.
#[derive(Debug, Default)]
pub(super) struct Ring {
    me: u128,
    /// So many are kept.
    room: usize,
    /// How far from here, and slot; the nearest first. Fewer than there is room for: no more live.
    nearest: Vec<(u128, u32)>,
    /// One of them is not live any more: others have to be looked for.
    lacks: bool,
}

impl Ring {
    /// Of this node, with nobody in it.
    pub(super) fn new(me: NodeId, room: usize) -> Self {
        Self { me: number(me), room, ..Self::default() }
    }

    /// A member is live now.
    pub(super) fn add(&mut self, id: NodeId, slot: u32) {
        if self.lacks {
            return;
        }
        let far = number(id).wrapping_sub(self.me);
        let at = self.nearest.partition_point(|(d, _)| *d < far);
        if at < self.room {
            self.nearest.truncate(self.room - 1);
            self.nearest.insert(at, (far, slot));
        }
    }

    /// A member is live no more.
    pub(super) fn remove(&mut self, slot: u32) {
        self.lacks |= self.nearest.iter().any(|(_, s)| *s == slot);
    }

    /// Looks for those that are lacking; `live`: all that are.
    pub(super) fn refill(&mut self, live: impl Iterator<Item = (NodeId, u32)>) {
        if core::mem::take(&mut self.lacks) {
            self.nearest.clear();
            live.for_each(|(id, slot)| self.add(id, slot));
        }
    }

    /// The slots of the followers, the nearest first.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.nearest.iter().map(|(_, slot)| *slot)
    }
}

fn number(id: NodeId) -> u128 {
    u128::from_be_bytes(*id.as_bytes())
}
