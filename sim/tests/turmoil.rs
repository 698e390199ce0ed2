//! The real agent on simulated sockets: every scenario of the project that this layer can do.

use std::{fs, path::Path};

use sim::{
    checks::NOBODY,
    regress,
    turmoil::{Change, LoadError, Options, Outcome, Plan, run},
};

fn outcome(text: &str) -> Outcome {
    run(&Plan::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}")), &Options::default())
}

/// Runs the scenarios of a folder; gives the names of those that ran.
fn folder(name: &str) -> Vec<String> {
    let mut ran = Vec::new();
    for path in regress::files(&Path::new(regress::SCENARIOS).join(name)).unwrap() {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let plan = match Plan::parse(&text) {
            Ok(plan) => plan,
            Err(LoadError::Unsupported { line, step, reason }) => {
                let raw = text.lines().nth(line - 1).unwrap();
                let first = step.split(' ').next().unwrap();
                assert!(raw.trim_start().starts_with(first), "{file}: line {line} is `{raw}`");
                assert!(!reason.is_empty());
                continue;
            }
            Err(e) => panic!("{file}: {e}"),
        };
        let o = run(&plan, &Options::default());
        assert!(o.failures.is_empty(), "{name}/{file}: {:#?}", o.failures);
        assert!(o.answers > 0, "{name}/{file}: nobody was asked");
        ran.push(file);
    }
    ran
}

fn has(ran: &[String], names: &[&str]) {
    for name in names {
        assert!(ran.iter().any(|r| r == name), "{name} did not run, only {ran:?}");
    }
}

#[test]
fn clusters_form() {
    let ran = folder("start");
    has(&ran, &["tutorial", "seed-not-there", "lossy-start", "two-clusters-meet", "late-joiner"]);
}

#[test]
fn members_leave() {
    has(&folder("departures"), &["leave", "leave-under-loss", "force-leave-dead", "all-leave"]);
}

#[test]
fn faults_are_told_from_noise() {
    let ran = folder("faults");
    has(&ran, &["crash", "poweroff", "loss-30-percent", "bursts", "small-mtu", "corruption"]);
}

#[test]
fn partitions_heal() {
    has(&folder("partitions"), &["split-and-heal", "one-way-link", "bridge", "flapping-link"]);
}

#[test]
fn processes_come_back() {
    let ran = folder("restarts");
    has(&ran, &["rolling-restart", "power-cycle", "new-address", "crash-loop", "zombie"]);
}

#[test]
fn clocks_and_disks() {
    has(&folder("clocks"), &["bad-oscillator", "fast-and-slow"]);
    has(&folder("disks"), &["disk-lost"]);
}

#[test]
fn strange_packets_do_no_harm() {
    has(&folder("traffic"), &["garbage", "replay-of-the-dead", "stale-replay"]);
}

#[test]
fn what_this_layer_cannot_do_is_an_error_with_its_line() {
    for (step, reason) in [
        ("at 3s pause n1 for 2s", "stopped"),
        ("at 3s suspend n1 for 2s", "stopped"),
        ("at 3s starve n1 20x for 2s", "processor"),
        ("at 3s disk n1 torn", "disk"),
        ("at 3s clock n1 step +3s", "wall clock"),
        ("clock n1 offset +3s", "wall clock"),
        ("net bandwidth 10000", "bandwidth"),
        ("at 3s link n1 <-> n2 bandwidth 10000", "bandwidth"),
        ("link n1 -> n2 latency 5ms..9ms", "both ways"),
        ("within 3s quorum n1 n2", "quorum"),
        ("never quorum", "quorum"),
        ("server n1 expect 3", "told the same"),
        ("sometimes paused", "view"),
        ("at 3s start n21", "20 hosts"),
        ("at 3s restart n1 protocol 1..1", "all speak the same"),
        ("protocol n1 1..1", "all speak the same"),
    ] {
        let text = format!("# about\ncluster 3 seed 1\n\nat 1s heal # more\n{step}\n");
        let e = Plan::parse(&text).map(|_| ()).unwrap_err();
        let LoadError::Unsupported { line, reason: got, .. } = &e else { panic!("{step}: {e}") };
        assert_eq!(*line, 5, "{step}");
        assert!(got.contains(reason), "{e}");
        assert!(e.to_string().starts_with("line 5, `"), "{e}");
    }
    let e = Plan::parse("cluster 21 seed 1\n").map(|_| ()).unwrap_err();
    assert!(e.to_string().starts_with("line 1, `cluster 21 seed 1`: "), "{e}");
    let moves = "cluster 19 seed 1\nat 5s restart n1 n2 at new-address\n";
    assert!(matches!(Plan::parse(moves), Err(LoadError::Unsupported { line: 2, .. })));
    assert!(matches!(Plan::parse("cluster 3\nat noon heal\n"), Err(LoadError::Parse(_))));
}

#[test]
fn expectations_that_do_not_hold_are_failures() {
    let start = "cluster 4 seed 3\nat 0s join all via n1\n";
    let cases = [
        (
            "at 10s partition n1 n2 | n3 n4\nwithin 30s n3 alive on n1 n3\nfor 60s n3 alive on n1",
            "for-alive",
        ),
        ("at 10s poweroff n4\nfor 30s n4 not failed", "for-not-failed"),
        ("at 10s poweroff n4\nwithin 5s n4 left everywhere", "within-left"),
        ("at 10s crash n4\nwithin 100ms converged", "within-converged"),
        ("within 5s converged\nsometimes failed", "sometimes-failed"),
        ("within 5s converged\nsometimes refutation", "sometimes-refutation"),
        (
            "at 20s link n4 <-> n1..n3 loss 97%\nfor 60s n1 not left\nnever false-failed",
            "false-failed",
        ),
        // Another one that is cut off is no excuse.
        (
            "at 20s link n4 <-> n1..n3 loss 97%\nat 20s flap n2 every 2s for 60s\n\
             for 60s n1 not left\nnever false-failed",
            "false-failed",
        ),
        ("at 20s crash all\nwithin 20s n1 left everywhere", NOBODY),
        ("at 20s crash all\nwithin 20s converged", NOBODY),
        ("at 20s crash all\nfor 20s n1 not failed\nat 41s restart n2", NOBODY),
        ("at 20s crash n2..n4\nwithin 20s n1 failed everywhere", NOBODY),
        ("at 20s crash n3 n4\nwithin 20s n1 alive on n3 n4", NOBODY),
    ];
    let wrong = cases.map(|(lines, check)| {
        let failures = outcome(&format!("{start}{lines}\n")).failures;
        let checks: Vec<&str> = failures.iter().map(|f| f.check.as_str()).collect();
        if checks == [check] { String::new() } else { format!("{lines}: {failures:#?}\n") }
    });
    assert_eq!(wrong.concat(), "");
}

#[test]
fn expectations_that_somebody_sees_hold() {
    let start = "cluster 4 seed 3\nat 0s join all via n1\n";
    for lines in [
        "at 20s crash n2..n4\nwithin 20s converged\nfor 20s n1 not failed",
        "at 20s crash all\nfor 20s n1 not failed\nat 35s restart n2",
        "at 20s crash n3\nwithin 20s n1 alive on n3 n4",
        // Nothing passes: that is no false failure.
        "at 20s link n4 <-> n1..n3 loss 100%\nat 20s flap n2 every 2s for 60s\n\
         for 60s n1 not left\nnever false-failed\nsometimes failed",
    ] {
        let o = outcome(&format!("{start}{lines}\n"));
        assert_eq!(o.failures, [], "{lines}");
    }
}

#[test]
fn the_same_plan_gives_the_same_events_at_the_same_times() {
    let text = "cluster 8 servers 3 seed 77\nnet latency 1ms..60ms loss 20% dup 5% reorder 5%\n\
        clock n2 n5 drift +5000ppm\nat 0s join all via n1\nat 8s crash n7\nat 12s poweroff n6\n\
        at 15s partition n1..n4 | n5 n8\nat 35s restart n7 n6\nat 40s heal\n\
        at 60s leave n8\nfor 20s n1 not left\n";
    let plan = Plan::parse(text).unwrap();
    let run = |plan: &Plan| run(plan, &Options::default());
    let (first, second) = (run(&plan), run(&plan));
    assert!(first.failures.is_empty(), "{:#?}", first.failures);
    assert!(first.events.len() > 100, "{}", first.events.len());
    let differs = first.events.iter().zip(&second.events).find(|(a, b)| a != b);
    assert_eq!(differs, None);
    assert_eq!((first.hash(), first.end), (second.hash(), second.end));
    assert_ne!(first.hash(), run(&plan.with_seed(78)).hash());
}

/// When n1 declares n5 failed, in virtual milliseconds.
fn failed_at(lines: &str) -> u64 {
    let o = outcome(&format!("cluster 5 seed 5\n{lines}\nwithin 60s n5 failed everywhere\n"));
    assert!(o.failures.is_empty(), "{:#?}", o.failures);
    let failed =
        |e: &&sim::turmoil::MemberEvent| e.on == 1 && e.change == Change::Failed && e.name == "n5";
    o.events.iter().find(failed).unwrap().t / 1_000_000
}

/// When a node of two declares the other failed, which is gone after 100 s: virtual milliseconds,
/// the mean of several seeds (whose probes meet the end at different phases).
fn detected_at(drift: &str) -> u64 {
    let seeds = 8;
    let detected = |seed| {
        let text = format!(
            "cluster 2 seed {seed}\nclock all drift {drift}\nat 0s join n2 via n1\n\
             at 100s poweroff n2\nwithin 60s n2 failed on n1\n"
        );
        let o = outcome(&text);
        assert!(o.failures.is_empty(), "{:#?}", o.failures);
        o.events.iter().find(|e| e.change == Change::Failed).unwrap().t / 1_000_000
    };
    (1..=seeds).map(detected).sum::<u64>() / seeds
}

#[test]
fn timers_follow_the_nodes_clocks() {
    let [slow, ideal, fast] = ["-400000ppm", "+0ppm", "+400000ppm"].map(detected_at);
    assert!(slow > ideal + 500 && ideal > fast + 500, "{slow} {ideal} {fast}");
}

#[test]
fn a_killed_process_refuses_and_a_dead_host_is_silent() {
    let crash = failed_at("at 0s join all via n1\nat 20s crash n5");
    let poweroff = failed_at("at 0s join all via n1\nat 20s poweroff n5");
    assert!(crash + 1000 < poweroff, "{crash} {poweroff}");
    // A join to where nobody listens is refused at once; one to a dead host takes its time.
    let joined = |stop: &str| {
        let text = format!(
            "cluster 2 seed 1\nat 0s {stop} n1\nat 1s join n2 via n1\nat 1.5s restart n1\n\
             within 20s n1 alive on n2\nsometimes join-refused\n"
        );
        outcome(&text)
    };
    assert_eq!(joined("crash").failures, []);
    // Its connection is tried again and is answered after the restart.
    let silent = joined("poweroff").failures;
    assert_eq!(silent.len(), 1);
    assert_eq!(silent[0].check, "sometimes-join-refused");
}
