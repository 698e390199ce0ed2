//! What users' scripts read, field for field: the `members` table, JSON of every path, headers and
//! codes. The shapes are those of the reference; only versions and indexes are replaced by words.

use std::{
    thread,
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use quorate_tests::{Agent, Lab, Output, lab, quorate};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const ID_ONE: &str = "00000000-0000-4000-8000-00000000000a";
const ID_TWO: &str = "00000000-0000-4000-8000-00000000000b";

/// A server and a client, joined.
fn pair(lab: &Lab) -> (Agent, Agent) {
    let one = lab.agent("agent-one", "127.0.0.10").server().arg(format!("-node-id={ID_ONE}"));
    let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10");
    let two = two.arg(format!("-node-id={ID_TWO}")).arg("-node-meta=rack:7");
    let (one, two) = (one.start(), two.arg("-node-meta=env:test").start());
    one.says("/v1/status/leader", "\"127.0.0.10:8300\"", SOON);
    for agent in [&one, &two] {
        agent.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    }
    (one, two)
}

fn version() -> String {
    let out = quorate(&["version"]);
    assert_eq!(out.code, Some(0));
    let first = out.stdout.lines().next().unwrap_or_default();
    first.strip_prefix("Quorate v").expect("a version").to_owned()
}

/// Indexes differ from run to run; that they are positive numbers does not.
fn without_indexes(v: &mut Value) {
    match v {
        Value::Object(map) => {
            for (key, value) in map {
                if matches!(key.as_str(), "CreateIndex" | "ModifyIndex") {
                    assert!(value.as_u64().is_some_and(|n| n > 0), "{key} is {value}");
                    *value = "<index>".into();
                } else {
                    without_indexes(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_indexes),
        _ => {}
    }
}

/// The JSON of a path, laid out, in its own order.
fn json(agent: &Agent, path: &str) -> String {
    let reply = agent.get(path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
    let mut value = reply.json();
    without_indexes(&mut value);
    let text = serde_json::to_string_pretty(&value).expect("JSON");
    text.replace(&format!("\"{}\"", version()), "\"<version>\"")
}

/// Rows as `members` prints them: columns padded with two blanks, the last one as it is.
fn table(rows: &[&[&str]]) -> String {
    let width = |c: usize| rows.iter().map(|r| r[c].len()).max().unwrap_or(0);
    let line = |r: &&[&str]| {
        let cells = r.iter().enumerate().map(|(c, cell)| match c + 1 == r.len() {
            true => (*cell).to_owned(),
            false => format!("{cell:<pad$}", pad = width(c) + 2),
        });
        cells.collect::<String>() + "\n"
    };
    rows.iter().map(line).collect()
}

fn printed(stdout: String) -> Output {
    Output { code: Some(0), stdout, stderr: String::new() }
}

#[test]
fn the_members_table() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = pair(&lab);
    let build = version();
    let head = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"];
    let first = ["agent-one", "127.0.0.10:8301", "alive", "server", &build, "2", "dc1", "<all>"];
    let mut second =
        ["agent-two", "127.0.0.11:8301", "alive", "client", &build, "2", "dc1", "<default>"];
    for agent in [&one, &two] {
        assert_eq!(agent.run(&["members"]), printed(table(&[&head, &first, &second])));
        assert_eq!(agent.run(&["members", "-status=^al"]), agent.run(&["members"]));
    }
    two.interrupt();
    one.sees(&[("agent-one", "alive"), ("agent-two", "left")], SOON);
    second[2] = "left";
    assert_eq!(one.run(&["members"]), printed(table(&[&head, &first, &second])));
    assert_eq!(one.run(&["members", "-status=left"]), printed(table(&[&head, &second])));
    let none = one.run(&["members", "-status", "failed"]);
    assert_eq!((none.code, none.stdout.as_str(), none.stderr.as_str()), (Some(2), "", ""));
}

#[test]
fn members_in_detail() {
    let Some(lab) = lab!() else { return };
    let (one, _two) = pair(&lab);
    let build = version();
    let head = ["Node", "Address", "Status", "Tags"];
    let tags_one = format!(
        "build={build},dc=dc1,expect=1,id={ID_ONE},port=8300,raft_vsn=3,role=consul,segment=,\
         vsn=2,vsn_max=3,vsn_min=2"
    );
    let tags_two =
        format!("build={build},dc=dc1,id={ID_TWO},role=node,segment=,vsn=2,vsn_max=3,vsn_min=2");
    let first = ["agent-one", "127.0.0.10:8301", "alive", &tags_one];
    let second = ["agent-two", "127.0.0.11:8301", "alive", &tags_two];
    let out = one.run(&["members", "-detailed"]);
    assert_eq!(out, printed(table(&[&head, &first, &second])));
}

#[test]
fn agent_members() {
    let Some(lab) = lab!() else { return };
    let (_one, two) = pair(&lab);
    assert_snapshot!(json(&two, "/v1/agent/members"), @r#"
    [
      {
        "Name": "agent-one",
        "Addr": "127.0.0.10",
        "Port": 8301,
        "Tags": {
          "build": "<version>",
          "dc": "dc1",
          "expect": "1",
          "id": "00000000-0000-4000-8000-00000000000a",
          "port": "8300",
          "raft_vsn": "3",
          "role": "consul",
          "segment": "",
          "vsn": "2",
          "vsn_max": "3",
          "vsn_min": "2"
        },
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4
      },
      {
        "Name": "agent-two",
        "Addr": "127.0.0.11",
        "Port": 8301,
        "Tags": {
          "build": "<version>",
          "dc": "dc1",
          "id": "00000000-0000-4000-8000-00000000000b",
          "role": "node",
          "segment": "",
          "vsn": "2",
          "vsn_max": "3",
          "vsn_min": "2"
        },
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4
      }
    ]
    "#);
}

#[test]
fn catalog_nodes_and_node() {
    let Some(lab) = lab!() else { return };
    let (_one, two) = pair(&lab);
    assert_eq!(two.get("/v1/catalog/datacenters").body, r#"["dc1"]"#);
    let node_two = r#"
  {
    "ID": "00000000-0000-4000-8000-00000000000b",
    "Node": "agent-two",
    "Address": "127.0.0.11",
    "Datacenter": "dc1",
    "TaggedAddresses": {
      "lan": "127.0.0.11",
      "lan_ipv4": "127.0.0.11",
      "wan": "127.0.0.11",
      "wan_ipv4": "127.0.0.11"
    },
    "Meta": {
      "env": "test",
      "rack": "7"
    },
    "CreateIndex": "<index>",
    "ModifyIndex": "<index>"
  }"#;
    let nodes = json(&two, "/v1/catalog/nodes");
    assert!(nodes.ends_with(&format!("{node_two}\n]")), "{nodes}");
    let same_depth = node_two.trim_start().to_owned();
    assert_eq!(
        json(&two, "/v1/catalog/node/agent-two"),
        format!("{{\n  \"Node\": {same_depth},\n  \"Services\": {{}}\n}}")
    );
    assert_eq!(json(&two, "/v1/catalog/nodes?node-meta=rack:7"), format!("[{node_two}\n]"));
    assert_eq!(two.get("/v1/catalog/nodes?node-meta=rack:8").body, "[]");
    assert_eq!(two.get("/v1/catalog/node/nobody").body, "null");

    let server = two.get("/v1/catalog/node/agent-one").json();
    let service = &server["Services"]["consul"];
    let keys: Vec<_> = service.as_object().expect("the service").keys().collect();
    let wanted = ["ID", "Service", "Tags", "Address", "Meta", "Port", "Weights"];
    assert_eq!(keys[..wanted.len()], wanted);
    assert_eq!((&service["Port"], &service["Tags"]), (&8300.into(), &serde_json::json!([])));
    assert_eq!(service["Weights"], serde_json::json!({"Passing": 1, "Warning": 1}));
}

#[test]
fn health_of_nodes() {
    let Some(lab) = lab!() else { return };
    let (one, mut two) = pair(&lab);
    assert_snapshot!(json(&two, "/v1/health/node/agent-two"), @r#"
    [
      {
        "Node": "agent-two",
        "CheckID": "serfHealth",
        "Name": "Serf Health Status",
        "Status": "passing",
        "Notes": "",
        "Output": "Agent alive and reachable",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "",
        "Definition": {},
        "CreateIndex": "<index>",
        "ModifyIndex": "<index>"
      }
    ]
    "#);
    let count = |state: &str| {
        let all = one.get(&format!("/v1/health/state/{state}")).json();
        all.as_array().map(Vec::len)
    };
    assert_eq!((count("any"), count("passing"), count("critical")), (Some(2), Some(2), Some(0)));
    two.kill();
    one.sees(&[("agent-one", "alive"), ("agent-two", "failed")], SOON);
    assert_eq!((count("any"), count("passing"), count("critical")), (Some(2), Some(1), Some(1)));
    assert_eq!(count("warning"), Some(0));
    let failed = one.get("/v1/health/node/agent-two").json();
    assert_eq!(failed[0]["Status"], "critical");
    assert_eq!(failed[0]["Output"], "Agent not live or unreachable");
}

#[test]
fn agent_self_and_info() {
    let Some(lab) = lab!() else { return };
    let (one, two) = pair(&lab);
    let value = two.get("/v1/agent/self").json();
    let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
    let top = ["Config", "DebugConfig", "Coord", "Member", "Stats", "Meta"];
    assert_eq!(keys(&value), Some(top.map(String::from).to_vec()));
    let config = ["Datacenter", "NodeName", "NodeID", "Revision", "Server", "Version"];
    assert_eq!(keys(&value["Config"]), Some(config.map(String::from).to_vec()));
    assert_eq!(value["Config"]["NodeID"], ID_TWO);
    assert_eq!(value["Config"]["Server"], false);
    assert_eq!(value["Coord"]["Vec"].as_array().map(Vec::len), Some(8));
    assert_eq!(value["Member"], two.get("/v1/agent/members").json()[1]);
    assert_eq!(value["Meta"], serde_json::json!({"env": "test", "rack": "7"}));
    for (section, values) in value["Stats"].as_object().expect("sections") {
        for (key, value) in values.as_object().expect("a section") {
            assert!(value.is_string(), "{section}.{key}");
        }
    }

    let out = one.run(&["info"]);
    assert_eq!((out.code, out.stderr.as_str()), (Some(0), ""));
    let sections: Vec<&str> = out.stdout.lines().filter(|l| !l.starts_with('\t')).collect();
    assert_eq!(
        sections,
        ["agent:", "bootstrap:", "build:", "consul:", "raft:", "runtime:", "serf_lan:"]
    );
    for line in out.stdout.lines().filter(|l| l.starts_with('\t')) {
        assert!(line.contains(" = "), "{line:?}");
    }
    for line in ["\tmembers = 2", "\tserver = true", "\tleader_addr = 127.0.0.10:8300"] {
        assert!(out.stdout.lines().any(|l| l == line), "{line:?}: {}", out.stdout);
    }
}

#[test]
fn leaders_hosts_and_metrics() {
    let Some(lab) = lab!() else { return };
    let (one, two) = pair(&lab);
    for agent in [&one, &two] {
        agent.says("/v1/status/leader", "\"127.0.0.10:8300\"", SOON);
        assert_eq!(agent.get("/v1/status/peers").body, "[\"127.0.0.10:8300\"]");
        let known = agent.get("/v1/catalog/nodes");
        assert_eq!(known.header("x-consul-knownleader"), Some("true"));
        assert!(known.index() > 0);
        assert_eq!(known.header("x-consul-lastcontact"), Some("0"));
    }
    let host = one.get("/v1/agent/host").json();
    for key in ["Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"] {
        assert!(host.get(key).is_some(), "{key}: {host}");
    }
    let metrics = one.get("/v1/agent/metrics").json();
    for key in ["Timestamp", "Gauges", "Points", "Counters", "Samples"] {
        assert!(metrics.get(key).is_some(), "{key}: {metrics}");
    }
    let text = one.get("/v1/agent/metrics?format=prometheus").body;
    assert!(text.lines().any(|l| l == "quorate_members{status=\"alive\"} 2"), "{text}");

    // A client on its own has no leader, and serves everything all the same.
    let alone = lab.agent("agent-three", "127.0.0.12").start();
    assert_eq!(alone.get("/v1/status/leader").body, "\"\"");
    assert_eq!(alone.get("/v1/status/peers").body, "[]");
    let nodes = alone.get("/v1/catalog/nodes");
    assert_eq!((nodes.status, nodes.header("x-consul-knownleader")), (200, Some("false")));

    // A server without a number of its own follows the quorum that is there.
    let other = lab.agent("agent-four", "127.0.0.13").arg("-server").arg("-join=127.0.0.10");
    let other = other.start();
    other.sees(&[("agent-one", "alive"), ("agent-two", "alive"), ("agent-four", "alive")], SOON);
    other.says("/v1/status/leader", "\"127.0.0.10:8300\"", SOON);
}

#[test]
fn methods_codes_and_layout() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    assert_eq!(one.get("/").body, "Consul Agent");
    let unknown = one.get("/v1/nothing/here");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, ""));
    let wrong = one.put("/v1/agent/members");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("OPTIONS,GET")));
    let options = one.request("OPTIONS", "/v1/agent/leave");
    assert_eq!((options.status, options.header("allow")), (200, Some("OPTIONS,PUT")));

    let pretty = one.get("/v1/catalog/datacenters?pretty").body;
    assert_eq!(pretty, "[\n    \"dc1\"\n]\n");
    let members = one.get("/v1/agent/members?pretty").body;
    assert!(members.starts_with("[\n    {\n        \"Name\": \"agent-one\",\n"), "{members}");
    assert!(members.ends_with("    }\n]\n"), "{members}");

    for (path, status, part) in [
        ("/v1/catalog/nodes?dc=zz", 500, "No path to datacenter"),
        ("/v1/catalog/nodes?stale&consistent", 400, "consistent"),
        ("/v1/catalog/nodes?index=x", 400, "index"),
        ("/v1/catalog/nodes?index=1&wait=x", 400, "wait"),
        ("/v1/health/state/sick", 400, "sick"),
    ] {
        let reply = one.get(path);
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        assert!(reply.body.contains(part), "{path}: {}", reply.body);
        assert!(reply.header("content-type").is_some_and(|c| c.starts_with("text/plain")));
    }
    let unknown = one.put("/v1/agent/force-leave/nobody");
    assert_eq!(unknown.status, 500);
    assert_eq!(unknown.body, "agent: No node found with name 'nobody'");
    let refused = one.put("/v1/agent/join/127.0.0.99");
    assert_eq!(refused.status, 500);
    assert!(refused.body.starts_with("1 error occurred:"), "{}", refused.body);
}

#[test]
fn changes_over_http() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let mut two = lab.agent("agent-two", "127.0.0.11").start();
    let joined = one.put("/v1/agent/join/127.0.0.11");
    assert_eq!((joined.status, joined.body.as_str()), (200, ""));
    let both = [("agent-one", "alive"), ("agent-two", "alive")];
    one.sees(&both, SOON);
    let left = two.put("/v1/agent/leave");
    assert_eq!((left.status, left.body.as_str()), (200, ""));
    assert_eq!(two.process.wait(SOON), Some(0));
    one.sees(&[("agent-one", "alive"), ("agent-two", "left")], SOON);
    let pruned = one.put("/v1/agent/force-leave/agent-two?prune");
    assert_eq!((pruned.status, pruned.body.as_str()), (200, ""));
    one.sees(&[("agent-one", "alive")], SOON);
}

#[test]
fn blocking_queries_wait_for_a_change() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let first = one.get("/v1/catalog/nodes");
    let index = first.index();

    let start = Instant::now();
    let idle = one.get(&format!("/v1/catalog/nodes?index={index}&wait=500ms"));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!((idle.index(), idle.body), (index, first.body.clone()));

    let http = one.http();
    let waiting = thread::spawn(move || {
        let path = format!("/v1/catalog/nodes?index={index}&wait=50s");
        let reply = quorate_tests::http::request(http, "GET", &path).expect("an answer");
        (reply, Instant::now())
    });
    let start = Instant::now();
    let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").start();
    let (reply, at) = waiting.join().expect("the thread ends");
    assert!(at.duration_since(start) < SOON, "{:?}", at.duration_since(start));
    assert!(reply.index() > index);
    assert_eq!(reply.json().as_array().map(Vec::len), Some(2));
    two.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);

    // An index of an earlier run is higher than any now: the answer comes at once.
    let start = Instant::now();
    let ahead = one.get("/v1/catalog/nodes?index=999999999&wait=50s");
    assert!(start.elapsed() < SOON && ahead.index() < 999_999_999);
}

#[test]
fn a_dead_server_is_left_out_of_those_that_pass() {
    let Some(lab) = lab!() else { return };
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let two = lab.agent("agent-two", "127.0.0.11").arg("-server").arg("-join=127.0.0.10");
    let mut two = two.start();
    one.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    let counts = || {
        ["catalog/service/consul", "health/service/consul", "health/service/consul?passing"]
            .map(|path| one.get(&format!("/v1/{path}")).json().as_array().map_or(0, Vec::len))
    };
    assert_eq!(counts(), [2, 2, 2]);
    two.kill();
    one.sees(&[("agent-one", "alive"), ("agent-two", "failed")], SOON);
    assert_eq!(counts(), [2, 2, 1]);
    assert_eq!(one.get("/v1/catalog/services").json(), serde_json::json!({"consul": []}));
}
