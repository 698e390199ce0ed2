//! Encrypted agents (`-encrypt`): they work as others do, and keep out who has another key or none.

use std::time::Duration;

use quorate_tests::{lab, quorate};

const SOON: Duration = Duration::from_secs(20);

fn key() -> String {
    let out = quorate(&["keygen"]);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    out.stdout.trim().to_owned()
}

#[test]
fn agents_with_one_key_form_a_cluster_and_strangers_stay_out() {
    let Some(lab) = lab!() else { return };
    let encrypt = format!("-encrypt={}", key());
    let one = lab.agent("agent-one", "127.0.0.10").server().arg(encrypt.as_str()).start();
    let mut two = lab.agent("agent-two", "127.0.0.11").arg(encrypt.as_str()).start();
    // The same key from a file: on a command line every user of the host can read it.
    let text = format!(r#"{{"encrypt": "{}"}}"#, &encrypt["-encrypt=".len()..]);
    let file = lab.write("key.json", &text);
    let three =
        lab.agent("agent-three", "127.0.0.12").arg(format!("-config-file={}", file.display()));
    let three = three.start();
    one.line("Encrypted: yes", SOON);
    assert_eq!(one.run(&["join", "127.0.0.11", "127.0.0.12"]).code, Some(0));
    let all = [("agent-one", "alive"), ("agent-two", "alive"), ("agent-three", "alive")];
    for agent in [&one, &two, &three] {
        agent.sees(&all, SOON);
    }

    let stranger = lab.agent("stranger", "127.0.0.13").arg(format!("-encrypt={}", key())).start();
    let clear = lab.agent("clear", "127.0.0.14").start();
    for outsider in [&stranger, &clear] {
        let out = outsider.run(&["join", "127.0.0.10"]);
        assert_eq!(out.code, Some(1));
        assert!(out.stderr.contains("another encryption key"), "{}", out.stderr);
    }
    let out = one.run(&["join", "127.0.0.14"]);
    assert!(out.stderr.contains("only one of the two is encrypted"), "{}", out.stderr);
    assert!(one.metric("drop_key") >= 2);

    two.kill();
    let down = [("agent-one", "alive"), ("agent-two", "failed"), ("agent-three", "alive")];
    one.sees(&down, SOON);
    assert_eq!(three.run(&["leave"]).code, Some(0));
    let left = [("agent-one", "alive"), ("agent-two", "failed"), ("agent-three", "left")];
    one.sees(&left, SOON);
}
