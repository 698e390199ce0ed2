//! `/v1/coordinate` and `?near=`: how far members are from each other, in Consul's shapes.
//!
//! The node keeps coordinates in integer nanoseconds; Consul's clients read seconds as floats.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use quorate_core::{Coordinate, DIMENSIONS};
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::{
    handle::{AgentHandle, Coordinates},
    http::{
        error::ApiError,
        reply::{ReadMeta, Reply},
        router::Call,
    },
    view::{AgentInfo, Member, View},
};

/// What `near` says for the agent that is asked.
const AGENT: &str = "_agent";

/// The node is asked for its coordinates once in this time: it copies all of them.
const AGE: Duration = Duration::from_secs(1);
/// How long it may take to hand them out.
const ANSWER: Duration = Duration::from_secs(2);

/// What the node said last about where members are, and when.
#[derive(Debug, Default)]
pub(crate) struct Known(ArcSwapOption<(Instant, Coordinates)>);

impl Known {
    /// Where members are; what was said before, where the node does not answer in time.
    pub(crate) async fn get(
        &self,
        handle: &AgentHandle,
    ) -> Result<Arc<(Instant, Coordinates)>, ApiError> {
        let last = self.0.load_full();
        if let Some(last) = last.as_ref().filter(|l| l.0.elapsed() < AGE) {
            return Ok(Arc::clone(last));
        }
        match timeout(ANSWER, handle.coordinates()).await {
            Ok(Some(now)) => {
                let now = Arc::new((Instant::now(), now));
                self.0.store(Some(Arc::clone(&now)));
                Ok(now)
            }
            Ok(None) => Err(ApiError::Stopped),
            Err(_) => last.ok_or(ApiError::Busy),
        }
    }
}

/// A Vivaldi coordinate; seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CoordinateJson {
    vec: [f64; DIMENSIONS],
    error: f64,
    adjustment: f64,
    height: f64,
}

impl From<&Coordinate> for CoordinateJson {
    fn from(c: &Coordinate) -> Self {
        let seconds = |ns: i64| ns as f64 / 1e9;
        Self {
            vec: c.vec_ns.map(seconds),
            error: f64::from(c.error_ppm) / 1e6,
            adjustment: seconds(c.adjustment_ns),
            height: seconds(c.height_ns),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeJson<'a> {
    node: &'a str,
    segment: &'static str,
    coord: CoordinateJson,
}

/// The coordinates of the members that have not left and were heard, by name; of `name` only, if
/// one is given.
fn listed<'a>(view: &'a View, known: &Coordinates, name: Option<&str>) -> Vec<NodeJson<'a>> {
    let mut members: Vec<&Member> = super::catalog::registered(view).collect();
    members.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    let wanted = |m: &Member| name.is_none_or(|n| m.record.name.as_str().eq_ignore_ascii_case(n));
    members
        .into_iter()
        .filter(|m| wanted(m))
        .filter_map(|m| {
            let coord = known.of(m.record.id)?.into();
            Some(NodeJson { node: m.record.name.as_str(), segment: "", coord })
        })
        .collect()
}

/// `GET /v1/coordinate/nodes`, and `/v1/coordinate/node/NAME`: 404 if that one was not heard.
pub(crate) fn nodes(view: &View, known: &Coordinates, call: &Call<'_>) -> Reply {
    let name = Some(call.param).filter(|n| !n.is_empty());
    let nodes = listed(view, known, name);
    let meta = Some(ReadMeta { index: view.index, known_leader: view.leader().is_some() });
    if name.is_some() && nodes.is_empty() {
        return Reply { meta, ..Reply::empty(hyper::StatusCode::NOT_FOUND) };
    }
    Reply { meta, ..Reply::json(&nodes, call.layout()) }
}

/// The same view, nearest members first. Who was not heard comes last; if the coordinate of
/// `near` itself is not known, nothing moves.
pub(crate) fn nearest_first(
    view: &View,
    info: &AgentInfo,
    known: &Coordinates,
    near: &str,
) -> Option<View> {
    let from = match near {
        AGENT => info.id,
        name => view.by_name(name)?.record.id,
    };
    let at = known.of(from)?;
    // Nobody is nearer to a node than itself, whatever its height says.
    let far = |m: &Member| match m.record.id {
        id if id == from => Some(Duration::ZERO),
        id => known.of(id).map(|c| at.distance(c)),
    };
    Some(view.sorted_by(|a, b| later(far(a), far(b))))
}

fn later(a: Option<Duration>, b: Option<Duration>) -> Ordering {
    a.unwrap_or(Duration::MAX).cmp(&b.unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Status;
    use quorate_core::{Label, Name, NodeId, Record};
    use std::sync::Arc;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn member(n: u8) -> Member {
        let record = Arc::new(Record::of_client(
            id(n),
            Name::new(format!("n{n}")).unwrap(),
            ([127, 0, 0, n], 8301).into(),
        ));
        Member { record, status: Status::Alive, suspect: false, create_index: 1, modify_index: 1 }
    }

    fn at(ms: i64) -> Coordinate {
        let mut c = Coordinate::ORIGIN;
        c.vec_ns[0] = ms * 1_000_000;
        c
    }

    #[test]
    fn nearest_first_and_the_unheard_last() {
        let view = View::new(7, id(1), Label::new("dc1").unwrap(), (1..=4).map(member).collect());
        let others = [(id(3), at(5)), (id(4), at(2))];
        let known = Coordinates::new(id(1), at(0), others);
        let names = |v: &View| -> Vec<String> {
            v.members().iter().map(|m| m.record.name.to_string()).collect()
        };
        assert_eq!(names(&view), ["n1", "n2", "n3", "n4"]);
        let own = View::by_name(&view, "n1").unwrap().record.id;
        assert_eq!(own, id(1));
        let sorted = view.sorted_by(|a, b| {
            let far = |m: &Member| known.of(m.record.id).map(|c| at(0).distance(c));
            later(far(a), far(b))
        });
        assert_eq!(names(&sorted), ["n1", "n4", "n3", "n2"]);
        assert_eq!(sorted.by_name("N3").unwrap().record.id, id(3));
        assert_eq!(sorted.index, 7);
    }

    #[test]
    fn seconds_are_floats() {
        let json = serde_json::to_value(CoordinateJson::from(&Coordinate::ORIGIN)).unwrap();
        assert_eq!(json["Height"], 1e-5);
        assert_eq!(json["Error"], 1.5);
        assert_eq!(json["Vec"].as_array().unwrap().len(), 8);
        assert_eq!(CoordinateJson::from(&at(-3)).vec[0], -0.003);
    }
}
