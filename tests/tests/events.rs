//! User events and queries with real agents: what is fired on one is listed on all, filters are
//! kept by who hears, and what does not fit is refused with the reason.

use std::{thread, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use quorate_tests::{Agent, Lab, http, lab, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn three(lab: &Lab) -> [Agent; 3] {
    let one = lab.agent("agent-one", "127.0.0.11").server().start();
    let two = lab.agent("agent-two", "127.0.0.12").arg("-retry-join=127.0.0.11").start();
    let three = lab.agent("agent-three", "127.0.0.13").arg("-retry-join=127.0.0.11").start();
    let all = [one, two, three];
    for a in &all {
        let members = [("agent-one", "alive"), ("agent-two", "alive"), ("agent-three", "alive")];
        a.sees(&members, SOON);
    }
    all
}

fn fire(a: &Agent, path: &str, body: &[u8]) -> http::Reply {
    let path = format!("/v1/event/fire/{path}");
    http::request_with(a.http(), "PUT", &path, body).expect("an answer")
}

/// Name and payload of the events that an agent lists, in their order.
fn listed(a: &Agent) -> Vec<(String, Option<String>)> {
    let json = a.get("/v1/event/list").json();
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let entry = |e: &Value| {
        let payload = e["Payload"].as_str().map(|p| STANDARD.decode(p).expect("base64"));
        let payload = payload.map(|p| String::from_utf8(p).expect("text"));
        (text(&e["Name"]).expect("a name"), payload)
    };
    json.as_array().expect("a list").iter().map(entry).collect()
}

fn lists(a: &Agent, want: &[(&str, Option<&str>)]) {
    let want: Vec<_> = want.iter().map(|(n, p)| ((*n).to_owned(), p.map(str::to_owned))).collect();
    until(&format!("{} lists {want:?}", a.name), SOON, || {
        let got = listed(a);
        if got == want { Ok(()) } else { Err(format!("{got:?}\n{}", a.tail())) }
    });
}

#[test]
fn what_is_fired_on_one_is_listed_on_all_whom_it_is_for() {
    let Some(lab) = lab!() else { return };
    let all = three(&lab);
    let reply = fire(&all[1], "deploy", b"v2");
    let fired = reply.json();
    let keys: Vec<_> = fired.as_object().expect("an object").keys().cloned().collect();
    let want = ["ID", "Name", "Payload", "NodeFilter", "ServiceFilter", "TagFilter", "Version"];
    assert_eq!(
        (reply.status, &keys[..7], keys[7].as_str()),
        (200, &want.map(str::to_owned)[..], "LTime")
    );
    for a in &all {
        lists(a, &[("deploy", Some("v2"))]);
        let list = a.get("/v1/event/list").json();
        assert_eq!((&list[0]["ID"], &list[0]["LTime"]), (&fired["ID"], &Value::from(1)));
    }

    // The command, with a filter that one agent meets.
    let out = all[0].run(&["event", "-name=restart", "-node=t[w]o$", "now"]);
    let id = out.stdout.strip_prefix("Event ID: ").expect("an id").trim().to_owned();
    assert_eq!((out.code, id.len()), (Some(0), 36), "{out:?}");
    lists(&all[1], &[("deploy", Some("v2")), ("restart", Some("now"))]);
    // No agent has services so far; a later event tells that this one has gone round.
    assert_eq!(fire(&all[2], "cache?service=web&tag=v1", b"").status, 200);
    assert_eq!(fire(&all[2], "last", b"").status, 200);
    lists(&all[0], &[("deploy", Some("v2")), ("last", None)]);
    lists(&all[1], &[("deploy", Some("v2")), ("restart", Some("now")), ("last", None)]);
    let one = all[1].get("/v1/event/list?name=restart");
    assert_eq!(one.json().as_array().map(Vec::len), Some(1));

    // A newcomer lists what comes after it, and what is still going round when it comes: nothing.
    thread::sleep(Duration::from_secs(3));
    let four = lab.agent("agent-four", "127.0.0.14").arg("-retry-join=127.0.0.12").start();
    until("four members", SOON, || {
        let n = (four.members().len(), all[0].members().len());
        if n == (4, 4) { Ok(()) } else { Err(format!("{n:?}")) }
    });
    assert_eq!(fire(&all[0], "new", b"").status, 200);
    lists(&four, &[("new", None)]);
}

#[test]
fn a_list_blocks_until_something_is_fired() {
    let Some(lab) = lab!() else { return };
    let all = three(&lab);
    let empty = all[0].get("/v1/event/list");
    assert_eq!((empty.body.as_str(), empty.index()), ("[]", 1));
    thread::scope(|scope| {
        let waits = scope.spawn(|| all[0].get("/v1/event/list?index=1&wait=50s"));
        thread::sleep(Duration::from_millis(300));
        assert!(!waits.is_finished());
        fire(&all[2], "deploy", b"");
        let woken = waits.join().expect("an answer");
        assert_eq!(woken.json()[0]["Name"], "deploy");
        let id = woken.json()[0]["ID"].as_str().expect("an id").replace('-', "");
        let half = |s: &str| u64::from_str_radix(s, 16).expect("hexadecimal");
        assert_eq!(woken.index(), half(&id[..16]) ^ half(&id[16..]));
        let index = woken.index();
        let same = all[0].get(&format!("/v1/event/list?index={index}&wait=100ms"));
        assert_eq!(same.index(), index);
    });
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.11").start();
    let large = fire(&one, "deploy", &[b'x'; 600]);
    assert_eq!(large.status, 413);
    assert!(large.body.ends_with("at most 512 fit"), "{}", large.body);
    let bad = fire(&one, "deploy?node=%5Ba", b"");
    assert_eq!(bad.status, 400);
    assert!(bad.body.starts_with("Invalid node filter '[a': unclosed"), "{}", bad.body);
    assert!(bad.body.ends_with("(at character 1)"), "{}", bad.body);
    assert_eq!(fire(&one, &"x".repeat(129), b"").status, 400);
    let out = one.run(&["event"]);
    assert!(out.code == Some(1) && out.stderr.starts_with("Event name must be specified"));
    let out = one.run(&["event", "-name=x", "-tag=v1"]);
    let told = "Error firing event: Unexpected response code: 400 (Cannot provide tag filter \
                without service filter)\n";
    assert_eq!((out.code, out.stderr.as_str()), (Some(1), told));
    assert_eq!(one.get("/v1/event/list").body, "[]");
    // The largest that fits.
    assert_eq!(fire(&one, "deploy", &[b'x'; 500]).status, 200);
}

#[test]
fn all_answer_a_ping() {
    let Some(lab) = lab!() else { return };
    let all = three(&lab);
    let answers = all[2].put("/v1/agent/query/ping?timeout=20s").json();
    let mut told: Vec<_> = answers
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| {
            let payload = a["Payload"].as_str().and_then(|p| STANDARD.decode(p).ok());
            let text = String::from_utf8(payload.unwrap_or_default()).expect("text");
            assert!(text.starts_with(&format!("{} ", a["Node"].as_str().unwrap_or_default())));
            text
        })
        .collect();
    told.sort();
    let version = env!("CARGO_PKG_VERSION");
    let want = ["one", "three", "two"].map(|n| format!("agent-{n} {version}"));
    assert_eq!(told, want);
    assert_eq!(all[0].put("/v1/agent/query/nobody-knows-it?timeout=200ms").body, "[]");
}
