//! The bootstrap quorum under every crash: each server dies, or is cut off, just before and just
//! after each write and each report of a formation; and a sweep with faults around formations only.

use std::collections::BTreeSet;

use sim::{
    Scenario,
    aim::Aim,
    runner,
    sweep::{Sweep, sweep},
    trace::{Event, Sink},
    world::Options,
};

const SERVERS: u32 = 3;

fn formation(seed: u64) -> String {
    format!(
        "cluster {SERVERS} servers {SERVERS} expect {SERVERS} seed {seed}\n\
         net latency 3ms\nat 0s join n2 via n1\nat 10ms join n3 via n1\n"
    )
}

/// What happens to a server at that moment, what becomes of it, and what must be true then.
const ENDS: &[(&str, &str)] = &[
    ("crash", "at 4s restart nX join nY nZ\nwithin 6s quorum n1 n2 n3\n"),
    ("crash", "at 700ms restart nX join nY nZ\nwithin 6s quorum n1 n2 n3\n"),
    ("poweroff", "at 4s restart nX join nY nZ\nwithin 6s quorum n1 n2 n3\n"),
    ("isolate", "at 4s heal\nat 4s join nX via nY nZ\nwithin 6s quorum n1 n2 n3\n"),
    // Gone for good: a fourth server takes its place, or it was a voter already.
    ("poweroff", "server n4 expect 3\nat 4s start n4 join nY nZ\nwithin 6s quorum\n"),
    ("crash", "at 4s restart nX fresh join nY nZ\nwithin 6s quorum\n"),
];

/// Moments just before and after everything that the formation does.
fn moments(seed: u64) -> Vec<u64> {
    let scenario = Scenario::parse(&(formation(seed) + "within 3s quorum n1 n2 n3\n")).unwrap();
    let options = Options { sink: Sink::Memory(Vec::new()), ..Options::default() };
    let o = runner::run(scenario, options).unwrap();
    assert_eq!(o.failures, []);
    let last = o.trace.iter().filter(|e| e.event == "bootstrap").map(|e| e.t).max().unwrap();
    let is_report = |e: &Event| e.event == "send" && e.message.contains("BootstrapReport");
    let reports: BTreeSet<u64> = o.trace.iter().filter(|e| is_report(e)).map(|e| e.seq).collect();
    let counts = |e: &&Event| match &*e.event {
        "persist" | "persisted" => true,
        "send" => is_report(e),
        "receive" => reports.contains(&e.cause),
        _ => false,
    };
    // Before its first write a server does not exist yet.
    let mut all: Vec<u64> = o
        .trace
        .iter()
        .filter(counts)
        .filter(|e| e.t > 5_000_000 && e.t <= last + 5_000_000)
        .flat_map(|e| [e.t - 1, e.t + 1])
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_server_may_die_or_be_cut_off_at_any_moment() {
    let mut runs = 0;
    for seed in 1..=4 {
        let moments = moments(seed);
        assert!(moments.len() > 60, "{}", moments.len());
        for t in &moments {
            for victim in 1..=SERVERS {
                for (how, then) in ENDS {
                    let text = format!(
                        "{}at {t}ns {how} n{victim}\n{}",
                        formation(seed),
                        then.replace('X', &victim.to_string())
                            .replace('Y', &(victim % SERVERS + 1).to_string())
                            .replace('Z', &((victim + 1) % SERVERS + 1).to_string())
                    );
                    let o = runner::run(Scenario::parse(&text).unwrap(), Options::default());
                    runs += 1;
                    assert_eq!(o.unwrap().failures, [], "{text}");
                }
            }
        }
    }
    println!("{runs} crash points");
}

#[test]
fn all_die_at_any_moment_and_come_back() {
    for t in moments(3) {
        let text = format!(
            "{}at {t}ns poweroff all\nat 5s restart all join all\nwithin 6s quorum n1 n2 n3\n",
            formation(3)
        );
        let o = runner::run(Scenario::parse(&text).unwrap(), Options::default()).unwrap();
        assert_eq!(o.failures, [], "{text}");
    }
}

#[test]
fn every_order_of_start_forms_the_quorum() {
    for (a, b, c) in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)] {
        for gap_ms in [0, 1, 100, 400, 3000] {
            let text = format!(
                "cluster 1 seed {a}{b}{c}\nserver n2 n3 n4 expect 3\nat 10ms start n{} join n1\n\
                 at {}ms start n{} join n1\nat {}ms start n{} join n1\nwithin 2s quorum n2 n3 n4\n",
                a + 1,
                10 + gap_ms,
                b + 1,
                10 + 2 * gap_ms,
                c + 1
            );
            let o = runner::run(Scenario::parse(&text).unwrap(), Options::default()).unwrap();
            assert_eq!(o.failures, [], "{text}");
        }
    }
}

/// Which of the twelve one-way links between four servers are dead: all 4096 cases. Where three
/// servers hear each other there is a quorum; where nobody is in contact with two others there is
/// none; in between it depends on who proposes. Never are there two (S11).
#[test]
fn four_servers_with_every_assignment_of_views() {
    let links: Vec<(u32, u32)> =
        (1..=4).flat_map(|a| (1..=4).filter(move |b| *b != a).map(move |b| (a, b))).collect();
    let case = |dead: u32| {
        let gone =
            |a, b| links.iter().position(|l| *l == (a, b)).is_some_and(|i| dead >> i & 1 == 1);
        let contact = |a: u32, b: u32| a != b && !gone(a, b) && !gone(b, a);
        let trio = (1..=4).any(|out| {
            let three: Vec<u32> = (1..=4).filter(|n| *n != out).collect();
            three.iter().all(|a| three.iter().all(|b| a == b || contact(*a, *b)))
        });
        let mut text = format!("cluster 4 servers 4 expect 3 seed {dead}\n");
        for (a, b) in links.iter().filter(|(a, b)| gone(*a, *b)) {
            text += &format!("link n{a} -> n{b} loss 100%\n");
        }
        text += "at 0s join all via all\nat 12s heal\n";
        if trio {
            text += "sometimes quorum\n";
        } else if (1..=4).all(|a| (1..=4).filter(|b| contact(a, *b)).count() < 2) {
            text += "never quorum\n";
        }
        let o = runner::run(Scenario::parse(&text).unwrap(), Options::default()).unwrap();
        assert_eq!(o.failures, [], "{text}");
    };
    std::thread::scope(|scope| {
        for half in 0..2 {
            let case = &case;
            scope.spawn(move || (0..1 << 12).filter(|n| n % 2 == half).for_each(case));
        }
    });
}

#[test]
fn a_sweep_aimed_at_formations_is_clean_and_meets_what_it_must() {
    let what = Sweep { aim: Aim::Bootstrap, seeds: 1000, jobs: 2, ..Sweep::default() };
    let report = sweep(&what, || {});
    let told = |f: &sim::sweep::Failed| format!("seed {}: {:?}", f.seed, f.failure);
    let failed: Vec<String> = report.failed.iter().map(told).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(report.missed(Aim::Bootstrap), Vec::<&str>::new());
}
