//! Each kind of expectation breaks where it should, and not in the scenario beside that.

use std::fmt::Write as _;

use super::super::{Options, run};
use crate::{Scenario, checks::NOBODY};

const JOINED: &str = "cluster 5 servers 3 expect 3 seed 1\nat 0s join all via n1\n";

/// The checks that fail in a cluster of five, with what they say.
fn failures(lines: &str) -> Vec<(String, String)> {
    let scenario = Scenario::parse(&format!("{JOINED}{lines}\n")).unwrap();
    let failures = run(scenario, Options::default()).unwrap().failures;
    failures.into_iter().map(|f| (f.check, f.message)).collect()
}

/// The first of these breaks `check`, the second one breaks nothing.
fn breaks(check: &str, lines: [&str; 2]) {
    assert_eq!(unlike(check, lines), "");
}

/// What is not so of that.
fn unlike(check: &str, [broken, whole]: [&str; 2]) -> String {
    let mut wrong = String::new();
    let found = failures(broken);
    if found.first().map(|f| f.0.as_str()) != Some(check) {
        let _ = write!(wrong, "{broken}: {found:?} in place of {check}\n\n");
    }
    let found = failures(whole);
    if !found.is_empty() {
        let _ = write!(wrong, "{whole}: {found:?}\n\n");
    }
    wrong
}

#[test]
fn never_false_failed() {
    let lossy = |percent: &str, more: &str| {
        format!(
            "at 20s link n4 <-> n1..n3 n5 loss {percent}\n{more}for 60s n1 not left\n\
             never false-failed"
        )
    };
    breaks("false-failed", [&lossy("97%", ""), &lossy("20%", "")]);
    // What happens to another one is no excuse; that nothing passes is.
    let flap = "at 20s flap n5 every 2s for 60s\n";
    breaks("false-failed", [&lossy("97%", flap), &lossy("100%", flap)]);
}

#[test]
fn never_a_goal_or_a_counter() {
    breaks("never-failed", ["at 20s crash n2\nnever failed", "at 20s heal\nnever failed"]);
    breaks("never-left", ["at 20s leave n2\nnever left", "at 20s crash n2\nnever left"]);
    let never = "never user-events";
    let event = format!("at 20s event deploy on n2\n{never}");
    breaks("never-user-events", [&event, &format!("at 20s query deploy on n2\n{never}")]);
}

#[test]
fn within_event() {
    let told = |fault: &str, on: &str| {
        format!("at 20s {fault}\nat 20s event deploy on n1\nwithin 5s event deploy {on}")
    };
    let apart = "isolate n3";
    breaks("within-event", [&told(apart, "everywhere"), &told("heal", "everywhere")]);
    breaks("within-event", [&told(apart, "on n3"), &told(apart, "on n1 n2 n4 n5")]);
}

#[test]
fn within_query() {
    let asked = |fault: &str, time: &str| {
        format!("at 20s {fault}\nat 20s query ping on n1\nwithin {time} query ping answered")
    };
    breaks("within-query", [&asked("isolate n3", "20s"), &asked("heal", "20s")]);
    // It still waits.
    breaks("within-query", [&asked("isolate n3", "100ms"), &asked("heal", "2s")]);
}

#[test]
fn within_rtt() {
    let near = |time: &str, off: &str| {
        format!("at 0s net latency 20ms..20ms\nat 90s heal\nwithin {time} rtt all {off}\n")
    };
    let moved = "at 100s net latency 80ms..80ms\nwithin 1s rtt all 20%";
    breaks("within-rtt", [&(near("1s", "20%") + moved), &near("1s", "20%")]);
    breaks("within-rtt", ["within 100ms rtt n1 n2 20%", "within 120s rtt n1 n2 60%"]);
}

#[test]
fn what_was_never_said_is_told_from_what_was_not_heard() {
    let event = "within 5s event deploy everywhere";
    let said = format!("at 20s event deploy on n1\n{event}");
    breaks("never-said", [&format!("at 20s event other on n1\n{event}"), &said]);
    let query = "within 20s query ping answered";
    let asked = format!("at 20s query ping on n1\n{query}");
    breaks("never-said", [&format!("at 20s crash n1\n{asked}"), &asked]);
}

/// A restarted process finds only those that are not cut off from it.
#[test]
fn watched() {
    let text = "at 20s cut n1 <-> n2 n3\nat 20s restart n1\nFOR 60s n1 not left";
    let for_ever = text.replace("FOR", "for");
    let for_a_while = text.replace("FOR", "at 40s heal\nfor");
    breaks("watched", [&for_ever, &for_a_while]);
    let (_, told) = &failures(&for_ever)[0];
    assert!(told.ends_with(" members observe n1, 3 should"), "{told}");
}

#[test]
fn what_nobody_can_see_is_a_failure_of_its_own() {
    let all = "at 20s crash all\n";
    let two = "at 20s crash n3..n5\n";
    let one = "at 20s crash n2..n5\n";
    let said = "at 20s event deploy on n1\nat 20s query ping on n1\n";
    let cases = [
        (all, "within 20s n1 left everywhere", "at 20s leave n1\n"),
        (all, "within 20s converged", one),
        (all, "for 20s n1 not failed", one),
        (all, "for 20s n1 failed", "at 10s crash n1\nat 20s heal\n"),
        // A node does not see its own end, but that it is alive.
        (one, "within 20s n1 failed everywhere", "at 20s crash n1\n"),
        (all, "within 20s n1 alive everywhere", one),
        (two, "within 20s n1 alive on n4 n5", "at 20s crash n4\n"),
        (&format!("{said}at 21s crash all\n"), "within 5s event deploy everywhere", said),
        (&format!("{said}at 21s restart all\n"), "within 5s event deploy everywhere", said),
        (&format!("{said}at 21s crash all\n"), "within 20s query ping answered", said),
        (one, "within 100s rtt n1 n2 60%", two),
        (all, "within 20s quorum", one),
        (all, "within 20s quorum n1 n2 n3", one),
    ];
    let wrong = cases.map(|(steps, expect, seen)| {
        unlike(NOBODY, [&format!("{steps}{expect}"), &format!("{seen}{expect}")])
    });
    assert_eq!(wrong.concat(), "");
    let message = &failures(&format!("{all}within 20s converged"))[0].1;
    assert_eq!(message, "`within 20s converged`: nobody is there to see it");
}

#[test]
fn what_lasts_must_be_seen_at_some_time_of_it() {
    let restart = |t: &str| format!("at 20s crash all\nfor 20s n1 not failed\nat {t}s restart n2");
    breaks(NOBODY, [&restart("41"), &restart("39")]);
}
