//! A simulated disk behind a node's persistence: two copies, written in turn, each whole or not.
//!
//! Guarantee: what was acknowledged before a crash is what a restart finds, unless a fault of
//! the scenario destroyed it; if the newest copy is unreadable, the older one is used with its
//! generation raised by two, since the lost copy may have been one ahead of it.

use quorate_core::{Durable, PersistToken};

use crate::scenario::DiskFault;

/// A copy on disk.
#[derive(Clone, Debug)]
struct Slot {
    sequence: u64,
    state: Durable,
    readable: bool,
}

/// A write that the node asked for.
#[derive(Clone, Debug)]
struct Pending<T> {
    token: T,
    state: Durable,
}

/// What a restart finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written.
    Empty,
    /// The newest readable copy, its generation raised if a newer one is unreadable.
    State(Durable),
    /// Copies are there and none can be read: an agent refuses to start on this.
    Unreadable,
}

/// What a crash does to the write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCrash {
    /// It made it to the platter although nobody was told.
    Kept,
    /// It never happened.
    Lost,
    /// Its copy is half old, half new.
    Torn,
}

/// One host's disk.
///
/// `T` names a write to whoever asked for it.
#[derive(Clone, Debug)]
pub struct Disk<T = PersistToken> {
    slots: [Option<Slot>; 2],
    sequence: u64,
    writing: Option<Pending<T>>,
    waiting: Option<Pending<T>>,
    /// A copy that was put aside.
    backup: Option<Durable>,
    full: bool,
    lose_unsynced: bool,
    tear_next: bool,
}

impl<T> Default for Disk<T> {
    fn default() -> Self {
        Self {
            slots: [None, None],
            sequence: 0,
            writing: None,
            waiting: None,
            backup: None,
            full: false,
            lose_unsynced: false,
            tear_next: false,
        }
    }
}

impl<T> Disk<T> {
    /// The node asks for a write. True if one must be begun now (its time is up to the caller).
    pub fn submit(&mut self, token: T, state: Durable) -> bool {
        let pending = Pending { token, state };
        if self.writing.is_none() && !self.full {
            self.writing = Some(pending);
            return true;
        }
        // A later one replaces an earlier one.
        self.waiting = Some(pending);
        false
    }

    /// The write under way is done: its token, and whether the next must be begun now.
    pub fn complete(&mut self) -> (Option<T>, bool) {
        let done = self.writing.take().map(|p| {
            self.store(p.state, true);
            p.token
        });
        (done, self.begin_waiting())
    }

    fn begin_waiting(&mut self) -> bool {
        if self.full || self.writing.is_some() {
            return false;
        }
        self.writing = self.waiting.take();
        self.writing.is_some()
    }

    /// Writes the older copy. A change of what must never be forgotten goes to the other one,
    /// too, before anybody is told: a damaged copy then costs nothing that was acknowledged.
    fn store(&mut self, state: Durable, readable: bool) {
        let vital = |s: &Durable| (s.id, s.generation, s.bootstrap.clone());
        let other = self.slots[self.newest()].as_ref();
        let both = readable && other.is_none_or(|s| vital(&s.state) != vital(&state));
        if both {
            self.put(state.clone(), readable);
        }
        self.put(state, readable);
    }

    fn put(&mut self, state: Durable, readable: bool) {
        self.sequence += 1;
        let at = (self.sequence % 2) as usize;
        self.slots[at] = Some(Slot { sequence: self.sequence, state, readable });
    }

    /// The process is gone, with or without its host.
    pub fn crash(&mut self, chance: AtCrash) {
        let at_crash = match (self.lose_unsynced, self.tear_next) {
            (true, _) => AtCrash::Lost,
            (false, true) => AtCrash::Torn,
            (false, false) => chance,
        };
        if let Some(p) = self.writing.take() {
            match at_crash {
                AtCrash::Kept => self.store(p.state, true),
                AtCrash::Lost => {}
                AtCrash::Torn => self.store(p.state, false),
            }
        }
        self.waiting = None;
        self.lose_unsynced = false;
        self.tear_next = false;
    }

    /// A fault of the scenario. True if a write that waited must be begun now.
    pub fn fault(&mut self, fault: DiskFault, coin: u64) -> bool {
        let newest = self.newest();
        match fault {
            DiskFault::LoseUnsynced => self.lose_unsynced = true,
            DiskFault::Torn => {
                self.tear_next = true;
                self.damage(newest);
            }
            DiskFault::Corrupt => self.damage((coin % 2) as usize),
            DiskFault::Backup => {
                self.backup = self.slots[newest].as_ref().map(|s| s.state.clone());
            }
            DiskFault::Restore => {
                if let Some(state) = self.backup.clone() {
                    self.slots = [None, None];
                    self.store(state, true);
                }
            }
            DiskFault::Full => self.full = true,
            DiskFault::Ok => {
                self.full = false;
                return self.begin_waiting();
            }
        }
        false
    }

    fn newest(&self) -> usize {
        let sequence = |i: usize| self.slots[i].as_ref().map_or(0, |s| s.sequence);
        usize::from(sequence(1) > sequence(0))
    }

    fn damage(&mut self, at: usize) {
        if let Some(slot) = &mut self.slots[at] {
            slot.readable = false;
        }
    }

    /// Do writes wait for room?
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// Everything is gone.
    pub fn wipe(&mut self) {
        *self = Self { full: self.full, ..Self::default() };
    }

    /// What a starting process reads.
    pub fn load(&self) -> Found {
        let newest = self.newest();
        match (&self.slots[newest], &self.slots[1 - newest]) {
            (Some(s), _) if s.readable => Found::State(s.state.clone()),
            (Some(_), Some(older)) if older.readable => {
                let mut state = older.state.clone();
                state.generation = state.generation.saturating_add(2);
                Found::State(state)
            }
            (None, None) => Found::Empty,
            _ => Found::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::NodeId;

    fn state(generation: u64) -> Durable {
        Durable { generation, ..Durable::new(NodeId::from_bytes([1; 16])) }
    }

    /// A disk on which generations 1 to `n` were written and acknowledged.
    fn written(n: u64) -> Disk<u64> {
        let mut d = Disk::default();
        for g in 1..=n {
            assert!(d.submit(g, state(g)));
            assert_eq!(d.complete(), (Some(g), false));
        }
        d
    }

    #[test]
    fn what_was_acknowledged_is_found() {
        assert_eq!(Disk::<u64>::default().load(), Found::Empty);
        assert_eq!(written(1).load(), Found::State(state(1)));
        assert_eq!(written(5).load(), Found::State(state(5)));
    }

    #[test]
    fn a_later_write_replaces_one_that_waits() {
        let mut d = written(1);
        assert!(d.submit(2, state(2)));
        assert!(!d.submit(3, state(3)));
        assert!(!d.submit(4, state(4)));
        assert_eq!(d.complete(), (Some(2), true));
        assert_eq!(d.complete(), (Some(4), false));
        assert_eq!(d.load(), Found::State(state(4)));
    }

    #[test]
    fn a_crash_keeps_loses_or_tears_what_is_under_way() {
        for (at, generation) in [(AtCrash::Kept, 3), (AtCrash::Lost, 2), (AtCrash::Torn, 4)] {
            let mut d = written(2);
            d.submit(3, state(3));
            d.crash(at);
            assert_eq!(d.load(), Found::State(state(generation)), "{at:?}");
            assert_eq!(d.complete(), (None, false));
        }
        let mut d = written(2);
        d.fault(DiskFault::LoseUnsynced, 0);
        d.submit(3, state(3));
        d.crash(AtCrash::Kept);
        assert_eq!(d.load(), Found::State(state(2)));
    }

    #[test]
    fn torn_corrupt_and_full_do_what_they_say() {
        let mut d = written(2);
        d.fault(DiskFault::Torn, 0);
        assert_eq!(d.load(), Found::State(state(4)), "the other copy, raised by two");
        let mut d = written(2);
        d.fault(DiskFault::Corrupt, 0);
        d.fault(DiskFault::Corrupt, 1);
        assert_eq!(d.load(), Found::Unreadable);
        d.wipe();
        assert_eq!(d.load(), Found::Empty);
        d.fault(DiskFault::Full, 0);
        assert!(!d.submit(7, state(7)));
        assert!(d.fault(DiskFault::Ok, 0));
        assert_eq!(d.complete(), (Some(7), false));
    }
}
