//! The bootstrap quorum with real processes: every order of start, kills at any moment, restarts,
//! servers that do not fit, and what an operator reads.

use std::{thread, time::Duration};

use quorate_tests::{Agent, Lab, Random, Spec, lab, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// Formations with a kill in each.
const ROUNDS: u64 = 100;

/// Server `n` of a cluster that expects `expect`; it looks for all others.
fn server(lab: &Lab, n: usize, expect: u8) -> Spec {
    let mut spec = lab
        .agent(&format!("agent-{n}"), &format!("127.0.0.{}", 10 + n))
        .arg("-server")
        .arg(format!("-bootstrap-expect={expect}"))
        .arg("-retry-interval=300ms");
    for other in (1..=3).filter(|m| *m != n) {
        spec = spec.arg(format!("-retry-join=127.0.0.{}", 10 + other));
    }
    spec
}

fn bootstrap(agent: &Agent) -> Value {
    agent.get("/v1/operator/bootstrap").json()
}

/// Waits until the agent knows a quorum: its identity and voters.
fn quorum(agent: &Agent) -> (String, Vec<String>) {
    let look = || {
        let b = bootstrap(agent);
        let cluster = b["ClusterID"].as_str().unwrap_or_default().to_owned();
        let voters = b["Voters"].as_array().cloned().unwrap_or_default();
        let voters = voters.iter().map(|v| v["Address"].as_str().unwrap_or_default().to_owned());
        if cluster.is_empty() {
            return Err(format!("{b}\n{}", agent.tail()));
        }
        Ok((cluster, voters.collect()))
    };
    until(&format!("{} has a quorum", agent.name), SOON, look).0
}

/// The one quorum of all.
fn one_quorum(agents: &[Agent]) -> (String, Vec<String>) {
    let first = quorum(&agents[0]);
    for a in &agents[1..] {
        assert_eq!(quorum(a), first, "{}:\n{}", a.name, a.tail());
    }
    first
}

#[test]
fn three_servers_wait_for_each_other_and_agree() {
    let Some(lab) = lab!() else { return };
    let one = server(&lab, 1, 3).start();
    let two = server(&lab, 2, 3).start();
    one.line("bootstrap: waiting for 1 more server of 3: have agent-1, agent-2", SOON);
    assert_eq!(one.get("/v1/status/peers").body, "[]");
    let out = one.run(&["operator", "bootstrap", "status"]);
    assert_eq!((out.code, out.stderr.as_str()), (Some(2), ""));
    assert!(
        out.stdout.contains("In contact   agent-1, agent-2\nMissing      1\n"),
        "{}",
        out.stdout
    );

    let three = server(&lab, 3, 3).start();
    let mut all = vec![one, two, three];
    let (cluster, mut voters) = one_quorum(&all);
    voters.sort();
    assert_eq!(voters, ["127.0.0.11:8300", "127.0.0.12:8300", "127.0.0.13:8300"]);
    for a in &all {
        a.line(&format!("bootstrap: quorum {cluster} of 3 voters: "), SOON);
        assert_eq!(a.get("/v1/status/leader").body, "\"\"");
        assert_eq!(a.get("/v1/status/peers").json().as_array().map(Vec::len), Some(3));
        let out = a.run(&["operator", "bootstrap", "status"]);
        assert_eq!((out.code, out.stderr.as_str()), (Some(0), ""));
        for part in ["State        final", "Voter        yes", &cluster, "agent-3", "alive"] {
            assert!(out.stdout.contains(part), "{part}: {}", out.stdout);
        }
        let info = a.run(&["info"]).stdout;
        assert!(info.contains(&format!("\tcluster_id = {cluster}\n")), "{info}");
    }

    // A fourth server and a client learn it, without a vote.
    let four = server(&lab, 4, 3).start();
    let client = lab.agent("agent-5", "127.0.0.15").arg("-join=127.0.0.11").start();
    assert_eq!(quorum(&four).0, cluster);
    assert_eq!(bootstrap(&four)["Voter"], false);
    four.line("this agent is not one of them", SOON);
    assert_eq!(quorum(&client).0, cluster);
    assert_eq!(client.get("/v1/status/peers").json().as_array().map(Vec::len), Some(3));

    // It is the same after all of them were killed.
    all.iter_mut().for_each(Agent::kill);
    let again: Vec<Agent> = (1..=3).map(|n| server(&lab, n, 3).start()).collect();
    assert_eq!(one_quorum(&again).0, cluster);
}

#[test]
fn a_lone_server_is_a_quorum_at_once() {
    let Some(lab) = lab!() else { return };
    let agent = lab.agent("agent-one", "127.0.0.10").server().spawn();
    let up = agent.line("agent running!", SOON);
    let line = agent.line("bootstrap: quorum ", SOON);
    let took = line.at.duration_since(up.at);
    println!("a quorum {} ms after the start", took.as_millis());
    assert!(line.text.contains("of 1 voter: 127.0.0.10:8300; this agent is one of them"));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(agent.get("/v1/status/leader").body, "\"127.0.0.10:8300\"");
}

#[test]
fn who_was_told_another_number_is_not_counted() {
    let Some(lab) = lab!() else { return };
    let (one, two) = (server(&lab, 1, 3).start(), server(&lab, 2, 3).start());
    let odd = server(&lab, 3, 5).start();
    one.line("agent-3 (127.0.0.13:8301) was started with -bootstrap-expect 5, this server", SOON);
    odd.line("was started with -bootstrap-expect 3, this server with 5", SOON);
    for a in [&one, &two, &odd] {
        assert_eq!(bootstrap(a)["ClusterID"], "", "{}", a.tail());
    }
    // A server without a number waits for a quorum, and follows it.
    let plain = lab.agent("agent-7", "127.0.0.17").arg("-server").arg("-join=127.0.0.11").start();
    plain.line("no -bootstrap-expect here: waiting for a quorum", SOON);
    let four = server(&lab, 4, 3).start();
    let all = [one, two, four, odd, plain];
    assert_eq!(one_quorum(&all).1.len(), 3);
    assert_eq!(bootstrap(&all[3])["Voter"], false);
}

#[test]
fn two_quorums_that_meet_are_told_and_stay_apart() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let two = lab.agent("agent-two", "127.0.0.11").server().start();
    let (a, b) = (quorum(&one).0, quorum(&two).0);
    assert_ne!(a, b);
    assert_eq!(two.run(&["join", "127.0.0.10"]).code, Some(0));
    one.line(&format!("belongs to the quorum {b}, this server to {a}"), SOON);
    two.line(&format!("belongs to the quorum {a}, this server to {b}"), SOON);
    assert_eq!((quorum(&one).0, quorum(&two).0), (a, b));
}

#[test]
fn a_kill_at_any_moment_of_a_formation() {
    let Some(lab) = lab!() else { return };
    let mut random = Random::new(5);
    for round in 0..ROUNDS {
        for n in 1..=3 {
            let _ = std::fs::remove_dir_all(server(&lab, n, 3).data());
        }
        let mut agents: Vec<Agent> = Vec::new();
        let first = random.below(3);
        for i in 0..3 {
            agents.push(server(&lab, 1 + (first + i) % 3, 3).spawn());
            thread::sleep(Duration::from_millis(random.below(60) as u64));
        }
        // The formation takes some 400 ms from the last start here.
        for _ in 0..1 + random.below(2) {
            thread::sleep(Duration::from_micros(random.below(500_000) as u64));
            let victim = random.below(3);
            agents[victim].kill();
            let number = 1 + (first + victim) % 3;
            agents[victim] = server(&lab, number, 3).spawn();
        }
        agents.iter_mut().for_each(Agent::ready);
        let before = one_quorum(&agents);
        assert_eq!(before.1.len(), 3, "round {round}");
        if round % 4 == 0 {
            agents.iter_mut().for_each(Agent::kill);
            let mut again: Vec<Agent> = (1..=3).map(|n| server(&lab, n, 3).spawn()).collect();
            again.iter_mut().for_each(Agent::ready);
            assert_eq!(one_quorum(&again), before, "round {round}");
        }
    }
}
