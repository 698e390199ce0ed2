//! What the nodes of a run are: the protocol's constants, and, in tests of the simulator, a rule
//! of the protocol that is broken on purpose.

use quorate_core::{
    Tuning,
    wire::{Key, Keyring},
};

use crate::scenario::KeyNo;

/// Which clock of its host a node is driven by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeClock {
    /// The monotonic one, as the real driver does.
    #[default]
    Monotonic,
    /// The wall clock: a planted bug.
    Wall,
}

/// What a process does first when it gets the processor again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DueFirst {
    /// What came, as our driver does.
    #[default]
    Inputs,
    /// What is due: where each timer is a thread of its own, as memberlist's are, nothing
    /// keeps one back until the sockets were read.
    Deadlines,
}

/// What every node of a run runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Constants of the protocol.
    pub tuning: Tuning,
    /// What it takes the time from.
    pub clock: NodeClock,
    /// Its order while it has no processor of its own.
    pub due_first: DueFirst,
    /// All packets and streams are sealed.
    pub sealed: bool,
    /// Its constants promise other times than ours: the bounds of liveness are not checked.
    pub unbounded: bool,
}

impl Program {
    /// What every node begins with, if the command line says so; a scenario may say it, too.
    pub fn keyring(&self) -> Option<Keyring> {
        self.sealed.then(|| Keyring::new(key(KeyNo(1))))
    }

    /// With these constants.
    pub fn tuned(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// memberlist's constants and order, on our state machine.
    pub fn memberlist() -> Self {
        let due_first = DueFirst::Deadlines;
        Self { due_first, unbounded: true, ..Self::tuned(Tuning::memberlist()) }
    }

    /// The program with the planted bug of this name; none if there is no such bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(mut self, name: &str) -> Option<Self> {
        if name == TIMER_BY_WALL_CLOCK.0 {
            self.clock = NodeClock::Wall;
            return Some(self);
        }
        let bug = quorate_core::Bug::ALL.iter().find(|b| b.1 == name)?;
        self.tuning.bug = Some(bug.0);
        Some(self)
    }
}

/// The key of that number.
pub fn key(k: KeyNo) -> Key {
    Key::new(&[k.0; 32]).unwrap_or_else(|e| unreachable!("32 bytes are a key: {e}"))
}

/// A keyring of these keys, the first one seals; none of none.
pub fn keyring(keys: &[KeyNo]) -> Option<Keyring> {
    let (first, others) = keys.split_first()?;
    let mut ring = Keyring::new(key(*first));
    for k in others {
        // At most as many as fit.
        let _ = ring.install(key(*k));
    }
    Some(ring)
}

/// The planted bug of the driver, not of the protocol: its name, and what it breaks.
pub const TIMER_BY_WALL_CLOCK: (&str, &str) =
    ("timer-by-wall-clock", "nodes are driven by the wall clock, which an operator may set back");
