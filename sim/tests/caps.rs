//! Drawn runs of nodes with little room: they may be of no use, but what is safe stays safe, and
//! nothing grows above its cap.

use quorate_core::{Counter, Limits};
use sim::{
    Program,
    aim::Aim,
    runner,
    scenario::{Goal, Line},
    world::Options,
};

/// Every cap is so low that drawn runs of 3 to 24 nodes reach it. Sealed, as many lives of
/// processes have a window as members have room, and S9 needs one for each: of one that had to go,
/// what was sent can be played back once more.
fn limits(sealed: bool) -> Limits {
    Limits {
        members: if sealed { Limits::default().members } else { 6 },
        tombstones: 1,
        streams: 6,
        watches: 2,
        joins: 1,
        relays: 1,
        transmits: Limits::QUEUE_MIN,
        events: Limits::QUEUE_MIN,
        queued_claims: 2,
        ..Limits::default()
    }
}

/// Of a cap each: what it turns away is counted.
const COUNTED: &[Counter] = &[
    Counter::DropFull,
    Counter::TombstonesDropped,
    Counter::StreamsDropped,
    Counter::WatchesRefused,
    Counter::RelaysDropped,
    Counter::QueueOverflow,
    Counter::EventsLost,
    Counter::GossipDisplaced,
];

#[test]
fn full_nodes_stay_safe_and_within_their_caps() {
    let mut turned_away = std::collections::BTreeSet::new();
    for (seed, sealed) in (0..60).flat_map(|s| [(s, false), (s, true)]) {
        let mut scenario = Aim::Everything.draw(seed);
        // Who has no room for others need not agree with them, nor find them in time.
        scenario.lines.retain(|l| !matches!(l, Line::Expect(_)));
        let program = Program { sealed, unbounded: true, ..Program::default() };
        let options = Options { program, limits: limits(sealed), ..Options::default() };
        let outcome = runner::run(scenario, options).unwrap();
        assert_eq!(outcome.failures, [], "seed {seed}, sealed {sealed}");
        turned_away.extend(outcome.goals);
    }
    for counter in COUNTED {
        let met = turned_away.contains(&Goal::Counted(*counter));
        assert!(met, "no run has counted {}", counter.name());
    }
}
