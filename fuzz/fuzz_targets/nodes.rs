//! Real nodes, and between them a network that does what the input says, with all invariants on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::network;

fuzz_target!(|data: &[u8]| network::play(data));
