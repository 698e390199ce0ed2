//! What the fuzz targets share: [`frames`] puts valid heads and checksums around arbitrary bytes,
//! [`heap`] counts what a node holds, [`watched`] is a node whose every output is checked, and
//! [`player`] hands it the steps of a tape.

#[cfg(feature = "whole")]
pub mod agent;
pub mod frames;
#[cfg(feature = "whole")]
pub mod heap;
#[cfg(feature = "whole")]
pub mod network;
#[cfg(feature = "whole")]
pub mod player;
#[cfg(feature = "whole")]
pub mod watched;

use quorate_core::{
    Label, Limits,
    wire::{Key, Keyring},
};

/// The datacenter of all nodes here, and of the simulator's.
pub fn label() -> Label {
    Label::new("dc1").expect("letters and digits are a label")
}

/// The key that seals the simulator's recorded packets, `k1`.
pub const RECORDED: u8 = 1;

/// One of the simulator's keys, `kN`.
pub fn key(n: u8) -> Key {
    Key::new(&[n; 32]).expect("32 bytes are a key")
}

/// The keys of a sealed node.
pub fn ring() -> Keyring {
    Keyring::new(key(RECORDED))
}

/// Caps that a few inputs reach; recorded tapes have up to eight members.
pub fn limits() -> Limits {
    Limits {
        members: 6,
        tombstones: 24,
        streams: 12,
        watches: 4,
        joins: 3,
        relays: 4,
        transmits: 64,
        events: 256,
        queued_claims: 8,
        ..Limits::default()
    }
}
