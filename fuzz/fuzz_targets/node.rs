//! A node that is fed arbitrary packets, streams, timers, commands and restarts, with the
//! simulator's invariants on and its memory bounded. The input is a tape: see `sim::corpus::tape`.
//!
//! With `FUZZ_REACHED=1` it prints each counter of the node when it is first above zero.
#![no_main]

use std::{
    collections::BTreeSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use libfuzzer_sys::fuzz_target;
use quorate_core::Stats;
use quorate_fuzz::{heap, player};

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

static REACHED: LazyLock<Option<Mutex<BTreeSet<&str>>>> =
    LazyLock::new(|| std::env::var_os("FUZZ_REACHED").map(|_| Mutex::default()));

fn tell(stats: &Stats) {
    let Some(reached) = &*REACHED else { return };
    let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, _) in stats.iter().filter(|(_, n)| *n > 0) {
        if reached.insert(name) {
            eprintln!("reached: {name}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    if let Some(stats) = player::play(data) {
        tell(&stats);
    }
});
