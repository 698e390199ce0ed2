//! Datagrams: decoding never panics, and what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::{
    Label,
    wire::{self, Message},
};

fuzz_target!(|data: &[u8]| {
    if let Ok(label) = Label::new("dc1") {
        let _ = wire::open_datagram(&label, data);
    }
    wire::describe_datagram(None, data);
    for m in wire::messages(data) {
        let Ok(Some(m)) = m else { continue };
        let mut again = Vec::new();
        wire::append_message(&m, &mut again);
        assert!(
            data.windows(again.len()).any(|w| w == again),
            "decoded {m:?}, which encodes to bytes that were not there"
        );
    }
    if let [tag, body @ ..] = data
        && let Ok(Some(m)) = Message::decode(*tag, body)
    {
        let mut again = Vec::new();
        m.encode_body(&mut again);
        assert_eq!(again, body, "{m:?} has a second encoding");
    }
});
