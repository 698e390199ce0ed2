//! One message, tag and body. Decoding never panics, what decodes encodes to the same bytes, and
//! nothing that decodes is above its cap.
//!
//! Tags come from the table: a message that is new in it is fuzzed with the rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_core::{
    BoundedVec, Claim, NodeId,
    wire::{Message, Reject, Summary, TAGS},
};

/// The caps of the largest messages, written down a second time.
fn over_cap(m: &Message) -> bool {
    let pairs = |c: &Claim| c.record.tags.len().max(c.record.meta.len()) > 64;
    match m {
        Message::Claims(c) => c.len() > 256 || c.iter().any(pairs),
        Message::Buckets(b) => b.len() > 256,
        Message::Summaries(s) => s.items.len() > 1024,
        Message::Forgotten(f) => f.items.len() > 1024,
        Message::Want(w) => w.ids.len() > 2048,
        Message::Claim(c) => pairs(c),
        Message::Reject(Reject::Other(text)) => text.len() > 256,
        _ => false,
    }
}

// What is compared with is what the code says.
const _: () = assert!(BoundedVec::<u64, 256>::MAX == 256 && BoundedVec::<Claim, 256>::MAX == 256);
const _: () = assert!(BoundedVec::<Summary, 1024>::MAX == 1024);
const _: () = assert!(BoundedVec::<NodeId, 2048>::MAX == 2048);

fuzz_target!(|data: &[u8]| {
    let [tag, body @ ..] = data else { return };
    let known = TAGS.iter().any(|t| t.0 == *tag);
    // One in four of the others stays what it is: unknown.
    let tag = if known || tag % 4 == 0 { *tag } else { TAGS[usize::from(*tag) % TAGS.len()].0 };
    let known = TAGS.iter().any(|t| t.0 == tag);
    let Ok(decoded) = Message::decode(tag, body) else { return };
    assert_eq!(decoded.is_some(), known, "tag {tag}");
    let Some(m) = decoded else { return };
    assert_eq!(m.tag(), tag);
    let mut again = Vec::new();
    m.encode_body(&mut again);
    assert_eq!(again, body, "{m:?} has a second encoding");
    assert!(!over_cap(&m), "above its cap: {m:?}");
});
