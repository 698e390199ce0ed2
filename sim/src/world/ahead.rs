//! Looks ahead: the next occurrences are known, and each finds another host, whose memory is in no
//! cache. So what they will read is asked for before, a step at each occurrence: a packet says
//! which host it is for, a host where its node is, a node where the sender's record is.
//!
//! Guarantee: nothing changes, so runs are the same with and without.

use std::ptr::from_ref;

use quorate_core::Node;

use super::{
    World,
    host::{Host, number_of},
    queue::{NEAR, Plan},
};
use crate::prefetch::prefetch;

/// Steps before those of the node: the packet, then the host.
const FIRST: usize = 2;
const STEPS: usize = FIRST + Node::STEPS_AHEAD;

const _: () = assert!(STEPS <= NEAR, "so many are known");

impl World {
    /// Takes the next step of each of the next occurrences.
    pub(super) fn look_ahead(&self) {
        for by in 0..STEPS {
            if let Some(plan) = self.queue.ahead(by) {
                self.step_ahead(STEPS - 1 - by, plan);
            }
        }
    }

    fn step_ahead(&self, step: usize, plan: Plan) {
        let (h, from, bytes) = match plan {
            Plan::Datagram(slot) if step == 0 => return self.packets.ahead(slot),
            Plan::Datagram(slot) => {
                let Some((from, to, bytes)) = self.packets.peek(slot) else { return };
                (number_of(to).unwrap_or(0), number_of(from), bytes)
            }
            Plan::Timer(h) => (h, None, &[][..]),
            _ => return,
        };
        let Some(host) = self.hosts.get(h as usize) else { return };
        let Some(step) = step.checked_sub(FIRST) else {
            bytes.iter().step_by(64).for_each(|b| prefetch(b));
            return host.ahead();
        };
        if step == 0
            && let Some(sent) = from.and_then(|n| host.sent.get(n as usize))
        {
            prefetch(from_ref(sent).cast());
        }
        let sender = from.and_then(|n| self.hosts.get(n as usize));
        let id = sender.and_then(|s| self.identities.get(s.identity as usize));
        if let Some(node) = &host.node {
            node.ahead(step, id.map(|x| x.0), &mut |p| prefetch(p));
        }
    }
}

impl Host {
    /// What every input reads.
    fn ahead(&self) {
        for p in [
            from_ref(&self.addr).cast(),
            from_ref(&self.node).cast(),
            from_ref(&self.clock).cast(),
            from_ref(&self.timer_at).cast(),
            from_ref(&self.inbox).cast(),
            from_ref(&self.streams).cast(),
            from_ref(&self.sent).cast(),
            from_ref(&self.revision).cast(),
        ] {
            prefetch(p);
        }
    }
}
