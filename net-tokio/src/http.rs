//! The HTTP API: Consul's paths and JSON. Members are answered from the view, without waiting for
//! the node; counters, coordinates and commands ask it, within a limit.
//!
//! Code map: `router` has the one table of method, path and handler; `agent`, `catalog`,
//! `coordinate`, `health`, `host`, `metrics` and `bootstrap` are pure functions to a reply; `api`
//! adds blocking queries and commands, `event` and `keyring` theirs; `server` and `io` are the
//! thin shell of connections around it, with every limit.
//!
//! Guarantees: a request never blocks the node; memory is bounded by [`HttpConfig`] whatever
//! clients send, or do not take; blocking queries end when the agent does.

mod agent;
mod api;
mod bootstrap;
mod cache;
mod catalog;
mod coordinate;
mod error;
mod event;
mod health;
mod host;
mod io;
mod keyring;
mod metrics;
mod query;
mod reply;
mod router;
mod server;
#[cfg(test)]
mod server_tests;
mod service;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

pub use api::{join_failure, join_failures, resolve_failure};
pub use error::ApiError;
pub use metrics::{CounterSource, HttpCounter, HttpCounters};
pub use query::{DurationError, parse_duration};
pub use router::routes_as_markdown;
pub use server::{HttpServer, HttpStreams};

/// Asks whoever read the configuration to read it again; the answer says what was wrong.
pub type ReloadSender = mpsc::Sender<oneshot::Sender<Result<(), String>>>;

/// Limits of the server, and what it shows beside the view.
#[derive(Clone)]
pub struct HttpConfig {
    /// Connections open at once; more are closed at once and counted.
    pub max_connections: usize,
    /// Bytes of a request's head; 8192 at least.
    pub head_bytes: usize,
    /// A head is complete within this; an idle connection is closed after this.
    pub head_timeout: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// A body is complete within this.
    pub body_timeout: Duration,
    /// A client that takes nothing of its answer for this long is cut off.
    pub write_timeout: Duration,
    /// How long answers under way may take once the server stops.
    pub shutdown_grace: Duration,
    /// The directory whose file system `agent/host` reports.
    pub data_dir: Option<PathBuf>,
    /// Counters to show in `agent/metrics` beside the node's and the server's own.
    pub counters: Vec<Arc<dyn CounterSource>>,
    /// Where `agent/reload` goes; `None`: there is nothing to reload.
    pub reload: Option<ReloadSender>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            head_bytes: 16 << 10,
            head_timeout: Duration::from_secs(10),
            body_bytes: 512 << 10,
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_millis(500),
            data_dir: None,
            counters: Vec::new(),
            reload: None,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("max_connections", &self.max_connections)
            .field("head_bytes", &self.head_bytes)
            .field("head_timeout", &self.head_timeout)
            .field("body_bytes", &self.body_bytes)
            .field("body_timeout", &self.body_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("shutdown_grace", &self.shutdown_grace)
            .field("data_dir", &self.data_dir)
            .field("counters", &self.counters.len())
            .field("reload", &self.reload.is_some())
            .finish()
    }
}
