//! What may be answered to whom. A source address can be forged: what goes to one that no member
//! has is never larger than what came from it, and there are few such answers in a second.

use alloc::vec::Vec;
use core::{net::SocketAddr, time::Duration};

use super::{Node, Outgoing};
use crate::{identity::NodeId, planted::Bug, stats::Counter, time::Instant, wire::Message};

/// Heads of IP and UDP, which an answer has as well as a question.
const IP_UDP_BYTES: usize = 28;
/// Answers to strangers, per so long: a storm of joins stays below, it uses streams.
const STRANGERS: (u32, Duration) = (256, Duration::from_secs(1));

/// Stronger claims sent back to whoever is behind, per so long.
const CORRECTIONS: (u32, Duration) = (32, Duration::from_millis(200));

/// What may still be answered.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Bytes that the datagram at hand has left for answers to strangers.
    room: usize,
    /// Answers to strangers until the next refill.
    left: u32,
    /// Addresses that may still be looked for among all members until then.
    looks: u32,
    refill_at: Instant,
    correct_at: Instant,
}

impl Node {
    /// A datagram of so many bytes came; what it leads to may be answered.
    pub(super) fn begin_replies(&mut self, now: Instant, bytes: usize) {
        self.replies.room = bytes + IP_UDP_BYTES;
        if now >= self.replies.refill_at {
            self.replies.left = STRANGERS.0;
            self.replies.looks = STRANGERS.0;
            self.replies.refill_at = now + STRANGERS.1;
        }
        if now >= self.replies.correct_at {
            self.replies_left = CORRECTIONS.0;
            self.replies.correct_at = now + CORRECTIONS.1;
        }
    }

    /// Answers the sender of the datagram at hand, who may be a stranger.
    pub(super) fn answer(&mut self, to: SocketAddr, message: Message) {
        if self.may_say(to, &message) {
            self.transmit(Outgoing::Message { to, message, known: None });
        }
    }

    /// One of the things that claims make us say, which are few per so long, whoever makes them up.
    pub(super) fn may_react(&mut self) -> bool {
        let some = self.replies_left > 0 || self.broken(Bug::CorrectionsUnlimited);
        if some {
            self.replies_left = self.replies_left.saturating_sub(1);
        } else {
            self.stats.count(Counter::CorrectionsWithheld);
        }
        some
    }

    /// Tells whoever is behind what is known of a member, as far as the rate allows.
    pub(super) fn correct_at(&mut self, to: SocketAddr, about: NodeId) {
        let Some(claim) = self.claim_about(about) else { return };
        if !self.may_react() {
            return;
        }
        if claim.record.addr != to && !self.may_say(to, &Message::Claim((*claim).clone())) {
            // Nothing was said, so it does not count.
            self.replies_left += 1;
        } else {
            self.transmit(Outgoing::Claim { to, about });
        }
    }

    /// May this be said to an address that may be forged?
    fn may_say(&mut self, to: SocketAddr, m: &Message) -> bool {
        let mut bytes = Vec::new();
        self.envelope.measure(m, &mut bytes);
        let size = bytes.len() + IP_UDP_BYTES;
        let (many, large) =
            (self.broken(Bug::StrangersOftenTold), self.broken(Bug::StrangersToldMore));
        let r = &mut self.replies;
        if (r.left > 0 || many) && (size <= r.room || large) {
            (r.room, r.left) = (r.room.saturating_sub(size), r.left.saturating_sub(1));
            return true;
        }
        // Whoever sends from many addresses must not have us look through the list each time.
        if r.looks > 0 {
            r.looks -= 1;
            if self.table.iter().any(|e| e.record.addr == to) {
                return true;
            }
        }
        self.stats.count(Counter::RepliesWithheld);
        false
    }
}
