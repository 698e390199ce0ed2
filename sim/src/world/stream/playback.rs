//! Streams that come again: somebody on the way keeps what a node says on those that it opens, and
//! says it once more, from its address, to whom it was said to.
//!
//! A stream that is played back has no opener's end with a number: whatever comes back to it is
//! heard by nobody, and it takes no host that runs.

use quorate_core::StreamId;

use super::{
    super::{
        World,
        host::{Host, OnStream},
        queue::Side,
    },
    Chunk, Conn, End, push_bytes,
};
use crate::{invariants, trace::Kind};

/// Streams of the recent past kept per node.
const STREAMS: usize = 32;
/// Bytes kept of each, from its first.
const BYTES: usize = 16 * 1024;

/// What a node said on one stream that it opened.
#[derive(Debug)]
pub(in crate::world) struct Spoken {
    id: StreamId,
    to: u32,
    /// When it said something last.
    at: u64,
    bytes: Vec<u8>,
}

impl Host {
    /// The node opens a stream to host `to`, and is listened to.
    pub(in crate::world) fn begins_to_speak(&mut self, id: StreamId, to: u32, now: u64) {
        if self.spoken.len() >= STREAMS {
            self.spoken.pop_front();
        }
        self.spoken.push_back(Spoken { id, to, at: now, bytes: Vec::new() });
    }

    /// The node says something there.
    pub(in crate::world) fn speaks(&mut self, id: StreamId, bytes: &[u8], now: u64) {
        // A later process may use the number again: the last is meant.
        if let Some(s) = self.spoken.iter_mut().rev().find(|s| s.id == id) {
            let room = BYTES - s.bytes.len();
            s.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
            s.at = now;
        }
    }
}

impl Conn {
    pub(super) const fn is_playback(&self) -> bool {
        self.opener.id.is_none()
    }

    /// Is what goes out from `side` played back?
    pub(super) fn is_played_from(&self, side: Side) -> bool {
        self.is_playback() && side == Side::Opener
    }

    /// All that was to be said from `side` was said: whoever played it back is gone.
    pub(super) fn end_playback(&mut self, side: Side) {
        if self.is_played_from(side) {
            self.opener.open = false;
        }
    }
}

impl World {
    /// Does a packet come to that end?
    pub(super) fn hears_end(&mut self, slot: u32, generation: u32, side: Side) -> bool {
        let Some(c) = self.conns.get(slot, generation) else { return false };
        c.is_played_from(side) || self.hosts[c.end(side).host as usize].hears(self.now)
    }

    /// What `h` said on streams since then is said again, on streams of their own.
    pub(in crate::world) fn replay_streams(&mut self, h: usize, since: u64) {
        let recent = |s: &&Spoken| s.at >= since && !s.bytes.is_empty();
        let again: Vec<_> =
            self.hosts[h].spoken.iter().filter(recent).map(|s| (s.to, s.bytes.clone())).collect();
        for (to, bytes) in again {
            let words = || (String::new(), "played back".into());
            let seq = self.note(h, Kind::Open, Some(to), (bytes.len(), 0), words);
            let from = &self.hosts[h];
            let opener =
                End { host: from.number, life: from.life, id: None, open: true, ready: false };
            let mut conn = Conn::new(opener, to, self.now, seq);
            push_bytes(&mut conn.forth, bytes);
            conn.forth.queue.push_back(Chunk::Fin);
            let (slot, generation) = self.conns.put(conn);
            self.send_syn(slot, generation);
        }
    }

    /// What is played back comes to `h`: if nodes seal, it has no effect (S9).
    pub(in crate::world) fn takes_playback(
        &mut self,
        h: usize,
        id: StreamId,
        opener: u32,
        what: &OnStream,
    ) {
        let before = self.effects(h);
        self.stream_input(h, id, opener, what);
        if self.ring.is_some() {
            let checked = invariants::sealed(false, before == self.effects(h));
            self.check(h, checked);
        }
    }

    /// The node at `h` wrote to a stream. If nodes seal, what is played back gets the head of a
    /// stream or a refusal, which tell nothing, and no more (S9).
    pub(in crate::world) fn checks_answer(&mut self, h: usize, id: StreamId) {
        if self.ring.is_some()
            && let Some((slot, generation, Side::Acceptor)) = self.side_of(h, id)
            && let Some(c) = self.conns.get(slot, generation)
            && c.is_playback()
        {
            let checked = invariants::sealed(false, c.back.draws <= 1);
            self.check(h, checked);
        }
    }
}
