//! Network coordinates in a run: how good the estimates are, and a member that lies about its own.

use quorate_core::{
    Coordinate, DIMENSIONS, Place,
    wire::{self, Message},
};

use super::{World, drive::label};
use crate::{
    checks::{self, Wrong},
    scenario::{NodeSet, Rate},
};

/// Where a misplaced node says it is, in each dimension: nine seconds off.
const FAR_US: i32 = 9_000_000;

impl World {
    /// Is every estimate of a round trip among these within `off` of the link's mean?
    pub(super) fn is_near(&self, nodes: &NodeSet, off: Rate) -> Result<(), Wrong> {
        let hosts: Vec<usize> = self.subjects(nodes).filter(|h| self.takes_part(*h)).collect();
        if hosts.len() < 2 {
            return Err(Wrong::Nobody);
        }
        for &a in &hosts {
            for &b in hosts.iter().filter(|b| **b != a) {
                let wrong = |what| checks::wrong(a, format!("n{b} from n{a}: {what}"));
                let Some(estimate_ns) = self.estimate_ns(a, b) else {
                    return wrong("no coordinate was heard".to_owned());
                };
                let mean_ns = self.mean_rtt_ns(a, b);
                let most = u128::from(mean_ns) * u128::from(off.0) / 1_000_000;
                if u128::from(estimate_ns.abs_diff(mean_ns)) > most {
                    let us = |ns: u64| ns / 1000;
                    return wrong(format!("{} us, it is {} us", us(estimate_ns), us(mean_ns)));
                }
            }
        }
        Ok(())
    }

    /// What `a` estimates, from its own coordinate and what it heard of the other.
    fn estimate_ns(&self, a: usize, b: usize) -> Option<u64> {
        let id = self.identities.get(self.hosts[b].identity as usize)?.0;
        let node = self.hosts[a].node.as_ref()?;
        let distance = node.coordinate().distance(&node.coordinate_of(id)?);
        u64::try_from(distance.as_nanos()).ok()
    }

    /// There and back, half way between the shortest and the longest way.
    fn mean_rtt_ns(&self, a: usize, b: usize) -> u64 {
        let (a_to_b, b_to_a) = (self.profile(a, b as u32), self.profile(b, a as u32));
        let mean = |min: u64, max: u64| min / 2 + max / 2;
        mean(a_to_b.latency_min_ns, a_to_b.latency_max_ns)
            + mean(b_to_a.latency_min_ns, b_to_a.latency_max_ns)
    }
}

/// Writes another place, far away and sure of itself, into the answers of a datagram. What is
/// sealed stays as it is.
pub(super) fn misplace(bytes: &mut Vec<u8>) {
    let Ok(body) = wire::open_datagram(&label(), bytes) else { return };
    let messages: Vec<Message> = wire::messages(body).filter_map(Result::ok).flatten().collect();
    if !messages.iter().any(|m| matches!(m, Message::PlacedAck(_))) {
        return;
    }
    let head = wire::stream_head(&label());
    wire::begin_datagram(&head, bytes);
    for mut m in messages {
        if let Message::PlacedAck(a) = &mut m {
            let origin = Place::from(&Coordinate::ORIGIN);
            a.place = Place { vec_us: [FAR_US; DIMENSIONS], error: 0, ..origin };
        }
        wire::append_message(&m, bytes);
    }
    wire::finish_datagram(&head, bytes);
}
