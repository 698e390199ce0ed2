//! Keys between members: what one asks of another's keyring, and what comes back. Only sealed
//! streams carry them.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::seal::{Key, KeyError, Keyring};
use crate::bounded::BoundedVec;

/// Bytes of the longest key.
const KEY_BYTES: usize = 32;

/// Something to do with a keyring. Each may be repeated: what is so already stays so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOp {
    /// Tell the keys.
    List,
    /// Accept what is sealed with this key, too.
    Install(Key),
    /// Seal with this key from now on.
    Use(Key),
    /// Accept this key no more.
    Remove(Key),
}

/// What a member answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyReply {
    /// Done, and on disk; its keys now, the primary one first.
    Keys(BoundedVec<Key, { Keyring::MAX }>),
    /// Not done.
    Refused(KeyError),
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.reveal().serialize(s)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = BoundedVec::<u8, KEY_BYTES>::deserialize(d)?.into_inner();
        Self::new(&bytes).map_err(serde::de::Error::custom)
    }
}
