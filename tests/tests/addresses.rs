//! Where agents are: the defaults of `-dev`, other ports, IPv6, and an agent that comes back at
//! another address.

use std::time::Duration;

use quorate_tests::{Agent, Lab, Process, binary, http, lab, place::Place, quorate, until};

const SOON: Duration = Duration::from_secs(20);

/// Starts an agent with these words and waits for its HTTP.
fn started(words: &[&str], http_at: &str) -> Process {
    let mut process = Process::start(binary::path(), words);
    let to = http_at.parse().expect("an address");
    until(http_at, SOON, || {
        assert_eq!(process.ended(), None, "{}", process.tail());
        http::request(to, "GET", "/v1/agent/self").map_err(|e| format!("{e}\n{}", process.tail()))
    });
    process
}

/// The addresses of the members, as the table shows them.
fn shown(http_at: &str) -> Vec<String> {
    let out = quorate(&["members", &format!("-http-addr={http_at}")]);
    assert_eq!((out.code, out.stderr.as_str()), (Some(0), ""));
    let rows = out.stdout.lines().skip(1);
    rows.filter_map(|r| r.split_whitespace().nth(1).map(String::from)).collect()
}

#[test]
fn dev_needs_nothing_and_commands_find_it() {
    let Some(lab) = lab!() else { return };
    if !matches!(lab.place, Place::Private) {
        println!("SKIPPED: 127.0.0.1 with the usual ports is not this test's own here");
        return;
    }
    let mut dev = started(&["agent", "-dev", "-node=dev"], "127.0.0.1:8500");
    let out = quorate(&["members"]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    let row: Vec<&str> = out.stdout.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..4], ["dev", "127.0.0.1:8301", "alive", "server"]);
    let to = "127.0.0.1:8500".parse().expect("an address");
    quorate_tests::eventually("it leads", SOON, || {
        let leader = http::request(to, "GET", "/v1/status/leader").expect("an answer");
        leader.body == "\"127.0.0.1:8300\""
    });
    dev.signal(rustix::process::Signal::INT);
    assert_eq!(dev.wait(SOON), Some(1), "a server does not leave on Ctrl-C:\n{}", dev.tail());
}

#[test]
fn two_agents_share_one_address_with_other_ports() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").start();
    let two = lab.agent("agent-two", "127.0.0.10");
    let two = two.arg("-serf-lan-port=9301").arg("-http-port=9500").arg("-dns-port=9600");
    let _two = two.arg("-join=127.0.0.10:8301").spawn();
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    let both = ["127.0.0.10:8301", "127.0.0.10:9301"];
    assert_eq!(shown("127.0.0.10:8500"), both);
    until("agent-two answers", SOON, || {
        let out = quorate(&["info", "-http-addr=127.0.0.10:9500"]);
        if out.code == Some(0) { Ok(()) } else { Err(out.stderr) }
    });
    assert_eq!(shown("127.0.0.10:9500"), both);
}

#[test]
fn ipv6() {
    let Some(lab) = lab!() else { return };
    if std::net::TcpListener::bind("[::1]:8301").is_err() {
        println!("SKIPPED: this host has no IPv6");
        return;
    }
    let (data_one, data_two) = (lab.path("one"), lab.path("two"));
    let data_one = format!("-data-dir={}", data_one.display());
    let data_two = format!("-data-dir={}", data_two.display());
    let words = ["agent", "-node=six-one", "-bind=::1", "-client=::1", &data_one];
    let _one = started(&words, "[::1]:8500");
    let words = ["agent", "-node=six-two", "-bind=::1", "-client=::1", &data_two];
    let ports = ["-serf-lan-port=9301", "-http-port=9500", "-dns-port=9600"];
    let _two = started(&[&words[..], &ports[..]].concat(), "[::1]:9500");
    let out = quorate(&["join", "-http-addr=[::1]:9500", "[::1]:8301"]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    for at in ["[::1]:8500", "[::1]:9500"] {
        until("both are members", SOON, || match shown(at).as_slice() {
            [a, b] if a == "[::1]:8301" && b == "[::1]:9301" => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn addr_of(agent: &Agent, name: &str) -> String {
    let members = agent.get("/v1/agent/members").json();
    let all = members.as_array().cloned().unwrap_or_default();
    let member = all.iter().find(|m| m["Name"] == name);
    member.map(|m| format!("{} {}", m["Addr"], m["Status"])).unwrap_or_default()
}

fn moves(lab: &Lab, end: impl FnOnce(&mut Agent)) {
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let mut two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").start();
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    end(&mut two);
    // The same data directory, hence the same node.
    let moved = lab.agent("agent-two", "127.0.0.12").arg("-join=127.0.0.10").start();
    until("agent-one has the new address", SOON, || match addr_of(&one, "agent-two") {
        now if now == "\"127.0.0.12\" 1" => Ok(()),
        now => Err(format!("{now}\n{}", one.tail())),
    });
    moved.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    assert_eq!(one.members().len(), 2);
}

#[test]
fn a_killed_agent_comes_back_at_another_address() {
    let Some(lab) = lab!() else { return };
    moves(&lab, Agent::kill);
}

#[test]
fn an_agent_that_left_comes_back_at_another_address() {
    let Some(lab) = lab!() else { return };
    moves(&lab, |two| {
        two.interrupt();
        assert_eq!(two.process.wait(SOON), Some(0));
    });
}
