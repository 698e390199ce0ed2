//! Configuration: files and flags are merged ([`settings`]), then understood as a whole
//! ([`plan`]). What cannot work is refused before anything is opened.

pub(crate) mod addr;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod plan;
pub(crate) mod settings;

use std::{io, net::IpAddr, path::PathBuf};

use quorate_core::{MAX_VOTERS, NameError, PairsError};

use addr::AddrError;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    /// A file is absurdly large.
    #[error("{}: more than {most} bytes are too much for a configuration file", path.display())]
    TooLarge { path: PathBuf, most: u64 },
    /// A file in HCL.
    #[error(
        "{}: HCL is not supported yet: write it as JSON, in a file whose name ends in .json",
        path.display()
    )]
    Hcl { path: PathBuf },
    /// Not JSON, or a key twice.
    #[error("{}: line {line}, column {column}: {what}", path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, what: String },
    /// A value of the wrong type.
    #[error("{}: {key} must be {expected}, not {found}", path.display())]
    Type { path: PathBuf, key: String, expected: &'static str, found: &'static str },
    /// A key that nobody knows.
    #[error("{}: unknown key '{key}'{}", path.display(), did_you_mean(near))]
    UnknownKey { path: PathBuf, key: String, near: Option<String> },
    /// A flag's value of the wrong type.
    #[error("-{name}: '{value}' is not {expected}")]
    Flag { name: &'static str, value: String, expected: &'static str },
    /// Words after the flags.
    #[error("unexpected arguments: {0} (flags start with a dash, values follow them)")]
    ExtraArguments(String),
    /// `-hcl`.
    #[error("-hcl is not supported yet: put the settings into flags or a JSON file")]
    HclFlag,
    /// No data directory.
    #[error("data_dir cannot be empty (set it with -data-dir, or try things out with -dev)")]
    NoDataDir,
    /// A client that waits for servers.
    #[error("'bootstrap_expect > 0' requires 'server = true'")]
    ExpectNeedsServer,
    /// A client that wants to be the first server.
    #[error("'bootstrap = true' requires 'server = true'")]
    BootstrapNeedsServer,
    /// Both ways to bootstrap.
    #[error("'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive")]
    ExpectAndBootstrap,
    /// A server on its own that waits for others.
    #[error("'bootstrap_expect > 0' not allowed in dev mode")]
    ExpectInDev,
    /// A negative number of servers.
    #[error("bootstrap_expect cannot be {0}. Must be greater than or equal to zero")]
    ExpectNegative(i64),
    /// More servers than can agree.
    #[error("bootstrap_expect cannot be {0}: at most {max} servers are possible", max = MAX_VOTERS)]
    ExpectTooLarge(i64),
    /// A datacenter name that DNS and files could not carry.
    #[error(
        "datacenter '{0}' is not valid: 1 to 64 lower-case letters, digits, dashes and \
         underscores"
    )]
    Datacenter(String),
    /// A node name that cannot be used.
    #[error("node_name '{name}' is not valid: {cause}; choose one with -node")]
    NodeName { name: String, cause: NameError },
    /// Not a UUID.
    #[error("node_id '{0}' is not a UUID (8-4-4-4-12 hexadecimal digits)")]
    NodeId(String),
    /// Meta that cannot be published.
    #[error("node_meta is not valid: {0}")]
    NodeMeta(#[from] PairsError),
    /// Not a key.
    #[error("encrypt has an invalid key: {0} (quorate keygen makes one)")]
    EncryptKey(String),
    /// A number outside its range.
    #[error("{key} cannot be {value}: {allowed}")]
    Range { key: &'static str, value: i64, allowed: &'static str },
    /// A protocol version that is not spoken here.
    #[error("protocol cannot be {value}: this agent speaks versions {min} to {max}")]
    Protocol { value: i64, min: u8, max: u8 },
    /// A domain that DNS cannot carry.
    #[error("{key} '{value}' is not a domain name")]
    Domain { key: &'static str, value: String },
    /// Not the address of a DNS server.
    #[error("recursors: '{0}' is not an IP address with or without a port, such as 192.0.2.1:53")]
    Recursor(String),
    /// No such level.
    #[error("log_level '{0}' is not valid: choose trace, debug, info, warn or err")]
    LogLevel(String),
    /// An address that does not work.
    #[error("{key}: {cause}")]
    Addr { key: &'static str, cause: AddrError },
    /// Nobody can reach it.
    #[error("{key} cannot be {ip}: other agents could not reach it; name one of this host's own")]
    AdvertiseAny { key: &'static str, ip: IpAddr },
    /// IPv4 here, IPv6 there.
    #[error("bind_addr {bind} and advertise_addr {advertise} are not both IPv4 or both IPv6")]
    Families { bind: IpAddr, advertise: IpAddr },
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default()
}
