//! The one table of method, path and handler. Routing, 405 with `Allow`, `OPTIONS` and the list
//! for the docs all come from it.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use hyper::Method;

use crate::{
    http::{
        agent, bootstrap, catalog, health,
        keyring::Verb,
        query::{Plus, Query, percent_decode},
        reply::{Layout, Reply},
        service,
    },
    view::{AgentInfo, View},
};

/// What a handler is told of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The variable part of the path, decoded; empty if the path has none.
    pub(crate) param: &'a str,
    pub(crate) query: &'a Query,
    /// The request's body; empty if it has none.
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    /// How JSON is to be laid out.
    pub(crate) fn layout(&self) -> Layout {
        if self.query.has("pretty") { Layout::Pretty } else { Layout::Compact }
    }
}

/// A pure function: the same view, agent and call give the same reply.
pub(crate) type Read = fn(&View, &AgentInfo, &Call<'_>) -> Reply;

/// What needs more than the view: counters, the host, the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `agent/self`.
    Myself,
    /// `agent/host`.
    Host,
    /// `agent/metrics`.
    Metrics,
    /// `coordinate/nodes` and `coordinate/node`.
    Coordinates,
    /// `agent/join`.
    Join,
    /// `agent/leave`.
    Leave,
    /// `agent/reload`.
    Reload,
    /// `agent/force-leave`.
    ForceLeave,
    /// `agent/query`.
    Query,
    /// `event/fire`.
    Fire,
    /// `event/list`.
    Events,
    /// `operator/keyring`.
    Keyring(Verb),
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handler {
    /// From the view alone.
    Plain(Read),
    /// From the view alone, about a datacenter (`dc`, `stale`, `consistent`).
    Status(Read),
    /// The same, with read headers and blocking queries.
    Blocking(Read),
    /// By asking around.
    Action(Action),
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) pattern: &'static str,
    pub(crate) handler: Handler,
    about: &'static str,
}

macro_rules! routes {
    ($($method:ident $pattern:literal $handler:expr, $about:literal;)+) => {
        /// All there is.
        static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            pattern: $pattern,
            handler: $handler,
            about: $about,
        },)+];
    };
}

routes! {
    GET "/" Handler::Plain(agent::index), "says who answers";
    GET "/v1/agent/members" Handler::Plain(agent::members), "all members, in any state";
    GET "/v1/agent/self" Handler::Action(Action::Myself), "this agent and its counters";
    GET "/v1/agent/host" Handler::Action(Action::Host), "the host: memory, CPUs, disk";
    GET "/v1/agent/metrics" Handler::Action(Action::Metrics),
        "counters and gauges; `?format=prometheus`";
    PUT "/v1/agent/join/{address}" Handler::Action(Action::Join), "join the cluster of a member";
    PUT "/v1/agent/leave" Handler::Action(Action::Leave), "leave the cluster and end";
    PUT "/v1/agent/reload" Handler::Action(Action::Reload), "read the configuration again";
    PUT "/v1/agent/force-leave/{node}" Handler::Action(Action::ForceLeave),
        "declare a failed member as left; `?prune` forgets it";
    PUT "/v1/agent/query/{name}" Handler::Action(Action::Query),
        "ask all members and list their answers; `?timeout=`; all answer `ping`";
    GET "/v1/catalog/datacenters" Handler::Blocking(catalog::datacenters), "the datacenters";
    GET "/v1/catalog/nodes" Handler::Blocking(catalog::nodes),
        "members that have not left; `?node-meta=k:v`";
    GET "/v1/catalog/node/{node}" Handler::Blocking(catalog::node), "one member, its services";
    GET "/v1/catalog/services" Handler::Blocking(service::names), "the services; there is `consul`";
    GET "/v1/catalog/service/{service}" Handler::Blocking(service::nodes),
        "who offers a service: the servers offer `consul`";
    PUT "/v1/event/fire/{name}" Handler::Action(Action::Fire),
        "tell all members, the body is the payload; `?node=&service=&tag=` are patterns";
    GET "/v1/event/list" Handler::Action(Action::Events),
        "the last 256 events that were for this agent; `?name=`, blocking";
    GET "/v1/coordinate/nodes" Handler::Action(Action::Coordinates),
        "network coordinates of the members that this agent heard";
    GET "/v1/coordinate/node/{node}" Handler::Action(Action::Coordinates), "that of one member";
    GET "/v1/health/node/{node}" Handler::Blocking(health::node), "the checks of a member";
    GET "/v1/health/service/{service}" Handler::Blocking(service::health),
        "who offers a service, with the check of the member; `?passing`";
    GET "/v1/health/checks/{service}" Handler::Blocking(service::checks),
        "the checks of a service: none";
    GET "/v1/health/state/{state}" Handler::Blocking(health::state),
        "the checks in a state: any, passing, warning, critical";
    GET "/v1/operator/bootstrap" Handler::Plain(bootstrap::status),
        "where the bootstrap quorum stands, as this agent sees it";
    GET "/v1/operator/keyring" Handler::Action(Action::Keyring(Verb::List)),
        "the keys of all members";
    POST "/v1/operator/keyring" Handler::Action(Action::Keyring(Verb::Install)),
        "let all members accept a key, too: `{\"Key\": ...}`";
    PUT "/v1/operator/keyring" Handler::Action(Action::Keyring(Verb::Use)),
        "let all members seal with a key";
    DELETE "/v1/operator/keyring" Handler::Action(Action::Keyring(Verb::Remove)),
        "let no member accept a key any more";
    GET "/v1/status/leader" Handler::Status(agent::leader), "the leader's address, or empty";
    GET "/v1/status/peers" Handler::Status(agent::peers),
        "the addresses of the voters, once they are final";
}

/// Where Consul has something that is not here, or not yet: a client must not take this for an
/// answer, as it does with 404.
const ELSEWHERE: &[&str] = &[
    "/v1/acl",
    "/v1/agent/check",
    "/v1/agent/checks",
    "/v1/agent/connect",
    "/v1/agent/health/service",
    "/v1/agent/maintenance",
    "/v1/agent/monitor",
    "/v1/agent/service",
    "/v1/agent/services",
    "/v1/agent/token",
    "/v1/catalog/connect",
    "/v1/catalog/deregister",
    "/v1/catalog/gateway-services",
    "/v1/catalog/node-services",
    "/v1/catalog/register",
    "/v1/config",
    "/v1/connect",
    "/v1/coordinate/datacenters",
    "/v1/coordinate/update",
    "/v1/discovery-chain",
    "/v1/health/connect",
    "/v1/health/ingress",
    "/v1/internal",
    "/v1/kv",
    "/v1/namespace",
    "/v1/namespaces",
    "/v1/operator/area",
    "/v1/operator/autopilot",
    "/v1/operator/license",
    "/v1/operator/raft",
    "/v1/operator/segment",
    "/v1/query",
    "/v1/session",
    "/v1/snapshot",
    "/v1/txn",
];

/// Has Consul something at this path or below one of those?
fn is_elsewhere(path: &str) -> bool {
    ELSEWHERE.iter().any(|known| {
        path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The routes of one path, with the value of its `Allow` header.
#[derive(Debug)]
pub(crate) struct Resource {
    routes: Vec<&'static Route>,
    pub(crate) allow: &'static str,
}

impl Resource {
    /// The route of a method.
    pub(crate) fn route(&self, method: &Method) -> Option<&'static Route> {
        self.routes.iter().find(|r| r.method == *method).copied()
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Target<'p> {
    /// To a resource, with the variable part of the path as it was written.
    Found(&'static Resource, &'p str),
    /// Its variable part is empty: the name of it.
    Incomplete(&'static str),
    /// To what Consul has and this agent has not.
    Elsewhere,
    /// Nowhere.
    Unknown,
}

static ROUTER: LazyLock<matchit::Router<Resource>> = LazyLock::new(build);

fn build() -> matchit::Router<Resource> {
    let mut by_pattern: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in ROUTES {
        by_pattern.entry(route.pattern).or_default().push(route);
    }
    let mut router = matchit::Router::new();
    for (pattern, routes) in by_pattern {
        let mut allow = String::from("OPTIONS");
        for route in &routes {
            allow.push(',');
            allow.push_str(route.method.as_str());
        }
        // Once per process and path: leaked so that replies can borrow it.
        let resource = Resource { routes, allow: allow.leak() };
        if let Err(e) = router.insert(pattern, resource) {
            unreachable!("two patterns of the route table exclude each other: {e}");
        }
    }
    router
}

/// Finds the resource of a path.
pub(crate) fn find(path: &str) -> Target<'_> {
    let router = &*ROUTER;
    if let Ok(found) = router.at(path) {
        let param = found.params.iter().next().map_or("", |(_, v)| v);
        return Target::Found(found.value, param);
    }
    if is_elsewhere(path) {
        return Target::Elsewhere;
    }
    if !path.ends_with('/') {
        return Target::Unknown;
    }
    let missing = ROUTES.iter().find_map(|r| {
        let (head, name) = r.pattern.rsplit_once('/')?;
        let name = name.strip_prefix('{')?.strip_suffix('}')?;
        (path.strip_suffix('/') == Some(head)).then_some(name)
    });
    missing.map_or(Target::Unknown, Target::Incomplete)
}

/// The variable part of a path, decoded; `None` if it is broken.
pub(crate) fn decode_param(raw: &str) -> Option<std::borrow::Cow<'_, str>> {
    percent_decode(raw, Plus::Literal)
}

/// The table as Markdown, for the docs.
pub fn routes_as_markdown() -> String {
    let mut out = String::from("| Method | Path | |\n|---|---|---|\n");
    for r in ROUTES {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {} | `{}` | {} |", r.method, r.pattern, r.about);
    }
    out
}
