//! `members`: the member list as a table.

use std::{collections::BTreeMap, process::ExitCode};

use hyper::Method;
use net_tokio::view::Status;
use regex::Regex;
use serde::Deserialize;

use super::{Client, HttpError, READ_TIMEOUT};
use crate::{
    cli::{self, parse::Parsed},
    text::table,
};

/// The exit code when no member matches.
const EXIT_NO_MATCH: u8 = 2;

/// A member as `agent/members` gives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    addr: String,
    port: u16,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    status: u64,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembersError {
    /// The agent did not give it.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It is not one.
    #[error("the answer is not a member list: {0}")]
    Json(#[from] serde_json::Error),
}

impl Member {
    /// `alive`, `leaving`, `left` or `failed`.
    pub(crate) fn status(&self) -> &'static str {
        Status::from_code(self.status).map_or("none", Status::as_str)
    }

    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    fn is_server(&self) -> bool {
        self.tag("role") == "consul"
    }

    fn address(&self) -> String {
        if self.addr.contains(':') {
            format!("[{}]:{}", self.addr, self.port)
        } else {
            format!("{}:{}", self.addr, self.port)
        }
    }

    fn row(&self) -> Vec<String> {
        let (kind, segment) = match self.tag("role") {
            "consul" => ("server", "<all>"),
            "node" => ("client", "<default>"),
            _ => ("unknown", "<default>"),
        };
        let build = self.tag("build").split(':').next().unwrap_or_default();
        let segment = Some(self.tag("segment")).filter(|s| !s.is_empty()).unwrap_or(segment);
        [
            &self.name,
            &self.address(),
            self.status(),
            kind,
            build,
            self.tag("vsn"),
            self.tag("dc"),
            segment,
        ]
        .map(String::from)
        .to_vec()
    }

    fn detailed_row(&self) -> Vec<String> {
        let tags: Vec<String> = self.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        vec![self.name.clone(), self.address(), self.status().to_owned(), tags.join(",")]
    }
}

impl Client {
    /// The member list of the agent, servers first, then by name.
    ///
    /// # Errors
    /// [`MembersError`].
    pub(crate) async fn members(&self) -> Result<Vec<Member>, MembersError> {
        self.members_at("/v1/agent/members?segment=_all").await
    }

    async fn members_at(&self, path: &str) -> Result<Vec<Member>, MembersError> {
        let body = self.send(Method::GET, path, READ_TIMEOUT).await?;
        let mut members: Vec<Member> = serde_json::from_slice(&body)?;
        members.sort_by(|a, b| {
            (!a.is_server(), &a.name, a.address()).cmp(&(!b.is_server(), &b.name, b.address()))
        });
        Ok(members)
    }
}

/// The table of members.
pub(crate) fn summary(members: &[Member]) -> String {
    let head = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"];
    let rows: Vec<_> = std::iter::once(head.map(String::from).to_vec())
        .chain(members.iter().map(Member::row))
        .collect();
    table(&rows)
}

fn detailed(members: &[Member]) -> String {
    let head = ["Node", "Address", "Status", "Tags"];
    let rows: Vec<_> = std::iter::once(head.map(String::from).to_vec())
        .chain(members.iter().map(Member::detailed_row))
        .collect();
    table(&rows)
}

/// Runs `members`.
pub(super) async fn command(p: &Parsed, client: &Client) -> ExitCode {
    let wanted = match Regex::new(p.one("status").unwrap_or(".*")) {
        Ok(regex) => regex,
        Err(e) => {
            let why = e.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            return cli::fail(&format!("Error: -status is not a regular expression: {why}"));
        }
    };
    let is_detailed = p.switch("detailed") == Some(true);
    let list = if is_detailed {
        client.members_at("/v1/agent/members?segment=_all&degraded").await
    } else {
        client.members().await
    };
    let mut members = match list {
        Ok(members) => members,
        Err(e) => return cli::fail(&format!("Error retrieving members: {e}")),
    };
    members.retain(|m| wanted.is_match(m.status()));
    if members.is_empty() {
        return ExitCode::from(EXIT_NO_MATCH);
    }
    cli::print(&if is_detailed { detailed(&members) } else { summary(&members) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<Member> {
        serde_json::from_str(
            r#"[{"Name":"agent-one","Addr":"127.0.0.10","Port":8301,"Status":1,"ProtocolMin":1,
                "Tags":{"role":"consul","build":"1.8.7:e9ac9e5","vsn":"2","dc":"dc1",
                "segment":""}},
               {"Name":"b","Addr":"fd00::11","Port":8301,"Status":4,
                "Tags":{"vsn":"2","role":"node","dc":"dc1","build":"0.1.0"}}]"#,
        )
        .unwrap()
    }

    #[test]
    fn the_table_is_the_one_that_scripts_know() {
        insta::assert_snapshot!(summary(&two()), @r"
        Node       Address          Status  Type    Build  Protocol  DC   Segment
        agent-one  127.0.0.10:8301  alive   server  1.8.7  2         dc1  <all>
        b          [fd00::11]:8301  failed  client  0.1.0  2         dc1  <default>
        ");
    }

    #[test]
    fn tags_are_sorted() {
        insta::assert_snapshot!(detailed(&two()), @r"
        Node       Address          Status  Tags
        agent-one  127.0.0.10:8301  alive   build=1.8.7:e9ac9e5,dc=dc1,role=consul,segment=,vsn=2
        b          [fd00::11]:8301  failed  build=0.1.0,dc=dc1,role=node,vsn=2
        ");
    }

    #[test]
    fn an_unknown_status_or_role_does_not_break_it() {
        let json = r#"[{"Name":"x","Addr":"::1","Port":1,"Status":99}]"#;
        let m: Vec<Member> = serde_json::from_str(json).unwrap();
        assert!(
            summary(&m).lines().nth(1).unwrap().starts_with("x     [::1]:1"),
            "{}",
            summary(&m)
        );
        assert_eq!(m[0].status(), "none");
    }
}
