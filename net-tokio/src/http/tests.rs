//! Every endpoint on a hand-made view, the route table, blocking queries in paused time.

use std::{sync::Arc, time::Duration};

use hyper::{Method, StatusCode, Uri};
use quorate_core::{
    BootstrapState, BootstrapStatus, ClusterId, CommandError, Coordinate, EventId, JoinError,
    Label, Name, NodeId, Pairs, Quorum, QuorumVoter, Record, Role, Stats, StreamError,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    handle::{AgentHandle, Coordinates, HandleParts, Request, RequestError},
    http::{HttpConfig, api::Api, join_failure, join_failures, reply::Reply},
    user::{FiredEvent, QueryAnswer, QueryOutcome},
    view::{AgentInfo, Member, Status, View},
};

pub(super) const SERVER: Role = Role::Server { port: 8300, expect: 1, bootstrap: false };

pub(super) fn member(name: &str, last: u8, role: Role, status: Status) -> Member {
    let record = Record {
        role,
        tags: Pairs::new([("build", "0.1.0")]).unwrap(),
        meta: Pairs::new([("rack", format!("r{}", last % 2))]).unwrap(),
        ..Record::of_client(
            NodeId::from_bytes([last; 16]),
            Name::new(name).unwrap(),
            format!("127.0.0.{last}:8301").parse().unwrap(),
        )
    };
    let (create_index, modify_index) = (u64::from(last), u64::from(last) + 1);
    Member { record: Arc::new(record), status, suspect: false, create_index, modify_index }
}

pub(super) fn view(index: u64) -> View {
    let members = vec![
        member("gone", 13, Role::Client, Status::Left),
        member("agent-two", 11, Role::Client, Status::Alive),
        member("dead", 12, Role::Client, Status::Failed),
        member("agent-one", 10, SERVER, Status::Alive),
    ];
    let id = NodeId::from_bytes([10; 16]);
    let voters = vec![QuorumVoter { id, addr: "127.0.0.10:8300".parse().unwrap() }];
    let quorum = Some(Quorum { cluster: ClusterId::from_random([5; 16]), voters });
    let state = BootstrapState::Final;
    View::new(index, id, Label::new("dc1").unwrap(), members).with_bootstrap(BootstrapStatus {
        state,
        expect: 1,
        quorum,
        voter: true,
        ..BootstrapStatus::default()
    })
}

pub(super) fn info() -> AgentInfo {
    AgentInfo {
        encrypted: false,
        version: "0.1.0".into(),
        revision: String::new(),
        name: Name::new("agent-one").unwrap(),
        id: NodeId::from_bytes([10; 16]),
        label: Label::new("dc1").unwrap(),
        role: SERVER,
        advertise: "127.0.0.10:8301".parse().unwrap(),
        domain: "consul".into(),
        alt_domain: None,
        dns_addrs: vec!["127.0.0.1:8600".parse().unwrap()],
        http_addrs: vec!["127.0.0.1:8500".parse().unwrap()],
    }
}

/// Plays the driver: refuses joins to all but 127.0.0.11, leaves, knows nobody named `x`.
pub(super) fn driver(mut requests: mpsc::Receiver<Request>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(request) = requests.recv().await {
            match request {
                Request::Join { addr, reply } => {
                    seen.push(format!("join {addr}"));
                    let refused = RequestError::Join(JoinError::Stream(StreamError::Refused));
                    let ok = addr.ip().to_string() == "127.0.0.11";
                    reply.send(if ok { Ok(1) } else { Err(refused) }).unwrap();
                }
                Request::Leave { reply } => {
                    seen.push("leave".into());
                    reply.send(Ok(1)).unwrap();
                }
                Request::ForceLeave { name, prune, reply } => {
                    seen.push(format!("force-leave {name} {prune}"));
                    let unknown = RequestError::Command(CommandError::UnknownMember(name.clone()));
                    reply.send(if name.as_str() == "x" { Err(unknown) } else { Ok(()) }).unwrap();
                }
                Request::Fire { event, reply } => {
                    let (name, payload, filters) = *event;
                    seen.push(format!("fire {name} {payload:?}"));
                    let id = EventId::from_bytes([9; 16]);
                    let done = FiredEvent { id, name, payload, filters, version: 1, time: 7 };
                    let large = CommandError::EventTooLarge(600);
                    let fits = done.payload.len() < 500;
                    reply.send(if fits { Ok(done) } else { Err(large.into()) }).unwrap();
                }
                Request::Query { query, reply } => {
                    seen.push(format!("query {} {:?}", query.0, query.2));
                    let from = NodeId::from_bytes([11; 16]);
                    let answers = vec![QueryAnswer { from, payload: b"pong".to_vec() }];
                    reply.send(Ok(QueryOutcome { answers, acks: 1, expected: 2 })).unwrap();
                }
                Request::SetMeta { reply, .. } => reply.send(Ok(())).unwrap(),
                Request::Coordinates { reply } => reply.send(Coordinates::default()).unwrap(),
                Request::Keyring { reply, .. } => {
                    seen.push("keyring".into());
                    reply.send(Err(CommandError::NotSealed.into())).unwrap();
                }
                Request::Stats { reply } => reply.send(Box::new(Stats::default())).unwrap(),
            }
        }
        seen
    })
}

struct Rig {
    api: Arc<Api>,
    view: Arc<arc_swap::ArcSwap<View>>,
    index: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    driver: JoinHandle<Vec<String>>,
}

fn rig() -> Rig {
    let (handle, HandleParts { view, index, requests }) = AgentHandle::new(info(), view(20));
    let (stop, stopped) = watch::channel(false);
    let api = Arc::new(Api::new(handle, HttpConfig::default(), stopped));
    Rig { api, view, index, stop, driver: driver(requests) }
}

impl Rig {
    async fn ask(&self, method: Method, path: &str) -> Reply {
        self.api.answer(&method, &path.parse::<Uri>().unwrap(), b"").await
    }

    async fn get(&self, path: &str) -> String {
        let reply = self.ask(Method::GET, path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {:?}", reply.body);
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    async fn code(&self, method: Method, path: &str) -> (u16, String) {
        let reply = self.ask(method, path).await;
        (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
    }

    fn publish(&self, index: u64) {
        self.view.store(Arc::new(view(index)));
        self.index.send(index).unwrap();
    }
}

const SERVER_JSON: &str = concat!(
    r#"{"Name":"agent-one","Addr":"127.0.0.10","Port":8301,"Tags":{"build":"0.1.0","#,
    r#""dc":"dc1","expect":"1","id":"0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a","port":"8300","#,
    r#""raft_vsn":"3","role":"consul","segment":"","vsn":"2","vsn_max":"3","vsn_min":"2"},"#,
    r#""Status":1,"ProtocolMin":1,"ProtocolMax":5,"ProtocolCur":2,"DelegateMin":2,"#,
    r#""DelegateMax":5,"DelegateCur":4}"#,
);
const TWO_NODE: &str = concat!(
    r#"{"ID":"0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b","Node":"agent-two","#,
    r#""Address":"127.0.0.11","Datacenter":"dc1","TaggedAddresses":{"lan":"127.0.0.11","#,
    r#""lan_ipv4":"127.0.0.11","wan":"127.0.0.11","wan_ipv4":"127.0.0.11"},"#,
    r#""Meta":{"rack":"r1"},"CreateIndex":11,"ModifyIndex":12}"#,
);
const DEAD_CHECK: &str = concat!(
    r#"{"Node":"dead","CheckID":"serfHealth","Name":"Serf Health Status","Status":"critical","#,
    r#""Notes":"","Output":"Agent not live or unreachable","ServiceID":"","ServiceName":"","#,
    r#""ServiceTags":[],"Type":"","Definition":{},"CreateIndex":12,"ModifyIndex":13}"#,
);

fn names(json: &str, key: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let list = value.as_array().unwrap();
    list.iter().map(|v| v[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn members_lists_all() {
    let rig = rig();
    let all = rig.get("/v1/agent/members").await;
    assert!(all.starts_with(&format!("[{SERVER_JSON},")), "{all}");
    assert_eq!(names(&all, "Name"), ["agent-one", "agent-two", "dead", "gone"]);
    assert_eq!(rig.get("/v1/agent/members?segment=_all").await, all);
    let value: serde_json::Value = serde_json::from_str(&all).unwrap();
    let status: Vec<_> = (0..4).map(|i| value[i]["Status"].as_u64().unwrap()).collect();
    assert_eq!(status, [1, 1, 4, 3]);
    assert_eq!(value[1]["Tags"]["role"], "node");
    assert_eq!(rig.code(Method::GET, "/v1/agent/members?wan=1").await.0, 400);
    // Only who asks sees more than Consul's tags.
    assert_eq!(rig.get("/v1/agent/members?degraded").await, all);
    let id = NodeId::from_bytes([11; 16]);
    rig.view.store(Arc::new(view(41).with_degraded([id].into())));
    assert_eq!(rig.get("/v1/agent/members").await, all);
    let noted = rig.get("/v1/agent/members?degraded").await;
    let value: serde_json::Value = serde_json::from_str(&noted).unwrap();
    assert_eq!(value[1]["Tags"]["degraded"], "true");
    assert_eq!(noted.matches("degraded").count(), 1);
}

#[tokio::test]
async fn catalog_has_who_has_not_left() {
    let rig = rig();
    let nodes = rig.get("/v1/catalog/nodes").await;
    assert_eq!(names(&nodes, "Node"), ["agent-one", "agent-two", "dead"]);
    assert!(nodes.contains(TWO_NODE), "{nodes}");
    let some = rig.get("/v1/catalog/nodes?node-meta=rack:r1").await;
    assert_eq!(some, format!("[{TWO_NODE}]"));
    assert_eq!(rig.get("/v1/catalog/nodes?node-meta=rack:r1&node-meta=a:b").await, "[]");
    assert_eq!(rig.get("/v1/catalog/datacenters").await, r#"["dc1"]"#);
    let two = rig.get("/v1/catalog/node/AGENT-two").await;
    assert_eq!(two, format!(r#"{{"Node":{TWO_NODE},"Services":{{}}}}"#));
    let one = rig.get("/v1/catalog/node/agent-one").await;
    let service = concat!(
        r#""Services":{"consul":{"ID":"consul","Service":"consul","Tags":[],"Address":"","#,
        r#""Meta":{"raft_version":"3","serf_protocol_current":"2","serf_protocol_max":"5","#,
        r#""serf_protocol_min":"1","version":"0.1.0"},"Port":8300,"Weights":{"Passing":1,"#,
        r#""Warning":1},"EnableTagOverride":false,"Proxy":{"MeshGateway":{},"Expose":{}},"#,
        r#""Connect":{},"CreateIndex":10,"ModifyIndex":11}}}"#,
    );
    assert!(one.ends_with(service), "{one}");
    for unknown in ["nobody", "gone"] {
        assert_eq!(rig.get(&format!("/v1/catalog/node/{unknown}")).await, "null");
        assert_eq!(rig.get(&format!("/v1/health/node/{unknown}")).await, "[]");
    }
}

#[tokio::test]
async fn servers_offer_the_one_service() {
    let rig = rig();
    assert_eq!(rig.get("/v1/catalog/services").await, r#"{"consul":[]}"#);
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let one = json(rig.get("/v1/catalog/node/agent-one").await);
    let (node, service) = (&one["Node"], &one["Services"]["consul"]);
    let offers = json(rig.get("/v1/catalog/service/consul").await);
    let [offer] = &offers.as_array().unwrap()[..] else { panic!("{offers}") };
    for field in ["ID", "Node", "Address", "Datacenter", "TaggedAddresses"] {
        assert_eq!(offer[field], node[field], "{field}");
    }
    assert_eq!(offer["NodeMeta"], node["Meta"]);
    assert_eq!(offer["ServiceName"], service["Service"]);
    for field in [
        "ID",
        "Tags",
        "Address",
        "Weights",
        "Meta",
        "Port",
        "EnableTagOverride",
        "Proxy",
        "Connect",
    ] {
        assert_eq!(offer[format!("Service{field}")], service[field], "{field}");
    }
    let health = json(rig.get("/v1/health/service/consul?passing").await);
    assert_eq!((&health[0]["Node"], &health[0]["Service"]), (node, service));
    assert_eq!(health[0]["Checks"][0]["CheckID"], "serfHealth");
    for nobody in ["service/web", "service/consul?tag=a", "service/consul?node-meta=a:b"] {
        assert_eq!(rig.get(&format!("/v1/catalog/{nobody}")).await, "[]", "{nobody}");
        assert_eq!(rig.get(&format!("/v1/health/{nobody}")).await, "[]", "{nobody}");
    }
    assert_eq!(rig.get("/v1/health/checks/consul").await, "[]");
}

#[tokio::test]
async fn health_follows_the_status() {
    let rig = rig();
    assert_eq!(rig.get("/v1/health/node/Dead").await, format!("[{DEAD_CHECK}]"));
    assert_eq!(rig.get("/v1/health/state/critical").await, format!("[{DEAD_CHECK}]"));
    let passing = rig.get("/v1/health/state/passing").await;
    assert_eq!(names(&passing, "Node"), ["agent-one", "agent-two"]);
    assert_eq!(names(&passing, "Output")[0], "Agent alive and reachable");
    assert_eq!(rig.get("/v1/health/state/warning").await, "[]");
    assert_eq!(names(&rig.get("/v1/health/state/any").await, "Node").len(), 3);
    let (code, text) = rig.code(Method::GET, "/v1/health/state/passed").await;
    assert!(code == 400 && text.contains("'passed'"), "{code} {text}");
}

#[tokio::test]
async fn status_and_self() {
    let rig = rig();
    assert_eq!(rig.get("/").await, "Consul Agent");
    assert_eq!(rig.get("/v1/status/leader").await, r#""127.0.0.10:8300""#);
    assert_eq!(rig.get("/v1/status/peers").await, r#"["127.0.0.10:8300"]"#);
    assert_eq!(
        rig.get("/v1/operator/bootstrap").await,
        concat!(
            r#"{"State":"final","Expect":1,"InContact":[],"Missing":0,"Awaited":[],"#,
            r#""ClusterID":"05050505-0505-4505-8505-050505050505","Voter":true,"Voters":[{"#,
            r#""ID":"0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a","Node":"agent-one","#,
            r#""Address":"127.0.0.10:8300","Status":"alive"}]}"#
        )
    );
    let text = rig.get("/v1/agent/self").await;
    let config = concat!(
        r#"{"Config":{"Datacenter":"dc1","NodeName":"agent-one","#,
        r#""NodeID":"0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a","Revision":"","Server":true,"#,
        r#""Version":"0.1.0"},"DebugConfig":{"#,
    );
    assert!(text.starts_with(config), "{text}");
    assert!(text.contains(&format!(r#""Member":{SERVER_JSON},"Stats":{{"#)), "{text}");
    assert!(text.ends_with(r#""Meta":{"rack":"r0"}}"#), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["Coord"]["Vec"].as_array().unwrap().len(), 8);
    assert_eq!(value["Stats"]["bootstrap"]["voters"], "127.0.0.10:8300");
    assert_eq!(value["Stats"]["consul"]["leader"], "true");
    assert_eq!(value["Stats"]["serf_lan"]["members"], "4");
    assert_eq!(value["Stats"]["serf_lan"]["failed"], "1");
    assert_eq!(value["Stats"]["raft"]["num_peers"], "0");
}

#[tokio::test]
async fn host_and_metrics() {
    let rig = rig();
    let host: serde_json::Value = serde_json::from_str(&rig.get("/v1/agent/host").await).unwrap();
    let keys: Vec<_> = host.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"]);
    let metrics: serde_json::Value =
        serde_json::from_str(&rig.get("/v1/agent/metrics").await).unwrap();
    let keys: Vec<_> = metrics.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["Timestamp", "Gauges", "Points", "Counters", "Samples"]);
    let find = |list: &str, name: &str| {
        let list = metrics[list].as_array().unwrap();
        list.iter().find(|m| m["Name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(find("Gauges", "quorate.view_index")["Value"], 20);
    assert_eq!(find("Gauges", "quorate.members")["Labels"]["status"], "alive");
    assert_eq!(find("Counters", "quorate.datagrams_in")["Count"], 0);
    assert_eq!(find("Counters", "quorate.http_requests")["Sum"], 1);
    let text = rig.get("/v1/agent/metrics?format=prometheus").await;
    for line in [
        "quorate_members{status=\"alive\"} 2",
        "quorate_members{status=\"failed\"} 1",
        "quorate_view_index 20",
        "# TYPE quorate_datagrams_in counter",
        "quorate_datagrams_in_total 0",
        "quorate_http_requests_total 2",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert_eq!(rig.code(Method::GET, "/v1/agent/metrics?format=xml").await.0, 400);
}

#[tokio::test]
async fn commands_reach_the_node() {
    let rig = rig();
    let put = |path: &'static str| rig.code(Method::PUT, path);
    let done = (200, String::new());
    assert_eq!(put("/v1/agent/join/127.0.0.11").await, done);
    assert_eq!(put("/v1/agent/join/127.0.0.11%3A9301").await, done);
    let (code, text) = put("/v1/agent/join/127.0.0.99").await;
    let line = "1 error occurred: * Failed to join 127.0.0.99: dial tcp 127.0.0.99:8301: \
                connect: connection refused";
    assert_eq!((code, text.as_str()), (500, line));
    let (code, text) = put("/v1/agent/join/127.0.0.300").await;
    assert!(code == 500 && text.starts_with("1 error occurred: * Failed to resolve 127.0.0.300: "));
    assert_eq!(put("/v1/agent/force-leave/DEAD?prune").await, done);
    assert_eq!(put("/v1/agent/force-leave/dead").await, done);
    let unknown = (500, "agent: No node found with name 'x'".to_owned());
    assert_eq!(put("/v1/agent/force-leave/x").await, unknown);
    let no_name = (500, "agent: No node found with name 'a b'".to_owned());
    assert_eq!(put("/v1/agent/force-leave/a%20b").await, no_name);
    let leave = rig.ask(Method::PUT, "/v1/agent/leave").await;
    assert!(leave.status == StatusCode::OK && leave.close && leave.body.is_empty());
    drop(rig.api);
    let seen = rig.driver.await.unwrap();
    assert_eq!(
        seen,
        [
            "join 127.0.0.11:8301",
            "join 127.0.0.11:9301",
            "join 127.0.0.99:8301",
            "force-leave dead true",
            "force-leave dead false",
            "force-leave x false",
            "leave",
        ]
    );
}

#[test]
fn join_failures_are_one_line() {
    let addr = "[::1]:8301".parse().unwrap();
    let timed_out = RequestError::Join(JoinError::Stream(StreamError::TimedOut));
    let wrong = RequestError::Join(JoinError::WrongLabel {
        name: Name::new("x").unwrap(),
        label: Label::new("y").unwrap(),
    });
    let both = [join_failure(addr, &timed_out), join_failure(addr, &wrong)];
    assert_eq!(
        join_failures(&both),
        "2 errors occurred: * Failed to join ::1: dial tcp [::1]:8301: i/o timeout \
         * Failed to join ::1: Member 'x' part of wrong datacenter 'y'"
    );
}

#[tokio::test]
async fn the_table_routes() {
    let rig = rig();
    for path in ["/nope", "/v1", "/v1/agent", "/v1/agent/members/", "/v1/catalog/node/a/b"] {
        assert_eq!(rig.code(Method::GET, path).await, (404, String::new()), "{path}");
    }
    for path in ["/v1/kv/a/b", "/v1/kv", "/v1/agent/services", "/v1/session/list", "/v1/txn"] {
        let (code, text) = rig.code(Method::PUT, path).await;
        let said = format!("'{path}' is not available: ");
        assert!(code == 501 && text.starts_with(&said), "{path}: {code} {text}");
    }
    assert_eq!(rig.code(Method::GET, "/v1/kvs").await.0, 404);
    let missing = rig.code(Method::GET, "/v1/catalog/node/").await;
    assert_eq!(missing, (400, "Missing node at the end of the path".to_owned()));
    for (method, path, allow) in [
        (Method::POST, "/v1/agent/members", "OPTIONS,GET"),
        (Method::HEAD, "/v1/catalog/nodes", "OPTIONS,GET"),
        (Method::GET, "/v1/agent/leave", "OPTIONS,PUT"),
        (Method::DELETE, "/v1/agent/join/a", "OPTIONS,PUT"),
    ] {
        let reply = rig.ask(method.clone(), path).await;
        assert_eq!((reply.status.as_u16(), reply.allow), (405, Some(allow)), "{path}");
        assert_eq!(reply.body, format!("method {method} not allowed"));
        let reply = rig.ask(Method::OPTIONS, path).await;
        assert_eq!((reply.status.as_u16(), reply.allow), (200, Some(allow)), "{path}");
        assert!(reply.body.is_empty());
    }
    let doc = super::routes_as_markdown();
    assert!(doc.contains("| PUT | `/v1/agent/force-leave/{node}` |"), "{doc}");
}

#[tokio::test]
async fn parameters_of_reads() {
    let rig = rig();
    let pretty = rig.get("/v1/catalog/datacenters?pretty").await;
    assert_eq!(pretty, "[\n    \"dc1\"\n]\n");
    let get = |path: &'static str| rig.code(Method::GET, path);
    assert_eq!(get("/v1/catalog/nodes?dc=DC1").await.0, 200);
    let far = (500, "No path to datacenter".to_owned());
    for path in ["/v1/catalog/nodes?dc=zz", "/v1/status/leader?dc=zz", "/v1/health/node/a?dc=zz"] {
        assert_eq!(get(path).await, far, "{path}");
    }
    assert_eq!(get("/v1/catalog/nodes?stale").await.0, 200);
    assert_eq!(get("/v1/catalog/nodes?near=agent-two").await.0, 200);
    for path in [
        "/v1/catalog/nodes?stale&consistent",
        "/v1/catalog/nodes?filter=Node==a",
        "/v1/catalog/nodes?index=x",
        "/v1/catalog/nodes?wait=10",
        "/v1/catalog/nodes?index=1&wait=-1s",
        "/v1/catalog/nodes?a=%zz",
        "/v1/catalog/node/%ff",
    ] {
        let (code, text) = get(path).await;
        assert!(code == 400 && !text.is_empty(), "{path}: {code} {text}");
    }
    let meta = rig.ask(Method::GET, "/v1/catalog/nodes").await.meta.unwrap();
    assert_eq!((meta.index, meta.known_leader), (20, true));
    assert!(rig.ask(Method::GET, "/v1/agent/members").await.meta.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_blocking_query_waits_for_its_time_or_a_change() {
    let rig = rig();
    let index = |reply: Reply| reply.meta.unwrap().index;
    // Any other index than ours is answered at once, a higher one too (the agent restarted).
    let start = Instant::now();
    for path in ["/v1/catalog/nodes?index=19", "/v1/catalog/nodes?index=21&wait=10m"] {
        assert_eq!(index(rig.ask(Method::GET, path).await), 20);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    // Time out: between the wait and a sixteenth more.
    assert_eq!(index(rig.ask(Method::GET, "/v1/health/state/any?index=20&wait=16s").await), 20);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(16) && waited < Duration::from_millis(17_010));
    // A change wakes it, and the answer has the new view.
    let api = Arc::clone(&rig.api);
    let uri: Uri = "/v1/catalog/nodes?index=20".parse().unwrap();
    let waiting = tokio::spawn(async move { api.answer(&Method::GET, &uri, b"").await });
    tokio::time::sleep(Duration::from_secs(250)).await;
    assert!(!waiting.is_finished());
    rig.publish(33);
    assert_eq!(index(waiting.await.unwrap()), 33);
}

#[tokio::test(start_paused = true)]
async fn a_busy_node_costs_the_order_by_distance_only() {
    let near = "/v1/catalog/nodes?near=agent-two";
    let (handle, mut parts) = AgentHandle::new(info(), view(20));
    let (stop, stopped) = watch::channel(false);
    let api = Arc::new(Api::new(handle, HttpConfig::default(), stopped));
    let mut rig = Rig {
        api,
        view: parts.view,
        index: parts.index,
        stop,
        driver: tokio::spawn(async { vec![] }),
    };
    let order = |json: String| names(&json, "Node");
    assert_eq!(order(rig.get(near).await), ["agent-one", "agent-two", "dead"]);
    assert_eq!(rig.code(Method::GET, "/v1/coordinate/nodes").await.0, 500);
    let asked = std::iter::from_fn(|| parts.requests.try_recv().ok()).count();
    assert_eq!(asked, 2);

    // It answers once. That holds for a second, and for longer where it is silent again.
    let here = Coordinate::ORIGIN;
    let others = [(NodeId::from_bytes([11; 16]), here)];
    let known = Coordinates::new(info().id, here, others);
    rig.driver = tokio::spawn(async move {
        let Some(Request::Coordinates { reply }) = parts.requests.recv().await else { panic!() };
        reply.send(known).unwrap();
        std::future::pending().await
    });
    for _ in 0..4 {
        assert_eq!(order(rig.get(near).await), ["agent-two", "agent-one", "dead"]);
        assert_eq!(names(&rig.get("/v1/coordinate/nodes").await, "Node").len(), 2);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocking_query_ends_with_the_agent() {
    for by_stop in [true, false] {
        let rig = rig();
        let api = Arc::clone(&rig.api);
        let uri: Uri = "/v1/catalog/nodes?index=20".parse().unwrap();
        let waiting = tokio::spawn(async move { api.answer(&Method::GET, &uri, b"").await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        if by_stop {
            rig.stop.send(true).unwrap();
        } else {
            drop(rig.index);
        }
        assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
        assert!(start.elapsed() < Duration::from_secs(1), "by_stop {by_stop}");
    }
}

#[tokio::test]
async fn events_are_fired_with_their_filters() {
    let rig = rig();
    let uri: Uri = "/v1/event/fire/deploy?node=web-.*&service=api&tag=v1".parse().unwrap();
    let reply = rig.api.answer(&Method::PUT, &uri, b"now").await;
    assert_eq!(
        reply.body,
        concat!(
            r#"{"ID":"09090909-0909-0909-0909-090909090909","Name":"deploy","Payload":"bm93","#,
            r#""NodeFilter":"web-.*","ServiceFilter":"api","TagFilter":"v1","Version":1,"LTime":0}"#
        )
    );
    let none = rig.code(Method::PUT, "/v1/event/fire/x").await;
    assert!(none.0 == 200 && none.1.contains(r#""Payload":null,"NodeFilter":"","#), "{none:?}");
    let large = rig.api.answer(&Method::PUT, &uri, &[0; 500]).await;
    let told = "name, payload and filters have 600 bytes together, at most 512 fit";
    assert_eq!((large.status.as_u16(), &large.body[..]), (413, told.as_bytes()));
    for (path, told) in [
        ("/v1/event/fire/", "Missing name at the end of the path"),
        ("/v1/event/fire/x?node=%28a", "Invalid node filter '(a': unclosed group (at character 1)"),
        ("/v1/event/fire/x?tag=v1", "Cannot provide tag filter without service filter"),
    ] {
        assert_eq!(rig.code(Method::PUT, path).await, (400, told.to_owned()), "{path}");
    }
    let list = rig.ask(Method::GET, "/v1/event/list").await;
    assert_eq!((&list.body[..], list.meta.unwrap().index), (&b"[]"[..], 1));
}

#[tokio::test]
async fn queries_list_their_answers() {
    let rig = rig();
    let answers = rig.code(Method::PUT, "/v1/agent/query/ping?timeout=2s").await;
    let one = concat!(
        r#"[{"ID":"0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b","Node":"agent-two","#,
        r#""Payload":"cG9uZw=="}]"#
    );
    assert_eq!(answers, (200, one.to_owned()));
    let (code, text) = rig.code(Method::PUT, "/v1/agent/query/ping?timeout=2").await;
    assert!(code == 400 && text.starts_with("Invalid timeout '2': "), "{code} {text}");
    drop(rig.api);
    assert_eq!(rig.driver.await.unwrap(), ["query ping Some(2s)"]);
}
