//! Seeds for fuzzing, from recorded runs: what real nodes said to each other is where a fuzzer
//! should begin.
//!
//! Code map: [`Recorder`] listens to the nodes of a [`crate::World`]; [`tape`] is how all inputs of
//! one node become bytes; [`collect`] runs scenarios, clear and sealed, and sorts what they gave by
//! fuzz target. Guarantee: the same scenarios give the same seeds, each once, none above its
//! target's size.

mod recorder;
pub mod tape;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    sync::{Arc, Mutex, PoisonError},
};

use quorate_core::wire::{self, MAX_FRAME_BYTES};
use siphasher::sip::SipHasher13;

pub use recorder::Recorder;

use crate::{
    program::Program,
    runner,
    scenario::Scenario,
    world::{LoadError, Options},
};

/// The targets that get seeds, with bytes per seed at most, and seeds per kind and target at most.
pub const TARGETS: &[(&str, usize, usize)] = &[
    ("message", 1 << 14, 64),
    ("datagram", 1400, 24),
    ("stream", 1 << 14, 96),
    ("sealed", 1400, 24),
    ("node", tape::MAX_BYTES, 160),
    ("scenario", 1 << 12, 400),
];

/// The seeds of each target; the key is the file's name.
pub type Seeds = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

/// Scenarios of more nodes are not recorded: their tapes are all cut.
const NODES: u32 = 8;
/// Virtual seconds recorded of each.
const RECORDED_S: u64 = 90;

#[derive(Default)]
struct Collector {
    seeds: Seeds,
    kinds: BTreeMap<(&'static str, String), usize>,
    seen: BTreeSet<(&'static str, u64)>,
}

impl Collector {
    /// Keeps a seed, unless it is too large, there already, or one of too many of its kind.
    fn keep(&mut self, target: &'static str, kind: &str, bytes: &[u8]) {
        let Some((_, size, count)) = TARGETS.iter().find(|t| t.0 == target) else { return };
        let mut h = SipHasher13::new();
        h.write(bytes);
        let hash = h.finish();
        if bytes.is_empty() || bytes.len() > *size || self.seen.contains(&(target, hash)) {
            return;
        }
        let n = self.kinds.entry((target, kind.to_owned())).or_default();
        if *n < *count {
            *n += 1;
            self.seen.insert((target, hash));
            let seeds = self.seeds.entry(target).or_default();
            seeds.insert(format!("{hash:016x}"), bytes.to_vec());
        }
    }

    /// Sorts what was recorded in one run.
    fn take(&mut self, r: Recorder, sealed: bool) {
        for raw in &r.datagrams {
            if sealed {
                let ring = Program { sealed, ..Program::default() }.keyring();
                let names = wire::describe_datagram(ring.as_ref(), raw).join(",");
                self.keep("sealed", &names, raw);
                continue;
            }
            let body = wire::peek_datagram(None, raw).unwrap_or_default();
            self.keep("datagram", &wire::describe_datagram(None, raw).join(","), &body);
            for (tag, body) in wire::bodies(&body).map_while(Result::ok) {
                self.keep("message", &tag.to_string(), &[&[tag], body].concat());
            }
        }
        for m in &r.said {
            let mut bytes = vec![m.tag()];
            m.encode_body(&mut bytes);
            if bytes.len() < MAX_FRAME_BYTES {
                self.keep("message", &m.tag().to_string(), &bytes);
            }
        }
        for bytes in r.streams() {
            self.keep("stream", if sealed { "sealed" } else { "clear" }, &bytes);
        }
        for tape in r.tapes() {
            self.keep("node", "", &tape);
        }
    }
}

/// Runs the scenarios and collects seeds. Runs that fail are seeds, too: nothing is said of it.
///
/// # Errors
/// [`LoadError`] if a scenario asks for what is not there.
pub fn collect(scenarios: impl IntoIterator<Item = Scenario>) -> Result<Seeds, LoadError> {
    let mut all = Collector::default();
    for scenario in scenarios {
        all.keep("scenario", "", scenario.to_string().as_bytes());
        if scenario.highest_node() > NODES {
            continue;
        }
        // One that seals itself has nothing to say in clear.
        let passes: &[bool] = if scenario.is_sealed() { &[true] } else { &[false, true] };
        for &sealed in passes {
            let recorder = Arc::new(Mutex::new(Recorder::new(RECORDED_S * 1_000_000_000, sealed)));
            let program = Program { sealed, ..Program::default() };
            let recorded = Some(Arc::clone(&recorder));
            let options = Options { program, recorder: recorded, ..Options::default() };
            runner::run(scenario.clone(), options)?;
            let recorder =
                std::mem::take(&mut *recorder.lock().unwrap_or_else(PoisonError::into_inner));
            all.take(recorder, sealed);
        }
    }
    Ok(all.seeds)
}
