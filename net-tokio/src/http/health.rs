//! `/v1/health`: the check that membership itself gives each member.

use serde::Serialize;

use crate::{
    http::{
        catalog::{NoFields, registered, registered_by_name},
        error::ApiError,
        reply::Reply,
        router::Call,
    },
    view::{AgentInfo, Member, Status, View},
};

/// The states that a check can be in; `any` stands for all of them.
const STATES: [&str; 3] = ["passing", "warning", "critical"];
const ANY: &str = "any";

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CheckJson<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'static str,
    name: &'static str,
    pub(super) status: &'static str,
    notes: &'static str,
    output: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'static str,
    service_name: &'static str,
    service_tags: [&'static str; 0],
    r#type: &'static str,
    definition: NoFields,
    create_index: u64,
    modify_index: u64,
}

impl<'a> CheckJson<'a> {
    /// Passing while the member is held to be alive (a mere suspicion included).
    pub(super) fn serf_health(m: &'a Member) -> Self {
        let (status, output) = match m.status {
            Status::Alive | Status::Leaving => ("passing", "Agent alive and reachable"),
            Status::Failed | Status::Left => ("critical", "Agent not live or unreachable"),
        };
        Self {
            node: m.record.name.as_str(),
            check_id: "serfHealth",
            name: "Serf Health Status",
            status,
            notes: "",
            output,
            service_id: "",
            service_name: "",
            service_tags: [],
            r#type: "",
            definition: NoFields {},
            create_index: m.create_index,
            modify_index: m.modify_index,
        }
    }
}

/// `GET /v1/health/node/NAME`: `[]` for a node that the catalog does not have.
pub(crate) fn node(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let found = registered_by_name(view, call.param);
    let checks: Vec<_> = found.into_iter().map(CheckJson::serf_health).collect();
    Reply::json(&checks, call.layout())
}

/// `GET /v1/health/state/STATE`.
pub(crate) fn state(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let wanted = call.param;
    if wanted != ANY && !STATES.contains(&wanted) {
        let known = format!("{ANY}, {}", STATES.join(", "));
        return ApiError::HealthState { given: wanted.to_owned(), known }.into();
    }
    let checks: Vec<_> = registered(view)
        .map(CheckJson::serf_health)
        .filter(|c| wanted == ANY || c.status == wanted)
        .collect();
    Reply::json(&checks, call.layout())
}
