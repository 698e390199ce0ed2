//! How a member looks to Consul's clients: tags and protocol numbers derived from its record.
//!
//! One place for the derivation, so that `agent/members`, `agent/self` and the commands agree.

use std::{collections::BTreeMap, fmt};

use quorate_core::{Label, Record, Role};
use serde::Serialize;

use crate::view::{Member, View};

/// The tag of [`Record::tags`] with the version of the agent's build.
pub const BUILD_TAG: &str = "build";
/// Consul's own protocol: oldest, newest and usual version (`vsn` tags).
const CONSUL_PROTOCOL: (u8, u8, u8) = (2, 3, 2);
/// The version of Consul's server protocol that 1.8 has (`raft_vsn` tag).
const RAFT_PROTOCOL: u8 = 3;
/// Serf's memberlist protocol as of Consul 1.8: oldest, newest and current version.
pub const SERF_PROTOCOL: (u8, u8, u8) = (1, 5, 2);
/// Serf's delegate protocol as of Consul 1.8: oldest, newest and current version.
pub const SERF_DELEGATE: (u8, u8, u8) = (2, 5, 4);
/// The name of the service that servers offer.
pub const SERVER_SERVICE: &str = "consul";

/// The tags that Consul's clients expect of a member, sorted; all values are text.
pub fn consul_tags(record: &Record, label: &Label) -> BTreeMap<&'static str, String> {
    let (vsn_min, vsn_max, vsn) = CONSUL_PROTOCOL;
    let mut tags = BTreeMap::from([
        ("build", record.tags.get(BUILD_TAG).unwrap_or_default().to_owned()),
        ("dc", label.to_string()),
        ("id", record.id.to_string()),
        ("role", if record.role.is_server() { "consul" } else { "node" }.to_owned()),
        ("segment", String::new()),
        ("vsn", vsn.to_string()),
        ("vsn_max", vsn_max.to_string()),
        ("vsn_min", vsn_min.to_string()),
    ]);
    if let Role::Server { port, expect, bootstrap } = record.role {
        tags.insert("port", port.to_string());
        tags.insert("raft_vsn", RAFT_PROTOCOL.to_string());
        if expect > 0 {
            tags.insert("expect", expect.to_string());
        }
        if bootstrap {
            tags.insert("bootstrap", "1".to_owned());
        }
    }
    tags
}

/// The metadata of a server's `consul` service, sorted.
pub(crate) fn server_service_meta(record: &Record) -> BTreeMap<&'static str, String> {
    let (min, max, current) = SERF_PROTOCOL;
    BTreeMap::from([
        ("raft_version", RAFT_PROTOCOL.to_string()),
        ("serf_protocol_current", current.to_string()),
        ("serf_protocol_max", max.to_string()),
        ("serf_protocol_min", min.to_string()),
        ("version", record.tags.get(BUILD_TAG).unwrap_or_default().to_owned()),
    ])
}

/// A member as `agent/members` and `agent/self` give it; fields in Consul's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemberJson<'a> {
    name: &'a str,
    addr: String,
    port: u16,
    tags: BTreeMap<&'static str, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

impl<'a> MemberJson<'a> {
    /// Says in a tag that this agent reaches the member through others or over streams only.
    #[must_use]
    pub(crate) fn noting_degraded(mut self, view: &View, m: &Member) -> Self {
        if view.is_degraded(m) {
            self.tags.insert("degraded", "true".to_owned());
        }
        self
    }

    /// The member `m` of `view`.
    pub fn new(view: &View, m: &'a Member) -> Self {
        Self {
            name: m.record.name.as_str(),
            addr: m.record.addr.ip().to_string(),
            port: m.record.addr.port(),
            tags: consul_tags(&m.record, &view.label),
            status: m.status as u8,
            protocol_min: SERF_PROTOCOL.0,
            protocol_max: SERF_PROTOCOL.1,
            protocol_cur: SERF_PROTOCOL.2,
            delegate_min: SERF_DELEGATE.0,
            delegate_max: SERF_DELEGATE.1,
            delegate_cur: SERF_DELEGATE.2,
        }
    }
}

/// `k=v,k=v`, as `members -detailed` lists tags.
pub struct TagList<'a>(pub &'a BTreeMap<&'static str, String>);

impl fmt::Display for TagList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (k, v)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{k}={v}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Name, NodeId, Pairs};

    fn record(role: Role) -> Record {
        Record {
            role,
            tags: Pairs::new([("build", "0.1.0")]).unwrap(),
            ..Record::of_client(
                NodeId::from_bytes([7; 16]),
                Name::new("n").unwrap(),
                "127.0.0.1:8301".parse().unwrap(),
            )
        }
    }

    fn listed(role: Role) -> String {
        let tags = consul_tags(&record(role), &Label::new("dc1").unwrap());
        TagList(&tags).to_string()
    }

    #[test]
    fn tags_follow_the_role() {
        let id = "id=07070707-0707-0707-0707-070707070707";
        assert_eq!(
            listed(Role::Client),
            format!("build=0.1.0,dc=dc1,{id},role=node,segment=,vsn=2,vsn_max=3,vsn_min=2")
        );
        assert_eq!(
            listed(Role::Server { port: 8300, expect: 3, bootstrap: false }),
            format!(
                "build=0.1.0,dc=dc1,expect=3,{id},port=8300,raft_vsn=3,role=consul,segment=,\
                 vsn=2,vsn_max=3,vsn_min=2"
            )
        );
        let lone = listed(Role::Server { port: 9, expect: 0, bootstrap: true });
        assert!(lone.starts_with("bootstrap=1,build=") && lone.contains("port=9,"), "{lone}");
        assert!(!lone.contains("expect"), "{lone}");
    }
}
