//! Heads, checksums and the framing of streams.

use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use super::message::{Message, MessageError};
use crate::identity::Label;

/// First byte of every packet.
const MAGIC: u8 = b'Q';
/// The format this code speaks.
const FORMAT: u8 = 1;
/// Not sealed: integrity by checksum only.
const MODE_CLEAR: u8 = 0;
/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 4;
/// Largest frame of a stream, tag and body.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// Why a packet or stream is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not our format.
    #[error("not a packet of this protocol and format version")]
    NotOurs,
    /// Another cluster or datacenter.
    #[error("a packet of another datacenter")]
    Label,
    /// Damaged on the way.
    #[error("the checksum is wrong")]
    Checksum,
}

fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    // The key separates this use of SipHash from the digest's.
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 1);
    for p in parts {
        h.write(p);
    }
    let [a, b, c, d, ..] = h.finish().to_le_bytes();
    [a, b, c, d]
}

/// What a stream begins with, in each direction.
pub fn stream_head(label: &Label) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + label.as_str().len());
    out.extend_from_slice(&[MAGIC, FORMAT, MODE_CLEAR]);
    // A label has at most 64 bytes.
    out.push(u8::try_from(label.as_str().len()).unwrap_or(u8::MAX));
    out.extend_from_slice(label.as_str().as_bytes());
    out
}

/// Splits a head off: (label, rest).
fn split_head(bytes: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    let [MAGIC, FORMAT, MODE_CLEAR, len, rest @ ..] = bytes else {
        return Err(HeadError::NotOurs);
    };
    if usize::from(*len) > Label::MAX || *len == 0 {
        return Err(HeadError::NotOurs);
    }
    rest.split_at_checked(usize::from(*len)).ok_or(HeadError::NotOurs)
}

/// Begins a datagram; messages follow, then [`finish_datagram`].
pub fn begin_datagram(head: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(head);
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
}

/// Fills in the checksum of a datagram that began with `head`.
pub fn finish_datagram(head: &[u8], out: &mut [u8]) {
    let (front, body) = out.split_at_mut(head.len() + CHECKSUM_BYTES);
    front[head.len()..].copy_from_slice(&checksum(&[head, body]));
}

/// Checks head and checksum of a datagram and returns its messages, still encoded.
///
/// # Errors
/// [`HeadError`]: whose packet it is not, or that it is damaged.
pub fn open_datagram<'a>(label: &Label, bytes: &'a [u8]) -> Result<&'a [u8], HeadError> {
    let (theirs, rest) = split_head(bytes)?;
    let (sum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or(HeadError::NotOurs)?;
    let head = &bytes[..bytes.len() - rest.len()];
    if checksum(&[head, body]) != sum {
        return Err(HeadError::Checksum);
    }
    if theirs != label.as_str().as_bytes() {
        return Err(HeadError::Label);
    }
    Ok(body)
}

/// The messages of any datagram, whoever's it is.
pub(super) fn skip_head(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split_head(bytes).ok()?;
    rest.get(CHECKSUM_BYTES..)
}

/// Appends a message to a datagram.
pub fn append_message(m: &Message, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[m.tag(), 0, 0]);
    m.encode_body(out);
    let len = u16::try_from(out.len() - at - 3).unwrap_or(u16::MAX);
    out[at + 1..at + 3].copy_from_slice(&len.to_le_bytes());
}

/// Appends a message to a stream.
pub fn append_frame(m: &Message, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4 + CHECKSUM_BYTES]);
    out.push(m.tag());
    m.encode_body(out);
    let body = at + 4 + CHECKSUM_BYTES;
    let len = u32::try_from(out.len() - body).unwrap_or(u32::MAX);
    let sum = checksum(&[&out[body..]]);
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    out[at + 4..body].copy_from_slice(&sum);
}

/// Takes a stream apart. Holds at most one frame.
#[derive(Debug, Default)]
pub struct FrameReader {
    buf: Vec<u8>,
    label: Option<Vec<u8>>,
}

impl FrameReader {
    /// Bytes that came in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The other side's label, once its head is there.
    ///
    /// # Errors
    /// [`HeadError::NotOurs`].
    pub fn label(&mut self) -> Result<Option<&[u8]>, HeadError> {
        if self.label.is_none() {
            let known: &[u8] = &[MAGIC, FORMAT, MODE_CLEAR];
            let n = self.buf.len().min(known.len());
            if self.buf[..n] != known[..n] {
                return Err(HeadError::NotOurs);
            }
            let Some(&len) = self.buf.get(3) else { return Ok(None) };
            if len == 0 || usize::from(len) > Label::MAX {
                return Err(HeadError::NotOurs);
            }
            if self.buf.len() < 4 + usize::from(len) {
                return Ok(None);
            }
            let rest = self.buf.split_off(4 + usize::from(len));
            let head = core::mem::replace(&mut self.buf, rest);
            self.label = Some(head[4..].to_vec());
        }
        Ok(self.label.as_deref())
    }

    /// The next message; `Ok(None)` until all of it is there. Unknown tags are skipped.
    ///
    /// # Errors
    /// [`MessageError`]: a frame that is too long, damaged or does not decode.
    pub fn next_message(&mut self) -> Result<Option<Message>, MessageError> {
        loop {
            const HEAD: usize = 4 + CHECKSUM_BYTES;
            let Some((head, rest)) = self.buf.split_at_checked(HEAD) else { return Ok(None) };
            let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if len == 0 || len > MAX_FRAME_BYTES {
                return Err(MessageError::Truncated);
            }
            let Some(frame) = rest.get(..len) else { return Ok(None) };
            if checksum(&[frame]) != head[4..] {
                return Err(MessageError::Body(frame[0]));
            }
            let m = Message::decode(frame[0], &frame[1..])?;
            self.buf.drain(..HEAD + len);
            if m.is_some() {
                return Ok(m);
            }
        }
    }
}
