//! Heads and checksums around arbitrary bytes, so that a changed byte changes what is said and not
//! only whether it is heard.

use quorate_core::wire::{self, checksum};

use crate::label;

/// Bytes of a frame before its tag: length and checksum.
const FRAME_HEAD: usize = 8;

/// A datagram in clear with these messages.
pub fn datagram(body: &[u8]) -> Vec<u8> {
    let head = wire::stream_head(&label());
    let mut out = Vec::new();
    wire::begin_datagram(&head, &mut out);
    out.extend_from_slice(body);
    wire::finish_datagram(&head, &mut out);
    out
}

/// A frame in clear, whatever is in it.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 1).to_le_bytes().to_vec();
    let said = [&[tag], body].concat();
    out.extend_from_slice(&checksum(&said));
    out.extend_from_slice(&said);
    out
}

/// Where a stream's head ends, if it is one in clear.
fn head_end(bytes: &[u8]) -> Option<usize> {
    (bytes.get(2) == Some(&0)).then_some(4 + usize::from(*bytes.get(3)?))
}

/// Puts right checksums into the frames of a stream in clear, as far as lengths lead.
pub fn fix_checksums(stream: &mut [u8]) {
    let Some(mut at) = head_end(stream) else { return };
    while let Some(len) = stream.get(at..at + 4).and_then(|l| l.first_chunk::<4>()) {
        let len = u32::from_le_bytes(*len) as usize;
        let from = at + FRAME_HEAD;
        let Some(said) = stream.get(from..from.saturating_add(len)) else { return };
        let sum = checksum(said);
        stream[at + 4..from].copy_from_slice(&sum);
        at = from + len;
    }
}
