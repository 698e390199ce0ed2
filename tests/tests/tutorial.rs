//! The tutorial, played by real processes on 127.0.0.10, .11 and .12: agents start apart, join by
//! command, by flag and by file, are found by DNS and HTTP, leave, fail and come back.

use std::time::{Duration, Instant};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use quorate_tests::{Agent, Lab, dns, lab, process::Output, quorate, until};

/// What the tutorial promises for a join.
const JOINED: Duration = Duration::from_secs(5);
/// What it promises for a failure, with room for a machine that does much else.
const NOTICED: Duration = Duration::from_secs(20);

const ONE: &str = "127.0.0.10";
const TWO: &str = "127.0.0.11";
const THREE: &str = "127.0.0.12";

/// The first agent, in the words of the tutorial (its HTTP and DNS beside the second one's).
fn one(lab: &Lab) -> Agent {
    let spec = lab.agent("agent-one", ONE);
    let config = lab.path("consul.d");
    std::fs::create_dir_all(&config).expect("a folder");
    let mut agent = spec.spawn_words(&[
        "agent",
        "-server",
        "-bootstrap-expect",
        "1",
        "-data-dir",
        &spec.data().display().to_string(),
        "-node=agent-one",
        &format!("-bind={ONE}"),
        "-config-dir",
        &config.display().to_string(),
        "-client",
        ONE,
    ]);
    agent.ready();
    agent
}

/// The second one.
fn two(lab: &Lab) -> Agent {
    let spec = lab.agent("agent-two", TWO);
    let mut agent = spec.spawn_words(&[
        "agent",
        "-data-dir",
        &spec.data().display().to_string(),
        "-node=agent-two",
        &format!("-bind={TWO}"),
        "-client",
        TWO,
    ]);
    agent.ready();
    agent
}

fn joined_pair(lab: &Lab) -> (Agent, Agent) {
    let (one, two) = (one(lab), two(lab));
    let out = one.run(&["join", TWO]);
    assert_eq!(out, ok("Successfully joined cluster by contacting 1 nodes.\n"));
    let both = [("agent-one", "alive"), ("agent-two", "alive")];
    one.sees(&both, JOINED);
    two.sees(&both, JOINED);
    (one, two)
}

fn ok(stdout: &str) -> Output {
    Output { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() }
}

fn members(agent: &Agent) -> Vec<Vec<String>> {
    let out = agent.run(&["members"]);
    assert_eq!((out.code, out.stderr.as_str()), (Some(0), ""), "{}", out.stdout);
    let rows = out.stdout.lines().skip(1);
    rows.map(|l| l.split_whitespace().map(String::from).collect()).collect()
}

fn assert_found(agent: &Agent, name: &str, ip: &str) {
    for full in [format!("{name}.node.consul."), format!("{name}.node.dc1.consul.")] {
        let want = [format!("{full} 0 IN A {ip}")];
        let question = dns::question(&full, RecordType::A, None);
        let udp = dns::udp(agent.dns(), &question).expect("an answer over UDP");
        let tcp = dns::tcp(agent.dns(), &question).expect("an answer over TCP");
        for got in [udp, tcp] {
            assert_eq!(got.code(), ResponseCode::NoError, "{full} at {}", agent.name);
            assert_eq!(got.answers(), want, "{full} at {}", agent.name);
        }
    }
}

#[test]
fn two_agents_start_apart_and_one_join_makes_them_a_cluster() {
    let Some(lab) = lab!() else { return };
    let (one, two) = (one(&lab), two(&lab));
    assert_eq!(one.members(), [("agent-one".to_owned(), "alive".to_owned())]);
    assert_eq!(two.members(), [("agent-two".to_owned(), "alive".to_owned())]);
    let rows = members(&one);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][..4], ["agent-one", "127.0.0.10:8301", "alive", "server"]);
    let rows = members(&two);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][..4], ["agent-two", "127.0.0.11:8301", "alive", "client"]);

    let start = Instant::now();
    let out = one.run(&["join", TWO]);
    assert_eq!(out, ok("Successfully joined cluster by contacting 1 nodes.\n"));
    for agent in [&one, &two] {
        agent.sees(&[("agent-one", "alive"), ("agent-two", "alive")], JOINED);
        let names: Vec<String> = members(agent).into_iter().map(|mut r| r.remove(0)).collect();
        assert_eq!(names, ["agent-one", "agent-two"], "servers first, then by name");
    }
    assert!(start.elapsed() < 2 * JOINED, "{:?}", start.elapsed());
    one.line("member alive: agent-two 127.0.0.11:8301", JOINED);
    two.line("member alive: agent-one 127.0.0.10:8301", JOINED);
}

#[test]
fn nodes_are_found_by_dns_and_http_at_every_agent() {
    let Some(lab) = lab!() else { return };
    let (one, two) = joined_pair(&lab);
    for agent in [&one, &two] {
        assert_found(agent, "agent-one", ONE);
        assert_found(agent, "agent-two", TWO);
        let upper = agent.dig("AGENT-Two.Node.Consul.", RecordType::A);
        assert_eq!(upper.answers(), ["AGENT-Two.Node.Consul. 0 IN A 127.0.0.11"]);

        let none = agent.dig("agent-nine.node.consul.", RecordType::A);
        assert_eq!((none.code(), none.flags().as_str()), (ResponseCode::NXDomain, "qr aa rd"));
        let soa = "consul. 0 IN SOA ns.consul. hostmaster.consul. <unixtime> 3600 600 86400 0";
        assert_eq!(none.authorities(), [soa]);

        let ptr = agent.dig(&dns::reverse_name(two.ip), RecordType::PTR);
        assert_eq!(ptr.answers(), ["11.0.0.127.in-addr.arpa. 0 IN PTR agent-two.node.dc1.consul."]);

        let reply = agent.get("/v1/catalog/node/agent-two");
        assert_eq!((reply.status, &reply.json()["Node"]["Address"]), (200, &TWO.into()));
        let nodes = agent.get("/v1/catalog/nodes").json();
        let names: Vec<_> = nodes.as_array().expect("a list").iter().map(|n| &n["Node"]).collect();
        assert_eq!(names, ["agent-one", "agent-two"]);
        let passing = agent.get("/v1/health/state/passing").json();
        assert_eq!(passing.as_array().map(Vec::len), Some(2));
        agent.says("/v1/status/leader", "\"127.0.0.10:8300\"", JOINED);
    }
}

#[test]
fn a_third_agent_joins_by_flag_or_by_file() {
    let Some(lab) = lab!() else { return };
    let (one, two) = joined_pair(&lab);
    let all = [("agent-one", "alive"), ("agent-two", "alive"), ("agent-three", "alive")];
    let mut three = lab.agent("agent-three", THREE).arg("-join").arg(TWO).start();
    for agent in [&one, &two, &three] {
        agent.sees(&all, JOINED);
    }
    assert_found(&one, "agent-three", THREE);
    three.interrupt();
    assert_eq!(three.process.wait(NOTICED), Some(0));
    let left = [("agent-one", "alive"), ("agent-two", "alive"), ("agent-three", "left")];
    one.sees(&left, NOTICED);

    let file = lab.write("join.json", &format!(r#"{{"start_join": ["{ONE}"]}}"#));
    let three = lab.agent("agent-three", THREE);
    let three = three.arg(format!("-config-file={}", file.display())).start();
    for agent in [&one, &two, &three] {
        agent.sees(&all, JOINED);
    }
}

#[test]
fn the_atlas_flags_still_start_an_agent() {
    let Some(lab) = lab!() else { return };
    let words = ["-atlas-join", "-atlas=me/infrastructure", "-atlas-token=t"];
    let one = words.iter().fold(lab.agent("agent-one", ONE), |spec, w| spec.arg(*w)).start();
    one.line("the Atlas service no longer exists", JOINED);
    one.sees(&[("agent-one", "alive")], JOINED);
}

#[test]
fn retry_join_waits_for_an_agent_that_comes_later() {
    let Some(lab) = lab!() else { return };
    let two = lab.agent("agent-two", TWO).arg("-retry-join").arg(ONE).arg("-retry-interval=200ms");
    let two = two.start();
    assert_eq!(two.members(), [("agent-two".to_owned(), "alive".to_owned())]);
    let one = one(&lab);
    for agent in [&one, &two] {
        agent.sees(&[("agent-one", "alive"), ("agent-two", "alive")], NOTICED);
    }
    let gives_up = lab.agent("agent-three", THREE);
    let gives_up = gives_up.arg("-retry-join=127.0.0.99").arg("-retry-interval=50ms");
    let mut three = gives_up.arg("-retry-max=2").spawn();
    assert_eq!(three.process.wait(NOTICED), Some(1), "{}", three.tail());
    assert_eq!(three.process.lines_with("-retry-max").len(), 2, "log and end:\n{}", three.tail());
}

#[test]
fn ctrl_c_of_the_client_leaves() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = joined_pair(&lab);
    two.interrupt();
    assert_eq!(two.process.wait(NOTICED), Some(0), "{}", two.tail());
    one.sees(&[("agent-one", "alive"), ("agent-two", "left")], JOINED);
    one.line("member left: agent-two", JOINED);
    assert_eq!(members(&one)[1][..3], ["agent-two", "127.0.0.11:8301", "left"]);
    let gone = one.dig("agent-two.node.consul.", RecordType::A);
    assert_eq!(gone.code(), ResponseCode::NXDomain);
    assert!(one.process.lines_with("member failed").is_empty(), "{}", one.tail());

    // Who left comes back only when it is told to.
    let two = self::two(&lab);
    assert_eq!(two.members(), [("agent-two".to_owned(), "alive".to_owned())]);
    assert_eq!(two.run(&["join", ONE]).code, Some(0));
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], JOINED);
}

#[test]
fn a_killed_agent_fails_and_comes_back_by_itself() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = joined_pair(&lab);
    // What is known of the others is written down a moment after it is known.
    until("agent-two has written its peers", JOINED, || {
        let holds_peer = ["state.0", "state.1"].iter().any(|slot| {
            let bytes = std::fs::read(lab.agent("agent-two", TWO).data().join(slot));
            bytes.is_ok_and(|b| b.windows(9).any(|w| w == b"agent-one"))
        });
        if holds_peer { Ok(()) } else { Err("agent-one is in neither slot".into()) }
    });
    two.kill();
    one.sees(&[("agent-one", "alive"), ("agent-two", "failed")], NOTICED);
    one.line("member failed: agent-two", JOINED);
    let failed = one.dig("agent-two.node.consul.", RecordType::A);
    assert_eq!(failed.answers().len(), 1, "a failed node still resolves");
    let critical = one.get("/v1/health/state/critical").json();
    assert_eq!(critical[0]["Output"], "Agent not live or unreachable");

    let seen = one.process.lines().len();
    let two = self::two(&lab);
    let both = [("agent-one", "alive"), ("agent-two", "alive")];
    one.sees(&both, NOTICED);
    two.sees(&both, NOTICED);
    one.process.line_after(seen, "member alive: agent-two 127.0.0.11:8301", JOINED);
}

#[test]
fn leave_by_command_also_of_a_server() {
    let Some(lab) = lab!() else { return };
    let (mut one, mut two) = joined_pair(&lab);
    assert_eq!(two.run(&["leave"]), ok("Graceful leave complete\n"));
    assert_eq!(two.process.wait(NOTICED), Some(0), "{}", two.tail());
    one.sees(&[("agent-one", "alive"), ("agent-two", "left")], JOINED);
    assert_eq!(one.run(&["leave"]), ok("Graceful leave complete\n"));
    assert_eq!(one.process.wait(NOTICED), Some(0), "{}", one.tail());
    // Nobody listens any more.
    assert_eq!(quorate(&["members", "-http-addr=127.0.0.10:8500"]).code, Some(1));
}

#[test]
fn force_leave_turns_failed_into_left() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = joined_pair(&lab);
    two.kill();
    one.sees(&[("agent-one", "alive"), ("agent-two", "failed")], NOTICED);
    assert_eq!(one.run(&["force-leave", "agent-two"]), ok(""));
    one.sees(&[("agent-one", "alive"), ("agent-two", "left")], JOINED);
    one.line("member left: agent-two", JOINED);
    assert_eq!(one.run(&["force-leave", "-prune", "agent-two"]), ok(""));
    one.sees(&[("agent-one", "alive")], JOINED);
}

#[test]
fn force_leave_of_a_live_member_is_refuted() {
    let Some(lab) = lab!() else { return };
    let (one, two) = joined_pair(&lab);
    let before = one.process.lines().len();
    assert_eq!(one.run(&["force-leave", "agent-two"]).code, Some(0));
    two.line("refuted", NOTICED);
    let both = [("agent-one", "alive"), ("agent-two", "alive")];
    one.sees(&both, NOTICED);
    two.sees(&both, NOTICED);
    let failed = one.process.lines().split_off(before);
    assert!(failed.iter().all(|l| !l.text.contains("member failed")), "{}", one.tail());
}
