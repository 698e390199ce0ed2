//! One message, tag and body. Decoding never panics, what decodes encodes to the same bytes, and
//! nothing that decodes is above its cap.
//!
//! Tags come from the table: a message that is new in it is fuzzed with the rest. One change in
//! eight writes a list of about as many elements as some cap allows: count and bytes have to grow
//! together for that, which changes of single bytes do not do.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use quorate_core::{
    BoundedVec, Claim, NodeId,
    wire::{ClaimList, Message, Reject, Summary, TAGS},
};

/// The caps of the largest messages, written down a second time.
fn over_cap(m: &Message) -> bool {
    let pairs = |c: &Claim| c.record.tags.len().max(c.record.meta.len()) > 64;
    match m {
        Message::Claims(c) => c.bodies().flatten().map(|b| b.len() + 2).sum::<usize>() > 65_536,
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
const _: () = assert!(BoundedVec::<u64, 256>::MAX == 256 && ClaimList::MAX_BYTES == 65_536);
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

/// Lengths beside the caps of lists and texts.
const LENGTHS: [usize; 14] = [16, 17, 64, 65, 128, 129, 255, 256, 257, 512, 513, 1024, 1025, 2049];

/// A list of `n` times the same element, as postcard has it.
fn list(n: usize, element: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut count = n;
    while count > 127 {
        out.push(count as u8 | 128);
        count >>= 7;
    }
    out.push(count as u8);
    out.extend(element.iter().copied().cycle().take(n * element.len()));
    out
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rest = seed as usize;
    let mut draw = |n: usize| {
        let drawn = rest % n;
        rest /= n;
        drawn
    };
    if draw(8) != 0 || size < 2 {
        return fuzzer_mutate(data, size, max_size);
    }
    // Often the list is the whole body, of elements of one byte.
    let at = if draw(2) == 0 { 1 } else { 1 + draw(64) % (size - 1) };
    let len = if draw(2) == 0 { 1 } else { 1 + draw(32) };
    let element: Vec<u8> =
        data[at..size].iter().copied().skip(1).chain([0; 32]).take(len).collect();
    let list = list(LENGTHS[draw(LENGTHS.len())], &element);
    let behind = if draw(2) == 0 { Vec::new() } else { data[at..size].to_vec() };
    let all = [&list[..], &behind].concat();
    if at + all.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[at..at + all.len()].copy_from_slice(&all);
    at + all.len()
});
