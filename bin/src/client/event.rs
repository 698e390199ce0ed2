//! `event`: tells all members something.

use std::process::ExitCode;

use hyper::{Method, body::Bytes};
use serde::Deserialize;

use super::{CHANGE_TIMEOUT, Client, HttpError, escape};
use crate::cli::{self, parse::Parsed};

#[derive(Deserialize)]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}

/// Runs `event`.
pub(super) async fn command(p: &Parsed, client: &Client) -> ExitCode {
    let Some(name) = p.one("name").filter(|n| !n.is_empty()) else {
        return cli::fail(&cli::wrong_usage(p.spec, "Event name must be specified"));
    };
    let operands = p.operands();
    let payload = match operands.as_slice() {
        [] => "",
        [payload] => payload,
        _ => return cli::fail(&cli::wrong_usage(p.spec, "Too many command line arguments.")),
    };
    let filters = ["node", "service", "tag"].into_iter().filter_map(|key| {
        let pattern = p.one(key).filter(|v| !v.is_empty())?;
        Some(format!("{key}={}", escape(pattern)))
    });
    let filters = filters.collect::<Vec<_>>().join("&");
    let path = format!("/v1/event/fire/{}?{filters}", escape(name));
    let body = Bytes::copy_from_slice(payload.as_bytes());
    let answer = client.send_body(Method::PUT, &path, body, CHANGE_TIMEOUT).await;
    let fired = answer.and_then(|body| {
        serde_json::from_slice::<Fired>(&body).map_err(|e| HttpError::Body(e.to_string()))
    });
    match fired {
        Ok(Fired { id }) => cli::print(&format!("Event ID: {id}\n")),
        Err(e) => cli::fail(&format!("Error firing event: {e}")),
    }
}
