//! Profiles of the protocol on equal seeds: what a change costs and brings, in numbers. Guarantee:
//! the table does not depend on the number of threads.

use std::fmt::Write as _;

use crate::{
    Program,
    keyed::{Keyed, Purpose},
    pool, runner,
    scenario::Scenario,
    trace::Sink,
    world::{Measures, Options},
};

/// A profile to run under.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name in the table.
    pub name: String,
    /// Its constants.
    pub program: Program,
}

/// Our constants and memberlist's.
pub fn profiles() -> Vec<Profile> {
    vec![
        Profile { name: "quorate".into(), program: Program::default() },
        Profile { name: "memberlist".into(), program: Program::memberlist() },
    ]
}

/// What happens at 30 s to a formed cluster, or at 60 s where forming takes longer: a name, and
/// lines of a scenario. `{last}` is the last node, `{others}` all but that one, `{eight}` the last
/// eight, `{all}` all, `{half}` and `{rest}` are halves of the cluster, `{blocked}` stops the last
/// eight again and again.
pub const CASES: &[(&str, &str)] = &[
    ("quiet", "at 30s heal\n"),
    (REST, ""),
    ("loss-10", "at 30s net loss 10%\n"),
    ("loss-30", "at 30s net loss 30%\n"),
    ("loss-30-10m", "at 30s net loss 30%\nfor 10m n1 not left on n1\n"),
    ("crash", "at 30s crash n{last}\n"),
    ("poweroff", "at 30s poweroff n{last}\n"),
    ("poweroff-loss-10", "at 29s net loss 10%\nat 30s poweroff n{last}\n"),
    ("pause-5s", "at 30s pause n{last} for 5s\n"),
    ("pause-10s", "at 30s pause n{last} for 10s\n"),
    ("pause-20s", "at 30s pause n{last} for 20s\n"),
    ("starve", "at 30s starve n{last} 200x for 30s\n"),
    ("start-loss-10", "at 0s net loss 10%\n"),
    (BLOCKED, "{blocked}"),
    ("starve-8", "at 30s starve {eight} 20x for 20s\nfor 10m n1 not left on n1\n"),
    ("starve-all", "at 30s starve {all} 20x for 20s\n"),
    ("saturated", "cores 2\nat 60s saturate 1000 for 20s\n"),
    ("partition", "at 30s partition {half} | {rest}\nat 60s heal\n"),
    ("blip-3s", "at 30s isolate n{last}\nat 33s heal\n"),
    ("isolate", "at 30s isolate n{last}\nat 60s heal\n"),
    ("cut", "at 30s cut n1 <-> n{last}\n"),
    ("lossy-host", "at 30s link {others} <-> n{last} loss 70%\nfor 5m n1 not left on n1\n"),
    ("far", "at 30s link {half} <-> {rest} latency 200ms..300ms\n"),
    ("restart", "at 30s crash n{last}\nat 30.2s restart n{last}\n"),
    ("leave", "at 30s leave n{last}\n"),
    ("leave-loss-30", "at 29s net loss 30%\nat 30s leave n{last}\n"),
];

/// Lifeguard's interval experiment: some stop for a moment, run for a moment, and so on.
const BLOCKED: &str = "blocked-8";
/// From when to when, and how long each stands and runs between, milliseconds.
const BLOCKED_FROM_TO: (u64, u64) = (30_000, 150_000);
const BLOCKED_STANDS: (u64, u64) = (500, 4000);
const BLOCKED_RUNS: (u64, u64) = (250, 4000);

/// The case in which only what is sent from 80 s to 200 s of a quiet run is measured.
pub const REST: &str = "rest";
/// What each of its two runs waits for; the shorter one is taken from the longer one.
const REST_TAILS: [&str; 2] = ["for 79s n1 not left on n1\n", "for 199s n1 not left on n1\n"];
/// What is left to run after the case's own lines.
const TAIL: &str = "within 120s converged\nfor 60s n1 not left on n1\n";

/// What to compare.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Cluster sizes.
    pub sizes: Vec<u32>,
    /// Names of [`CASES`]; empty: all.
    pub cases: Vec<String>,
    /// What to run them under.
    pub profiles: Vec<Profile>,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the case.
    pub case: &'static str,
    /// Nodes.
    pub size: u32,
    /// Name of the profile.
    pub profile: String,
    /// Failed events about members in good health, per node and hour.
    pub false_per_node_hour: f64,
    /// Those failed events, in all runs.
    pub false_failures: u64,
    /// Those of them that were told by members which were not starved themselves.
    pub at_healthy: u64,
    /// Failed events about processes that had not ended, however ill they were, per run.
    pub live_per_run: f64,
    /// Milliseconds until a node knows of a loss: median, 99th percentile, maximum.
    pub detection_ms: Option<[u64; 3]>,
    /// Milliseconds until all agree after the start; the slowest seed. None: not at all.
    pub formed_ms: Option<u64>,
    /// Milliseconds until all agree after the last fault; the slowest seed. None: not at all.
    pub converged_ms: Option<u64>,
    /// Bytes per node and second, datagrams and streams.
    pub bytes_per_node_s: f64,
    /// Datagrams per node and second.
    pub packets_per_node_s: f64,
}

/// One run: a case of [`CASES`], nodes, a profile, a seed.
struct Job<'a> {
    case: &'static str,
    lines: &'static str,
    size: u32,
    profile: &'a Profile,
    seed: u64,
}

impl Job<'_> {
    fn run(&self) -> Option<Measures> {
        let (n, program) = (self.size.max(2), &self.profile.program);
        if self.case == REST {
            rest(n, self.seed, program)
        } else {
            measure(&scenario(n, self.lines, TAIL, self.seed), program)
        }
    }
}

/// Runs every case, size, profile and seed; `progress` is told after each run, from any thread.
pub fn compare(what: &Comparison, progress: impl Fn() + Sync) -> Vec<Row> {
    let jobs = plan(what);
    let run = |i: u64| {
        let result = jobs.get(usize::try_from(i).ok()?).and_then(Job::run);
        progress();
        result
    };
    let results = pool::each(jobs.len() as u64, what.jobs, run, |_| false);
    let seeds = usize::try_from(what.seeds).unwrap_or(usize::MAX).max(1);
    let measured = jobs.chunks(seeds).zip(results.chunks(seeds));
    measured
        .map(|(jobs, results)| {
            let all: Vec<Measures> = results.iter().flatten().cloned().collect();
            row(&jobs[0], &all)
        })
        .collect()
}

/// All runs, in the order of the table; seeds change first.
fn plan(what: &Comparison) -> Vec<Job<'_>> {
    let chosen = |name: &str| what.cases.is_empty() || what.cases.iter().any(|c| c == name);
    let mut jobs = Vec::new();
    for &(case, lines) in CASES.iter().filter(|c| chosen(c.0)) {
        for &size in &what.sizes {
            for profile in &what.profiles {
                let job = |seed| Job { case, lines, size, profile, seed };
                jobs.extend((1..=what.seeds).map(job));
            }
        }
    }
    jobs
}

/// Runs that [`compare`] will make.
pub fn runs(what: &Comparison) -> u64 {
    plan(what).len() as u64
}

/// The scenario of one run; `tail` is what it waits for after the case's `lines`.
pub fn scenario(size: u32, lines: &str, tail: &str, seed: u64) -> String {
    let half = size / 2;
    let eight = size.saturating_sub(7).max(2);
    let lines = lines
        .replace("{last}", &size.to_string())
        .replace("{others}", &format!("n1..n{}", size.saturating_sub(1).max(1)))
        .replace("{half}", &format!("n1..n{half}"))
        .replace("{rest}", &format!("n{}..n{size}", half + 1))
        .replace("{all}", &format!("n1..n{size}"))
        .replace("{eight}", &format!("n{eight}..n{size}"))
        .replace("{blocked}", &blocked(eight, size, seed));
    format!(
        "cluster {size} servers {} seed {seed}\nat 1s join all via n1\nwithin 30s converged\n\
         {lines}{tail}",
        size.min(3)
    )
}

/// Lines that stop each of these nodes for irregular whiles, in the order of time.
fn blocked(first: u32, last: u32, seed: u64) -> String {
    let keyed = Keyed::new(seed);
    let mut stops = Vec::new();
    for node in first..=last {
        let mut draws = 0;
        let mut between = |(min, max): (u64, u64)| {
            draws += 1;
            keyed.between(Purpose::Draw, u64::from(node), draws, min, max)
        };
        let (mut at, end) = BLOCKED_FROM_TO;
        loop {
            at += between(BLOCKED_RUNS);
            let stands = between(BLOCKED_STANDS);
            if at + stands > end {
                break;
            }
            stops.push((at, node, stands));
            at += stands;
        }
    }
    stops.sort_unstable();
    let line = |(at, node, stands)| format!("at {at}ms pause n{node} for {stands}ms\n");
    stops.into_iter().map(line).collect()
}

/// What a formed cluster does when nothing happens: equal seeds are equal for as long as the
/// shorter run lasts.
fn rest(size: u32, seed: u64, program: &Program) -> Option<Measures> {
    let [early, late] = REST_TAILS.map(|tail| measure(&scenario(size, "", tail, seed), program));
    let (early, mut late) = (early?, late?);
    late.datagrams -= early.datagrams;
    late.datagram_bytes -= early.datagram_bytes;
    late.stream_bytes -= early.stream_bytes;
    late.node_ns -= early.node_ns;
    Some(late)
}

fn measure(text: &str, program: &Program) -> Option<Measures> {
    let scenario = Scenario::parse(text).ok()?;
    let options = Options {
        program: program.clone(),
        sink: Sink::Hash,
        stop_at_failure: false,
        ..Options::default()
    };
    runner::run(scenario, options).ok().map(|o| o.measures)
}

fn row(job: &Job<'_>, all: &[Measures]) -> Row {
    let node_s = all.iter().map(|m| m.node_ns).sum::<u128>().max(1) as f64 / 1e9;
    let per_s = |f: fn(&Measures) -> u64| all.iter().map(f).sum::<u64>() as f64 / node_s;
    let mut detections: Vec<u64> = all.iter().flat_map(|m| m.detections_ns.clone()).collect();
    detections.sort_unstable();
    let at = |permille: usize| {
        let i = (detections.len() - 1) * permille / 1000;
        detections[i] / 1_000_000
    };
    // The first line that is met is the forming of the cluster, the last what follows the fault.
    let formed = |m: &Measures| m.met_ns.iter().find(|x| x.0 == 1).map(|x| x.1 / 1_000_000);
    let after = |m: &Measures| m.met_ns.iter().find(|x| x.0 > 1).map(|x| x.1 / 1_000_000);
    let slowest = |f: &dyn Fn(&Measures) -> Option<u64>| {
        all.iter().map(f).collect::<Option<Vec<u64>>>().and_then(|v| v.into_iter().max())
    };
    let live: u64 = all.iter().map(|m| m.live_failures).sum();
    Row {
        case: job.case,
        size: job.size,
        profile: job.profile.name.clone(),
        false_per_node_hour: per_s(|m| m.false_failures) * 3600.0,
        false_failures: all.iter().map(|m| m.false_failures).sum(),
        at_healthy: all.iter().map(|m| m.false_at_healthy).sum(),
        live_per_run: live as f64 / all.len().max(1) as f64,
        detection_ms: (!detections.is_empty()).then(|| [at(500), at(990), at(1000)]),
        formed_ms: slowest(&formed),
        converged_ms: slowest(&after),
        bytes_per_node_s: per_s(|m| m.datagram_bytes + m.stream_bytes),
        packets_per_node_s: per_s(|m| m.datagrams),
    }
}

/// Names of the columns, in both forms.
const COLUMNS: [&str; 14] = [
    "case",
    "nodes",
    "profile",
    "false/node-h",
    "false",
    "at healthy",
    "failed live/run",
    "detect p50 ms",
    "p99 ms",
    "max ms",
    "formed ms",
    "converged ms",
    "bytes/node/s",
    "packets/node/s",
];

fn cells(r: &Row) -> [String; 14] {
    let ms = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let detection = |i: usize| ms(r.detection_ms.map(|d| d[i]));
    [
        r.case.to_owned(),
        r.size.to_string(),
        r.profile.clone(),
        format!("{:.3}", r.false_per_node_hour),
        r.false_failures.to_string(),
        r.at_healthy.to_string(),
        format!("{:.1}", r.live_per_run),
        detection(0),
        detection(1),
        detection(2),
        ms(r.formed_ms),
        ms(r.converged_ms),
        format!("{:.0}", r.bytes_per_node_s),
        format!("{:.1}", r.packets_per_node_s),
    ]
}

/// For a terminal.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |i: usize| lines.iter().map(|l| l[i].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        for (i, cell) in line.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = match i {
                0 => write!(out, "{cell:<0$}", widths[i]),
                2 => write!(out, "  {cell:<0$}", widths[i]),
                _ => write!(out, "  {cell:>0$}", widths[i]),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// For a spreadsheet.
pub fn csv(rows: &[Row]) -> String {
    let mut out = COLUMNS.join(",").replace(' ', "_");
    out.push('\n');
    for r in rows {
        out.push_str(&cells(r).join(","));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constants;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn comparison(cases: &[&str], size: u32) -> Comparison {
        let cases = cases.iter().map(|&c| c.to_owned()).collect();
        Comparison { sizes: vec![size], cases, profiles: profiles(), seeds: 2, jobs: 1 }
    }

    #[test]
    fn every_case_is_a_scenario() {
        for (name, lines) in CASES {
            let text = scenario(8, lines, TAIL, 1);
            assert!(Scenario::parse(&text).is_ok(), "{name}: {text}");
        }
    }

    #[test]
    fn a_comparison_gives_a_row_per_profile_and_the_same_each_time() {
        let what = comparison(&["crash"], 4);
        let count = AtomicUsize::new(0);
        let counted = || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let rows = compare(&what, counted);
        assert_eq!((rows.len(), count.into_inner() as u64), (2, runs(&what)));
        assert!(rows.iter().all(|r| r.detection_ms.is_some() && r.formed_ms.is_some()), "{rows:?}");
        assert_eq!(rows, compare(&Comparison { jobs: 3, ..what }, || {}));
        assert_eq!(table(&rows).lines().count(), 3);
        assert_eq!(csv(&rows).lines().nth(1).map(|l| l.split(',').count()), Some(14));
    }

    #[test]
    fn a_constant_that_is_set_changes_its_rows_only() {
        let mut what = comparison(&["crash"], 4);
        let plain = compare(&what, || {});
        what.profiles.extend(constants::parse("refused_grace=0,300").unwrap());
        let rows = compare(&what, || {});
        assert_eq!(rows[..2], plain);
        let median = |i: usize| rows[i].detection_ms.map(|d| d[0] / 100);
        assert_eq!([median(0), median(2), median(3)], [Some(3), Some(0), Some(3)], "{rows:?}");
    }

    #[test]
    fn some_stop_shortly_again_and_again() {
        let text = blocked(5, 12, 1);
        assert_ne!(text, blocked(5, 12, 2));
        for node in 5..=12 {
            let stops = text.lines().filter(|l| l.contains(&format!(" n{node} "))).count();
            assert!((20..60).contains(&stops), "n{node} stops {stops} times");
        }
        // A patience that is shorter than a stop is too short; ours is longer.
        let mut what = comparison(&[BLOCKED], 12);
        what.profiles = profiles().into_iter().take(1).collect();
        what.profiles.extend(constants::parse("mute.min=500").unwrap());
        let rows = compare(&what, || {});
        assert!(rows[0].live_per_run < rows[1].live_per_run, "{rows:?}");
    }
}
