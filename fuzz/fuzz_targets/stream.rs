//! Streams: however the bytes are cut, the same messages come out, written again they are the same
//! bytes, and nothing piles up beyond one frame.
//!
//! The input: number of cuts, cuts (2 bytes each), then the stream. In every second input the
//! checksums of its frames are put right first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::wire::{self, FrameReader, Message};
use quorate_fuzz::frames;

/// All messages until an error, and whether there was one.
fn read<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, bool) {
    let mut reader = FrameReader::default();
    let mut out = Vec::new();
    for part in parts {
        reader.push(part);
        match reader.label() {
            Ok(None) => continue,
            Ok(Some(_)) => {}
            Err(_) => return (out, true),
        }
        loop {
            match reader.next_message() {
                Ok(Some(m)) => out.push(m),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

/// Cuts at the given lengths, in turns.
fn cut<'a>(mut bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut lengths = cuts.chunks_exact(2).map(|c| usize::from(u16::from_le_bytes([c[0], c[1]])));
    while !bytes.is_empty() {
        let n = lengths.next().unwrap_or(bytes.len()).clamp(1, bytes.len());
        let (part, rest) = bytes.split_at(n);
        parts.push(part);
        bytes = rest;
    }
    parts
}

fuzz_target!(|data: &[u8]| {
    let [n, rest @ ..] = data else { return };
    let (cuts, stream) = rest.split_at((2 * usize::from(*n)).min(rest.len()));
    let mut stream = stream.to_vec();
    if cuts.first().is_none_or(|c| c % 2 == 0) {
        frames::fix_checksums(&mut stream);
    }
    let whole = read(std::iter::once(&stream[..]));
    assert_eq!(read(cut(&stream, cuts).into_iter()), whole, "cut as given");
    if stream.len() < 512 {
        assert_eq!(read(stream.chunks(1)), whole, "cut into bytes");
    }
    let mut again = Vec::new();
    for m in &whole.0 {
        again.clear();
        wire::append_frame(m, &mut again);
        let sealed = stream.get(2) == Some(&1);
        assert!(sealed || stream.windows(again.len()).any(|w| w == again), "{m:?} was not said");
    }
});
