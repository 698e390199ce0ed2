//! Replays every scenario and every regression, checks determinism, and sweeps a little.

use std::{fs, path::Path};

use sim::{
    Program, Scenario,
    aim::Aim,
    regress, runner,
    sweep::{Sweep, sweep},
    trace::{Sink, first_difference, render},
    world::{Options, Outcome},
};

const REPEAT: &str = "cargo run --release -p sim --";

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = Path::new(regress::SCENARIOS);
    let files = regress::files(folder).unwrap();
    let load = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let short = path.strip_prefix(folder).unwrap().display().to_string();
        let scenario = Scenario::parse(&text).unwrap_or_else(|e| panic!("{short}: {e}"));
        (short, scenario)
    };
    files.iter().map(load).collect()
}

fn run(s: &Scenario, sink: Sink) -> Outcome {
    runner::run(s.clone(), Options { sink, ..Options::default() }).unwrap()
}

#[test]
fn every_scenario_passes() {
    let all = scenarios();
    assert!(all.len() >= 40, "{} scenarios", all.len());
    let mut failed = Vec::new();
    for (name, scenario) in &all {
        for f in run(scenario, Sink::Hash).failures {
            failed.push(format!(
                "{name}: {} at {} ms on n{}: {}\n  {REPEAT} run sim/scenarios/{name}",
                f.check,
                f.t / 1_000_000,
                f.node,
                f.message
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_scenario_passes_sealed() {
    let program = Program { sealed: true, ..Program::default() };
    for (name, scenario) in scenarios() {
        if name.starts_with("large") {
            continue;
        }
        let options = Options { program: program.clone(), ..Options::default() };
        let failures = runner::run(scenario, options).unwrap().failures;
        assert!(failures.is_empty(), "{name}: {failures:?}\n  {REPEAT} run {name} --sealed");
    }
}

#[test]
fn every_scenario_opens_with_what_it_teaches() {
    for (name, scenario) in scenarios() {
        let about = scenario.about.join(" ");
        assert!(about.len() > 30, "{name}: {about:?}");
    }
}

#[test]
fn every_scenario_prints_and_parses_to_itself() {
    for (name, s) in scenarios() {
        assert_eq!(Scenario::parse(&s.to_string()).as_ref(), Ok(&s), "{name}");
    }
}

#[test]
fn twice_in_one_process_is_the_same_run() {
    for (name, scenario) in scenarios() {
        let a = run(&scenario, Sink::Hash);
        let b = run(&scenario, Sink::Hash);
        if a.hash != b.hash {
            let (a, b) = (run(&scenario, memory()), run(&scenario, memory()));
            let show = |e: Option<&_>| e.map_or_else(|| "(end)".into(), render);
            let (x, y) = first_difference(&a.trace, &b.trace).unwrap_or_default();
            panic!("{name} differs:\n{}\n{}", show(x), show(y));
        }
    }
}

fn memory() -> Sink {
    Sink::Memory(Vec::new())
}

#[test]
fn keeping_the_trace_does_not_change_the_run() {
    for (name, scenario) in scenarios().into_iter().step_by(7) {
        let kept = run(&scenario, memory());
        assert_eq!(kept.hash, run(&scenario, Sink::Hash).hash, "{name}");
        assert_eq!(kept.trace.len() as u64, kept.events, "{name}");
        let ordered = kept.trace.windows(2).all(|w| w[0].seq + 1 == w[1].seq && w[0].t <= w[1].t);
        assert!(ordered && kept.trace.iter().all(|e| e.cause < e.seq), "{name}");
    }
}

#[test]
fn threads_do_not_change_a_sweep() {
    let one = sweep(&Sweep { seeds: 40, jobs: 1, ..Sweep::default() }, || {});
    let four = sweep(&Sweep { seeds: 40, jobs: 4, ..Sweep::default() }, || {});
    assert_eq!((one.hash, one.runs), (four.hash, four.runs));
    assert_eq!(one.goals, four.goals);
}

#[test]
fn a_sweep_is_clean_and_meets_what_it_must() {
    let report = sweep(&Sweep { seeds: 300, jobs: 2, ..Sweep::default() }, || {});
    let failed: Vec<String> = report
        .failed
        .iter()
        .map(|f| {
            format!(
                "seed {}: {}: {}\n  {REPEAT} shrink --seed {}",
                f.seed, f.failure.check, f.failure.message, f.seed
            )
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(report.missed(Aim::Everything), Vec::<&str>::new());
}
