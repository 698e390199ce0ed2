//! The bytes of one slot: magic, format version, payload length, sequence number, payload
//! (postcard of [`Durable`]) and a SipHash-2-4 checksum of all before it. Numbers are little
//! endian. Decoding is strict: nothing missing, nothing left over.

use std::{fmt, hash::Hasher};

use quorate_core::{Durable, Memory};
use siphasher::sip::SipHasher24;

use super::PersistError;

/// The format that is written.
pub(super) const VERSION: u32 = 2;
/// The format before there was a bootstrap quorum; still read.
const BEFORE_BOOTSTRAP: u32 = 1;
/// Bytes of a payload at most: 1024 peers with the longest names fit four times.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes of a slot at most.
pub(super) const MAX_BYTES: usize = HEAD + MAX_PAYLOAD + CHECKSUM;

const MAGIC: [u8; 8] = *b"quorate\0";
const HEAD: usize = 8 + 4 + 4 + 8;
const CHECKSUM: usize = 8;
/// The checksum finds damage, it does not prove an author: a fixed key will do.
const KEY: [u8; 16] = *b"quorate state v1";

/// What is wrong with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotFault {
    /// Shorter or longer than it says.
    Length(usize),
    /// Does not begin as a slot does.
    Magic,
    /// The checksum does not fit the bytes.
    Checksum,
    /// The bytes are as they were written, but are not a state.
    Payload,
    /// Of a later format.
    Newer(u32),
}

impl fmt::Display for SlotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(n) => write!(f, "cut short or overlong at {n} bytes"),
            Self::Magic => f.write_str("not a state file"),
            Self::Checksum => f.write_str("the checksum is wrong"),
            Self::Payload => f.write_str("the content is not a state"),
            Self::Newer(v) => write!(f, "of the later format {v}"),
        }
    }
}

pub(super) fn encode(sequence: u64, state: &Durable) -> Result<Vec<u8>, PersistError> {
    let payload = postcard::to_allocvec(state).map_err(|_| PersistError::TooLarge(usize::MAX))?;
    let len = match u32::try_from(payload.len()) {
        Ok(n) if payload.len() <= MAX_PAYLOAD => n,
        _ => return Err(PersistError::TooLarge(payload.len())),
    };
    let mut out = Vec::with_capacity(HEAD + payload.len() + CHECKSUM);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&payload);
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<(u64, Durable), SlotFault> {
    let length = SlotFault::Length(bytes.len());
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(length)?;
    if *magic != MAGIC {
        return Err(SlotFault::Magic);
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(length)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(length)?;
    let (sequence, rest) = rest.split_first_chunk::<8>().ok_or(length)?;
    let (payload, sum) = rest.split_last_chunk::<CHECKSUM>().ok_or(length)?;
    let version = u32::from_le_bytes(*version);
    let checked = checksum(&bytes[..bytes.len() - CHECKSUM]) == u64::from_le_bytes(*sum);
    if !matches!(version, VERSION | BEFORE_BOOTSTRAP) {
        // Only a file that is whole can be trusted to be of a later version.
        return Err(if checked { SlotFault::Newer(version) } else { SlotFault::Checksum });
    }
    if u32::from_le_bytes(*len) as usize != payload.len() {
        return Err(length);
    }
    if !checked {
        return Err(SlotFault::Checksum);
    }
    // A blank memory is what such a state would hold; the fields before it are the same.
    let mut payload = payload.to_vec();
    if version == BEFORE_BOOTSTRAP {
        payload.extend(postcard::to_allocvec(&Memory::blank()).unwrap_or_default());
    }
    match postcard::take_from_bytes(&payload) {
        Ok((state, [])) => Ok((u64::from_le_bytes(*sequence), state)),
        _ => Err(SlotFault::Payload),
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut h = SipHasher24::new_with_key(&KEY);
    h.write(bytes);
    h.finish()
}

/// The same slot as it was written before there was a bootstrap quorum.
#[cfg(test)]
pub(super) fn as_version_1(slot: &[u8]) -> Vec<u8> {
    let blank = postcard::to_allocvec(&Memory::blank()).unwrap();
    let mut out = slot[..slot.len() - CHECKSUM - blank.len()].to_vec();
    assert_eq!(slot[out.len()..][..blank.len()], blank);
    out[8..12].copy_from_slice(&BEFORE_BOOTSTRAP.to_le_bytes());
    let len = u32::try_from(out.len() - HEAD).unwrap();
    out[12..16].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}
