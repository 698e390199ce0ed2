//! What DNS and HTTP answer from: a member list made by hand, and no node behind it.

use std::{net::SocketAddr, sync::Arc};

use net_tokio::{
    handle::AgentHandle,
    view::{AgentInfo, Member, Status, View},
};
use quorate_core::{Name, NodeId, Pairs, Record, Role};

use crate::label;

const SERVER: Role = Role::Server { port: 8300, expect: 1, bootstrap: false };

fn member(n: u8, name: &str, addr: &str, role: Role, status: Status) -> Member {
    let meta = Pairs::new([("rack", "7"), ("rfc1035-note", "bare")]).expect("pairs");
    let record = Record {
        role,
        meta,
        ..Record::of_client(
            NodeId::from_random([n; 16]),
            Name::new(name).expect("a name"),
            SocketAddr::new(addr.parse().expect("an address"), 8301),
        )
    };
    let (record, suspect) = (Arc::new(record), false);
    Member { record, status, suspect, create_index: 1, modify_index: 1 }
}

/// About the agent.
pub fn info() -> AgentInfo {
    AgentInfo {
        encrypted: false,
        version: "0.1.0".into(),
        revision: String::new(),
        name: Name::new("agent-one").expect("a name"),
        id: NodeId::from_random([1; 16]),
        label: label(),
        role: SERVER,
        advertise: ([10, 0, 0, 1], 8301).into(),
        domain: "consul.".into(),
        alt_domain: Some("alt.example".into()),
        dns_addrs: Vec::new(),
        http_addrs: Vec::new(),
    }
}

/// A handle on an agent that is gone: reads work, commands fail.
pub fn handle() -> AgentHandle {
    let mut all = vec![
        member(1, "agent-one", "10.0.0.1", SERVER, Status::Alive),
        member(2, "agent-two", "10.0.0.2", Role::Client, Status::Alive),
        member(3, "web.eu.Example", "fd00::3", Role::Client, Status::Alive),
        member(4, "gone", "10.0.0.4", Role::Client, Status::Left),
        member(5, "dead", "10.0.0.5", Role::Client, Status::Failed),
        member(6, "bad..name", "10.0.0.6", Role::Client, Status::Leaving),
    ];
    let more = |n: u8| {
        let (name, addr) = (format!("server-{n}"), format!("10.0.1.{n}"));
        member(n, &name, &addr, SERVER, Status::Alive)
    };
    // More than a datagram can name.
    all.extend((10..90).map(more));
    AgentHandle::new(info(), View::new(9, NodeId::from_random([1; 16]), label(), all)).0
}
