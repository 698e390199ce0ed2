//! `/v1/agent` and `/v1/status` as far as they only read: members, this agent, the leader.

use std::collections::BTreeMap;

use quorate_core::{Coordinate, NodeId, Role, Stats};
use serde::Serialize;

use crate::{
    consul::MemberJson,
    http::{
        bootstrap,
        catalog::MetaJson,
        coordinate::CoordinateJson,
        error::ApiError,
        reply::{Content, Reply},
        router::Call,
    },
    view::{AgentInfo, Status, View},
};

/// `GET /`.
pub(crate) fn index(_: &View, _: &AgentInfo, _: &Call<'_>) -> Reply {
    Reply::text(Content::Text, "Consul Agent")
}

/// `GET /v1/agent/members`.
pub(crate) fn members(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    if call.query.get("wan").is_some_and(|v| v != "0" && v != "false") {
        return ApiError::Wan.into();
    }
    if let Some(segment) = call.query.get("segment").filter(|s| *s != "_all") {
        return ApiError::Segment(segment.to_owned()).into();
    }
    // Consul's clients see Consul's tags; our own `members -detailed` asks for one more.
    let off = matches!(call.query.get("degraded"), Some("0" | "false"));
    let noted = call.query.has("degraded") && !off;
    let member = |m| {
        let json = MemberJson::new(view, m);
        if noted { json.noting_degraded(view, m) } else { json }
    };
    let members: Vec<_> = view.members().iter().map(member).collect();
    Reply::json(&members, call.layout())
}

/// `GET /v1/status/leader`.
pub(crate) fn leader(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    Reply::json(&view.leader().map(|a| a.to_string()).unwrap_or_default(), call.layout())
}

/// `GET /v1/status/peers`.
pub(crate) fn peers(view: &View, _: &AgentInfo, call: &Call<'_>) -> Reply {
    let peers: Vec<_> = view.peers().iter().map(ToString::to_string).collect();
    Reply::json(&peers, call.layout())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigJson<'a> {
    datacenter: &'a str,
    node_name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: NodeIdText,
    revision: &'a str,
    server: bool,
    version: &'a str,
}

#[derive(Debug)]
struct NodeIdText(NodeId);

impl Serialize for NodeIdText {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DebugConfigJson<'a> {
    #[serde(rename = "AdvertiseAddrLAN")]
    advertise_addr_lan: String,
    #[serde(rename = "DNSAddrs")]
    dns_addrs: Vec<String>,
    #[serde(rename = "DNSAltDomain")]
    dns_alt_domain: &'a str,
    #[serde(rename = "DNSDomain")]
    dns_domain: &'a str,
    #[serde(rename = "HTTPAddrs")]
    http_addrs: Vec<String>,
    #[serde(rename = "SerfPortLAN")]
    serf_port_lan: u16,
    server_mode: bool,
    server_port: u16,
}

impl<'a> DebugConfigJson<'a> {
    fn new(info: &'a AgentInfo) -> Self {
        let dns = info.dns_addrs.iter().flat_map(|a| [format!("tcp://{a}"), format!("udp://{a}")]);
        Self {
            advertise_addr_lan: info.advertise.ip().to_string(),
            dns_addrs: dns.collect(),
            dns_alt_domain: info.alt_domain.as_deref().unwrap_or_default(),
            dns_domain: &info.domain,
            http_addrs: info.http_addrs.iter().map(|a| format!("tcp://{a}")).collect(),
            serf_port_lan: info.advertise.port(),
            server_mode: info.role.is_server(),
            server_port: match info.role {
                Role::Server { port, .. } => port,
                Role::Client => 0,
            },
        }
    }
}

/// `{section: {key: value}}`, both sorted; all values are text.
type Sections = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SelfJson<'a> {
    config: ConfigJson<'a>,
    debug_config: DebugConfigJson<'a>,
    coord: CoordinateJson,
    member: Option<MemberJson<'a>>,
    stats: Sections,
    meta: Option<MetaJson<'a>>,
}

/// `GET /v1/agent/self`.
pub(crate) fn myself(
    view: &View,
    info: &AgentInfo,
    stats: &Stats,
    own: &Coordinate,
    call: &Call<'_>,
) -> Reply {
    let local = view.local();
    let value = SelfJson {
        config: ConfigJson {
            datacenter: info.label.as_str(),
            node_name: info.name.as_str(),
            node_id: NodeIdText(info.id),
            revision: &info.revision,
            server: info.role.is_server(),
            version: &info.version,
        },
        debug_config: DebugConfigJson::new(info),
        coord: own.into(),
        member: local.map(|m| MemberJson::new(view, m)),
        stats: sections(view, info, stats),
        meta: local.map(|m| MetaJson(&m.record)),
    };
    Reply::json(&value, call.layout())
}

/// How many members have a status.
pub(crate) fn count(view: &View, status: Status) -> usize {
    view.members().iter().filter(|m| m.status == status).count()
}

fn sections(view: &View, info: &AgentInfo, stats: &Stats) -> Sections {
    let leader = view.leader();
    let is_leader = leader.is_some() && view.local().and_then(View::server_addr) == leader;
    let leader_text = leader.map(|a| a.to_string()).unwrap_or_default();
    let servers = view.live_servers().count();
    let mut consul = BTreeMap::from([
        ("acl", "disabled".to_owned()),
        ("known_servers", servers.to_string()),
        ("server", info.role.is_server().to_string()),
    ]);
    let mut out = Sections::from([
        ("bootstrap", bootstrap::section(view)),
        ("build", build_section(info)),
        ("runtime", runtime_section()),
        ("serf_lan", serf_section(view, info, stats)),
        (
            "agent",
            ["check_monitors", "check_ttls", "checks", "services"]
                .map(|k| (k, "0".to_owned()))
                .into(),
        ),
    ]);
    if let Role::Server { bootstrap, .. } = info.role {
        consul.remove("known_servers");
        consul.insert("bootstrap", bootstrap.to_string());
        consul.insert("known_datacenters", "1".to_owned());
        consul.insert("leader", is_leader.to_string());
        consul.insert("leader_addr", leader_text);
        let state = if is_leader { "Leader" } else { "Follower" };
        let others = view.peers().len().saturating_sub(usize::from(view.bootstrap().voter));
        out.insert(
            "raft",
            BTreeMap::from([("num_peers", others.to_string()), ("state", state.to_owned())]),
        );
    }
    out.insert("consul", consul);
    out
}

fn build_section(info: &AgentInfo) -> BTreeMap<&'static str, String> {
    let (version, prerelease) = info.version.split_once('-').unwrap_or((&info.version, ""));
    BTreeMap::from([
        ("prerelease", prerelease.to_owned()),
        ("revision", info.revision.clone()),
        ("version", version.to_owned()),
    ])
}

fn runtime_section() -> BTreeMap<&'static str, String> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    BTreeMap::from([
        ("arch", go_arch(std::env::consts::ARCH).to_owned()),
        ("cpu_count", cpus.to_string()),
        ("os", go_os(std::env::consts::OS).to_owned()),
    ])
}

fn serf_section(view: &View, info: &AgentInfo, stats: &Stats) -> BTreeMap<&'static str, String> {
    let version = view.local().map(|m| m.record.version).unwrap_or_default();
    let (oldest, newest) = view.local().map(|m| m.record.protocol).unwrap_or_default();
    BTreeMap::from([
        ("degraded", stats.degraded.to_string()),
        ("encrypted", info.encrypted.to_string()),
        ("failed", count(view, Status::Failed).to_string()),
        ("generation", version.generation.to_string()),
        ("health_score", stats.awareness.to_string()),
        ("incarnation", version.incarnation.to_string()),
        ("intent_queue", stats.queued_claims.to_string()),
        ("left", count(view, Status::Left).to_string()),
        ("member_time", view.index.to_string()),
        ("members", view.members().len().to_string()),
        ("protocol_max", newest.to_string()),
        ("protocol_min", oldest.to_string()),
    ])
}

/// Go's name of an architecture, which Consul's users see.
pub(crate) fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Go's name of an operating system.
pub(crate) fn go_os(os: &str) -> &str {
    if os == "macos" { "darwin" } else { os }
}
