//! Reads what an input will read, all at once.
//!
//! Whoever drives many nodes in turns finds the memory of the next one in no cache. What an input
//! reads bit by bit it waits for bit by bit; reads that depend on nothing wait together.

use super::{Node, probe::Probe};

impl Node {
    /// Reads what nearly every input reads. It changes nothing but what the next one costs.
    pub fn touch(&self) {
        let me = &self.me;
        let read = [
            u64::from(me.addr.port()) ^ me.version.generation ^ u64::from(me.id.as_bytes()[0]),
            self.envelope.touch() ^ u64::from(self.cfg.addr.port()),
            self.stats.touch() ^ self.revision ^ u64::from(self.rounds_left),
            self.table.touch_itself() ^ self.queue.len() as u64,
            self.vivaldi.touch(),
            self.timers.touch(),
            self.probes.values().next().map_or(0, Probe::touch) ^ self.conns.len() as u64,
            self.out.len() as u64 ^ self.stream_out.len() as u64 ^ self.events.len() as u64,
            u64::from(self.storage.waiting.is_some()) ^ u64::from(self.storage.gate.is_some()),
            self.syncing.last_change.as_nanos() ^ self.watches.turn as u64,
        ];
        core::hint::black_box(read);
    }
}
