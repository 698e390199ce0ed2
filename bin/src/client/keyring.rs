//! `keyring`: the keys of a running cluster, on all members at once.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use hyper::Method;
use serde::Deserialize;

use super::{CHANGE_TIMEOUT, Client, HttpError};
use crate::cli::{self, parse::Parsed};

const PATH: &str = "/v1/operator/keyring";
/// Consul allows so many members to pass a message on.
const RELAY_MAX: u8 = 5;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pool {
    datacenter: String,
    #[serde(default)]
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, usize>,
    num_nodes: usize,
}

/// Carries out the one operation that the flags name.
pub(super) async fn command(p: &Parsed, client: &Client) -> ExitCode {
    if let Some(n) = p.one("relay-factor")
        && n.parse::<u8>().ok().is_none_or(|n| n > RELAY_MAX)
    {
        let what = format!("-relay-factor must be a number from 0 to {RELAY_MAX}.");
        return cli::fail(&cli::wrong_usage(p.spec, &what));
    }
    let changes = [
        ("install", Method::POST, "Installing new gossip encryption key..."),
        ("use", Method::PUT, "Changing primary gossip encryption key..."),
        ("remove", Method::DELETE, "Removing gossip encryption key..."),
    ];
    let mut given: Vec<_> =
        changes.into_iter().filter_map(|(flag, m, say)| Some((m, say, p.one(flag)?))).collect();
    let list = p.switch("list") == Some(true);
    match (list, given.pop(), given.is_empty()) {
        (true, None, _) => show(client).await,
        (false, Some((method, say, key)), true) => change(client, method, say, key).await,
        _ => {
            let what = "Exactly one of -list, -install, -use and -remove must be specified.";
            cli::fail(&cli::wrong_usage(p.spec, what))
        }
    }
}

async fn change(client: &Client, method: Method, say: &str, key: &str) -> ExitCode {
    cli::print(&format!("==> {say}\n"));
    let body = serde_json::json!({ "Key": key }).to_string();
    match client.send_body(method, PATH, body.into(), CHANGE_TIMEOUT).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => cli::fail(&format!("Error: {e}")),
    }
}

async fn show(client: &Client) -> ExitCode {
    cli::print("==> Gathering installed encryption keys...\n");
    let answer = client.send(Method::GET, PATH, CHANGE_TIMEOUT).await;
    let parsed = answer.and_then(|body| {
        serde_json::from_slice::<Vec<Pool>>(&body).map_err(|e| HttpError::Body(e.to_string()))
    });
    match parsed {
        Ok(pools) => {
            let code = cli::print(&text(&pools));
            let silent: Vec<String> = pools
                .iter()
                .flat_map(|p| p.messages.iter().map(|(name, why)| format!("{name}: {why}")))
                .collect();
            if silent.is_empty() {
                code
            } else {
                cli::fail(&format!("Error: {}", silent.join("; ")))
            }
        }
        Err(e) => cli::fail(&format!("Error: {e}")),
    }
}

fn text(pools: &[Pool]) -> String {
    let mut out = String::new();
    for pool in pools {
        let _ = writeln!(out, "\n{} (LAN):", pool.datacenter);
        for (key, count) in &pool.keys {
            let _ = writeln!(out, "  {key} [{count}/{}]", pool.num_nodes);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_as_consul_lists_them() {
        let json = r#"[{"WAN":false,"Datacenter":"dc1","Segment":"","Keys":{"b==":1,"a==":3},
            "PrimaryKeys":{"a==":3},"NumNodes":3}]"#;
        let pools: Vec<Pool> = serde_json::from_str(json).unwrap();
        assert_eq!(text(&pools), "\ndc1 (LAN):\n  a== [3/3]\n  b== [1/3]\n");
    }
}
