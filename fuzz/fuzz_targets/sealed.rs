//! Sealed datagrams: one that was cut, changed or made up is refused and moves no window; the one
//! that was written is opened once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::{
    Label,
    wire::{Envelope, HeadError, Key, Keyring, Sealer},
};

fn envelope(key: u8, boot: u8) -> Envelope {
    let key = Key::new(&[key; 32]).expect("32 bytes are a key");
    let label = Label::new("dc1").expect("letters are a label");
    Envelope::new(label, Some(Sealer::new(Keyring::new(key), [boot; 16], 16)))
}

fuzz_target!(|data: &[u8]| {
    let (mut from, mut to) = (envelope(7, 1), envelope(7, 2));
    // Under a key that nothing here seals with: the fuzzer learns what it sees compared below.
    assert!(envelope(8, 3).open(data).is_err(), "made up without the key");
    let (changes, body) = data.split_at(data.len().min(8));
    let mut sealed = Vec::new();
    from.begin(&mut sealed);
    sealed.extend_from_slice(&body[..body.len().min(1300)]);
    from.finish(&mut sealed);
    let mut bad = sealed.clone();
    for change in changes.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bad.len();
        match change[2] % 4 {
            0 => bad.truncate(at.max(1)),
            1 => bad.push(change[3]),
            _ => bad[at] ^= change[3],
        }
    }
    if bad != sealed {
        assert!(to.open(&bad).is_err(), "changed on the way");
    }
    assert_eq!(to.open(&sealed).as_deref(), Ok(&body[..body.len().min(1300)]));
    assert_eq!(to.open(&sealed), Err(HeadError::Replay));
});
