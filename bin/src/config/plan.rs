//! The configuration as a whole: defaults filled in, everything parsed, what cannot work refused.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use net_tokio::dns::{DnsConfig, SoaConfig};
use quorate_core::{
    Label, MAX_VOTERS, Name, NodeId, PROTOCOL_VERSIONS, Pairs, Role,
    wire::{Key, Keyring},
};

use super::{
    ConfigError,
    addr::{self, Host},
    settings::Settings,
};

/// How the agent is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As configured.
    Normal,
    /// `-dev`: a server on its own, on the loopback address, nothing on disk.
    Dev,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    /// Everything, of libraries too.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// One line per change.
    Info,
    /// What should be looked at.
    Warn,
    /// What does not work.
    Error,
}

/// Where and how the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogPlan {
    pub(crate) level: LogLevel,
    pub(crate) json: bool,
    pub(crate) file: Option<PathBuf>,
}

/// What signals do: leave the cluster first, or just end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaveOn {
    /// Ctrl-C.
    pub(crate) interrupt: bool,
    /// SIGTERM.
    pub(crate) terminate: bool,
}

/// An agent that can be started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) name: Name,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) keys: Option<Keyring>,
    pub(crate) label: Label,
    pub(crate) role: Role,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: SocketAddr,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) meta: Pairs,
    pub(crate) domain: String,
    pub(crate) alt_domain: Option<String>,
    pub(crate) dns_addrs: Vec<SocketAddr>,
    pub(crate) http_addrs: Vec<SocketAddr>,
    pub(crate) dns: DnsConfig,
    pub(crate) start_join: Vec<String>,
    pub(crate) retry_join: Vec<String>,
    pub(crate) retry_interval: Duration,
    /// 0: no limit.
    pub(crate) retry_max: u32,
    pub(crate) rejoin_after_leave: bool,
    pub(crate) disable_coordinates: bool,
    /// Oldest and newest protocol version that is spoken.
    pub(crate) protocol: (u8, u8),
    pub(crate) reconnect_timeout: Option<Duration>,
    pub(crate) leave_on: LeaveOn,
    pub(crate) log: LogPlan,
    pub(crate) pid_file: Option<PathBuf>,
    /// What the operator should know, a sentence each.
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    /// Understands the settings for this host.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that cannot work.
    pub(crate) fn new(mode: Mode, s: Settings, host: &Host) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let log = log_plan(&s)?;
        let role = role(mode, &s, &mut warnings)?;
        let keys = encrypt(s.encrypt.as_deref())?;
        let data_dir = data_dir(mode, &s, &mut warnings)?;
        let name = node_name(&s, host, &mut warnings)?;
        let node_id = match &s.node_id {
            Some(id) => {
                Some(id.to_ascii_lowercase().parse().map_err(|_| ConfigError::NodeId(id.clone()))?)
            }
            None => None,
        };
        let (label, meta, dns) = (label(&s)?, Pairs::new(s.node_meta.clone())?, dns_config(&s)?);
        // After all that does not depend on the host.
        let (bind, advertise) = gossip_addrs(mode, &s, host)?;
        let (http_addrs, dns_addrs) = client_addrs(&s, host)?;
        if !s.ignored.is_empty() {
            warnings.push(format!("accepted, but without effect here: {}", s.ignored.join(", ")));
        }
        let plan = Self {
            name,
            node_id,
            label,
            keys,
            role,
            bind,
            advertise,
            data_dir,
            meta,
            domain: domain("domain", s.domain.as_deref().unwrap_or("consul"))?,
            alt_domain: alt_domain(&s)?,
            dns_addrs,
            http_addrs,
            dns,
            retry_interval: s.retry_interval.unwrap_or(Duration::from_secs(30)),
            retry_max: range("retry_max", s.retry_max.unwrap_or(0), "0 or more (0: no limit)")?,
            rejoin_after_leave: s.rejoin_after_leave.unwrap_or(false),
            disable_coordinates: s.disable_coordinates.unwrap_or(false),
            protocol: protocol(s.protocol)?,
            reconnect_timeout: s.reconnect_timeout,
            leave_on: LeaveOn {
                interrupt: !s.skip_leave_on_interrupt.unwrap_or(role.is_server()),
                terminate: s.leave_on_terminate.unwrap_or(!role.is_server()),
            },
            log,
            pid_file: s.pid_file.filter(|p| !p.is_empty()).map(PathBuf::from),
            start_join: s.start_join,
            retry_join: s.retry_join,
            warnings,
        };
        Ok(plan)
    }
}

fn log_plan(s: &Settings) -> Result<LogPlan, ConfigError> {
    let level = s.log_level.as_deref().unwrap_or("info");
    let level = match level.to_ascii_lowercase().as_str() {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warn,
        "err" | "error" => LogLevel::Error,
        _ => return Err(ConfigError::LogLevel(level.to_owned())),
    };
    let file = s.log_file.clone().filter(|p| !p.is_empty()).map(PathBuf::from);
    Ok(LogPlan { level, json: s.log_json.unwrap_or(false), file })
}

fn role(mode: Mode, s: &Settings, warnings: &mut Vec<String>) -> Result<Role, ConfigError> {
    let expect = s.bootstrap_expect.unwrap_or(0);
    if expect < 0 {
        return Err(ConfigError::ExpectNegative(expect));
    }
    if expect > 0 && mode == Mode::Dev {
        return Err(ConfigError::ExpectInDev);
    }
    let server = s.server.unwrap_or(false) || mode == Mode::Dev;
    let bootstrap = s.bootstrap.unwrap_or(false) || mode == Mode::Dev;
    let port = port("ports.server", s.server_port.unwrap_or(8300))?;
    if expect > 0 && !server {
        return Err(ConfigError::ExpectNeedsServer);
    }
    if expect > 0 && bootstrap {
        return Err(ConfigError::ExpectAndBootstrap);
    }
    if !server {
        return if bootstrap { Err(ConfigError::BootstrapNeedsServer) } else { Ok(Role::Client) };
    }
    let expect = u8::try_from(expect)
        .ok()
        .filter(|n| usize::from(*n) <= MAX_VOTERS)
        .ok_or(ConfigError::ExpectTooLarge(expect))?;
    if expect == 2 {
        warnings.push("bootstrap_expect 2: a cluster of two servers survives no failure".into());
    } else if expect > 2 && expect.is_multiple_of(2) {
        warnings.push(format!(
            "bootstrap_expect {expect}: an even number of servers survives no more failures than \
             {}",
            expect - 1
        ));
    }
    Ok(Role::Server { port, expect, bootstrap })
}

fn protocol(newest: Option<i64>) -> Result<(u8, u8), ConfigError> {
    let (min, max) = PROTOCOL_VERSIONS;
    let Some(value) = newest else { return Ok((min, max)) };
    let spoken = u8::try_from(value).ok().filter(|n| (min..=max).contains(n));
    spoken.map(|n| (min, n)).ok_or(ConfigError::Protocol { value, min, max })
}

fn encrypt(key: Option<&str>) -> Result<Option<Keyring>, ConfigError> {
    let Some(key) = key else { return Ok(None) };
    let bytes = STANDARD.decode(key).map_err(|e| ConfigError::EncryptKey(e.to_string()))?;
    let key = Key::new(&bytes).map_err(|e| ConfigError::EncryptKey(e.to_string()))?;
    Ok(Some(Keyring::new(key)))
}

fn data_dir(
    mode: Mode,
    s: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Option<PathBuf>, ConfigError> {
    match (mode, s.data_dir.as_deref().filter(|d| !d.is_empty())) {
        (Mode::Normal, Some(dir)) => Ok(Some(PathBuf::from(dir))),
        (Mode::Normal, None) => Err(ConfigError::NoDataDir),
        (Mode::Dev, None) => Ok(None),
        (Mode::Dev, Some(_)) => {
            warnings.push("data_dir is not used in dev mode: nothing is kept on disk".into());
            Ok(None)
        }
    }
}

fn node_name(s: &Settings, host: &Host, warnings: &mut Vec<String>) -> Result<Name, ConfigError> {
    let name = s.node_name.as_deref().unwrap_or(&host.name);
    let parsed =
        Name::new(name).map_err(|cause| ConfigError::NodeName { name: name.to_owned(), cause })?;
    let dns_able = name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !dns_able {
        warnings.push(format!(
            "node name '{name}' is no valid host name, so some programs and resolvers will not \
             look it up: use up to 63 letters, digits and dashes"
        ));
    }
    Ok(parsed)
}

fn label(s: &Settings) -> Result<Label, ConfigError> {
    let dc = s.datacenter.as_deref().unwrap_or("dc1").to_ascii_lowercase();
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    match Label::new(dc.as_str()) {
        Ok(label) if dc.bytes().all(fits) => Ok(label),
        _ => Err(ConfigError::Datacenter(dc)),
    }
}

fn gossip_addrs(
    mode: Mode,
    s: &Settings,
    host: &Host,
) -> Result<(SocketAddr, SocketAddr), ConfigError> {
    let ip = |key, text: &Option<String>| match text.as_deref() {
        Some(text) => host.one(text).map(Some).map_err(|cause| ConfigError::Addr { key, cause }),
        None => Ok(None),
    };
    let default = if mode == Mode::Dev { addr::LOOPBACK } else { addr::ANY };
    let bind = ip("bind_addr", &s.bind_addr)?;
    let advertise = ip("advertise_addr", &s.advertise_addr)?;
    if let Some(ip) = advertise.filter(IpAddr::is_unspecified) {
        return Err(ConfigError::AdvertiseAny { key: "advertise_addr", ip });
    }
    // Bound to all addresses of the family that is advertised, unless somebody says where.
    let bind = bind.unwrap_or(match advertise {
        Some(IpAddr::V6(_)) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => default,
    });
    let advertise = match advertise {
        Some(ip) => ip,
        None if bind.is_unspecified() => host
            .advertised_for(bind)
            .map_err(|cause| ConfigError::Addr { key: "bind_addr", cause })?,
        None => bind,
    };
    if bind.is_ipv4() != advertise.is_ipv4() {
        return Err(ConfigError::Families { bind, advertise });
    }
    let port = port("ports.serf_lan", s.serf_lan_port.unwrap_or(8301))?;
    Ok((SocketAddr::new(bind, port), SocketAddr::new(advertise, port)))
}

/// Where HTTP and DNS listen.
fn client_addrs(
    s: &Settings,
    host: &Host,
) -> Result<(Vec<SocketAddr>, Vec<SocketAddr>), ConfigError> {
    let ips = |key, text: &Option<String>| match text.as_deref() {
        Some(text) => host.several(text).map_err(|cause| ConfigError::Addr { key, cause }),
        None => Ok(Vec::new()),
    };
    let mut client = ips("client_addr", &s.client_addr)?;
    if client.is_empty() {
        client.push(addr::LOOPBACK);
    }
    let listen = |key, own: &Option<String>, port_key, value: i64| {
        if value == -1 {
            return Ok::<Vec<SocketAddr>, ConfigError>(Vec::new());
        }
        let port = port(port_key, value)?;
        let own = ips(key, own)?;
        let ips = if own.is_empty() { &client } else { &own };
        Ok(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    };
    let http = listen("addresses.http", &s.http_addr, "ports.http", s.http_port.unwrap_or(8500))?;
    let dns = listen("addresses.dns", &s.dns_addr, "ports.dns", s.dns_port.unwrap_or(8600))?;
    Ok((http, dns))
}

fn port(key: &'static str, value: i64) -> Result<u16, ConfigError> {
    let allowed = match key {
        "ports.http" | "ports.dns" => "a port is 1 to 65535, or -1 for none",
        _ => "a port is 1 to 65535",
    };
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ConfigError::Range { key, value, allowed }),
    }
}

fn range(key: &'static str, value: i64, allowed: &'static str) -> Result<u32, ConfigError> {
    u32::try_from(value).map_err(|_| ConfigError::Range { key, value, allowed })
}

fn alt_domain(s: &Settings) -> Result<Option<String>, ConfigError> {
    match s.alt_domain.as_deref().filter(|d| !d.is_empty()) {
        Some(d) => domain("alt_domain", d).map(Some),
        None => Ok(None),
    }
}

/// In lower case, without dots at the ends.
fn domain(key: &'static str, value: &str) -> Result<String, ConfigError> {
    let name = value.trim_matches('.').to_ascii_lowercase();
    let label_fits = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // Room for `<128 characters>.node.<64 characters>.` in a name of at most 255 octets.
    if name.len() <= 128 && name.split('.').all(label_fits) {
        Ok(name)
    } else {
        Err(ConfigError::Domain { key, value: value.to_owned() })
    }
}

fn dns_config(s: &Settings) -> Result<DnsConfig, ConfigError> {
    let default = DnsConfig::default();
    let secs = |key, value: Option<i64>, default| match value {
        Some(v) => range(key, v, "seconds, 0 to 4294967295"),
        None => Ok(default),
    };
    let recursor = |text: &String| {
        let with_port = text.parse().ok();
        with_port
            .or_else(|| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53)))
            .ok_or_else(|| ConfigError::Recursor(text.clone()))
    };
    let answers =
        s.dns.udp_answer_limit.map(|v| range("dns_config.udp_answer_limit", v, "0 or more"));
    Ok(DnsConfig {
        // A TTL is whole seconds; what does not fit is as long as possible.
        node_ttl_s: s
            .dns
            .node_ttl
            .map_or(default.node_ttl_s, |t| u32::try_from(t.as_secs()).unwrap_or(u32::MAX)),
        node_meta_txt: s.dns.node_meta_txt.unwrap_or(default.node_meta_txt),
        soa: SoaConfig {
            refresh_s: secs("dns_config.soa.refresh", s.dns.soa_refresh, default.soa.refresh_s)?,
            retry_s: secs("dns_config.soa.retry", s.dns.soa_retry, default.soa.retry_s)?,
            expire_s: secs("dns_config.soa.expire", s.dns.soa_expire, default.soa.expire_s)?,
            min_ttl_s: secs("dns_config.soa.min_ttl", s.dns.soa_min_ttl, default.soa.min_ttl_s)?,
        },
        udp_answer_limit: answers.transpose()?.map_or(default.udp_answer_limit, |n| n as usize),
        recursors: s.recursors.iter().map(recursor).collect::<Result<_, _>>()?,
        recursor_timeout: s
            .dns
            .recursor_timeout
            .filter(|t| !t.is_zero())
            .unwrap_or(default.recursor_timeout),
        ..default
    })
}

#[cfg(test)]
mod tests;
