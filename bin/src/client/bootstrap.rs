//! `operator bootstrap status`: where the bootstrap quorum stands, for people and scripts.

use std::{fmt::Write as _, process::ExitCode};

use hyper::Method;
use serde::Deserialize;

use super::{Client, HttpError, READ_TIMEOUT};
use crate::{
    cli::{self, parse::Parsed},
    text::table,
};

/// The exit code while there is no quorum.
const EXIT_NO_QUORUM: u8 = 2;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Voter {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    state: String,
    expect: u8,
    in_contact: Vec<String>,
    missing: usize,
    awaited: Vec<String>,
    #[serde(rename = "ClusterID")]
    cluster_id: String,
    voter: bool,
    voters: Vec<Voter>,
}

/// Prints the status; exit code 2 while there is no quorum.
pub(super) async fn command(p: &Parsed, client: &Client) -> ExitCode {
    if p.operands() != ["bootstrap", "status"] {
        let what = "The only thing to ask for is: bootstrap status";
        return cli::fail(&cli::wrong_usage(p.spec, what));
    }
    let answer = client.send(Method::GET, "/v1/operator/bootstrap", READ_TIMEOUT).await;
    let parsed = answer.and_then(|body| {
        serde_json::from_slice::<Status>(&body).map_err(|e| HttpError::Body(e.to_string()))
    });
    match parsed {
        Ok(s) if s.cluster_id.is_empty() => {
            cli::print(&text(&s));
            ExitCode::from(EXIT_NO_QUORUM)
        }
        Ok(s) => cli::print(&text(&s)),
        Err(e) => cli::fail(&format!("Error querying agent: {e}")),
    }
}

fn text(s: &Status) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    let or_none = |v: &[String]| if v.is_empty() { "-".to_owned() } else { v.join(", ") };
    row("State", &s.state);
    row("Expect", &s.expect.to_string());
    if s.cluster_id.is_empty() {
        row("In contact", &or_none(&s.in_contact));
        row("Missing", &s.missing.to_string());
        row("Awaited", &or_none(&s.awaited));
        return out;
    }
    row("Cluster ID", &s.cluster_id);
    row("Voter", if s.voter { "yes" } else { "no" });
    let mut rows = vec![["Node", "ID", "Address", "Status"].map(String::from).to_vec()];
    for v in &s.voters {
        let node = if v.node.is_empty() { "-" } else { &v.node };
        rows.push([node, &v.id, &v.address, &v.status].map(String::from).to_vec());
    }
    out.push('\n');
    out + &table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> Status {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn before_and_after_the_quorum() {
        let s = status(
            r#"{"State":"waiting","Expect":3,"InContact":["agent-one","agent-two"],"Missing":1,
                "Awaited":[],"ClusterID":"","Voter":false,"Voters":[]}"#,
        );
        let want = "State        waiting\nExpect       3\nIn contact   agent-one, agent-two\n\
                    Missing      1\nAwaited      -\n";
        assert_eq!(text(&s), want);
        let s = status(
            r#"{"State":"final","Expect":1,"InContact":[],"Missing":0,"Awaited":[],
                "ClusterID":"c","Voter":true,"Voters":[{"ID":"i","Node":"","Address":"a:8300",
                "Status":"unknown"}]}"#,
        );
        let out = text(&s);
        assert!(out.contains("Cluster ID   c\nVoter        yes\n\nNode"), "{out}");
        assert!(out.lines().last().unwrap().starts_with("-     i"), "{out}");
    }
}
