//! The bootstrap quorum as JSON (`/v1/operator/bootstrap`) and as a section of `agent/self`.

use std::collections::BTreeMap;

use quorate_core::NodeId;
use serde::Serialize;

use crate::{
    http::{reply::Reply, router::Call},
    view::{AgentInfo, Member, View},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct VoterJson<'a> {
    #[serde(rename = "ID")]
    id: String,
    /// Empty for a voter that is no member any more.
    node: &'a str,
    address: String,
    status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct BootstrapJson<'a> {
    state: String,
    expect: u8,
    in_contact: Vec<&'a str>,
    missing: usize,
    awaited: Vec<String>,
    #[serde(rename = "ClusterID")]
    cluster_id: String,
    voter: bool,
    voters: Vec<VoterJson<'a>>,
}

fn member(view: &View, id: NodeId) -> Option<&Member> {
    view.members().iter().find(|m| m.record.id == id)
}

fn json(view: &View) -> BootstrapJson<'_> {
    let b = view.bootstrap();
    let name = |id: NodeId| member(view, id).map_or("", |m| m.record.name.as_str());
    let quorum = b.quorum.as_ref();
    let voters = quorum.map_or(&[][..], |q| &q.voters).iter().map(|v| VoterJson {
        id: v.id.to_string(),
        node: name(v.id),
        address: v.addr.to_string(),
        status: member(view, v.id).map_or("unknown", |m| m.status.as_str()),
    });
    BootstrapJson {
        state: b.state.to_string(),
        expect: b.expect,
        in_contact: b.contact.iter().map(|n| n.as_str()).collect(),
        missing: b.missing,
        awaited: b.awaited_names(),
        cluster_id: quorum.map_or_else(String::new, |q| q.cluster.to_string()),
        voter: b.voter,
        voters: voters.collect(),
    }
}

/// `GET /v1/operator/bootstrap`.
pub(crate) fn status(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    Reply::json(&json(view), call.layout())
}

/// The section `bootstrap` of `agent/self`, which `info` prints.
pub(crate) fn section(view: &View) -> BTreeMap<&'static str, String> {
    let b = json(view);
    let voters: Vec<String> = b.voters.iter().map(|v| v.address.clone()).collect();
    BTreeMap::from([
        ("awaited", b.awaited.join(",")),
        ("cluster_id", b.cluster_id),
        ("expect", b.expect.to_string()),
        ("in_contact", b.in_contact.join(",")),
        ("missing", b.missing.to_string()),
        ("state", b.state),
        ("voter", b.voter.to_string()),
        ("voters", voters.join(",")),
    ])
}
