//! `-protocol`: an agent that speaks an older version than the others, for the time of an upgrade.

use std::time::Duration;

use quorate_tests::{eventually, lab};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_older_agent_and_a_newer_one_are_one_cluster() {
    let Some(lab) = lab!() else { return };
    let old = lab.agent("old", "127.0.0.10").arg("-protocol=1").start();
    let config = lab.write("new.json", r#"{"protocol": 2}"#);
    let file = format!("-config-file={}", config.display());
    let new = lab.agent("new", "127.0.0.11").arg(file).arg("-join=127.0.0.10").start();
    let third = lab.agent("third", "127.0.0.12").arg("-join=127.0.0.10").start();
    for a in [&old, &new, &third] {
        a.sees(&[("new", "alive"), ("old", "alive"), ("third", "alive")], SOON);
    }
    let spoken = |a: &quorate_tests::Agent| {
        let serf = a.get("/v1/agent/self").json()["Stats"]["serf_lan"].clone();
        format!("{}..{}", serf["protocol_min"], serf["protocol_max"])
    };
    assert_eq!([&old, &new, &third].map(spoken), ["\"1\"..\"1\"", "\"1\"..\"2\"", "\"1\"..\"2\""]);
    // Newer messages go to who understands them, and to nobody else.
    eventually("a coordinate of a newer agent", SOON, || {
        new.get("/v1/coordinate/node/third").status == 200
    });
    eventually("probes of all", SOON, || new.metric("probes") > 8 && old.metric("probes") > 8);
    assert_eq!(old.metric("unknown_tag"), 0);
    assert_eq!(new.get("/v1/coordinate/node/old").status, 404);
    assert_eq!(old.get("/v1/coordinate/node/new").status, 404);
}
