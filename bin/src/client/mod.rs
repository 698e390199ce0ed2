//! The commands that talk to a running agent over HTTP. Their lines are what scripts read.

mod addr;
mod bootstrap;
mod event;
mod http;
mod keyring;
mod members;
mod rtt;

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode, time::Duration};

use hyper::Method;
use serde::Deserialize;

use crate::cli::{self, parse::Parsed, table::Action};

pub(crate) use addr::Endpoint;
pub(crate) use http::{Client, HttpError, escape};
pub(crate) use members::{Member, MembersError, summary};

/// Reads are answered at once; a join waits for its streams, a leave for confirmations.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs one of the commands.
pub(crate) fn command(p: &Parsed) -> ExitCode {
    if p.switch("wan") == Some(true) {
        return cli::fail(
            "Error: there is no WAN pool in this version: each datacenter stands alone (leave \
             -wan out)",
        );
    }
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let addr = p.one("http-addr").map(String::from);
    let addr = addr.or_else(|| env("QUORATE_HTTP_ADDR")).or_else(|| env("CONSUL_HTTP_ADDR"));
    let token = p.one("token").map(String::from);
    let token = token.or_else(|| env("QUORATE_HTTP_TOKEN")).or_else(|| env("CONSUL_HTTP_TOKEN"));
    let endpoint = match Endpoint::parse(addr.as_deref().unwrap_or("127.0.0.1:8500")) {
        Ok(endpoint) => endpoint,
        Err(e) => return cli::fail(&format!("Error connecting to the agent: {e}")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(talk(p, &Client::new(endpoint, token))),
        Err(e) => cli::fail(&format!("Error: the system gives no event loop: {e}")),
    }
}

async fn talk(p: &Parsed, client: &Client) -> ExitCode {
    match p.spec.action {
        Action::Members => members::command(p, client).await,
        Action::Event => event::command(p, client).await,
        Action::Join => join(p, client).await,
        Action::Rtt => rtt::command(p, client).await,
        Action::Keyring => keyring::command(p, client).await,
        Action::Operator => bootstrap::command(p, client).await,
        Action::Leave => leave(client).await,
        Action::Reload => reload(client).await,
        Action::ForceLeave => force_leave(p, client).await,
        _ => info(client).await,
    }
}

async fn join(p: &Parsed, client: &Client) -> ExitCode {
    let addrs = p.operands();
    if addrs.is_empty() {
        let what = "At least one address to join must be specified.";
        return cli::fail(&cli::wrong_usage(p.spec, what));
    }
    let mut joined = 0;
    for addr in addrs {
        let path = format!("/v1/agent/join/{}", escape(addr));
        match client.send(Method::PUT, &path, CHANGE_TIMEOUT).await {
            Ok(_) => joined += 1,
            Err(e) => eprintln!("Error joining address '{addr}': {e}"),
        }
    }
    if joined == 0 {
        return cli::fail("Failed to join any nodes.");
    }
    cli::print(&format!("Successfully joined cluster by contacting {joined} nodes.\n"))
}

async fn leave(client: &Client) -> ExitCode {
    match client.send(Method::PUT, "/v1/agent/leave", CHANGE_TIMEOUT).await {
        Ok(_) => cli::print("Graceful leave complete\n"),
        Err(e) => cli::fail(&format!("Error leaving: {e}")),
    }
}

async fn reload(client: &Client) -> ExitCode {
    match client.send(Method::PUT, "/v1/agent/reload", READ_TIMEOUT).await {
        Ok(_) => cli::print("Configuration reload triggered\n"),
        Err(e) => cli::fail(&format!("Error reloading: {e}")),
    }
}

async fn force_leave(p: &Parsed, client: &Client) -> ExitCode {
    let operands = p.operands();
    let [name] = operands.as_slice() else {
        return cli::fail(&cli::wrong_usage(p.spec, "The name of one member must be specified."));
    };
    let prune = if p.switch("prune") == Some(true) { "?prune" } else { "" };
    let path = format!("/v1/agent/force-leave/{}{prune}", escape(name));
    match client.send(Method::PUT, &path, CHANGE_TIMEOUT).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => cli::fail(&format!("Error force leaving: {e}")),
    }
}

/// The part of `agent/self` that `info` prints.
#[derive(Deserialize)]
struct AgentSelf {
    #[serde(rename = "Stats", default)]
    stats: BTreeMap<String, BTreeMap<String, String>>,
}

async fn info(client: &Client) -> ExitCode {
    let answer = client.send(Method::GET, "/v1/agent/self", READ_TIMEOUT).await;
    let parsed = answer.and_then(|body| {
        serde_json::from_slice::<AgentSelf>(&body).map_err(|e| HttpError::Body(e.to_string()))
    });
    match parsed {
        Ok(agent) => cli::print(&sections(&agent.stats)),
        Err(e) => cli::fail(&format!("Error querying agent: {e}")),
    }
}

fn sections(stats: &BTreeMap<String, BTreeMap<String, String>>) -> String {
    let mut out = String::new();
    for (section, values) in stats {
        let _ = writeln!(out, "{section}:");
        for (key, value) in values {
            let _ = writeln!(out, "\t{key} = {value}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_sorted_sections_with_tabs() {
        let json = r#"{"Config":{},"Stats":{"serf_lan":{"members":"2"},
            "agent":{"check_ttls":"0","checks":"1"}}}"#;
        let agent: AgentSelf = serde_json::from_str(json).unwrap();
        let want = "agent:\n\tcheck_ttls = 0\n\tchecks = 1\nserf_lan:\n\tmembers = 2\n";
        assert_eq!(sections(&agent.stats), want);
    }
}
