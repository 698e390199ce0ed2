//! `/v1/operator/keyring`: the keys of the cluster, as Consul answers them. An answer shows the
//! keys to whoever reaches this port: there are no access rights in this version.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quorate_core::wire::{Key, KeyOp};
use serde::{Deserialize, Serialize};

use crate::{
    handle::AgentHandle,
    http::{error::ApiError, reply::Reply, router::Call},
};

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `GET`
    List,
    /// `POST`
    Install,
    /// `PUT`
    Use,
    /// `DELETE`
    Remove,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    #[serde(default)]
    key: String,
}

/// Keys as text, and how many members have each.
type Counts = BTreeMap<String, usize>;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PoolJson<'a> {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: &'a str,
    segment: &'static str,
    /// Members that did not answer, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    messages: BTreeMap<String, String>,
    keys: Counts,
    primary_keys: Counts,
    num_nodes: usize,
}

fn counts(keys: &[(Key, usize)]) -> Counts {
    keys.iter().map(|(k, n)| (STANDARD.encode(k.reveal()), *n)).collect()
}

/// The key in a body. What is wrong with it is said without repeating it.
fn key(body: &[u8]) -> Result<Key, ApiError> {
    let body: Body = serde_json::from_slice(body).map_err(|_| {
        ApiError::Key("the body is no JSON object such as {\"Key\": \"...\"}".into())
    })?;
    let raw =
        STANDARD.decode(body.key).map_err(|_| ApiError::Key("the key is not base64".into()))?;
    Key::new(&raw).map_err(|e| ApiError::Key(format!("the key does not fit: {e}")))
}

/// Does what the request wants on all members.
pub(crate) async fn act(
    handle: &AgentHandle,
    verb: Verb,
    call: &Call<'_>,
) -> Result<Reply, ApiError> {
    let op = match verb {
        Verb::List => KeyOp::List,
        Verb::Install => KeyOp::Install(key(call.body)?),
        Verb::Use => KeyOp::Use(key(call.body)?),
        Verb::Remove => KeyOp::Remove(key(call.body)?),
    };
    let report = handle.keyring(op).await?;
    if verb != Verb::List {
        return if report.is_complete() {
            Ok(Reply::empty(hyper::StatusCode::OK))
        } else {
            Err(ApiError::Keyring(report.to_string()))
        };
    }
    let told = report.failures.iter().map(|(n, _, why)| (n.to_string(), why.to_string()));
    let pool = PoolJson {
        wan: false,
        datacenter: handle.info.label.as_str(),
        segment: "",
        messages: told.collect(),
        keys: counts(&report.keys),
        primary_keys: counts(&report.primary),
        num_nodes: report.members,
    };
    Ok(Reply::json(&[pool], call.layout()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_key_is_refused_without_repeating_it() {
        for (body, part) in [
            ("", "no JSON object"),
            ("{\"Key\": 7}", "no JSON object"),
            ("{\"Key\": \"s3cret?\"}", "not base64"),
            ("{\"Key\": \"c2VjcmV0\"}", "it has 6 bytes"),
            ("{}", "it has 0 bytes"),
        ] {
            let e = key(body.as_ref()).unwrap_err().to_string();
            assert!(e.contains(part) && !e.contains("s3cret") && !e.contains("c2Vj"), "{e}");
        }
        let body = format!("{{\"Key\": \"{}\"}}", STANDARD.encode([7; 16]));
        assert_eq!(key(body.as_ref()).unwrap(), Key::new(&[7; 16]).unwrap());
    }
}
