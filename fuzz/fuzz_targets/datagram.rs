//! Datagrams: the messages in one are taken apart without a panic, whatever lengths say; what
//! decodes encodes to the same bytes at the same place; and the checksum notices every changed
//! byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::wire::{self, HeadError};
use quorate_fuzz::{frames, label};

/// Writes the messages anew; up to the first that does not decode or is not known.
fn again(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for m in wire::messages(body) {
        let Ok(Some(m)) = m else { break };
        wire::append_message(&m, &mut out);
    }
    out
}

fuzz_target!(|data: &[u8]| {
    // As it came from the network.
    let _ = wire::open_datagram(&label(), data);
    wire::describe_datagram(None, data);
    // As the body of one with a right checksum.
    let mut whole = frames::datagram(data);
    assert_eq!(wire::open_datagram(&label(), &whole), Ok(data));
    let mut at = 0;
    for b in wire::bodies(data) {
        let Ok((tag, body)) = b else { break };
        assert_eq!(data[at], tag);
        assert_eq!(&data[at + 3..at + 3 + body.len()], body);
        at += 3 + body.len();
    }
    let said = again(data);
    assert!(data.starts_with(&said), "another encoding is taken: {data:02x?} for {said:02x?}");
    if let [at, bit, ..] = data {
        let at = usize::from(*at) % whole.len();
        whole[at] ^= 1 << (bit % 8);
        let opened = wire::open_datagram(&label(), &whole);
        assert!(matches!(opened, Err(HeadError::Checksum | HeadError::NotOurs | HeadError::Key)));
    }
});
