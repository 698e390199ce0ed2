//! `/v1/event`: fire one, list the last ones; and queries (`/v1/agent/query`).

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    handle::{AgentHandle, RequestError},
    http::{
        error::ApiError,
        query::{Blocking, parse_duration},
        reply::{ReadMeta, Reply},
        router::Call,
        server::until_stopped,
    },
    user::{EventLog, Filters, FiredEvent},
    view::View,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EventJson<'a> {
    #[serde(rename = "ID")]
    id: String,
    name: &'a str,
    payload: Option<String>,
    node_filter: &'a str,
    service_filter: &'a str,
    tag_filter: &'a str,
    version: u8,
    #[serde(rename = "LTime")]
    l_time: u64,
}

impl<'a> EventJson<'a> {
    fn new(e: &'a FiredEvent, l_time: u64) -> Self {
        Self {
            id: e.id.to_string(),
            name: &e.name,
            payload: encoded(&e.payload),
            node_filter: &e.filters.node,
            service_filter: &e.filters.service,
            tag_filter: &e.filters.tag,
            version: e.version,
            l_time,
        }
    }
}

fn encoded(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| STANDARD.encode(bytes))
}

fn refused(e: RequestError) -> ApiError {
    match e {
        RequestError::Command(e) => ApiError::Event(e),
        other => other.into(),
    }
}

/// `PUT /v1/event/fire/{name}`.
pub(crate) async fn fire(handle: &AgentHandle, call: &Call<'_>) -> Result<Reply, ApiError> {
    let filter = |key| call.query.get(key).unwrap_or_default().to_owned();
    let filters = Filters { node: filter("node"), service: filter("service"), tag: filter("tag") };
    filters.check()?;
    let (name, payload) = (call.param.to_owned(), call.body.to_vec());
    let event = handle.fire(name, payload, filters).await.map_err(refused)?;
    // Consul does not tell the time here.
    Ok(Reply::json(&EventJson::new(&event, 0), call.layout()))
}

/// `GET /v1/event/list`.
pub(crate) async fn list(
    handle: &AgentHandle,
    call: &Call<'_>,
    (blocking, most): (Option<Blocking>, Duration),
    stop: &mut watch::Receiver<bool>,
) -> Reply {
    let log = handle.events();
    let name = call.query.get("name");
    let until = Instant::now() + most;
    let mut next = log.subscribe();
    let (mut events, mut waits) = (log.list(name), blocking.is_some());
    // The index does not rise: any other than the one that the client knows is news.
    while waits && blocking.is_some_and(|b| b.index == EventLog::index(&events)) {
        tokio::select! {
            () = next.next() => {}
            () = sleep_until(until) => waits = false,
            () = until_stopped(stop) => waits = false,
        }
        events = log.list(name);
    }
    let json: Vec<_> = events.iter().map(|e| EventJson::new(e, e.time)).collect();
    let known_leader = handle.view().leader().is_some();
    let meta = Some(ReadMeta { index: EventLog::index(&events), known_leader });
    Reply { meta, ..Reply::json(&json, call.layout()) }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AnswerJson {
    #[serde(rename = "ID")]
    id: String,
    /// Empty for one that is no member any more.
    node: String,
    payload: Option<String>,
}

/// `PUT /v1/agent/query/{name}`.
pub(crate) async fn query(handle: &AgentHandle, call: &Call<'_>) -> Result<Reply, ApiError> {
    let timeout = match call.query.get("timeout") {
        None => None,
        Some(text) => Some(parse_duration(text).map_err(|cause| {
            let text = text.to_owned();
            ApiError::Timeout { text, cause }
        })?),
    };
    let asked = handle.query(call.param.to_owned(), call.body.to_vec(), timeout).await;
    let outcome = asked.map_err(refused)?;
    let view: Arc<View> = handle.view();
    let name = |id| {
        let found = view.members().iter().find(|m| m.record.id == id);
        found.map_or_else(String::new, |m| m.record.name.to_string())
    };
    let answers = outcome.answers.into_iter().map(|a| AnswerJson {
        id: a.from.to_string(),
        node: name(a.from),
        payload: encoded(&a.payload),
    });
    Ok(Reply::json(&answers.collect::<Vec<_>>(), call.layout()))
}
