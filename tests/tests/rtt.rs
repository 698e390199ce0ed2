//! Network coordinates as an operator meets them: `rtt`, `/v1/coordinate`, `?near=`.

use std::time::Duration;

use quorate_tests::{eventually, lab};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn two_agents_know_how_far_they_are_apart() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").start();
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    // Known once it has answered a ping.
    eventually("a coordinate of the other", SOON, || {
        one.get("/v1/coordinate/node/agent-two").status == 200
    });
    let out = one.run(&["rtt", "agent-two", "agent-one"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let head = "Estimated agent-two <-> agent-one rtt: ";
    let tail = " ms (using LAN coordinates)\n";
    let ms = out.stdout.strip_prefix(head).and_then(|s| s.strip_suffix(tail));
    let ms: f64 = ms.and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{out:?}"));
    assert!(ms > 0.0 && ms < 10_000.0, "{ms}");
    // With one name, to the agent that is asked.
    let out = one.run(&["rtt", "agent-two"]);
    assert!(out.stdout.starts_with(head), "{out:?}");

    let out = one.run(&["rtt", "nobody", "agent-one"]);
    let want = "Could not find a coordinate for node \"nobody\"";
    assert_eq!((out.code, out.stderr.trim_end()), (Some(1), want));
    let out = one.run(&["rtt"]);
    assert!(out.stderr.starts_with("One or two node names must be specified"), "{out:?}");

    assert_eq!(one.get("/v1/coordinate/node/nobody").status, 404);
    let nodes = one.get("/v1/coordinate/nodes").json();
    assert_eq!(nodes.as_array().map(Vec::len), Some(2), "{nodes}");
    assert_eq!(nodes[0]["Node"], "agent-one");
    assert_eq!(nodes[0]["Coord"]["Vec"].as_array().map(Vec::len), Some(8));
    let first =
        |near: &str| one.get(&format!("/v1/catalog/nodes?near={near}")).json()[0]["Node"].clone();
    assert_eq!((first("_agent"), first("agent-two")), ("agent-one".into(), "agent-two".into()));
    drop(two);
}
