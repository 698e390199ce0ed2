//! Why an agent did not start, and why a running one ended.

use std::{fmt, io, net::SocketAddr};

use quorate_core::{ConfigError, Name, NodeId, PairsError};

use crate::persist::PersistError;

/// Something the agent listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Gossip datagrams.
    GossipUdp,
    /// Gossip streams.
    GossipTcp,
    /// DNS over UDP.
    DnsUdp,
    /// DNS over TCP.
    DnsTcp,
    /// HTTP.
    Http,
}

impl Service {
    /// What it is called in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GossipUdp => "gossip (UDP)",
            Self::GossipTcp => "gossip (TCP)",
            Self::DnsUdp => "DNS (UDP)",
            Self::DnsTcp => "DNS (TCP)",
            Self::Http => "HTTP",
        }
    }

    /// The flags that set its address and port.
    pub const fn flags(self) -> (&'static str, &'static str) {
        match self {
            Self::GossipUdp | Self::GossipTcp => ("-bind", "-serf-lan-port"),
            Self::DnsUdp | Self::DnsTcp => ("-client", "-dns-port"),
            Self::Http => ("-client", "-http-port"),
        }
    }
}

/// Why an agent did not start. Nothing of it runs; a data directory may have been made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {addr} for {}: {}", service.name(), bind_advice(*service, source))]
    Bind {
        /// What for.
        service: Service,
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory is not usable.
    #[error(transparent)]
    DataDir(#[from] PersistError),
    /// The protocol cannot run like this.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The agent's own tags do not fit.
    #[error("the build version cannot be published: {0}")]
    Tags(#[from] PairsError),
    /// An address to join is not one.
    #[error("'{target}' in {setting} cannot be joined: {reason}")]
    JoinTarget {
        /// As given.
        target: String,
        /// `start_join` or `retry_join`.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// A server refused its configuration.
    #[error("{}: {reason}", service.name())]
    Server {
        /// Which one.
        service: Service,
        /// Why.
        reason: String,
    },
}

fn bind_advice(service: Service, e: &io::Error) -> String {
    let (addr_flag, port_flag) = service.flags();
    match e.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{e}; stop the process that has it, or choose another port with {port_flag}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{e}; this host has no such address, choose one of its own with {addr_flag}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{e}; choose a port above 1023 with {port_flag}, or allow this one")
        }
        _ => format!("{e}; see {addr_flag} and {port_flag}"),
    }
}

/// Why a running agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It left, as it was told to.
    Left {
        /// Members that confirmed.
        confirmed: usize,
    },
    /// None of the addresses of `start_join` answered.
    StartJoinFailed {
        /// Each address as given, and what went wrong.
        failures: Vec<(String, String)>,
    },
    /// `retry_join` was tried `retry_max` times in vain.
    RetryJoinExhausted {
        /// Rounds tried.
        attempts: u32,
    },
    /// Another live member has the name: this agent gave way.
    Evicted {
        /// The name.
        name: Name,
        /// Who keeps it.
        holder: NodeId,
        /// Where the holder is.
        addr: SocketAddr,
    },
    /// Something the agent cannot do without broke.
    Fatal {
        /// What.
        reason: String,
    },
    /// [`super::Agent::shutdown`].
    Shutdown,
}

impl Stopped {
    /// Did it end as somebody wanted? (Exit code 0, or else 1.)
    pub const fn is_wanted(&self) -> bool {
        matches!(self, Self::Left { .. } | Self::Shutdown)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left { confirmed } => write!(f, "left the cluster ({confirmed} confirmed)"),
            Self::StartJoinFailed { failures } => {
                f.write_str("none of the addresses to join at start answered:")?;
                for (target, why) in failures {
                    write!(f, " {target}: {why};")?;
                }
                f.write_str(" check them, or use -retry-join to keep trying")
            }
            Self::RetryJoinExhausted { attempts } => write!(
                f,
                "no address of -retry-join answered (rounds: {attempts}); check them, or raise \
                 -retry-max (0 tries for ever)"
            ),
            Self::Evicted { name, holder, addr } => write!(
                f,
                "the name '{name}' belongs to another live member at {addr} (node id {holder}); \
                 give this agent another one with -node"
            ),
            Self::Fatal { reason } => f.write_str(reason),
            Self::Shutdown => f.write_str("shut down"),
        }
    }
}
