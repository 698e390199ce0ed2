//! `reload`: changed metadata reaches everybody, what needs a restart is named, and a broken
//! configuration changes nothing.

use std::{fs, process::Command, time::Duration};

use quorate_tests::{Lab, eventually, lab};

const SOON: Duration = Duration::from_secs(20);

fn write(lab: &Lab, json: &str) -> String {
    format!("-config-file={}", lab.write("reload.json", json).display())
}

#[test]
fn changed_metadata_reaches_everybody() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let config = write(&lab, r#"{"node_meta": {"rack": "r1"}}"#);
    let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").arg(config).start();
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    let list = |rack: &str| format!("/v1/catalog/nodes?node-meta=rack:{rack}");
    let count = |rack: &str| one.get(&list(rack)).json().as_array().map_or(0, Vec::len);
    assert_eq!(count("r1"), 1);

    write(&lab, r#"{"node_meta": {"rack": "r2"}, "domain": "elsewhere"}"#);
    let out = two.run(&["reload"]);
    assert_eq!((out.code, out.stdout.as_str()), (Some(0), "Configuration reload triggered\n"));
    eventually("the new rack", SOON, || count("r2") == 1 && count("r1") == 0);
    two.line("a restart is needed for: domain", SOON);

    let reloads = || two.process.lines_with("Configuration reload triggered").len();
    write(&lab, r#"{"node_meta": {"rack": "r2"}, "log_level": "warn"}"#);
    assert_eq!(two.run(&["reload"]).code, Some(0));
    two.line("log_level changes: Warn", SOON);
    write(&lab, r#"{"node_meta": {"rack": "r2"}}"#);
    assert_eq!(two.run(&["reload"]).code, Some(0));
    two.line("log_level changes: Info", SOON);
    assert_eq!(reloads(), 2, "the third was told although it was not to be:\n{}", two.tail());

    write(&lab, r#"{"node_meta": {"rack": "#);
    let out = two.run(&["reload"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    assert!(out.stderr.starts_with("Error reloading: "), "{out:?}");
    assert_eq!(count("r2"), 1);
}

#[test]
fn a_file_that_cannot_be_read_yet_holds_up_nothing_else() {
    let Some(lab) = lab!() else { return };
    let config = write(&lab, "{}");
    let mut agent = lab.agent("agent-one", "127.0.0.10").arg(config).start();
    // Who reads a pipe that nobody writes to waits, as for a network disk that hangs.
    let path = lab.path("reload.json");
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    agent.process.signal(rustix::process::Signal::HUP);
    agent.line("Configuration reload triggered", SOON);
    agent.sees(&[("agent-one", "alive")], SOON);
    agent.interrupt();
    assert_eq!(agent.process.wait(SOON), Some(0), "{}", agent.tail());
}
