//! Reads what an input will read, all at once.
//!
//! Whoever drives many nodes in turns finds the memory of the next one in no cache. What an input
//! reads bit by bit it waits for bit by bit; reads that depend on nothing wait together.

use super::{Node, probe::Probe};

impl Node {
    /// Reads what nearly every input reads. It changes nothing but what the next one costs.
    pub fn touch(&self) {
        let read = [
            self.me.version.generation ^ u64::from(self.me.id.as_bytes()[0]),
            self.timers.touch() ^ self.stats.touch() ^ self.events.len() as u64,
            self.probes.values().next().map_or(0, Probe::touch) ^ self.conns.len() as u64,
            self.notes.alone.heard.as_nanos() ^ u64::from(self.notes.hearsay.is_empty()),
            self.queue.len() as u64 ^ self.user.rumors.len() as u64 ^ self.watches.turn as u64,
            self.table.touch_itself() ^ self.syncing.last_change.as_nanos(),
            self.envelope.touch() ^ self.vivaldi.touch(),
            u64::from(self.storage.waiting.is_some()),
        ];
        core::hint::black_box(read);
    }
}
