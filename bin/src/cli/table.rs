//! The commands and their flags: the one table that feeds the parser, the help and the
//! completions.
//!
//! Invariant: a flag's `name` is its spelling without dashes; `-name` and `--name` are the same.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` / `=false`.
    Switch,
    /// One value; a later one replaces an earlier one.
    One(&'static str),
    /// One value each time; they add up.
    Many(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// The spelling without dashes.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) takes: Takes,
    /// The configuration key that it sets, for flags of `agent`.
    pub(crate) key: Option<&'static str>,
    /// One or two sentences; empty for a flag that help does not show.
    pub(crate) help: &'static str,
}

/// What a command takes beside flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operands {
    /// Nothing.
    None,
    /// Any number of them, as they stand in the usage line.
    Any(&'static str),
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run an agent.
    Agent,
    /// Print completions of a shell.
    Completion,
    /// Start a cluster on this machine.
    Demo,
    /// Fire an event.
    Event,
    /// Declare a failed member as left.
    ForceLeave,
    /// Print what the agent tells of itself.
    Info,
    /// Contact other agents.
    Join,
    /// Print a new key.
    Keygen,
    /// Look at the keys of the cluster, or change them.
    Keyring,
    /// Leave the cluster.
    Leave,
    /// Print the member list.
    Members,
    /// Look at the bootstrap quorum.
    Operator,
    /// Let the agent read its configuration again.
    Reload,
    /// Estimate a round trip.
    Rtt,
    /// Check configuration files.
    Validate,
    /// Print the version.
    Version,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// What is typed.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) action: Action,
    /// One line.
    pub(crate) about: &'static str,
    /// What follows the flags.
    pub(crate) operands: Operands,
    /// The flags, in the order of the help.
    flags: &'static [&'static [Flag]],
}

impl Spec {
    /// All flags.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().flat_map(|group| group.iter())
    }

    /// The flag of this name.
    pub(crate) fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags().find(|f| f.name == name)
    }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Switch, key: None, help }
}

const fn one(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::One(value), key: None, help }
}

const fn many(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Many(value), key: None, help }
}

const fn sets(key: &'static str, flag: Flag) -> Flag {
    Flag { key: Some(key), ..flag }
}

const CLIENT: &[Flag] = &[
    one(
        "http-addr",
        "address",
        "HTTP address of the agent: host:port or http://host:port. Also from the environment: \
         QUORATE_HTTP_ADDR or CONSUL_HTTP_ADDR. Default http://127.0.0.1:8500.",
    ),
    one("token", "token", "Sent along with requests; agents of this version do not ask for one."),
];

const WAN: Flag = switch("wan", "Refused: there is no WAN pool, each datacenter stands alone.");

/// Hidden: ends the agent when its standard input ends (children of `demo`).
pub(crate) const UNTIL_STDIN_ENDS: &str = "until-stdin-ends";

const AGENT_ROLE: &[Flag] = &[
    sets("server", switch("server", "Run as a server instead of a client.")),
    sets("bootstrap", switch("bootstrap", "Be the first server, on its own.")),
    sets(
        "bootstrap_expect",
        one(
            "bootstrap-expect",
            "count",
            "Servers that agree on the initial voters once so many are in contact, at most 16; 1 \
             is a server on its own.",
        ),
    ),
    switch("dev", "Try things out: a server on its own on the loopback address, nothing on disk."),
];

const AGENT_NODE: &[Flag] = &[
    sets(
        "data_dir",
        one("data-dir", "dir", "Where the node keeps its identity. Required unless -dev."),
    ),
    sets(
        "node_name",
        one("node", "name", "Name of the node, unique in the cluster. Default: the host name."),
    ),
    sets(
        "node_id",
        one(
            "node-id",
            "uuid",
            "Id of the node. Default: made once and kept in the data directory.",
        ),
    ),
    sets(
        "node_meta",
        many("node-meta", "key:value", "Something to know about the node; may be repeated."),
    ),
    sets("datacenter", one("datacenter", "name", "Datacenter of the agent. Default dc1.")),
];

const AGENT_NETWORK: &[Flag] = &[
    sets(
        "bind_addr",
        one(
            "bind",
            "address",
            "Address for other agents: an IP or a template such as {{ GetPrivateIP }}. \
             Default: all, while the only private IPv4 address is advertised.",
        ),
    ),
    sets(
        "advertise_addr",
        one("advertise", "address", "Address told to other agents. Default: that of -bind."),
    ),
    sets(
        "client_addr",
        one(
            "client",
            "addresses",
            "Where HTTP and DNS listen; several are separated by blanks. Default 127.0.0.1.",
        ),
    ),
    sets("ports.serf_lan", one("serf-lan-port", "port", "Gossip port, UDP and TCP. Default 8301.")),
    sets(
        "ports.server",
        one("server-port", "port", "Port of servers among themselves. Default 8300."),
    ),
    sets("ports.http", one("http-port", "port", "HTTP port; -1 for none. Default 8500.")),
    sets("ports.dns", one("dns-port", "port", "DNS port, UDP and TCP; -1 for none. Default 8600.")),
    sets("domain", one("domain", "name", "Domain that DNS answers. Default consul.")),
    sets("alt_domain", one("alt-domain", "name", "A second domain that DNS answers.")),
    sets(
        "recursors",
        many("recursor", "address", "DNS server asked for all other domains; may be repeated."),
    ),
];

const AGENT_JOIN: &[Flag] = &[
    sets(
        "start_join",
        many(
            "join",
            "address",
            "Agent to join at the start, which fails if none answers; may be repeated.",
        ),
    ),
    sets(
        "retry_join",
        many("retry-join", "address", "Agent to join, tried until one answers; may be repeated."),
    ),
    sets(
        "retry_interval",
        one("retry-interval", "duration", "Time between two tries. Default 30s."),
    ),
    sets(
        "retry_max",
        one(
            "retry-max",
            "count",
            "Tries before the agent gives up and ends; 0: no limit. Default 0.",
        ),
    ),
    sets(
        "rejoin_after_leave",
        switch("rejoin", "Go back to the known cluster even after a leave."),
    ),
];

const AGENT_PROCESS: &[Flag] = &[
    many("config-file", "file", "Configuration in JSON; may be repeated."),
    many(
        "config-dir",
        "dir",
        "Folder whose *.json files are read in alphabetical order; may be repeated.",
    ),
    sets("log_level", one("log-level", "level", "trace, debug, info, warn or err. Default info.")),
    sets("log_json", switch("log-json", "Log one JSON object per line.")),
    sets("log_file", one("log-file", "path", "Log to this file as well.")),
    sets("pid_file", one("pid-file", "path", "File for the process id, removed at the end.")),
    sets(
        "encrypt",
        one(
            "encrypt",
            "key",
            "Key that all agents share (see keygen): 16, 24 or 32 bytes in base64.",
        ),
    ),
    sets(
        "protocol",
        one(
            "protocol",
            "version",
            "Newest protocol version to speak with other agents, 1 or 2. Default: the newest.",
        ),
    ),
    sets(
        "enable_script_checks",
        switch("enable-script-checks", "No effect yet: there are no checks."),
    ),
    sets(
        "enable_local_script_checks",
        switch("enable-local-script-checks", "No effect yet: there are no checks."),
    ),
    sets("ui", switch("ui", "No effect yet: there is no web interface.")),
    many("hcl", "text", "Refused for now: configuration in HCL is not available yet."),
    many("atlas", "name", ""),
    switch("atlas-join", ""),
    many("atlas-token", "token", ""),
    many("atlas-endpoint", "url", ""),
    switch(UNTIL_STDIN_ENDS, ""),
];

/// Of Consul's, and without a meaning here: scripts that have them must start. Those that would
/// keep somebody out are not among them, for whoever gives them relies on it.
pub(crate) const WITHOUT_EFFECT: &[Flag] = &[
    one("advertise-wan", "address", ""),
    one("serf-wan-bind", "address", ""),
    one("serf-wan-port", "port", ""),
    many("join-wan", "address", ""),
    many("retry-join-wan", "address", ""),
    one("retry-interval-wan", "duration", ""),
    one("retry-max-wan", "count", ""),
    one("https-port", "port", ""),
    one("grpc-port", "port", ""),
    one("log-rotate-bytes", "bytes", ""),
    one("log-rotate-duration", "duration", ""),
    one("log-rotate-max-files", "count", ""),
    switch("syslog", ""),
    one("ui-dir", "dir", ""),
    one("ui-content-path", "path", ""),
    switch("disable-host-node-id", ""),
    one("raft-protocol", "version", ""),
    one("default-query-time", "duration", ""),
    one("max-query-time", "duration", ""),
];

const MEMBERS: &[Flag] = &[
    switch("detailed", "Show all tags, and who is degraded."),
    one("status", "regexp", "Only members whose status matches; exit code 2 if none does."),
    WAN,
];

const DEMO: &[Flag] = &[one("for", "duration", "End by itself after this time, such as 20s.")];

const VALIDATE: &[Flag] = &[switch("quiet", "Print nothing if all is well.")];

const EVENT: &[Flag] = &[
    one("name", "name", "What the event is called."),
    one("node", "regexp", "Only for agents whose node name matches."),
    one("service", "regexp", "Only for agents with a service whose name matches."),
    one("tag", "regexp", "Only for agents whose matching service has such a tag."),
];

const PRUNE: &[Flag] = &[switch("prune", "Forget the member at once.")];

const KEYRING: &[Flag] = &[
    switch("list", "Print the keys, and how many members have each."),
    one("install", "key", "Let all members accept this key, too; they seal with the one they had."),
    one("use", "key", "Let all members seal with this key. All of them must have it."),
    one("remove", "key", "Let no member accept this key any more. None may seal with it."),
    one("relay-factor", "count", "Accepted and without effect: each member is asked directly."),
];

/// All commands, in alphabetical order.
pub(crate) const COMMANDS: &[Spec] = &[
    Spec {
        name: "agent",
        action: Action::Agent,
        operands: Operands::None,
        about: "Run an agent",
        flags: &[AGENT_ROLE, AGENT_NODE, AGENT_NETWORK, AGENT_JOIN, AGENT_PROCESS, WITHOUT_EFFECT],
    },
    Spec {
        name: "completion",
        action: Action::Completion,
        operands: Operands::Any("<bash|zsh|fish>"),
        about: "Print the completions of a shell",
        flags: &[],
    },
    Spec {
        name: "demo",
        action: Action::Demo,
        operands: Operands::None,
        about: "Start a cluster of three agents on this machine and watch it",
        flags: &[DEMO],
    },
    Spec {
        name: "event",
        action: Action::Event,
        operands: Operands::Any("[payload]"),
        about: "Tell all members something, once",
        flags: &[EVENT, CLIENT],
    },
    Spec {
        name: "force-leave",
        action: Action::ForceLeave,
        operands: Operands::Any("<name>"),
        about: "Declare a failed member as left",
        flags: &[PRUNE, CLIENT],
    },
    Spec {
        name: "info",
        action: Action::Info,
        operands: Operands::None,
        about: "Print what the agent tells of itself",
        flags: &[CLIENT],
    },
    Spec {
        name: "join",
        action: Action::Join,
        operands: Operands::Any("<address...>"),
        about: "Join the agent to a cluster",
        flags: &[&[WAN], CLIENT],
    },
    Spec {
        name: "keygen",
        action: Action::Keygen,
        operands: Operands::None,
        about: "Print a new random key",
        flags: &[],
    },
    Spec {
        name: "keyring",
        action: Action::Keyring,
        operands: Operands::None,
        about: "Print the keys of the cluster, or change them while it runs",
        flags: &[KEYRING, CLIENT],
    },
    Spec {
        name: "leave",
        action: Action::Leave,
        operands: Operands::None,
        about: "Let the agent leave its cluster and end",
        flags: &[CLIENT],
    },
    Spec {
        name: "members",
        action: Action::Members,
        operands: Operands::None,
        about: "Print the members of the cluster",
        flags: &[MEMBERS, CLIENT],
    },
    Spec {
        name: "operator",
        action: Action::Operator,
        operands: Operands::Any("bootstrap status"),
        about: "Print where the bootstrap quorum stands; exit code 2 while there is none",
        flags: &[CLIENT],
    },
    Spec {
        name: "reload",
        action: Action::Reload,
        operands: Operands::None,
        about: "Let the agent read its configuration again",
        flags: &[CLIENT],
    },
    Spec {
        name: "rtt",
        action: Action::Rtt,
        operands: Operands::Any("<node1> [node2]"),
        about: "Estimate the round trip between two nodes, or to the agent, from coordinates",
        flags: &[&[WAN], CLIENT],
    },
    Spec {
        name: "validate",
        action: Action::Validate,
        operands: Operands::Any("<path...>"),
        about: "Check configuration files and folders",
        flags: &[VALIDATE],
    },
    Spec {
        name: "version",
        action: Action::Version,
        operands: Operands::None,
        about: "Print the version",
        flags: &[],
    },
];

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_commands_sorted() {
        assert!(COMMANDS.is_sorted_by_key(|c| c.name));
        for c in COMMANDS {
            let names: BTreeSet<_> = c.flags().map(|f| f.name).collect();
            assert_eq!(names.len(), c.flags().count(), "{}", c.name);
            assert!(names.iter().all(|n| !n.starts_with('-')), "{}", c.name);
        }
    }

    #[test]
    fn every_key_of_a_flag_is_in_the_table_of_keys() {
        for flag in find("agent").into_iter().flat_map(Spec::flags) {
            if let Some(key) = flag.key {
                assert!(crate::config::keys::find(key).is_some(), "-{} sets {key}", flag.name);
            }
        }
    }
}
