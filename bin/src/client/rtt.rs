//! `rtt`: the round trip between two nodes, as their network coordinates tell it. Words and exit
//! codes are Consul's.

use std::process::ExitCode;

use hyper::Method;
use serde::Deserialize;

use super::{Client, HttpError, READ_TIMEOUT};
use crate::cli::{self, parse::Parsed};

/// A coordinate as the agent tells it; seconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Coord {
    vec: Vec<f64>,
    adjustment: f64,
    height: f64,
}

impl Coord {
    /// The estimated round trip, seconds.
    fn distance(&self, other: &Self) -> f64 {
        let squares = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b).powi(2));
        let raw = squares.sum::<f64>().sqrt() + self.height + other.height;
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: String,
    coord: Coord,
}

/// The part of `agent/self` that has the agent's name.
#[derive(Deserialize)]
struct AgentSelf {
    #[serde(rename = "Config")]
    config: AgentConfig,
}

#[derive(Deserialize)]
struct AgentConfig {
    #[serde(rename = "NodeName")]
    node_name: String,
}

async fn ask<T: for<'de> Deserialize<'de>>(client: &Client, path: &str) -> Result<T, HttpError> {
    let body = client.send(Method::GET, path, READ_TIMEOUT).await?;
    serde_json::from_slice(&body).map_err(|e| HttpError::Body(e.to_string()))
}

/// Runs `rtt`.
pub(super) async fn command(p: &Parsed, client: &Client) -> ExitCode {
    let (one, other) = match p.operands()[..] {
        [one] => match ask::<AgentSelf>(client, "/v1/agent/self").await {
            Ok(agent) => (one.to_owned(), agent.config.node_name),
            Err(e) => return cli::fail(&format!("Unable to look up agent info: {e}")),
        },
        [one, other] => (one.to_owned(), other.to_owned()),
        _ => {
            let what = "One or two node names must be specified";
            return cli::fail(&cli::wrong_usage(p.spec, what));
        }
    };
    let entries: Vec<Entry> = match ask(client, "/v1/coordinate/nodes").await {
        Ok(entries) => entries,
        Err(e) => return cli::fail(&format!("Error getting coordinates: {e}")),
    };
    match estimate(&entries, &one, &other) {
        Ok(text) => cli::print(&text),
        Err(missing) => cli::fail(&format!("Could not find a coordinate for node \"{missing}\"")),
    }
}

/// The line to print; or the name of the node that has no coordinate.
fn estimate<'a>(entries: &[Entry], one: &'a str, other: &'a str) -> Result<String, &'a str> {
    let find = |name: &'a str| {
        let entry = entries.iter().find(|e| e.node.eq_ignore_ascii_case(name));
        entry.map(|e| &e.coord).ok_or(name)
    };
    let ms = find(one)?.distance(find(other)?) * 1000.0;
    Ok(format!("Estimated {one} <-> {other} rtt: {ms:.3} ms (using LAN coordinates)\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_one_that_scripts_know() {
        let coord = |node: &str, x: f64, adjustment: f64| {
            format!(
                r#"{{"Node":"{node}","Segment":"","Coord":{{"Vec":[{x},0,0,0,0,0,0,0],"Error":0.1,
                    "Adjustment":{adjustment},"Height":1e-5}}}}"#
            )
        };
        let json = format!("[{},{}]", coord("a", 0.0005, 0.00003), coord("B", 0.0, 0.000015));
        let entries: Vec<Entry> = serde_json::from_str(&json).unwrap();
        assert_eq!(
            estimate(&entries, "a", "b").unwrap(),
            "Estimated a <-> b rtt: 0.565 ms (using LAN coordinates)\n"
        );
        assert_eq!(estimate(&entries, "a", "c"), Err("c"));
    }
}
