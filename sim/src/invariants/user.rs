//! S12: an event is told once, and the events' clock never goes back. Fed with what applications
//! fired, what each process told, and what each node's clock shows.

use std::collections::BTreeSet;

use quorate_core::{EVENT_QUEUE, EVENT_WINDOW, EventId};

use super::{Invariant, Violation, broken};

/// Lamport time and id of an event.
pub type EventKey = (u64, EventId);

/// One process's account.
#[derive(Clone, Debug, Default)]
struct Hearer {
    told: BTreeSet<EventKey>,
    clock: u64,
}

/// The account of all events of a run.
#[derive(Clone, Debug, Default)]
pub struct Events {
    fired: BTreeSet<EventKey>,
    hearers: Vec<Hearer>,
}

impl Events {
    fn hearer(&mut self, at: u32) -> &mut Hearer {
        let at = at as usize;
        if self.hearers.len() <= at {
            self.hearers.resize_with(at + 1, Hearer::default);
        }
        &mut self.hearers[at]
    }

    /// A process starts at place `at` and was told nothing.
    pub fn starts(&mut self, at: u32) {
        *self.hearer(at) = Hearer::default();
    }

    /// Somebody fired this event, or forged it.
    pub fn fires(&mut self, key: EventKey) {
        self.fired.insert(key);
    }

    /// The process at `at` told its application of an event.
    ///
    /// # Errors
    /// S12: for the second time, or of one that nobody fired.
    pub fn tells(&mut self, at: u32, key: EventKey) -> Result<(), Violation> {
        let (time, id) = key;
        if !self.fired.contains(&key) {
            return broken(Invariant::S12, format!("event {id} of time {time} was never fired"));
        }
        if !self.hearer(at).told.insert(key) {
            return broken(Invariant::S12, format!("event {id} of time {time} is told twice"));
        }
        Ok(())
    }

    /// Was the process at `at` told of it?
    pub fn was_told(&self, at: u32, key: &EventKey) -> bool {
        self.hearers.get(at as usize).is_some_and(|h| h.told.contains(key))
    }

    /// What the node at `at` shows now: its clock, and how many events it remembers and spreads.
    ///
    /// # Errors
    /// S12 if the clock went back, S8.
    pub fn shows(
        &mut self,
        at: u32,
        clock: u64,
        remembered: usize,
        queued: usize,
    ) -> Result<(), Violation> {
        let before = std::mem::replace(&mut self.hearer(at).clock, clock);
        if clock < before {
            let message = format!("the clock of the events goes from {before} to {clock}");
            return broken(Invariant::S12, message);
        }
        if remembered > EVENT_WINDOW || queued > EVENT_QUEUE {
            let message = format!("{remembered} events remembered, {queued} queued");
            return broken(Invariant::S8, message);
        }
        Ok(())
    }
}
