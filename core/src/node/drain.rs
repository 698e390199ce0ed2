//! What goes out: datagrams are intents until the driver asks for them, so that the newest state
//! leaves; streams, disk and events wait in order. Every queue has a cap, and counts what it drops.

use alloc::{collections::VecDeque, vec::Vec};
use core::net::SocketAddr;

use super::Node;
use crate::{
    identity::NodeId,
    output::{Event, Persist, StreamAction, Transmit},
    planted::Bug,
    record::State,
    stats::Counter,
    time::Instant,
    wire::{self, Cookie, Message},
};

/// A datagram to be written when the driver asks for it, so that the newest state goes out.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A ping; with the accusation, if its target is accused here.
    Ping { to: SocketAddr, target: NodeId, cookie: Cookie },
    /// An answer. `known`: the receiver, if it is a member: what fits rides along.
    Message { to: SocketAddr, message: Message, known: Option<NodeId> },
    /// What is known of one member, to somebody who is behind.
    Claim { to: SocketAddr, about: NodeId },
    /// Where this server stands in the bootstrap agreement.
    Report { to: SocketAddr, id: NodeId, echo: Cookie },
    /// Queued claims only.
    Gossip { to: SocketAddr, id: NodeId },
}

/// Places that an empty queue keeps.
const QUIET: usize = 16;

/// A mass join leaves no memory behind.
fn shrink<T>(empty: &mut VecDeque<T>) {
    if empty.capacity() > QUIET {
        empty.shrink_to(QUIET);
    }
}

/// The first thing goes where the last ones were, not once around the whole ring.
fn push<T>(queue: &mut VecDeque<T>, x: T) {
    if queue.is_empty() {
        queue.clear();
    }
    queue.push_back(x);
}

impl Node {
    /// Writes the next datagram into `buf`, which is cleared first.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        while let Some(next) = self.scratch.out.pop_front() {
            self.envelope.begin(buf);
            let empty = buf.len();
            let to = self.write(now, next, buf);
            if buf.len() == empty {
                continue;
            }
            self.envelope.finish(buf);
            self.stats.count(Counter::DatagramsOut);
            self.stats.add(Counter::DatagramBytesOut, buf.len() as u64);
            return Some(Transmit { to, len: buf.len() });
        }
        shrink(&mut self.scratch.out);
        None
    }

    fn write(&mut self, now: Instant, o: Outgoing, buf: &mut Vec<u8>) -> SocketAddr {
        match o {
            Outgoing::Ping { to, target, cookie } => {
                let (root, room) = (self.root(), self.datagram_room());
                let (from, mark) = (self.sender(), wire::Mark::new(cookie, target));
                let ping = wire::Ping { cookie, from, target: mark, root };
                wire::append_message(&Message::Ping(ping), buf);
                if let Some(e) = self.table.get(target)
                    && e.state() != State::Alive
                {
                    wire::append_claim(e, buf);
                    // It may hold us for gone, too.
                    let tell = !e.is_live() && !self.broken(Bug::GoneNotTold);
                    let own = self.claim_about(self.me.id).filter(|_| tell);
                    if let Some(c) = own.filter(|c| buf.len() + 3 + c.body().len() <= room) {
                        wire::append_claim(&c, buf);
                    }
                } else if let Some(c) = self.told_of(target) {
                    wire::append_claim(c, buf);
                }
                self.piggyback(target, buf);
                to
            }
            Outgoing::Message { to, message, known } => {
                wire::append_message(&message, buf);
                if let Some(id) = known {
                    self.piggyback(id, buf);
                }
                to
            }
            Outgoing::Claim { to, about } => {
                if let Some(c) = self.claim_about(about) {
                    wire::append_claim(&c, buf);
                }
                to
            }
            Outgoing::Report { to, id, echo } => {
                let report = self.bootstrap_report(now, id, echo);
                wire::append_message(&Message::BootstrapReport(report), buf);
                to
            }
            Outgoing::Gossip { to, id } => {
                self.piggyback(id, buf);
                to
            }
        }
    }

    /// Bytes of a datagram, without what protects it behind.
    pub(super) fn datagram_room(&self) -> usize {
        self.cfg.limits.datagram_bytes.saturating_sub(self.envelope.trailer())
    }

    /// What to do with streams, in order.
    pub fn poll_stream(&mut self) -> Option<StreamAction> {
        self.stream_out.pop_front().or_else(|| {
            shrink(&mut self.stream_out);
            None
        })
    }

    /// The newest state to be persisted, if it has not been taken yet.
    pub fn poll_persist(&mut self) -> Option<Persist> {
        // Looked at after every input: what is not there is not moved.
        if self.storage.waiting.is_some() { self.storage.waiting.take() } else { None }
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| {
            shrink(&mut self.events);
            let count = core::mem::take(&mut self.events_lost);
            let told = count > 0 && !self.broken(Bug::OverflowUntold);
            told.then_some(Event::Lost { count })
        })
    }

    /// When [`Node::handle_timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn transmit(&mut self, o: Outgoing) {
        if self.scratch.out.len() >= self.cfg.limits.transmits {
            self.stats.count(Counter::QueueOverflow);
            return;
        }
        push(&mut self.scratch.out, o);
    }

    pub(super) fn event(&mut self, e: Event) {
        if self.events.len() >= self.cfg.limits.events {
            self.events_lost += 1;
            self.stats.count(Counter::EventsLost);
            return;
        }
        push(&mut self.events, e);
    }
}
