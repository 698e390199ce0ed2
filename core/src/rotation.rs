//! What became of a keyring operation on all members: `keyring -list`, `-install`, `-use`,
//! `-remove`.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    identity::{Name, NodeId},
    output::JoinError,
    wire::{Key, KeyError},
};

/// Names one keyring operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyringId(pub(crate) u64);

/// Why a member did not do what was asked, or why nobody was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFailure {
    /// It refused.
    #[error("{0}")]
    Refused(#[from] KeyError),
    /// It did not answer.
    #[error("no answer: {0}")]
    Silent(JoinError),
    /// It does not have the key that all were to use: nobody was asked to use it.
    #[error("it does not have the key yet: install it first")]
    Lacks,
    /// It still seals with the key that all were to remove: nobody was asked to remove it.
    #[error("it still seals with this key: use another one first")]
    Primary,
    /// The agent that asked is leaving.
    #[error("not asked: this agent is leaving")]
    Leaving,
}

/// What the live members said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyringReport {
    /// Live members, this one included.
    pub members: usize,
    /// Who did not do it, and why; in the order of their names.
    pub failures: Vec<(Name, NodeId, KeyFailure)>,
    /// The operation was called off before any keyring changed.
    pub called_off: bool,
    /// How many members have each key, in the order of their ids.
    pub keys: Vec<(Key, usize)>,
    /// How many members seal with each key.
    pub primary: Vec<(Key, usize)>,
}

impl fmt::Display for KeyringReport {
    /// On one line: how many did it, and who did not and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, bad) = (self.members, self.failures.len());
        if self.called_off {
            f.write_str("nothing was changed")?;
        } else {
            write!(f, "{}/{all} nodes reported success", all - bad)?;
        }
        for (i, (name, _, why)) in self.failures.iter().enumerate() {
            write!(f, "{}{name}: {why}", if i == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

impl KeyringReport {
    /// Did all live members do it?
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// A member has these keys, the primary one first.
    pub(crate) fn count(&mut self, keys: &[Key]) {
        let add = |to: &mut Vec<(Key, usize)>, key: &Key| {
            let place = to.binary_search_by_key(&key.id(), |k| k.0.id());
            match place {
                Ok(i) => to[i].1 += 1,
                Err(i) => to.insert(i, (key.clone(), 1)),
            }
        };
        keys.iter().for_each(|k| add(&mut self.keys, k));
        keys.first().into_iter().for_each(|k| add(&mut self.primary, k));
    }
}
