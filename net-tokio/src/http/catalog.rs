//! `/v1/catalog`: the members as Consul's catalog lists them. Who left is not in it.

use std::collections::BTreeMap;

use quorate_core::{Record, Role};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    consul::{SERVER_SERVICE, server_service_meta},
    http::{reply::Reply, router::Call},
    view::{AgentInfo, Member, Status, View},
};

/// `key: value` pairs as a JSON object.
#[derive(Debug)]
pub(crate) struct MetaJson<'a>(pub(crate) &'a Record);

impl Serialize for MetaJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.meta.len()))?;
        for (k, v) in self.0.meta.iter() {
            map.serialize_entry(k, v)?;
        }
        map.end()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeJson<'a> {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) node: &'a str,
    pub(super) address: String,
    pub(super) datacenter: &'a str,
    pub(super) tagged_addresses: BTreeMap<&'static str, String>,
    pub(super) meta: MetaJson<'a>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> NodeJson<'a> {
    pub(super) fn new(view: &'a View, m: &'a Member) -> Self {
        let ip = m.record.addr.ip();
        let keys = if ip.is_ipv4() {
            ["lan", "lan_ipv4", "wan", "wan_ipv4"]
        } else {
            ["lan", "lan_ipv6", "wan", "wan_ipv6"]
        };
        Self {
            id: m.record.id.to_string(),
            node: m.record.name.as_str(),
            address: ip.to_string(),
            datacenter: view.label.as_str(),
            tagged_addresses: keys.into_iter().map(|k| (k, ip.to_string())).collect(),
            meta: MetaJson(&m.record),
            create_index: m.create_index,
            modify_index: m.modify_index,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Weights {
    passing: u8,
    warning: u8,
}

#[derive(Debug, Serialize)]
pub(super) struct NoFields {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Proxy {
    mesh_gateway: NoFields,
    expose: NoFields,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceJson {
    #[serde(rename = "ID")]
    pub(super) id: &'static str,
    pub(super) service: &'static str,
    pub(super) tags: [&'static str; 0],
    pub(super) address: &'static str,
    pub(super) meta: BTreeMap<&'static str, String>,
    pub(super) port: u16,
    pub(super) weights: Weights,
    pub(super) enable_tag_override: bool,
    pub(super) proxy: Proxy,
    pub(super) connect: NoFields,
    pub(super) create_index: u64,
    pub(super) modify_index: u64,
}

impl ServiceJson {
    /// The service that servers offer; a client offers none.
    pub(super) fn of(m: &Member) -> Option<Self> {
        let Role::Server { port, .. } = m.record.role else { return None };
        Some(Self {
            id: SERVER_SERVICE,
            service: SERVER_SERVICE,
            tags: [],
            address: "",
            meta: server_service_meta(&m.record),
            port,
            weights: Weights { passing: 1, warning: 1 },
            enable_tag_override: false,
            proxy: Proxy { mesh_gateway: NoFields {}, expose: NoFields {} },
            connect: NoFields {},
            create_index: m.create_index,
            modify_index: m.modify_index,
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServices<'a> {
    node: NodeJson<'a>,
    services: BTreeMap<&'static str, ServiceJson>,
}

/// The members that the catalog has: all but those that left.
pub(crate) fn registered(view: &View) -> impl Iterator<Item = &Member> {
    view.members().iter().filter(|m| m.status != Status::Left)
}

/// The member of that name, if the catalog has it.
pub(crate) fn registered_by_name<'a>(view: &'a View, name: &str) -> Option<&'a Member> {
    view.by_name(name).filter(|m| m.status != Status::Left)
}

/// `GET /v1/catalog/datacenters`.
pub(crate) fn datacenters(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    Reply::json(&[view.label.as_str()], call.layout())
}

/// Those with the metadata of every `?node-meta=k:v`.
pub(super) fn with_meta<'a>(view: &'a View, call: &Call<'_>) -> impl Iterator<Item = &'a Member> {
    let wanted: Vec<(&str, &str)> =
        call.query.all("node-meta").map(|v| v.split_once(':').unwrap_or((v, ""))).collect();
    registered(view).filter(move |m| wanted.iter().all(|(k, v)| m.record.meta.get(k) == Some(*v)))
}

/// `GET /v1/catalog/nodes`.
pub(crate) fn nodes(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let nodes: Vec<_> = with_meta(view, call).map(|m| NodeJson::new(view, m)).collect();
    Reply::json(&nodes, call.layout())
}

/// `GET /v1/catalog/node/NAME`.
pub(crate) fn node(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let found = registered_by_name(view, call.param).map(|m| {
        let services = ServiceJson::of(m).map(|s| (SERVER_SERVICE, s)).into_iter().collect();
        NodeServices { node: NodeJson::new(view, m), services }
    });
    Reply::json(&found, call.layout())
}
