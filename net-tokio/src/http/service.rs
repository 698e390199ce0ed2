//! The services of catalog and health. There is one, which the servers offer: `consul`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    consul::SERVER_SERVICE,
    http::{
        catalog::{MetaJson, NoFields, NodeJson, Proxy, ServiceJson, Weights, with_meta},
        health::CheckJson,
        reply::Reply,
        router::Call,
    },
    view::{AgentInfo, Member, View},
};

/// A node and a service of it, in one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CatalogService<'a> {
    #[serde(rename = "ID")]
    id: String,
    node: &'a str,
    address: String,
    datacenter: &'a str,
    tagged_addresses: BTreeMap<&'static str, String>,
    node_meta: MetaJson<'a>,
    service_kind: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'static str,
    service_name: &'static str,
    service_tags: [&'static str; 0],
    service_address: &'static str,
    service_weights: Weights,
    service_meta: BTreeMap<&'static str, String>,
    service_port: u16,
    service_enable_tag_override: bool,
    service_proxy: Proxy,
    service_connect: NoFields,
    create_index: u64,
    modify_index: u64,
}

impl<'a> CatalogService<'a> {
    fn new(node: NodeJson<'a>, service: ServiceJson) -> Self {
        Self {
            id: node.id,
            node: node.node,
            address: node.address,
            datacenter: node.datacenter,
            tagged_addresses: node.tagged_addresses,
            node_meta: node.meta,
            service_kind: "",
            service_id: service.id,
            service_name: service.service,
            service_tags: service.tags,
            service_address: service.address,
            service_weights: service.weights,
            service_meta: service.meta,
            service_port: service.port,
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: service.proxy,
            service_connect: service.connect,
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceEntry<'a> {
    node: NodeJson<'a>,
    service: ServiceJson,
    checks: [CheckJson<'a>; 1],
}

/// The members that offer the service that is asked for. It has no tags, so nobody has one.
fn offering<'a>(
    view: &'a View,
    call: &Call<'_>,
) -> impl Iterator<Item = (&'a Member, ServiceJson)> {
    let none = call.param != SERVER_SERVICE || call.query.all("tag").any(|tag| !tag.is_empty());
    let all = with_meta(view, call).filter(move |_| !none);
    all.filter_map(|m| Some((m, ServiceJson::of(m)?)))
}

/// `GET /v1/catalog/services`: names with their tags.
pub(crate) fn names(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let offered = with_meta(view, call).find_map(ServiceJson::of);
    let all: BTreeMap<_, _> = offered.into_iter().map(|s| (s.service, s.tags)).collect();
    Reply::json(&all, call.layout())
}

/// `GET /v1/catalog/service/NAME`: `[]` for one that nobody offers.
pub(crate) fn nodes(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let of = |(m, service)| CatalogService::new(NodeJson::new(view, m), service);
    let all: Vec<_> = offering(view, call).map(of).collect();
    Reply::json(&all, call.layout())
}

/// `GET /v1/health/service/NAME`; with `?passing` those only whose check passes.
pub(crate) fn health(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let passing = call.query.has("passing")
        && !call.query.get("passing").is_some_and(|v| ["false", "0"].contains(&v));
    let entry = |(m, service)| {
        let check = CheckJson::serf_health(m);
        let passes = check.status == "passing";
        let entry = ServiceEntry { node: NodeJson::new(view, m), service, checks: [check] };
        (!passing || passes).then_some(entry)
    };
    let all: Vec<_> = offering(view, call).filter_map(entry).collect();
    Reply::json(&all, call.layout())
}

/// `GET /v1/health/checks/NAME`: services have no checks of their own.
pub(crate) fn checks(_: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    Reply::json(&[(); 0], call.layout())
}
