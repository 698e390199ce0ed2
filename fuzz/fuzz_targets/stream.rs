//! Streams: however the bytes are cut, the same messages come out, and nothing piles up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::wire::{FrameReader, Message};

/// All messages until an error, reading `step` bytes at a time.
fn read(data: &[u8], step: usize) -> (Vec<Message>, bool) {
    let mut reader = FrameReader::default();
    let mut out = Vec::new();
    for part in data.chunks(step) {
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

fuzz_target!(|data: &[u8]| {
    let whole = read(data, data.len().max(1));
    for step in [1, 7] {
        assert_eq!(read(data, step), whole, "cut into parts of {step}");
    }
});
