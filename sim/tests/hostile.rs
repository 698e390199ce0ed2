//! Recorded runs and what somebody makes of them: packets flipped, cut, sealed with another key,
//! played back, in another order, twice. Sealed, the run goes on as if nothing had come; in clear
//! nobody is lost for good.

use quorate_core::{
    Label,
    wire::{self, Key, Keyring},
};
use sim::{
    Program, Scenario,
    aim::Aim,
    runner,
    sweep::{Sweep, sweep},
    world::{Injected, Options, Outcome},
};

/// Joins, a crash, a leave and a restart; n7 restarts, so packets for it are kept apart below.
const STORY: &str = "cluster 7 seed 4711
net latency 1ms..5ms
at 0s join n2..n5 via n1
at 4s join n6 n7 via n2
at 10s crash n6
at 14s leave n5
at 20s crash n7
at 21s restart n7
at 22s restart n5 join n1
at 60s heal
within 30s converged
";
/// No packet is on its way for so long.
const LATE_NS: u64 = 20_000_000;
const RESTARTED: [u32; 3] = [5, 6, 7];

fn run(program: &Program, inject: Vec<Injected>) -> Outcome {
    let scenario = Scenario::parse(STORY).unwrap();
    let options = Options { program: program.clone(), inject, record: true, ..Options::default() };
    runner::run(scenario, options).unwrap()
}

fn program(sealed: bool) -> Program {
    Program { sealed, ..Program::default() }
}

/// Small numbers that look random and are the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n.max(1)
    }
}

/// What a stranger can make of what it heard. `redirect`: members get what was meant for others,
/// too; sealed as it is, that is genuine, and changes the run.
fn forgeries(recorded: &[Injected], redirect: bool) -> Vec<Injected> {
    let mut draws = Draws(7);
    let mut out = Vec::new();
    let last = recorded.last().map_or(0, |p| p.at);
    for (i, p) in recorded.iter().enumerate() {
        let at = p.at + LATE_NS + draws.below(10_000_000_000);
        let like = |bytes: Vec<u8>| Injected { at, bytes, ..p.clone() };
        let mut flipped = p.bytes.clone();
        let bit = draws.below(flipped.len() as u64 * 8) as usize;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let cut = draws.below(p.bytes.len() as u64) as usize;
        out.push(like(flipped));
        out.push(like(p.bytes[..cut].to_vec()));
        if i % 3 == 0 {
            if redirect {
                out.push(Injected { to: 1 + p.to % 4, at, ..p.clone() });
            }
            out.push(Injected { from: 1 + p.from % 4, at, ..p.clone() });
        }
        // As it was, twice; the newest first.
        out.push(like(p.bytes.clone()));
        out.push(Injected { at: last + LATE_NS + (last - p.at) / 8, ..p.clone() });
    }
    out
}

/// The same messages under a key that the cluster does not have, and in clear.
fn with_other_keys(recorded: &[Injected]) -> Vec<Injected> {
    let ring = Keyring::new(Key::new(&[1; 32]).unwrap());
    let label = || Label::new("dc1").unwrap();
    let other = Keyring::new(Key::new(&[99; 32]).unwrap());
    let mut envelopes = [
        wire::Envelope::new(label(), Some(wire::Sealer::new(other, [9; 16], 1))),
        wire::Envelope::new(label(), None),
    ];
    let mut out = Vec::new();
    for p in recorded {
        let Some(body) = wire::peek_datagram(Some(&ring), &p.bytes) else { continue };
        for envelope in &mut envelopes {
            let mut bytes = Vec::new();
            envelope.begin(&mut bytes);
            bytes.extend_from_slice(&body);
            envelope.finish(&mut bytes);
            out.push(Injected { at: p.at + LATE_NS, bytes, ..p.clone() });
        }
    }
    out
}

/// Not to a process that started after it was sent: that one has no memory of what came before.
/// (The step `replay` of scenarios does that.)
fn without_restarts(all: Vec<Injected>) -> Vec<Injected> {
    all.into_iter().filter(|p| !RESTARTED.contains(&p.to)).collect()
}

#[test]
fn sealed_a_run_goes_on_as_if_nothing_had_come() {
    let plain = run(&program(true), Vec::new());
    assert_eq!(plain.failures, []);
    assert!(plain.recorded.len() > 1_000, "{}", plain.recorded.len());
    let mut inject = without_restarts(forgeries(&plain.recorded, false));
    inject.extend(with_other_keys(&plain.recorded));
    let count = inject.len();
    assert!(count > plain.recorded.len() * 4, "{count}");
    let attacked = run(&program(true), inject);
    assert_eq!(attacked.failures, []);
    // Not one packet more or less, and not one byte of one is another.
    assert!(attacked.recorded == plain.recorded, "{count} forged packets changed the run");
}

#[test]
fn in_clear_nobody_is_lost_for_good() {
    let plain = run(&program(false), Vec::new());
    assert_eq!(plain.failures, []);
    let attacked = run(&program(false), forgeries(&plain.recorded, true));
    assert_eq!(attacked.failures, []);
    assert!(attacked.recorded != plain.recorded, "the packets came nowhere");
}

#[test]
fn a_sweep_of_hostile_scenarios_is_clean_and_meets_what_it_must() {
    let what = Sweep { aim: Aim::Hostile, seeds: 300, jobs: 2, ..Sweep::default() };
    let report = sweep(&what, || {});
    let failed: Vec<String> = report
        .failed
        .iter()
        .map(|f| format!("seed {}: {}: {}", f.seed, f.failure.check, f.failure.message))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(report.missed(Aim::Hostile), Vec::<&str>::new());
}
