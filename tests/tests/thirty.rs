//! Thirty agents on 127.0.1.x: how fast they form one cluster, how fast a killed one is failed
//! everywhere, and that nobody else ever is.

use std::time::{Duration, Instant};

use quorate_tests::{Agent, Lab, Process, lab, until};

const AGENTS: usize = 30;
/// From the moment at which the last agent answers.
const FORMED: Duration = Duration::from_secs(3);
const NOTICED: Duration = Duration::from_secs(10);
/// Correctness is awaited for longer than speed: it must hold on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A machine that does much else may miss a time; it may not miss it every time.
const TRIES: u32 = 3;

fn name(i: usize) -> String {
    format!("node-{i:02}")
}

fn start_all(lab: &Lab, attempt: u32) -> Vec<Agent> {
    let spec = |i: usize| {
        let spec = lab.agent(&format!("{}-{attempt}", name(i)), &format!("127.0.1.{}", i + 1));
        // The same names in each attempt, but not the same past.
        let spec = spec.arg(format!("-node={}", name(i))).arg("-retry-interval=100ms");
        if i == 0 { spec.server() } else { spec.arg("-retry-join=127.0.1.1") }
    };
    let mut agents: Vec<Agent> = (0..AGENTS).map(|i| spec(i).spawn()).collect();
    agents.iter_mut().for_each(Agent::ready);
    agents
}

/// Waits until each agent has a line for each of `others`; the time of the last one.
fn last_line<'a>(
    agents: impl Iterator<Item = &'a Agent>,
    lines: impl Fn(&Agent) -> Vec<String>,
) -> Instant {
    let find = |process: &Process, wanted: &str| {
        until(wanted, PATIENCE, || {
            let found = process.lines().into_iter().find(|l| l.text.contains(wanted));
            found.map(|l| l.at).ok_or_else(|| process.tail())
        })
        .0
    };
    let all = agents.flat_map(|a| {
        lines(a).into_iter().map(|wanted| find(&a.process, &wanted)).collect::<Vec<_>>()
    });
    all.max().expect("there are agents and lines")
}

fn alive_lines(of: &Agent) -> Vec<String> {
    let others = (0..AGENTS).filter(|i| of.ip.octets()[3] as usize != i + 1);
    others.map(|i| format!("member alive: {} 127.0.1.{}:8301", name(i), i + 1)).collect()
}

fn assert_sees(agent: &Agent, wanted: &[(String, String)]) {
    let wanted: Vec<_> = wanted.iter().map(|(n, s)| (n.as_str(), s.as_str())).collect();
    agent.sees(&wanted, PATIENCE);
}

/// One round; the two times.
fn round(lab: &Lab, attempt: u32) -> (Duration, Duration) {
    let mut agents = start_all(lab, attempt);
    let ready = Instant::now();
    let formed = last_line(agents.iter(), alive_lines).saturating_duration_since(ready);
    let everybody: Vec<(String, String)> =
        (0..AGENTS).map(|i| (name(i), "alive".to_owned())).collect();
    for a in &agents {
        assert_sees(a, &everybody);
    }

    let victim = 7;
    let killed = Instant::now();
    agents[victim].kill();
    let survivors = || agents.iter().enumerate().filter(|(i, _)| *i != victim).map(|(_, a)| a);
    let failed = format!("member failed: {}", name(victim));
    let noticed = last_line(survivors(), |_| vec![failed.clone()]).duration_since(killed);
    let mut expected = everybody;
    expected[victim].1 = "failed".to_owned();
    for a in survivors() {
        assert_sees(a, &expected);
        let others: Vec<_> = a.process.lines_with("member failed: ");
        assert_eq!(others.len(), 1, "only the killed one fails, at {}: {others:?}", a.name);
        assert_eq!(a.process.lines_with("member left: ").len(), 0, "{}", a.tail());
    }
    (formed, noticed)
}

#[test]
fn they_form_one_cluster_and_notice_a_kill() {
    let Some(lab) = lab!() else { return };
    let mut times = Vec::new();
    for attempt in 0..TRIES {
        let (formed, noticed) = round(&lab, attempt);
        println!("formed {formed:?} after the last start, failed everywhere after {noticed:?}");
        if formed <= FORMED && noticed <= NOTICED {
            return;
        }
        times.push((formed, noticed));
    }
    panic!("not within {FORMED:?} and {NOTICED:?} in any of {TRIES} rounds: {times:?}");
}
