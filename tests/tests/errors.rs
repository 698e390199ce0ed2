//! Every error that the tutorial's user can meet: no agent, dead addresses, names that nobody
//! has, starts that are refused. Text, stream and exit code of each.

use std::time::Duration;

use hickory_proto::{op::ResponseCode, rr::RecordType};
use quorate_tests::{Output, lab, quorate};

const ONE: &str = "127.0.0.10";
const SOON: Duration = Duration::from_secs(20);

fn failed(stderr: &str) -> Output {
    Output { code: Some(1), stdout: String::new(), stderr: stderr.to_owned() }
}

#[test]
fn no_agent_is_running() {
    let Some(_lab) = lab!() else { return };
    let http = format!("-http-addr={ONE}:8500");
    let dial = format!("dial tcp {ONE}:8500: connect: connection refused");
    let base = format!("http://{ONE}:8500/v1/agent");
    assert_eq!(
        quorate(&["members", &http]),
        failed(&format!("Error retrieving members: Get \"{base}/members?segment=_all\": {dial}\n"))
    );
    assert_eq!(
        quorate(&["join", &http, "127.0.0.11"]),
        failed(&format!(
            "Error joining address '127.0.0.11': Put \"{base}/join/127.0.0.11\": {dial}\n\
             Failed to join any nodes.\n"
        ))
    );
    assert_eq!(
        quorate(&["leave", &http]),
        failed(&format!("Error leaving: Put \"{base}/leave\": {dial}\n"))
    );
    for words in [&["info"][..], &["force-leave", "x"]] {
        let mut all = vec![words[0], &http];
        all.extend(&words[1..]);
        let out = quorate(&all);
        assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""), "{words:?}");
        assert!(out.stderr.contains(&dial), "{words:?}: {}", out.stderr);
    }
}

#[test]
fn joining_an_address_where_nobody_listens() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE).server().start();
    let why = "Unexpected response code: 500 (1 error occurred: * Failed to join 127.0.0.99: \
               dial tcp 127.0.0.99:8301: connect: connection refused)";
    let line = format!("Error joining address '127.0.0.99': {why}\n");
    assert_eq!(
        one.run(&["join", "127.0.0.99"]),
        failed(&format!("{line}Failed to join any nodes.\n"))
    );

    // One that works is enough, and the other is still told.
    let two = lab.agent("agent-two", "127.0.0.11").start();
    let out = one.run(&["join", "127.0.0.99", "127.0.0.11"]);
    assert_eq!((out.code, out.stderr), (Some(0), line));
    assert_eq!(out.stdout, "Successfully joined cluster by contacting 1 nodes.\n");
    two.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
}

#[test]
fn joining_a_host_name_that_does_not_exist() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE).start();
    let out = one.run(&["join", "no-such-host.invalid"]);
    assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""));
    let head = "Error joining address 'no-such-host.invalid': Unexpected response code: 500 (";
    assert!(out.stderr.starts_with(head), "{}", out.stderr);
    assert!(out.stderr.ends_with("Failed to join any nodes.\n"), "{}", out.stderr);
    assert_eq!(one.members().len(), 1);
}

#[test]
fn joining_something_that_is_not_an_agent() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE).start();
    let listener = std::net::TcpListener::bind("127.0.0.11:8301").expect("a free address");
    let other = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut s, _) = listener.accept().expect("a connection");
        let _ = s.write_all(b"220 mail.example ESMTP\r\n");
        let _ = s.read_to_end(&mut Vec::new());
    });
    let out = one.run(&["join", "127.0.0.11"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    assert!(out.stderr.contains("the answer is not from a quorate agent"), "{}", out.stderr);
    other.join().expect("the other end saw the close");
    assert_eq!(one.members().len(), 1);
}

#[test]
fn joining_another_datacenter() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE).start();
    let two = lab.agent("agent-two", "127.0.0.11").arg("-datacenter=dc2").start();
    let out = one.run(&["join", "127.0.0.11"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    assert!(out.stderr.contains("Member 'agent-two' part of wrong datacenter 'dc2'"), "{out:?}");
    assert_eq!((one.members().len(), two.members().len()), (1, 1));
}

#[test]
fn commands_without_what_they_need() {
    for (words, want) in [
        (&["join"][..], "At least one address to join must be specified."),
        (&["force-leave"], "The name of one member must be specified."),
    ] {
        let out = quorate(words);
        assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""), "{words:?}");
        assert!(out.stderr.starts_with(want), "{words:?}: {}", out.stderr);
        assert!(out.stderr.contains("Usage: "), "{words:?}: {}", out.stderr);
    }
    for words in [&[][..], &["frobnicate"]] {
        let out = quorate(words);
        assert_eq!((out.code, out.stdout.as_str()), (Some(127), ""), "{words:?}");
        for command in ["agent", "demo", "force-leave", "info", "join", "leave", "members"] {
            assert!(out.stderr.contains(command), "{words:?}: {}", out.stderr);
        }
    }
}

#[test]
fn a_node_that_nobody_knows() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE).start();
    let why = "Unexpected response code: 500 (agent: No node found with name 'nobody')";
    for words in [&["force-leave", "nobody"][..], &["force-leave", "-prune", "nobody"]] {
        let out = one.run(words);
        assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""), "{words:?}");
        assert!(out.stderr.ends_with(&format!(": {why}\n")), "{words:?}: {}", out.stderr);
    }
    let none = one.dig("nobody.node.consul.", RecordType::A);
    assert_eq!(none.code(), ResponseCode::NXDomain);
    assert_eq!(one.get("/v1/catalog/node/nobody").body, "null");
    assert_eq!(one.get("/v1/health/node/nobody").body, "[]");
    let out = one.run(&["members", "-status=failed"]);
    assert_eq!(out, Output { code: Some(2), stdout: String::new(), stderr: String::new() });
}

/// A start that must be refused: one line on standard error and exit code 1.
fn refused(args: &[&str]) -> String {
    let mut all = vec!["agent"];
    all.extend(args);
    let out = quorate(&all);
    assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""), "{args:?}: {}", out.stderr);
    assert_eq!(out.stderr.lines().count(), 1, "{args:?}: {}", out.stderr);
    let line = out.stderr.trim_end().strip_prefix("==> ");
    line.unwrap_or_else(|| panic!("{args:?}: {}", out.stderr)).to_owned()
}

#[test]
fn every_start_refusal() {
    let Some(lab) = lab!() else { return };
    let data = format!("-data-dir={}", lab.path("data").display());
    let (data, bind) = (data.as_str(), "-bind=127.0.0.10");
    let file = lab.write("wrong.json", r#"{"data_dirr": "/x"}"#);
    let file = file.display().to_string();
    let config = format!("-config-file={file}");
    for (args, want) in [
        (&["-node=x", bind][..], "data_dir cannot be empty"),
        (&[data, bind, "-bootstrap-expect=1"], "'bootstrap_expect > 0' requires 'server = true'"),
        (
            &[data, bind, "-server", "-bootstrap", "-bootstrap-expect=3"],
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        (&["-dev", "-bootstrap-expect=1"], "'bootstrap_expect > 0' not allowed in dev mode"),
        (
            &[data, bind, "-server", "-bootstrap-expect=-1"],
            "bootstrap_expect cannot be -1. Must be greater than or equal to zero",
        ),
        (&[data, bind, "-datacenter=d c"], "datacenter 'd c' is not valid"),
        (&[data, bind, "-encrypt=not base64"], "encrypt has an invalid key"),
        (&[data, bind, "-advertise=0.0.0.0"], "advertise_addr cannot be 0.0.0.0"),
        (&[data, "-bind=::1", "-advertise=::"], "advertise_addr cannot be ::"),
        (&[data, bind, "-log-level=shout"], "log_level 'shout' is not valid: choose trace, debug,"),
        (&[data, bind, "-protocol=3"], "protocol cannot be 3: this agent speaks versions 1 to 2"),
        (&[data, bind, "one", "two"], "unexpected arguments: one two"),
        (&[data, bind, &config], &format!("{file}: unknown key 'data_dirr'")),
        (
            &[data, bind, "-client=127.0.0.10", "-join=not an address"],
            "'not an address' in start_join cannot be joined",
        ),
        (
            &[data, "-bind=192.0.2.1", "-client=127.0.0.10"],
            "cannot listen on 192.0.2.1:8301 for gossip (UDP)",
        ),
    ] {
        let got = refused(args);
        assert!(got.starts_with(want), "{args:?}: {got}");
    }
}

#[test]
fn starts_that_fail_over_what_others_have() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE);
    let data = format!("-data-dir={}", one.data().display());
    let _one = one.start();
    let got = refused(&["-node=b", "-bind=127.0.0.11", "-client=127.0.0.11", &data]);
    assert!(got.contains("in use by another agent"), "{got}");
    let other = format!("-data-dir={}", lab.path("other").display());
    let got = refused(&["-node=b", "-bind=127.0.0.10", "-client=127.0.0.11", &other]);
    assert!(got.starts_with("cannot listen on 127.0.0.10:8301 for gossip"), "{got}");
    assert!(got.contains("-serf-lan-port"), "{got}");
    let got = refused(&["-node=b", "-bind=127.0.0.11", "-client=127.0.0.10", &other]);
    assert!(got.contains("127.0.0.10:8600 for DNS") && got.contains("-dns-port"), "{got}");
}

#[test]
fn start_join_that_nobody_answers_ends_the_agent() {
    let Some(lab) = lab!() else { return };
    let mut agent = lab.agent("agent-one", ONE).arg("-join=127.0.0.99").spawn();
    assert_eq!(agent.process.wait(SOON), Some(1), "{}", agent.tail());
    let said = agent.process.lines_with("connection refused");
    assert!(said.iter().any(|l| l.text.contains("127.0.0.99")), "{}", agent.tail());
}

#[test]
fn the_second_agent_of_a_name_ends_and_the_first_is_untouched() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", ONE).start();
    let data = lab.path("copy").display().to_string();
    let words = ["agent", "-node=agent-one", "-bind=127.0.0.11", "-client=127.0.0.11", "-data-dir"];
    let mut words = words.to_vec();
    words.extend([data.as_str(), "-join=127.0.0.10"]);
    let mut second = lab.agent("agent-one", "127.0.0.11").spawn_words(&words);
    assert_eq!(second.process.wait(SOON), Some(1), "{}", second.tail());
    let said = second.process.lines_with("'agent-one'");
    assert!(!said.is_empty(), "the name and its holder are told:\n{}", second.tail());
    one.sees(&[("agent-one", "alive")], SOON);
    let m = one.get("/v1/agent/members").json();
    assert_eq!(m[0]["Addr"], ONE);
}
