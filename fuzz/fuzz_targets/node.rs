//! A node that is fed arbitrary packets, streams, timers, commands and restarts, with the
//! simulator's invariants on and its memory bounded. The input is a tape: see `sim::corpus::tape`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::{heap, player};

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fuzz_target!(|data: &[u8]| player::play(data));
