//! `cargo bench -p sim`: how fast worlds run, in the steady state and through a join storm.
//!
//! Prints occurrences a second and how many times faster than real time a cluster runs.

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
        "{:>6} {:>14} {:>14} {:>12} {:>12}",
        "nodes", "storm s", "steady s", "x real time", "occ/s"
    );
    for nodes in [10, 100, 1000] {
        let run = |secs: u32| {
            timed(&format!(
                "cluster {nodes} seed 1\nat 0s join all via n1 n2 n3\nat {secs}s heal\n"
            ))
        };
        // The difference of two runs that begin alike is the steady state alone.
        let (Some((short, storm)), Some((long, both))) = (run(60), run(360)) else { continue };
        let steady = (both - storm).max(1e-9);
        let rate = (long.occurrences - short.occurrences) as f64 / steady;
        println!("{nodes:>6} {storm:>14.3} {steady:>14.3} {:>12.0} {rate:>12.0}", 300.0 / steady);
    }
}
