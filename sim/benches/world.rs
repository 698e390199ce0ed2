//! `cargo bench -p sim`: how fast worlds run, in the steady state and through a join storm.
//!
//! Prints the seconds that a minute and an hour take that begin with a join storm, how many times
//! faster than real time that is (the hour, and what of it is rest), and occurrences a second at
//! rest.

use sim::{
    Scenario, runner,
    world::{Options, Outcome},
};

#[expect(clippy::disallowed_methods, reason = "measures the simulator itself, not the simulated")]
fn timed(text: &str) -> Option<(Outcome, f64)> {
    let scenario = Scenario::parse(text).ok()?;
    let began = std::time::Instant::now();
    let outcome = runner::run(scenario, Options::default()).ok()?;
    Some((outcome, began.elapsed().as_secs_f64()))
}

fn main() {
    println!(
        "{:>6} {:>9} {:>9} {:>14} {:>14} {:>10}",
        "nodes", "minute s", "hour s", "hour x real", "rest x real", "occ/s"
    );
    for nodes in [10, 100, 1000] {
        let run = |secs: u32| {
            timed(&format!(
                "cluster {nodes} seed 1\nat 0s join all via n1 n2 n3\nat {secs}s heal\n"
            ))
        };
        // Both begin with the same storm of joins; what the hour takes beyond the minute is rest.
        let (Some((short, minute)), Some((long, hour))) = (run(60), run(3600)) else { continue };
        let virtual_s = |o: &Outcome| o.end as f64 / 1e9;
        let rest = (hour - minute).max(1e-9);
        let rate = (long.occurrences - short.occurrences) as f64 / rest;
        let with_storm = virtual_s(&long) / hour;
        let at_rest = (virtual_s(&long) - virtual_s(&short)) / rest;
        println!(
            "{nodes:>6} {minute:>9.3} {hour:>9.3} {with_storm:>14.0} {at_rest:>14.0} {rate:>10.0}"
        );
    }
}
