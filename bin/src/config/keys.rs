//! The configuration keys: the one table of names, types and where each goes.
//!
//! A key is *used* (it has a place in [`Settings`]), *honoured* (it asks that something be off
//! which never is on), *ignored* (Consul 1.8 has it, this agent has nothing to do with it: one
//! warning lists those), or *unknown*: an error.

use std::time::Duration;

use super::settings::Settings;

type At<T> = fn(&mut Settings) -> &mut T;

/// Where the value of a key goes; the type follows from it.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// `true` or `false`; a later one wins.
    Bool(At<Option<bool>>),
    /// A whole number; a later one wins.
    Int(At<Option<i64>>),
    /// A string; a later one wins.
    Text(At<Option<String>>),
    /// A string such as `30s`; a later one wins.
    Duration(At<Option<Duration>>),
    /// A list of strings; they add up.
    List(At<Vec<String>>),
    /// An object of strings; a later one wins, key by key.
    Map(At<Vec<(String, String)>>),
    /// An object with keys of its own in this table.
    Section,
    /// True to its word without doing anything.
    Honoured,
    /// Known, without effect.
    Ignored,
}

impl Target {
    /// The type, for messages.
    pub(crate) const fn expects(self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Text(_) => "a string",
            Self::Duration(_) => "a duration in a string, such as \"30s\"",
            Self::List(_) => "a list of strings",
            Self::Map(_) => "an object of strings",
            Self::Section => "an object",
            Self::Honoured | Self::Ignored => "anything",
        }
    }
}

/// One key, with its path.
pub(crate) struct Key {
    /// The names from the top, with dots between them.
    pub(crate) path: &'static str,
    /// Where it goes.
    pub(crate) target: Target,
}

const fn key(path: &'static str, target: Target) -> Key {
    Key { path, target }
}

use Target::{Bool, Duration as Time, Honoured, Int, List, Map, Section, Text};

#[rustfmt::skip]
const USED: &[Key] = &[
    key("addresses", Section),
    key("addresses.dns", Text(|s| &mut s.dns_addr)),
    key("addresses.http", Text(|s| &mut s.http_addr)),
    key("advertise_addr", Text(|s| &mut s.advertise_addr)),
    key("alt_domain", Text(|s| &mut s.alt_domain)),
    key("bind_addr", Text(|s| &mut s.bind_addr)),
    key("bootstrap", Bool(|s| &mut s.bootstrap)),
    key("bootstrap_expect", Int(|s| &mut s.bootstrap_expect)),
    key("client_addr", Text(|s| &mut s.client_addr)),
    key("data_dir", Text(|s| &mut s.data_dir)),
    key("datacenter", Text(|s| &mut s.datacenter)),
    key("disable_anonymous_signature", Honoured),
    key("disable_coordinates", Bool(|s| &mut s.disable_coordinates)),
    key("disable_remote_exec", Honoured),
    key("disable_update_check", Honoured),
    key("dns_config", Section),
    key("dns_config.enable_additional_node_meta_txt", Bool(|s| &mut s.dns.node_meta_txt)),
    key("dns_config.node_ttl", Time(|s| &mut s.dns.node_ttl)),
    key("dns_config.recursor_timeout", Time(|s| &mut s.dns.recursor_timeout)),
    key("dns_config.soa", Section),
    key("dns_config.soa.expire", Int(|s| &mut s.dns.soa_expire)),
    key("dns_config.soa.min_ttl", Int(|s| &mut s.dns.soa_min_ttl)),
    key("dns_config.soa.refresh", Int(|s| &mut s.dns.soa_refresh)),
    key("dns_config.soa.retry", Int(|s| &mut s.dns.soa_retry)),
    key("dns_config.udp_answer_limit", Int(|s| &mut s.dns.udp_answer_limit)),
    key("domain", Text(|s| &mut s.domain)),
    key("encrypt", Text(|s| &mut s.encrypt)),
    key("leave_on_terminate", Bool(|s| &mut s.leave_on_terminate)),
    key("log_file", Text(|s| &mut s.log_file)),
    key("log_json", Bool(|s| &mut s.log_json)),
    key("log_level", Text(|s| &mut s.log_level)),
    key("node_id", Text(|s| &mut s.node_id)),
    key("node_meta", Map(|s| &mut s.node_meta)),
    key("node_name", Text(|s| &mut s.node_name)),
    key("pid_file", Text(|s| &mut s.pid_file)),
    key("ports", Section),
    key("ports.dns", Int(|s| &mut s.dns_port)),
    key("ports.http", Int(|s| &mut s.http_port)),
    key("ports.serf_lan", Int(|s| &mut s.serf_lan_port)),
    key("ports.server", Int(|s| &mut s.server_port)),
    key("protocol", Int(|s| &mut s.protocol)),
    key("reconnect_timeout", Time(|s| &mut s.reconnect_timeout)),
    key("recursors", List(|s| &mut s.recursors)),
    key("rejoin_after_leave", Bool(|s| &mut s.rejoin_after_leave)),
    key("retry_interval", Time(|s| &mut s.retry_interval)),
    key("retry_join", List(|s| &mut s.retry_join)),
    key("retry_max", Int(|s| &mut s.retry_max)),
    key("server", Bool(|s| &mut s.server)),
    key("skip_leave_on_interrupt", Bool(|s| &mut s.skip_leave_on_interrupt)),
    key("start_join", List(|s| &mut s.start_join)),
];

/// Keys of Consul 1.8 that have no effect here (with what is inside them).
const IGNORED: &[&str] = &[
    "acl",
    "acl_agent_master_token",
    "acl_agent_token",
    "acl_datacenter",
    "acl_default_policy",
    "acl_disabled_ttl",
    "acl_down_policy",
    "acl_enable_key_list_policy",
    "acl_enforce_version_8",
    "acl_master_token",
    "acl_replication_token",
    "acl_token",
    "acl_ttl",
    "addresses.grpc",
    "addresses.https",
    "advertise_addr_ipv4",
    "advertise_addr_ipv6",
    "advertise_addr_wan",
    "advertise_addr_wan_ipv4",
    "advertise_addr_wan_ipv6",
    "ae_interval",
    "audit",
    "auto_config",
    "auto_encrypt",
    "autopilot",
    "ca_file",
    "ca_path",
    "cache",
    "cert_file",
    "check",
    "check_deregister_interval_min",
    "check_output_max_size",
    "check_reap_interval",
    "check_update_interval",
    "checks",
    "config_entries",
    "connect",
    "consul",
    "default_query_time",
    "disable_host_node_id",
    "disable_http_unprintable_char_filter",
    "disable_keyring_file",
    "discard_check_output",
    "discovery_max_stale",
    "dns_config.a_record_limit",
    "dns_config.allow_stale",
    "dns_config.cache_max_age",
    "dns_config.disable_compression",
    "dns_config.enable_truncate",
    "dns_config.max_stale",
    "dns_config.only_passing",
    "dns_config.prefer_namespace",
    "dns_config.service_ttl",
    "dns_config.use_cache",
    "enable_acl_replication",
    "enable_agent_tls_for_checks",
    "enable_central_service_config",
    "enable_debug",
    "enable_local_script_checks",
    "enable_script_checks",
    "enable_syslog",
    "encrypt_verify_incoming",
    "encrypt_verify_outgoing",
    "gossip_lan",
    "gossip_wan",
    "http_config",
    "key_file",
    "limits",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "max_query_time",
    "non_voting_server",
    "performance",
    "ports.expose_max_port",
    "ports.expose_min_port",
    "ports.grpc",
    "ports.https",
    "ports.serf_wan",
    "ports.sidecar_max_port",
    "ports.sidecar_min_port",
    "primary_datacenter",
    "primary_gateways",
    "primary_gateways_interval",
    "raft_protocol",
    "raft_snapshot_interval",
    "raft_snapshot_threshold",
    "raft_trailing_logs",
    "reconnect_timeout_wan",
    "retry_interval_wan",
    "retry_join_wan",
    "retry_max_wan",
    "revision",
    "segment",
    "segment_limit",
    "segment_name_limit",
    "segments",
    "serf_lan",
    "serf_lan_allowed_cidrs",
    "serf_wan",
    "serf_wan_allowed_cidrs",
    "server_name",
    "service",
    "services",
    "session_ttl_min",
    "snapshot_agent",
    "start_join_wan",
    "sync_coordinate_interval_min",
    "sync_coordinate_rate_target",
    "syslog_facility",
    "tagged_addresses",
    "telemetry",
    "tls_cipher_suites",
    "tls_min_version",
    "tls_prefer_server_cipher_suites",
    "translate_wan_addrs",
    "ui",
    "ui_content_path",
    "ui_dir",
    "unix_sockets",
    "verify_incoming",
    "verify_incoming_https",
    "verify_incoming_rpc",
    "verify_outgoing",
    "verify_server_hostname",
    "version",
    "version_prerelease",
    "watches",
];

/// The target of the key with this path.
pub(crate) fn find(path: &str) -> Option<Target> {
    let used = USED.iter().find(|k| k.path == path).map(|k| k.target);
    used.or_else(|| IGNORED.contains(&path).then_some(Target::Ignored))
}

/// All known paths below a section (empty: the top).
pub(crate) fn below(section: &str) -> impl Iterator<Item = &'static str> {
    let all = USED.iter().map(|k| k.path).chain(IGNORED.iter().copied());
    all.filter(move |p| p.rsplit_once('.').map_or("", |(head, _)| head) == section)
}

/// The duration in a text.
pub(super) fn duration(text: &str) -> Option<Duration> {
    crate::text::duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_key_is_both_used_and_ignored_and_sections_exist() {
        let paths: Vec<_> = USED.iter().map(|k| k.path).chain(IGNORED.iter().copied()).collect();
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        for path in paths {
            if let Some((head, _)) = path.rsplit_once('.') {
                assert!(matches!(find(head), Some(Target::Section)), "{path}");
            }
        }
    }

    #[test]
    fn keys_below_a_section() {
        assert!(below("ports").any(|p| p == "ports.https"));
        assert!(below("dns_config").all(|p| p != "dns_config.soa.retry"));
        assert!(below("").any(|p| p == "ports"));
    }
}
