//! What the nodes of a run are: the protocol's constants, and, in tests of the simulator, a rule
//! of the protocol that is broken on purpose.

use quorate_core::{
    Tuning,
    wire::{Key, Keyring},
};

/// Which clock of its host a node is driven by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeClock {
    /// The monotonic one, as the real driver does.
    #[default]
    Monotonic,
    /// The wall clock: a planted bug.
    Wall,
}

/// What every node of a run runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Constants of the protocol.
    pub tuning: Tuning,
    /// What it takes the time from.
    pub clock: NodeClock,
    /// All packets and streams are sealed.
    pub sealed: bool,
}

impl Program {
    /// The keys of every node.
    pub fn keyring(&self) -> Option<Keyring> {
        let key = || Key::new(&[7; 32]).unwrap_or_else(|e| unreachable!("32 bytes are a key: {e}"));
        self.sealed.then(|| Keyring::new(key()))
    }

    /// With these constants.
    pub fn tuned(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
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

/// The planted bug of the driver, not of the protocol: its name, and what it breaks.
pub const TIMER_BY_WALL_CLOCK: (&str, &str) =
    ("timer-by-wall-clock", "nodes are driven by the wall clock, which an operator may set back");
