//! Reading ahead. A program that holds thousands of nodes finds each of them in no cache; if it
//! knows which one is next, memory can bring that one while another is at work.
//!
//! What is found through other memory comes one step later, when that other memory is there.
//! Nothing changes.

use core::ptr::from_ref;

use super::Node;
use crate::{identity::NodeId, stats::Counter};

/// Counters that most inputs raise.
const COUNTED: [Counter; 3] = [Counter::DatagramsIn, Counter::DatagramBytesIn, Counter::Probes];

/// Where it is.
const fn at<T>(x: &T) -> *const u8 {
    from_ref(x).cast()
}

impl Node {
    /// Steps of [`Node::ahead`]: 0 to this, exclusive.
    pub const STEPS_AHEAD: usize = 5;

    /// Names to `hint` the places that an input from the member `from`, or the next deadline,
    /// will read: call it with each step in turn, with something else between.
    pub fn ahead(&self, step: usize, from: Option<NodeId>, hint: &mut impl FnMut(*const u8)) {
        match step {
            0 => self.pieces_ahead(hint),
            1 => {
                self.timers.ahead(hint);
                hint(self.out.as_slices().0.as_ptr().cast());
                hint(at(&*self.me));
            }
            _ => {}
        }
        if let Some(step) = step.checked_sub(1) {
            self.table.ahead(step, from).into_iter().for_each(&mut *hint);
            let known = from.filter(|_| step < 2);
            known.and_then(|id| self.vivaldi.ahead(step, id)).into_iter().for_each(hint);
        }
    }

    /// The pieces that stand in one row, by something of each: few, since memory brings only so
    /// many lines at a time.
    fn pieces_ahead(&self, hint: &mut impl FnMut(*const u8)) {
        for c in COUNTED {
            hint(at(self.stats.place(c)));
        }
        for p in [
            at(&self.cfg.tuning.observers),
            at(&self.cfg.tuning.probe_interval),
            at(&self.cfg.limits.datagram_bytes),
            at(&self.envelope),
            at(&self.queue),
            at(&self.timers),
            at(&self.out),
            at(&self.watches),
            at(&self.notes.hearsay),
            at(&self.probes),
            at(&self.conns),
            at(&self.awareness),
        ] {
            hint(p);
        }
        self.table.pieces_ahead(hint);
    }
}
