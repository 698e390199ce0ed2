//! Sealed packets. One that was cut, changed or made up is refused and has no effect on those
//! that are genuine; a genuine one is opened once, as long as it is not older than the window. A
//! frame of a sealed stream that was changed ends the stream.
//!
//! Which packets a receiver has to take is worked out a second time here, from the text of the
//! rule: a set of all that was taken, and the highest of it.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use quorate_core::wire::{
    self, Envelope, FrameReader, HeadError, Keyring, Message, Sealer, StreamSeal, TAGS,
};
use quorate_fuzz::{RECORDED, key, label};

/// Packets that old may still come.
const WINDOW: u64 = 1024;

fn envelope(k: u8, boot: u8) -> Envelope {
    Envelope::new(label(), Some(Sealer::new(Keyring::new(key(k)), [boot; 16], 16)))
}

/// A recorded packet: opened once; changed, never.
fn recorded(data: &[u8], at: u16, change: u8) {
    assert!(envelope(8, 3).open(data, &mut Vec::new()).is_err(), "opened with another key");
    let mut to = envelope(RECORDED, 255);
    let first = to.open(data, &mut Vec::new()).is_ok();
    if !first {
        return;
    }
    assert_eq!(to.open(data, &mut Vec::new()), Err(HeadError::Replay));
    let mut bad = data.to_vec();
    let at = usize::from(at) % bad.len();
    bad[at] ^= change.max(1);
    assert!(envelope(RECORDED, 254).open(&bad, &mut Vec::new()).is_err(), "changed at {at}");
    assert!(to.open(&bad, &mut Vec::new()).is_err(), "changed at {at}, after the genuine one");
    assert!(envelope(RECORDED, 254).open(&data[..at], &mut Vec::new()).is_err(), "cut at {at}");
}

/// One sender, one receiver, and a network that holds packets back, repeats and changes them.
fn window(mut steps: &[u8]) {
    let (mut from, mut to) = (envelope(RECORDED, 1), envelope(RECORDED, 2));
    let mut sent: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut counter, mut highest, mut taken) = (0, 0, BTreeSet::new());
    while let [what, a, b, rest @ ..] = steps {
        steps = rest;
        let n = u64::from(u16::from_le_bytes([*a, *b]));
        let mut packet = Vec::new();
        if what % 4 == 0 {
            // So many are lost, then one is on its way.
            for _ in 0..n % 1100 {
                from.begin(&mut packet);
                counter += 1;
            }
            from.begin(&mut packet);
            counter += 1;
            packet.extend_from_slice(&[*a; 5]);
            from.finish(&mut packet);
            sent.push((counter, packet));
        } else if let Some((c, packet)) = sent.get(n as usize % sent.len().max(1)) {
            if what % 4 == 1 {
                let mut bad = packet.clone();
                let at = usize::from(*what >> 2) % bad.len();
                bad[at] ^= b | 1;
                assert!(to.open(&bad, &mut Vec::new()).is_err(), "changed at {at}");
                continue;
            }
            let is_new = !taken.contains(c) && (*c > highest || highest - c < WINDOW);
            let opened = to.open(packet, &mut Vec::new()).is_ok();
            assert_eq!(opened, is_new, "number {c} after {highest}");
            if opened {
                taken.insert(*c);
                highest = highest.max(*c);
            }
        }
        if sent.len() > 64 {
            return;
        }
    }
}

/// A sealed stream: what was said before a change is heard, and nothing behind it.
fn stream(data: &[u8], at: u16, change: u8) {
    let seals = || StreamSeal::pair(&key(RECORDED), &[1; 16], &[2; 16]);
    let (mut ours, _) = seals();
    let mut bytes = wire::sealed_stream_head(&label(), key(RECORDED).id(), &[1; 16]);
    let head = bytes.len();
    let mut said = Vec::new();
    for part in data.chunks(40) {
        let tag = TAGS[usize::from(part[0]) % TAGS.len()].0;
        let Ok(Some(m)) = Message::decode(tag, &part[1..]) else { continue };
        wire::append_sealed_frame(&m, &mut ours, &mut bytes);
        said.push((bytes.len(), m));
    }
    let listen = |bytes: &[u8], seal: StreamSeal| {
        let mut reader = FrameReader::default();
        reader.push(bytes);
        assert!(matches!(reader.label(), Ok(Some(_))));
        reader.unlock(seal);
        let mut heard = Vec::new();
        while let Ok(Some(m)) = reader.next_message() {
            heard.push(m);
        }
        heard
    };
    let heard = listen(&bytes, seals().0);
    assert!(heard.iter().eq(said.iter().map(|s| &s.1)));
    // What is said in one direction is not heard in the other.
    assert!(listen(&bytes, seals().1).is_empty());
    if bytes.len() > head {
        let at = head + usize::from(at) % (bytes.len() - head);
        bytes[at] ^= change.max(1);
        let whole = said.iter().filter(|s| s.0 <= at).count();
        assert_eq!(listen(&bytes, seals().0).len(), whole, "changed at {at}");
    }
}

fuzz_target!(|data: &[u8]| {
    recorded(data, data.len() as u16 / 2, 1);
    let [what, at0, at1, change, rest @ ..] = data else { return };
    let at = u16::from_le_bytes([*at0, *at1]);
    match what % 3 {
        0 => window(rest),
        1 => stream(rest, at, *change),
        _ => recorded(rest, at, *change),
    }
});
