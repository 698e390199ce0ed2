//! Streams: a model of TCP that is coarse in time and exact in what the two ends are told.
//!
//! A connection is tried at 0, 1, 3 and 7 seconds and given up after ten. Bytes travel in order,
//! in segments cut at keyed places, one under way per direction; what is lost is sent again with
//! growing delay and given up after thirty seconds. A process that dies leaves resets behind, a
//! host that is silent leaves silence, and a host that comes back answers with resets.

pub(super) mod playback;
mod slab;

use std::collections::VecDeque;

use quorate_core::{NodeId, StreamAction, StreamError, StreamId};

pub(super) use slab::Conns;

use super::{
    World,
    host::{Input, OnStream, Process, number_of},
    queue::{Part, Plan, Side},
};
use crate::{
    invariants::Overheard,
    keyed::{self, Purpose},
    trace::Kind,
};

const SECOND: u64 = 1_000_000_000;
/// First wait before a connection is tried again; doubles.
const SYN_RETRY: u64 = SECOND;
/// A connection is given up after this.
const SYN_TIMEOUT: u64 = 10 * SECOND;
/// First wait before a segment is sent again; doubles up to `RETRY_MAX`.
const RETRY: u64 = SECOND / 5;
const RETRY_MAX: u64 = 5 * SECOND;
/// A stream is given up when one segment took this long.
const SEND_TIMEOUT: u64 = 30 * SECOND;
/// Bytes that a kernel buffers for a process that does not read.
const RECEIVE_BYTES: usize = 256 * 1024;
/// Connections that a kernel accepts for a process that does not.
const BACKLOG: usize = 128;
/// Bytes of the largest segment.
const SEGMENT: usize = 32 * 1024;

/// What travels in one direction.
#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    Fin,
    Rst,
}

impl Chunk {
    fn len(&self) -> usize {
        if let Self::Bytes(b) = self { b.len() } else { 0 }
    }
}

#[derive(Debug, Default)]
struct Direction {
    queue: VecDeque<Chunk>,
    /// The first of the queue is under way or waits to be sent again.
    busy: bool,
    attempt: u32,
    since: u64,
    /// Draws so far.
    draws: u64,
}

#[derive(Debug)]
struct End {
    host: u32,
    life: u32,
    id: Option<StreamId>,
    /// The process still holds it.
    open: bool,
    /// Bytes may be sent from here.
    ready: bool,
}

#[derive(Debug)]
struct Conn {
    opener: End,
    acceptor: End,
    forth: Direction,
    back: Direction,
    since: u64,
    attempt: u32,
    cause: u64,
    /// What is said on it, if it is looked at.
    overheard: Option<Box<Overheard>>,
}

impl Conn {
    fn new(opener: End, to: u32, since: u64, cause: u64) -> Self {
        Self {
            opener,
            acceptor: End { host: to, life: 0, id: None, open: false, ready: false },
            forth: Direction::default(),
            back: Direction::default(),
            since,
            attempt: 0,
            cause,
            overheard: None,
        }
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Opener => &mut self.opener,
            Side::Acceptor => &mut self.acceptor,
        }
    }

    /// What goes out from `side`.
    fn from(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Opener => &mut self.forth,
            Side::Acceptor => &mut self.back,
        }
    }

    fn is_over(&self) -> bool {
        let idle = |d: &Direction| d.queue.is_empty();
        !self.opener.open && !self.acceptor.open && idle(&self.forth) && idle(&self.back)
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Opener => Side::Acceptor,
        Side::Acceptor => Side::Opener,
    }
}

impl World {
    /// The node at `h` asks for something on a stream.
    pub(super) fn stream_action(&mut self, h: usize, action: StreamAction) {
        match action {
            StreamAction::Open { id, to } => self.opens(h, id, to),
            StreamAction::Write { id, bytes } => {
                self.measures.stream_bytes += bytes.len() as u64;
                let len = bytes.len();
                self.note(h, Kind::Write, None, (len, id.number()), Default::default);
                if self.keeps_history {
                    self.hosts[h].speaks(id, &bytes, self.now);
                }
                self.queue_chunk(h, id, Chunk::Bytes(bytes));
                self.checks_answer(h, id);
            }
            StreamAction::Close { id } => {
                self.queue_chunk(h, id, Chunk::Fin);
                self.let_go(h, id);
            }
            StreamAction::Abort { id } => {
                self.queue_chunk(h, id, Chunk::Rst);
                self.let_go(h, id);
            }
        }
    }

    /// The member `own` at `h` asks for `action`: what it says is no accusation of itself (S5).
    pub(super) fn overhears(&mut self, h: usize, own: NodeId, action: &StreamAction) {
        let StreamAction::Write { id, bytes } = action else { return };
        let Some((slot, generation, side)) = self.side_of(h, *id) else { return };
        let Some(c) = self.conns.get(slot, generation) else { return };
        let Some(heard) = &mut c.overheard else { return };
        let checked = heard.writes(side == Side::Opener, own, bytes, self.ring.as_ref());
        self.check(h, checked);
    }

    fn opens(&mut self, h: usize, id: StreamId, to: std::net::SocketAddr) {
        let target = number_of(to).filter(|n| (*n as usize) < self.hosts.len()).unwrap_or(0);
        let seq = self.note(h, Kind::Open, Some(target), (0, id.number()), Default::default);
        let host = &self.hosts[h];
        // At an address that its host has left nobody answers: host 0 never hears.
        let target = if self.hosts[target as usize].addr == to { target } else { 0 };
        let opener =
            End { host: host.number, life: host.life, id: Some(id), open: true, ready: false };
        let mut conn = Conn::new(opener, target, self.now, seq);
        conn.overheard = self.is_looked_at(seq).then(Box::default);
        let (slot, generation) = self.conns.put(conn);
        self.hosts[h].streams.insert(id.number(), slot);
        if self.keeps_history {
            self.hosts[h].begins_to_speak(id, target, self.now);
        }
        self.send_syn(slot, generation);
    }

    /// One more packet from `from` to `to` about a stream, with `len` bytes of it: its delay, if it
    /// is not lost.
    fn stream_packet(&mut self, from: u32, to: u32, len: usize) -> Option<u64> {
        if from == to {
            return Some(20_000);
        }
        if self.network.is_blocked(from, to) {
            return None;
        }
        let hosts = self.hosts.len();
        let nth = self.hosts[from as usize].count_packet(to, hosts);
        let link = keyed::link(from, to);
        let p = self.network.profile(from, to);
        if self.loses(&p, link, nth) {
            return None;
        }
        let queueing = self.queueing(from as usize, &p, len)?;
        Some(queueing + self.latency(&p, link, nth))
    }

    fn send_syn(&mut self, slot: u32, generation: u32) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        let (from, to, attempt) = (c.opener.host, c.acceptor.host, c.attempt);
        c.attempt += 1;
        match self.stream_packet(from, to, 0) {
            Some(delay) if self.hosts[to as usize].hears(self.now) => {
                let plan = Plan::Stream(slot, generation, Part::SynArrives);
                self.queue.plan(self.now + delay, plan);
            }
            _ => self.retry_syn(slot, generation, attempt),
        }
    }

    fn retry_syn(&mut self, slot: u32, generation: u32, attempt: u32) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        let limit = c.since + SYN_TIMEOUT;
        let at = (self.now + (SYN_RETRY << attempt.min(6))).min(limit).max(self.now + 1);
        self.queue.plan(at, Plan::Stream(slot, generation, Part::SynRetry));
    }

    /// Something planned about a stream happens.
    pub(super) fn stream_goes_on(&mut self, slot: u32, generation: u32, part: Part) {
        let now = self.now;
        let Some(c) = self.conns.get(slot, generation) else { return };
        let cause = c.cause;
        match part {
            Part::SynRetry => {
                if !c.opener.open {
                    c.forth.queue.clear();
                } else if now >= c.since + SYN_TIMEOUT {
                    self.cause = cause;
                    self.breaks(slot, generation, Side::Opener, StreamError::TimedOut);
                } else {
                    self.send_syn(slot, generation);
                }
            }
            Part::SynArrives => {
                self.cause = cause;
                self.syn_arrives(slot, generation);
            }
            Part::Opened => {
                self.cause = cause;
                self.answer_arrives(slot, generation);
            }
            Part::Refused => {
                self.cause = cause;
                self.breaks(slot, generation, Side::Opener, StreamError::Refused);
            }
            Part::ResetArrives(side) => {
                self.cause = cause;
                self.breaks(slot, generation, side, StreamError::Reset);
            }
            Part::Arrives(from) => {
                self.cause = cause;
                self.segment_arrives(slot, generation, from);
            }
            Part::Retry(from) => self.resend(slot, generation, from),
        }
        self.conns.drop_if_over(slot);
    }

    fn syn_arrives(&mut self, slot: u32, generation: u32) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        let (from, to, attempt) = (c.opener.host, c.acceptor.host, c.attempt - 1);
        let host = &self.hosts[to as usize];
        let full = host.is_stopped(self.now) && host.inbox.len() >= BACKLOG + RECEIVE_BYTES / 1024;
        if !host.hears(self.now) || full {
            return self.retry_syn(slot, generation, attempt);
        }
        let refused = host.process != Process::Up;
        if !refused {
            self.accepts(slot, generation);
        }
        let part = if refused { Part::Refused } else { Part::Opened };
        let mut delay = self.stream_packet(to, from, 0);
        // A lost answer to a connection that was accepted is sent again by the acceptor.
        if delay.is_none() && !self.network.is_blocked(to, from) && !refused {
            delay = Some(SYN_RETRY << attempt.min(3));
        }
        match delay {
            Some(d) => self.queue.plan(self.now + d, Plan::Stream(slot, generation, part)),
            None => self.retry_syn(slot, generation, attempt),
        }
    }

    /// The kernel accepts, once, whether or not the process looks.
    fn accepts(&mut self, slot: u32, generation: u32) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        if c.acceptor.id.is_some() {
            return;
        }
        let (h, from) = (c.acceptor.host as usize, c.opener.host);
        let host = &mut self.hosts[h];
        host.accepted += 1;
        let id = StreamId::accepted(host.accepted);
        let life = host.life;
        host.streams.insert(id.number(), slot);
        if let Some(c) = self.conns.get(slot, generation) {
            c.acceptor = End { host: h as u32, life, id: Some(id), open: true, ready: true };
        }
        self.note(h, Kind::Accept, Some(from), (0, id.number()), Default::default);
        self.tell(slot, generation, Side::Acceptor, OnStream::Accepted);
    }

    /// The opener's kernel hears that the connection was accepted.
    fn answer_arrives(&mut self, slot: u32, generation: u32) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        if c.opener.ready || !self.hears_end(slot, generation, Side::Opener) {
            return;
        }
        let Some(c) = self.conns.get(slot, generation) else { return };
        c.opener.ready = true;
        if c.opener.open {
            self.tell(slot, generation, Side::Opener, OnStream::Connected);
        } else {
            // The process gave up meanwhile: its kernel says so.
            c.forth.queue.clear();
            c.forth.queue.push_back(Chunk::Rst);
        }
        self.pump(slot, generation, Side::Opener);
    }

    /// Hands something to the process at one end, now or when it gets the processor.
    fn tell(&mut self, slot: u32, generation: u32, side: Side, what: OnStream) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        let end = c.end(side);
        if !end.open {
            return;
        }
        let (h, life) = (end.host as usize, end.life);
        if self.hosts[h].life != life || !self.hosts[h].is_up() {
            return;
        }
        if self.is_ready(h) {
            self.takes_stream(slot, generation, side, what);
        } else {
            let cause = self.cause;
            self.waits(h, Input::Stream { slot, generation, side, what, cause });
        }
    }

    /// The process at one end handles what its kernel told.
    pub(super) fn takes_stream(&mut self, slot: u32, generation: u32, side: Side, what: OnStream) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        let (opener, is_playback) = (c.opener.host, c.is_playback());
        let end = c.end(side);
        let (h, Some(id)) = (end.host as usize, end.id) else { return };
        // A stream that the process let go meanwhile is nothing to it.
        if !end.open && !matches!(what, OnStream::Failed(_)) {
            return;
        }
        if self.hosts[h].streams.get(&id.number()) != Some(&slot) {
            return;
        }
        if matches!(what, OnStream::Failed(_)) {
            end.open = false;
            self.hosts[h].streams.remove(&id.number());
        }
        if is_playback {
            self.takes_playback(h, id, opener, &what);
        } else {
            self.stream_input(h, id, opener, &what);
        }
        self.conns.drop_if_over(slot);
    }

    /// The stream is gone for one end.
    fn breaks(&mut self, slot: u32, generation: u32, side: Side, error: StreamError) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        c.from(side).queue.clear();
        c.from(side).busy = false;
        c.end(side).ready = false;
        self.tell(slot, generation, side, OnStream::Failed(error));
        // Whoever could not be told (no process) holds nothing either.
        if let Some(c) = self.conns.get(slot, generation) {
            let end = c.end(side);
            let h = end.host as usize;
            if self.hosts[h].life != end.life || !self.hosts[h].is_up() || end.id.is_none() {
                end.open = false;
            }
        }
        self.conns.drop_if_over(slot);
    }

    fn side_of(&mut self, h: usize, id: StreamId) -> Option<(u32, u32, Side)> {
        let slot = *self.hosts[h].streams.get(&id.number())?;
        let generation = self.conns.generation(slot);
        let side = if id.is_accepted() { Side::Acceptor } else { Side::Opener };
        let c = self.conns.get(slot, generation)?;
        if c.end(side).id == Some(id) { Some((slot, generation, side)) } else { None }
    }

    fn queue_chunk(&mut self, h: usize, id: StreamId, chunk: Chunk) {
        let Some((slot, generation, side)) = self.side_of(h, id) else { return };
        let cause = self.cause;
        let keyed = self.keyed;
        let Some(c) = self.conns.get(slot, generation) else { return };
        c.cause = cause;
        let link = keyed::link(c.opener.host, c.acceptor.host);
        let d = c.from(side);
        match chunk {
            Chunk::Bytes(mut bytes) => {
                // One cut at a place that the writer did not choose, the rest by size.
                d.draws += 1;
                let n = keyed.below(Purpose::Cut, link, d.draws ^ id.number() << 32, 4);
                if n == 0 && bytes.len() > 1 {
                    let len = bytes.len() as u64 - 1;
                    let at = 1 + keyed.below(Purpose::Cut, !link, d.draws, len) as usize;
                    let tail = bytes.split_off(at);
                    push_bytes(d, bytes);
                    bytes = tail;
                }
                push_bytes(d, bytes);
            }
            Chunk::Rst => {
                // What is under way stays under way, the rest is void.
                d.queue.truncate(usize::from(d.busy));
                d.queue.push_back(Chunk::Rst);
            }
            Chunk::Fin => d.queue.push_back(Chunk::Fin),
        }
        self.pump(slot, generation, side);
    }

    /// The process holds the stream no more; what is queued still goes out.
    fn let_go(&mut self, h: usize, id: StreamId) {
        let Some((slot, generation, side)) = self.side_of(h, id) else { return };
        self.hosts[h].streams.remove(&id.number());
        if let Some(c) = self.conns.get(slot, generation) {
            c.end(side).open = false;
            // Not even connected: nothing will ever be sent.
            if side == Side::Opener && !c.opener.ready {
                c.forth.queue.clear();
            }
        }
        self.conns.drop_if_over(slot);
    }

    /// Sends the next segment if none is under way.
    fn pump(&mut self, slot: u32, generation: u32, side: Side) {
        let now = self.now;
        let Some(c) = self.conns.get(slot, generation) else { return };
        if !c.end(side).ready {
            return;
        }
        let d = c.from(side);
        if d.busy || d.queue.is_empty() {
            return;
        }
        (d.busy, d.attempt, d.since) = (true, 0, now);
        self.transmit(slot, generation, side);
    }

    fn transmit(&mut self, slot: u32, generation: u32, side: Side) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        let (from, to) = (c.end(side).host, c.end(other(side)).host);
        let d = c.from(side);
        let attempt = d.attempt;
        d.attempt += 1;
        let len = d.queue.front().map_or(0, Chunk::len);
        let delay = self.stream_packet(from, to, len);
        let (at, part) = match delay {
            Some(delay) if self.hears_end(slot, generation, other(side)) => {
                (self.now + delay, Part::Arrives(side))
            }
            _ => (self.now + (RETRY << attempt.min(6)).min(RETRY_MAX), Part::Retry(side)),
        };
        self.queue.plan(at, Plan::Stream(slot, generation, part));
    }

    fn resend(&mut self, slot: u32, generation: u32, side: Side) {
        let now = self.now;
        let Some(c) = self.conns.get(slot, generation) else { return };
        let (host, is_played) = (c.end(side).host as usize, c.is_played_from(side));
        let d = c.from(side);
        if !d.busy {
            return;
        }
        // A suspended or dead host sends nothing again.
        if self.hosts[host].process == Process::Off && !is_played {
            if let Some(c) = self.conns.get(slot, generation) {
                c.from(side).queue.clear();
                c.from(side).busy = false;
                c.end(side).open = false;
            }
            return;
        }
        if now >= d.since + SEND_TIMEOUT {
            self.breaks(slot, generation, side, StreamError::TimedOut);
        } else {
            self.transmit(slot, generation, side);
        }
    }

    fn segment_arrives(&mut self, slot: u32, generation: u32, side: Side) {
        let now = self.now;
        let Some(c) = self.conns.get(slot, generation) else { return };
        let to = other(side);
        let end = c.end(to);
        let (open, h) = (end.open, end.host as usize);
        let host = &self.hosts[h];
        let buffered = host.inbox.iter().map(held_bytes).sum::<usize>();
        let stalls = open && !host.inbox.is_empty() && buffered >= RECEIVE_BYTES;
        if stalls || !self.hears_end(slot, generation, to) {
            let plan = Plan::Stream(slot, generation, Part::Retry(side));
            return self.queue.plan(now + RETRY, plan);
        }
        let Some(c) = self.conns.get(slot, generation) else { return };
        let d = c.from(side);
        d.busy = false;
        let Some(chunk) = d.queue.pop_front() else { return };
        match chunk {
            Chunk::Bytes(bytes) if open => {
                self.tell(slot, generation, to, OnStream::Data(bytes));
            }
            Chunk::Bytes(_) => return self.answer_reset(slot, generation, side),
            Chunk::Fin => {
                if let Some(c) = self.conns.get(slot, generation) {
                    c.end_playback(side);
                }
                self.tell(slot, generation, to, OnStream::Finished);
            }
            Chunk::Rst => self.breaks(slot, generation, to, StreamError::Reset),
        }
        self.pump(slot, generation, side);
    }

    /// Bytes came to an end that nobody holds: the kernel there answers with a reset.
    fn answer_reset(&mut self, slot: u32, generation: u32, side: Side) {
        let Some(c) = self.conns.get(slot, generation) else { return };
        c.from(side).queue.clear();
        let (from, to) = (c.end(other(side)).host, c.end(side).host);
        // If the answer is lost, the sender would send again and meet it later.
        let delay = self.stream_packet(from, to, 0).unwrap_or(RETRY * 2);
        if self.network.is_blocked(from, to) {
            return;
        }
        let plan = Plan::Stream(slot, generation, Part::ResetArrives(side));
        self.queue.plan(self.now + delay, plan);
    }

    /// The process at `h` is gone. Its kernel resets what it held, unless the host is silent.
    pub(super) fn drop_streams(&mut self, h: usize, silent: bool) {
        let held = std::mem::take(&mut self.hosts[h].streams);
        for (number, slot) in held {
            let generation = self.conns.generation(slot);
            let accepted = number & 1 == 1;
            let side = if accepted { Side::Acceptor } else { Side::Opener };
            let Some(c) = self.conns.get(slot, generation) else { continue };
            c.end(side).open = false;
            let d = c.from(side);
            if silent {
                d.queue.clear();
                d.busy = false;
            } else {
                d.queue.truncate(usize::from(d.busy));
                d.queue.push_back(Chunk::Rst);
            }
            if !c.end(side).ready {
                c.from(side).queue.clear();
            }
            self.pump(slot, generation, side);
            self.conns.drop_if_over(slot);
        }
    }
}

fn push_bytes(d: &mut Direction, mut bytes: Vec<u8>) {
    while bytes.len() > SEGMENT {
        let tail = bytes.split_off(SEGMENT);
        d.queue.push_back(Chunk::Bytes(bytes));
        bytes = tail;
    }
    d.queue.push_back(Chunk::Bytes(bytes));
}

fn held_bytes(i: &Input) -> usize {
    if let Input::Stream { what, .. } = i { what.bytes() } else { 0 }
}
