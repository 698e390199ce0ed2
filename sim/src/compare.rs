//! Two profiles of the protocol on equal seeds: what a change costs and brings, in numbers.

use std::fmt::Write as _;

use crate::{
    Program, runner,
    scenario::Scenario,
    trace::Sink,
    world::{Measures, Options},
};

/// A profile to run under.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name in the table.
    pub name: &'static str,
    /// Its constants.
    pub program: Program,
}

/// Our constants and memberlist's.
pub fn profiles() -> Vec<Profile> {
    vec![
        Profile { name: "quorate", program: Program::default() },
        Profile { name: "memberlist", program: Program::memberlist() },
    ]
}

/// What happens at 30 s to a formed cluster, or at 60 s where forming takes longer: a name, and
/// lines of a scenario. `{last}` is the last node, `{eight}` the last eight, `{all}` all, `{half}`
/// and `{rest}` are halves of the cluster.
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
    ("starve-8", "at 30s starve {eight} 20x for 20s\nfor 10m n1 not left on n1\n"),
    ("starve-all", "at 30s starve {all} 20x for 20s\n"),
    ("saturated", "cores 2\nat 60s saturate 1000 for 20s\n"),
    ("partition", "at 30s partition {half} | {rest}\nat 60s heal\n"),
];

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
    /// Seeds 1 to this.
    pub seeds: u64,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the case.
    pub case: &'static str,
    /// Nodes.
    pub size: u32,
    /// Name of the profile.
    pub profile: &'static str,
    /// Failed events about members in good health, per node and hour.
    pub false_per_node_hour: f64,
    /// Those failed events, in all runs.
    pub false_failures: u64,
    /// Those of them that were told by members which were not starved themselves.
    pub at_healthy: u64,
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

/// Runs every case, size, profile and seed; `progress` is told after each run.
pub fn compare(what: &Comparison, mut progress: impl FnMut()) -> Vec<Row> {
    let mut rows = Vec::new();
    let chosen = |name: &str| what.cases.is_empty() || what.cases.iter().any(|c| c == name);
    for &(case, lines) in CASES.iter().filter(|c| chosen(c.0)) {
        for &size in &what.sizes {
            for profile in profiles() {
                let mut all = Vec::new();
                for seed in 1..=what.seeds {
                    let (n, program) = (size.max(2), &profile.program);
                    all.extend(if case == REST {
                        rest(n, seed, program)
                    } else {
                        measure(&scenario(n, lines, TAIL, seed), program)
                    });
                    progress();
                }
                rows.push(row(case, size, profile.name, &all));
            }
        }
    }
    rows
}

/// Runs that [`compare`] will make.
pub fn runs(what: &Comparison) -> u64 {
    let cases = if what.cases.is_empty() { CASES.len() } else { what.cases.len() };
    (cases * what.sizes.len() * profiles().len()) as u64 * what.seeds
}

/// The scenario of one run; `tail` is what it waits for after the case's `lines`.
pub fn scenario(size: u32, lines: &str, tail: &str, seed: u64) -> String {
    let half = size / 2;
    let lines = lines
        .replace("{last}", &size.to_string())
        .replace("{half}", &format!("n1..n{half}"))
        .replace("{rest}", &format!("n{}..n{size}", half + 1))
        .replace("{all}", &format!("n1..n{size}"))
        .replace("{eight}", &format!("n{}..n{size}", size.saturating_sub(7).max(2)));
    format!(
        "cluster {size} servers {} seed {seed}\nat 1s join all via n1\nwithin 30s converged\n\
         {lines}{tail}",
        size.min(3)
    )
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

fn row(case: &'static str, size: u32, profile: &'static str, all: &[Measures]) -> Row {
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
    Row {
        case,
        size,
        profile,
        false_per_node_hour: per_s(|m| m.false_failures) * 3600.0,
        false_failures: all.iter().map(|m| m.false_failures).sum(),
        at_healthy: all.iter().map(|m| m.false_at_healthy).sum(),
        detection_ms: (!detections.is_empty()).then(|| [at(500), at(990), at(1000)]),
        formed_ms: slowest(&formed),
        converged_ms: slowest(&after),
        bytes_per_node_s: per_s(|m| m.datagram_bytes + m.stream_bytes),
        packets_per_node_s: per_s(|m| m.datagrams),
    }
}

/// Names of the columns, in both forms.
const COLUMNS: [&str; 13] = [
    "case",
    "nodes",
    "profile",
    "false/node-h",
    "false",
    "at healthy",
    "detect p50 ms",
    "p99 ms",
    "max ms",
    "formed ms",
    "converged ms",
    "bytes/node/s",
    "packets/node/s",
];

fn cells(r: &Row) -> [String; 13] {
    let ms = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let detection = |i: usize| ms(r.detection_ms.map(|d| d[i]));
    [
        r.case.to_owned(),
        r.size.to_string(),
        r.profile.to_owned(),
        format!("{:.3}", r.false_per_node_hour),
        r.false_failures.to_string(),
        r.at_healthy.to_string(),
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

    #[test]
    fn every_case_is_a_scenario() {
        for (name, lines) in CASES {
            let text = scenario(8, lines, TAIL, 1);
            assert!(Scenario::parse(&text).is_ok(), "{name}: {text}");
        }
    }

    #[test]
    fn a_comparison_gives_a_row_per_profile_and_the_same_each_time() {
        let what = Comparison { sizes: vec![4], cases: vec!["crash".into()], seeds: 2 };
        let mut count = 0;
        let rows = compare(&what, || count += 1);
        assert_eq!((rows.len(), count), (2, runs(&what)));
        assert!(rows.iter().all(|r| r.detection_ms.is_some() && r.formed_ms.is_some()), "{rows:?}");
        assert_eq!(rows, compare(&what, || {}));
        assert_eq!(table(&rows).lines().count(), 3);
        assert_eq!(csv(&rows).lines().nth(1).map(|l| l.split(',').count()), Some(13));
    }
}
