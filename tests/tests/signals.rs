//! Signals and the log: who leaves on which signal, what a second one does, and the one line per
//! membership change that tools read.

use std::time::{Duration, Instant};

use quorate_tests::{Agent, Lab, Spec, lab};

const SOON: Duration = Duration::from_secs(20);

/// `agent-one`, which looks on, and `agent-two` as configured.
fn pair(lab: &Lab, configure: impl FnOnce(Spec) -> Spec) -> (Agent, Agent) {
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let two = configure(lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10")).start();
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    two.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    (one, two)
}

fn with_file(lab: &Lab, spec: Spec, json: &str) -> Spec {
    let file = lab.write("signals.json", json);
    spec.arg(format!("-config-file={}", file.display()))
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    Interrupt,
    Terminate,
}

/// What the other agent holds it for after the signal; the exit code.
fn after(lab: &Lab, configure: impl FnOnce(Spec) -> Spec, ask: Ask) -> (&'static str, Option<i32>) {
    let (one, mut two) = pair(lab, configure);
    match ask {
        Ask::Interrupt => two.interrupt(),
        Ask::Terminate => two.terminate(),
    }
    let code = two.process.wait(SOON);
    let wanted = if code == Some(0) { "left" } else { "failed" };
    one.sees(&[("agent-one", "alive"), ("agent-two", wanted)], SOON);
    let line = format!("member {wanted}: agent-two");
    one.line(&line, SOON);
    let other = if wanted == "left" { "failed" } else { "left" };
    let wrong = one.process.lines_with(&format!("member {other}: agent-two"));
    assert!(wrong.is_empty(), "{ask:?}:\n{}", one.tail());
    (wanted, code)
}

fn second_server(spec: Spec) -> Spec {
    spec.arg("-server")
}

#[test]
fn metrics_are_told_on_sigusr1() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = pair(&lab, |s| s);
    two.process.signal(rustix::process::Signal::USR1);
    let line = two.line("metrics (all of them: GET /v1/agent/metrics): ", SOON);
    assert!(line.text.contains(" streams="), "{}", line.text);
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
}

#[test]
fn a_client_leaves_on_both() {
    let Some(lab) = lab!() else { return };
    assert_eq!(after(&lab, |s| s, Ask::Terminate), ("left", Some(0)));
}

#[test]
fn a_client_leaves_on_ctrl_c() {
    let Some(lab) = lab!() else { return };
    assert_eq!(after(&lab, |s| s, Ask::Interrupt), ("left", Some(0)));
}

#[test]
fn a_server_leaves_on_neither() {
    let Some(lab) = lab!() else { return };
    assert_eq!(after(&lab, second_server, Ask::Interrupt), ("failed", Some(1)));
}

#[test]
fn a_server_does_not_leave_on_sigterm() {
    let Some(lab) = lab!() else { return };
    assert_eq!(after(&lab, second_server, Ask::Terminate), ("failed", Some(1)));
}

#[test]
fn a_server_leaves_on_sigterm_if_told_to() {
    let Some(lab) = lab!() else { return };
    let told = |s| with_file(&lab, second_server(s), r#"{"leave_on_terminate": true}"#);
    assert_eq!(after(&lab, told, Ask::Terminate), ("left", Some(0)));
}

#[test]
fn a_server_leaves_on_ctrl_c_if_told_to() {
    let Some(lab) = lab!() else { return };
    let told = |s| with_file(&lab, second_server(s), r#"{"skip_leave_on_interrupt": false}"#);
    assert_eq!(after(&lab, told, Ask::Interrupt), ("left", Some(0)));
}

#[test]
fn a_client_stays_a_member_if_told_to() {
    let Some(lab) = lab!() else { return };
    let told =
        |s| with_file(&lab, s, r#"{"leave_on_terminate": false, "skip_leave_on_interrupt": true}"#);
    assert_eq!(after(&lab, told, Ask::Terminate), ("failed", Some(1)));
}

#[test]
fn a_second_signal_ends_a_leave_at_once() {
    let Some(lab) = lab!() else { return };
    let (mut one, mut two) = pair(&lab, |s| s);
    // Nobody confirms, so the leave would take its whole time.
    one.process.signal(rustix::process::Signal::STOP);
    two.interrupt();
    two.line("leaving", SOON);
    let start = Instant::now();
    two.interrupt();
    let code = two.process.wait(SOON);
    println!("ended {:?} after the second signal", start.elapsed());
    one.process.signal(rustix::process::Signal::CONT);
    // The leave may have been over before the second signal came, on a machine that is busy.
    let in_time = two.process.lines_with("left the cluster").is_empty();
    if in_time {
        assert_eq!(code, Some(1), "{}", two.tail());
        assert!(!two.process.lines_with("at once, in the middle").is_empty(), "{}", two.tail());
    } else {
        assert_eq!(code, Some(0), "{}", two.tail());
    }
    assert!(start.elapsed() < SOON / 2);
}

#[test]
fn every_change_of_a_member_is_one_line() {
    let Some(lab) = lab!() else { return };
    let quick = |s| with_file(&lab, s, r#"{"reconnect_timeout": "3s"}"#);
    let one = quick(lab.agent("agent-one", "127.0.0.10").server()).start();
    one.line("[INFO]  agent: member alive: agent-one 127.0.0.10:8301", SOON);
    let mut two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").start();
    one.line("[INFO]  agent: member alive: agent-two 127.0.0.11:8301", SOON);

    two.interrupt();
    one.line("[INFO]  agent: member left: agent-two", SOON);
    assert_eq!(two.process.wait(SOON), Some(0));
    two.line("[INFO]  agent: member left: agent-two", SOON);

    let mut three = lab.agent("agent-three", "127.0.0.12").arg("-join=127.0.0.10").start();
    one.line("[INFO]  agent: member alive: agent-three 127.0.0.12:8301", SOON);
    // Silent, not gone: its kernel still takes connections, so it is suspected first.
    three.process.signal(rustix::process::Signal::STOP);
    let suspected = one.line("[INFO]  agent: member suspected: agent-three", SOON);
    three.kill();
    let failed = one.line("[INFO]  agent: member failed: agent-three", SOON);
    assert!(suspected.at <= failed.at);
    let reaped = one.line("[INFO]  agent: member reaped: agent-three", 3 * SOON);
    assert!(failed.at < reaped.at);
    one.sees(&[("agent-one", "alive"), ("agent-two", "left")], SOON);

    assert_eq!(one.run(&["force-leave", "-prune", "agent-two"]).code, Some(0));
    one.line("[INFO]  agent: member reaped: agent-two", SOON);
    one.sees(&[("agent-one", "alive")], SOON);
    let count = |what: &str| {
        let lines = one.process.lines();
        lines.iter().filter(|l| l.text.ends_with(&format!("agent: member {what}"))).count()
    };
    for what in [
        "alive: agent-one 127.0.0.10:8301",
        "alive: agent-two 127.0.0.11:8301",
        "left: agent-two",
        "reaped: agent-two",
        "alive: agent-three 127.0.0.12:8301",
        "suspected: agent-three",
        "failed: agent-three",
        "reaped: agent-three",
    ] {
        assert_eq!(count(what), 1, "{what}:\n{}", one.tail());
    }
}

#[test]
fn lines_come_at_the_moment_at_which_it_is_known() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = pair(&lab, |s| s);
    two.kill();
    one.sees(&[("agent-one", "alive"), ("agent-two", "failed")], SOON);
    let seen = Instant::now();
    let line = one.line("member failed: agent-two", SOON);
    let apart = line.at.saturating_duration_since(seen);
    assert!(apart < Duration::from_secs(2), "the line came {apart:?} later");
}

#[test]
fn log_files_and_json_have_the_same_lines() {
    let Some(lab) = lab!() else { return };
    let path = lab.path("agent.log");
    let one = lab.agent("agent-one", "127.0.0.10").arg("-log-json");
    let mut one = one.arg(format!("-log-file={}", path.display())).start();
    one.line("member alive: agent-one 127.0.0.10:8301", SOON);
    one.interrupt();
    assert_eq!(one.process.wait(SOON), Some(0));
    let text = std::fs::read_to_string(&path).expect("the log file");
    for line in text.lines() {
        let json: serde_json::Value = serde_json::from_str(line).expect("an object per line");
        assert!(json["@message"].is_string() && json["@module"] == "agent", "{line}");
        assert!(["info", "warn"].map(Into::into).contains(&json["@level"]), "{line}");
        assert!(json["@timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{line}");
    }
    assert!(text.contains("member alive: agent-one 127.0.0.10:8301"), "{text}");
    assert!(text.contains("member left: agent-one"), "{text}");
}
