//! The keyring of running agents: a key is replaced while all probe each other, a restart keeps the
//! new one, and whoever has only the old one stays out and is told why.

use std::{fs, time::Duration};

use quorate_tests::{Agent, Lab, lab, quorate};

const SOON: Duration = Duration::from_secs(20);
const NAMES: [&str; 5] = ["agent-one", "agent-two", "agent-three", "agent-four", "agent-five"];

fn key() -> String {
    let out = quorate(&["keygen"]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    out.stdout.trim().to_owned()
}

fn start(lab: &Lab, i: usize, key: &str) -> Agent {
    let spec = lab.agent(NAMES[i], &format!("127.0.0.{}", 10 + i));
    spec.arg(format!("-encrypt={key}")).start()
}

fn cluster(lab: &Lab, n: usize, key: &str) -> Vec<Agent> {
    let agents: Vec<Agent> = (0..n).map(|i| start(lab, i, key)).collect();
    for agent in agents.iter().skip(1) {
        assert_eq!(agent.run(&["join", "127.0.0.10"]).code, Some(0));
    }
    let all: Vec<_> = NAMES[..n].iter().map(|name| (*name, "alive")).collect();
    for agent in &agents {
        agent.sees(&all, SOON);
    }
    agents
}

fn done(agent: &Agent, words: &[&str]) {
    let out = agent.run(words);
    assert_eq!(out.code, Some(0), "{words:?}: {}{}", out.stdout, out.stderr);
}

const GATHERING: &str = "==> Gathering installed encryption keys...\n\ndc1 (LAN):\n";

fn listed(agent: &Agent) -> String {
    let out = agent.run(&["keyring", "-list"]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    out.stdout
}

/// What must not happen while a key is replaced, of all agents: probes that failed, accusations.
fn trouble(agents: &[Agent]) -> u64 {
    let names = ["probes_failed", "suspicions", "failures_declared", "refutations"];
    agents.iter().flat_map(|a| names.map(|name| a.metric(name))).sum()
}

/// Replaces `old` by `new` while all probe each other; the trouble meanwhile.
fn rotate(agents: &[Agent], old: &str, new: &str) -> u64 {
    let (trouble_before, probes) = (trouble(agents), |a: &Agent| a.metric("probes"));
    let before: Vec<u64> = agents.iter().map(probes).collect();
    assert_eq!(listed(&agents[1]), format!("{GATHERING}  {old} [5/5]\n"));
    done(&agents[0], &["keyring", "-install", new, "-relay-factor=3"]);
    done(&agents[0], &["keyring", "-install", new]);
    done(&agents[3], &["keyring", "-use", new]);
    let out = agents[3].run(&["keyring", "-remove", new]);
    assert_eq!(out.code, Some(1));
    assert!(out.stderr.contains("still seals with this key"), "{}", out.stderr);
    done(&agents[4], &["keyring", "-remove", old]);
    done(&agents[4], &["keyring", "-remove", old]);
    for agent in agents {
        assert_eq!(listed(agent), format!("{GATHERING}  {new} [5/5]\n"));
    }
    // Each probes a few times more under the new key.
    for (agent, before) in agents.iter().zip(before) {
        quorate_tests::until("more probes", 3 * SOON, || {
            let now = probes(agent);
            if now >= before + 8 { Ok(()) } else { Err(format!("{now} of {before} + 8")) }
        });
        println!("{}: {} probes, {} late", agent.name, probes(agent), agent.metric("probes_late"));
        // Every packet came sealed with a key that its receiver had.
        assert_eq!(agent.metric("drop_key"), 0, "{}", agent.tail());
    }
    trouble(agents) - trouble_before
}

#[test]
fn five_agents_change_their_key_and_lose_nothing() {
    let Some(lab) = lab!() else { return };
    let (mut old, mut new) = (key(), key());
    let mut agents = cluster(&lab, 5, &old);
    // Where a loaded machine keeps a process from the processor for a second, a probe of it fails
    // with any key. A rotation that did it would do it each time.
    let mut tries = 1;
    while rotate(&agents, &old, &new) > 0 {
        let tails: String = agents.iter().map(Agent::tail).collect();
        assert!(tries < 3, "there is trouble at each rotation: {tails}");
        tries += 1;
        (old, new) = (new, key());
    }
    for agent in &agents {
        let told = [&old, &new].map(|key| agent.process.lines_with(key).len());
        assert_eq!(told, [0, 0], "a key is in the log");
    }

    // A restart has the new key, whatever its command line says.
    agents[2].kill();
    agents[2] = start(&lab, 2, &old);
    agents[2].line("the key of -encrypt is not used", SOON);
    let all: Vec<_> = NAMES.iter().map(|name| (*name, "alive")).collect();
    for agent in &agents {
        agent.sees(&all, SOON);
    }
    assert_eq!(listed(&agents[2]), format!("{GATHERING}  {new} [5/5]\n"));

    let late = lab.agent("late", "127.0.0.20").arg(format!("-encrypt={old}")).start();
    let out = late.run(&["join", "127.0.0.10"]);
    assert_eq!(out.code, Some(1));
    assert!(out.stderr.contains("another encryption key"), "{}", out.stderr);
}

#[test]
fn who_does_not_answer_is_named_and_a_second_try_completes_it() {
    let Some(lab) = lab!() else { return };
    let (old, new) = (key(), key());
    let mut agents = cluster(&lab, 3, &old);
    done(&agents[0], &["keyring", "-install", &new]);
    agents[2].process.signal(rustix::process::Signal::STOP);
    let out = agents[0].run(&["keyring", "-use", &new]);
    agents[2].process.signal(rustix::process::Signal::CONT);
    assert_eq!(out.code, Some(1), "{}", out.stdout);
    let stderr = &out.stderr;
    assert!(stderr.contains("nothing was changed") && stderr.contains("agent-three"), "{stderr}");
    let all: Vec<_> = NAMES[..3].iter().map(|name| (*name, "alive")).collect();
    for agent in &agents {
        agent.sees(&all, SOON);
    }
    done(&agents[1], &["keyring", "-use", &new]);
    let json = agents[2].get("/v1/operator/keyring").json();
    assert_eq!(json[0]["PrimaryKeys"][&new], 3, "{json}");
    assert_eq!(json[0]["Keys"][&old], 3);
    assert_eq!((&json[0]["NumNodes"], &json[0]["Datacenter"]), (&3.into(), &"dc1".into()));
}

#[test]
fn clear_agents_and_damaged_keyrings_say_what_to_do() {
    let Some(lab) = lab!() else { return };
    let clear = lab.agent("clear", "127.0.0.10").start();
    for words in [&["keyring", "-list"][..], &["keyring", "-install", &key()]] {
        let out = clear.run(words);
        assert_eq!(out.code, Some(1));
        assert!(out.stderr.contains("this agent is not encrypted"), "{}", out.stderr);
    }
    let out = clear.run(&["keyring", "-install", "c2hvcnQ="]);
    assert!(out.stderr.contains("it has 5 bytes, not 16, 24 or 32"), "{}", out.stderr);
    let out = clear.run(&["keyring"]);
    assert!(out.code == Some(1) && out.stderr.contains("Exactly one of"), "{}", out.stderr);

    let spec = lab.agent("sealed", "127.0.0.11");
    let mut sealed = spec.clone().arg(format!("-encrypt={}", key())).start();
    sealed.kill();
    let file = spec.data().join("serf/local.keyring");
    fs::write(&file, "[\"half a key").unwrap();
    let mut broken = spec.spawn();
    let status = broken.process.wait(SOON);
    assert_eq!(status, Some(1), "{}", broken.tail());
    let tail = broken.tail();
    assert!(tail.contains("serf/local.keyring is no keyring"), "{tail}");
    assert!(tail.contains("remove it and give the key"), "{tail}");
    assert!(!tail.contains("half a key"));
}
