//! `reload`, SIGHUP and `PUT /v1/agent/reload`: what of the configuration takes effect at run time,
//! and what needs a restart.

use std::sync::Arc;

use net_tokio::handle::AgentHandle;
use tracing::{info, warn};

use super::log::Sink;
use crate::config::{ConfigError, plan::Plan};

/// Reads flags and files again.
pub(super) type Replan = Arc<dyn Fn() -> Result<Plan, ConfigError> + Send + Sync>;

/// What is in force, and where a new one comes from.
pub(super) struct Reloader {
    pub(super) replan: Replan,
    /// What the agent runs with.
    pub(super) plan: Plan,
    pub(super) sink: Sink,
    /// The agent, once it has started.
    pub(super) handle: Option<AgentHandle>,
}

impl Reloader {
    /// Reads the configuration and puts in force what can be: the metadata of the node, the level
    /// of the log, and its file, which is opened anew. Everything else stays, and is named if it
    /// differs.
    ///
    /// # Errors
    /// What is wrong with the configuration; nothing has changed then but the log file.
    pub(super) async fn reload(&mut self) -> Result<(), String> {
        info!("Configuration reload triggered");
        match aside(&self.sink, Sink::reopen).await {
            Ok(true) => info!("the log file was opened anew"),
            Ok(false) => {}
            Err(e) => warn!("the log file cannot be opened anew, the old one stays in use: {e}"),
        }
        let Some(handle) = &self.handle else { return Ok(()) };
        let read = aside(&self.replan, |replan| replan()).await;
        let new = read.inspect_err(|e| warn!("the configuration stays as it was: {e}"))?;
        for w in &new.warnings {
            warn!("{w}");
        }
        if new.meta != self.plan.meta {
            handle.set_meta(new.meta.clone()).await.map_err(|e| e.to_string())?;
            self.plan.meta.clone_from(&new.meta);
            info!("node_meta is published as it is now");
        }
        if new.log.level != self.plan.log.level {
            // Said before or after, whichever lets it through.
            let tell = || info!("log_level changes: {:?}", new.log.level);
            let is_quieter = new.log.level > self.plan.log.level;
            if is_quieter {
                tell();
            }
            self.sink.set_level(new.log.level);
            if !is_quieter {
                tell();
            }
            self.plan.log.level = new.log.level;
        }
        match needs_restart(&self.plan, &new)[..] {
            [] => {}
            ref keys => warn!("a restart is needed for: {}", keys.join(", ")),
        }
        Ok(())
    }
}

impl Reloader {
    /// SIGUSR1: the counters that are not zero go to the log, as Consul's go to standard error.
    pub(super) async fn tell_metrics(&self) {
        let Some(handle) = &self.handle else { return };
        let Some(stats) = handle.stats().await else { return };
        let counted = stats.iter().filter(|(_, n)| *n > 0);
        let all: Vec<String> = counted.map(|(name, n)| format!("{name}={n}")).collect();
        info!("metrics (all of them: GET /v1/agent/metrics): {}", all.join(" "));
    }
}

/// Carries out what waits for a disk beside the event loop: the agent has to answer meanwhile.
async fn aside<T, R, E>(
    with: &T,
    work: impl FnOnce(&T) -> Result<R, E> + Send + 'static,
) -> Result<R, String>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
    E: ToString + Send + 'static,
{
    let with = with.clone();
    let done = tokio::task::spawn_blocking(move || work(&with).map_err(|e| e.to_string())).await;
    done.unwrap_or_else(|e| Err(e.to_string()))
}

/// The keys whose values differ and are read at the start only.
fn needs_restart(old: &Plan, new: &Plan) -> Vec<&'static str> {
    let all = [
        ("node_name", old.name != new.name),
        ("node_id", old.node_id != new.node_id),
        ("encrypt", old.keys != new.keys),
        ("datacenter", old.label != new.label),
        ("server, bootstrap, bootstrap_expect, ports.server", old.role != new.role),
        ("bind_addr, ports.serf_lan", old.bind != new.bind),
        ("advertise_addr", old.advertise != new.advertise && old.bind == new.bind),
        ("data_dir", old.data_dir != new.data_dir),
        ("domain", old.domain != new.domain),
        ("alt_domain", old.alt_domain != new.alt_domain),
        ("addresses.dns, ports.dns", old.dns_addrs != new.dns_addrs),
        ("addresses.http, ports.http", old.http_addrs != new.http_addrs),
        ("dns_config, recursors", old.dns != new.dns),
        ("start_join", old.start_join != new.start_join),
        ("retry_join", old.retry_join != new.retry_join),
        ("retry_interval", old.retry_interval != new.retry_interval),
        ("retry_max", old.retry_max != new.retry_max),
        ("rejoin_after_leave", old.rejoin_after_leave != new.rejoin_after_leave),
        ("disable_coordinates", old.disable_coordinates != new.disable_coordinates),
        ("protocol", old.protocol != new.protocol),
        ("reconnect_timeout", old.reconnect_timeout != new.reconnect_timeout),
        ("leave_on_terminate, skip_leave_on_interrupt", old.leave_on != new.leave_on),
        ("log_json", old.log.json != new.log.json),
        ("log_file", old.log.file != new.log.file),
        ("pid_file", old.pid_file != new.pid_file),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
