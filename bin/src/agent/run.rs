//! The life of an agent's process: start, banner, signals, end.

use std::{future, io, process::ExitCode, thread, time::Duration};

use net_tokio::{
    agent::{Agent, AgentConfig, Stopped},
    http::ReloadSender,
    view::AgentInfo,
};
use quorate_core::{Role, Tuning};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{error, info, warn};

use super::{
    log::Sink,
    refuse,
    reload::{Reloader, Replan},
};
use crate::{
    cli,
    config::plan::{LeaveOn, Plan},
};

/// A leave by signal that takes longer is given up.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Sockets and disk are closed within this.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// What asks the process to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP, or a request.
    Reload,
    /// SIGUSR1.
    Metrics,
    /// Standard input ended, in a child of `demo`.
    StdinEnded,
}

/// All that may ask.
struct Asks {
    ends: Ends,
    hangup: Signal,
    metrics: Signal,
    /// Requests to reload.
    reloads: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
    /// Who waits for the outcome of the one that came last.
    waiting: Option<oneshot::Sender<Result<(), String>>>,
}

/// What asks for the end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    stdin: Option<oneshot::Receiver<()>>,
}

impl Ends {
    async fn next(&mut self) -> Ask {
        let stdin = async {
            match &mut self.stdin {
                Some(ended) => {
                    let _ = ended.await;
                    self.stdin = None;
                }
                None => future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Ask::Interrupt,
            _ = self.terminate.recv() => Ask::Terminate,
            () = stdin => Ask::StdinEnded,
        }
    }
}

impl Asks {
    fn new(until_stdin_ends: bool) -> io::Result<(Self, ReloadSender)> {
        let (sender, reloads) = mpsc::channel(1);
        let ends = Ends {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            stdin: until_stdin_ends.then(watch_stdin),
        };
        let hangup = signal(SignalKind::hangup())?;
        let metrics = signal(SignalKind::user_defined1())?;
        Ok((Self { ends, hangup, metrics, reloads, waiting: None }, sender))
    }

    async fn next(&mut self) -> Ask {
        tokio::select! {
            end = self.ends.next() => end,
            _ = self.hangup.recv() => Ask::Reload,
            _ = self.metrics.recv() => Ask::Metrics,
            Some(waiting) = self.reloads.recv() => {
                self.waiting = Some(waiting);
                Ask::Reload
            }
        }
    }

    /// The next one that wants the process to end; a reload that hangs on a disk does not keep it.
    async fn next_end(&mut self, reloader: &mut Reloader) -> Ask {
        loop {
            match self.next().await {
                Ask::Reload => {
                    let done = tokio::select! {
                        done = reloader.reload() => done,
                        end = self.ends.next() => return end,
                    };
                    if let Some(waiting) = self.waiting.take() {
                        let _ = waiting.send(done);
                    }
                }
                Ask::Metrics => reloader.tell_metrics().await,
                end => return end,
            }
        }
    }
}

/// Reads standard input to its end on a thread of its own: a pipe cannot be polled everywhere.
fn watch_stdin() -> oneshot::Receiver<()> {
    let (tx, rx) = oneshot::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tx.send(());
    });
    rx
}

/// Runs an agent to its end.
pub(super) async fn run(
    plan: Plan,
    sink: Sink,
    replan: Replan,
    until_stdin_ends: bool,
) -> ExitCode {
    let (mut asks, reloads) = match Asks::new(until_stdin_ends) {
        Ok(asks) => asks,
        Err(e) => return refuse(&format!("signals cannot be received: {e}")),
    };
    for w in &plan.warnings {
        warn!("{w}");
    }
    let leave_on = plan.leave_on;
    let mut reloader = Reloader { replan, plan: plan.clone(), sink, handle: None };
    let started = tokio::select! {
        started = Agent::start(agent_config(plan, reloads)) => started,
        ask = asks.next_end(&mut reloader) => {
            warn!("asked to end ({ask:?}) before the agent had started");
            return ExitCode::FAILURE;
        }
    };
    let mut agent = match started {
        Ok(agent) => agent,
        Err(e) => return refuse(&e.to_string()),
    };
    reloader.handle = Some(agent.handle().clone());
    cli::print(&banner(&agent.handle().info));
    let ask = tokio::select! {
        biased;
        stopped = agent.stopped() => return ended(agent, asks, &stopped).await,
        ask = asks.next_end(&mut reloader) => ask,
    };
    if !leaves(ask, leave_on) {
        info!("{ask:?}: ending without a leave; other members will see a failure");
        close(agent, asks).await;
        return ExitCode::FAILURE;
    }
    info!("{ask:?}: leaving the cluster; a second signal ends the agent at once");
    leave(agent, asks, &mut reloader).await
}

/// Does this request mean a leave?
fn leaves(ask: Ask, on: LeaveOn) -> bool {
    match ask {
        Ask::Interrupt => on.interrupt,
        Ask::Terminate => on.terminate,
        Ask::Reload | Ask::Metrics | Ask::StdinEnded => false,
    }
}

async fn leave(mut agent: Agent, mut asks: Asks, reloader: &mut Reloader) -> ExitCode {
    let handle = agent.handle().clone();
    let gone = async {
        if let Err(e) = handle.leave().await {
            // It may be leaving already, by command: then it ends all the same.
            warn!("leave: {e}");
        }
        agent.stopped().await
    };
    let stopped = tokio::select! {
        biased;
        stopped = timeout(LEAVE_TIMEOUT, gone) => stopped,
        ask = asks.next_end(reloader) => {
            warn!("{ask:?}: ending at once, in the middle of a leave");
            return ExitCode::FAILURE;
        }
    };
    match stopped {
        Ok(stopped) => ended(agent, asks, &stopped).await,
        Err(_) => {
            error!("the leave did not end within {} seconds", LEAVE_TIMEOUT.as_secs());
            ExitCode::FAILURE
        }
    }
}

/// Closes sockets and disk, so that requests under way (a `leave` by command) get their answer.
/// A signal cuts it short.
async fn close(agent: Agent, mut asks: Asks) {
    let cut_short = async { while matches!(asks.next().await, Ask::Reload | Ask::Metrics) {} };
    tokio::select! {
        biased;
        closed = timeout(SHUTDOWN_TIMEOUT, agent.shutdown()) => {
            if closed.is_err() {
                warn!("not all was closed in time");
            }
        }
        () = cut_short => {}
    }
}

/// Tells why the agent ended; the exit code that goes with it.
async fn ended(agent: Agent, asks: Asks, stopped: &Stopped) -> ExitCode {
    close(agent, asks).await;
    if stopped.is_wanted() {
        info!("{stopped}");
        return ExitCode::SUCCESS;
    }
    error!("{stopped}");
    refuse(&stopped.to_string())
}

fn agent_config(plan: Plan, reloads: ReloadSender) -> AgentConfig {
    let base = AgentConfig::new(plan.name, plan.label, plan.bind);
    let (coordinates, protocol) = (!plan.disable_coordinates, plan.protocol);
    let tuning = Tuning { coordinates, protocol, ..base.tuning };
    AgentConfig {
        tuning,
        reload: Some(reloads),
        keys: plan.keys,
        node_id: plan.node_id,
        role: plan.role,
        advertise: plan.advertise,
        data_dir: plan.data_dir,
        meta: plan.meta,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        domain: plan.domain,
        alt_domain: plan.alt_domain,
        dns_addrs: plan.dns_addrs,
        http_addrs: plan.http_addrs,
        dns: plan.dns,
        start_join: plan.start_join,
        retry_join: plan.retry_join,
        retry_interval: plan.retry_interval,
        retry_max: plan.retry_max,
        rejoin_after_leave: plan.rejoin_after_leave,
        reconnect_timeout: plan.reconnect_timeout.unwrap_or(base.reconnect_timeout),
        ..base
    }
}

/// What an operator wants to see first.
fn banner(info: &AgentInfo) -> String {
    let list = |addrs: &[std::net::SocketAddr]| match addrs {
        [] => "off".to_owned(),
        addrs => addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let server = match info.role {
        Role::Client => "false".to_owned(),
        Role::Server { expect, bootstrap, .. } => {
            format!("true (bootstrap: {bootstrap}, expect: {expect})")
        }
    };
    let rows = [
        ("Version", format!("v{}", info.version)),
        ("Node ID", info.id.to_string()),
        ("Node name", info.name.to_string()),
        ("Datacenter", info.label.to_string()),
        ("Server", server),
        ("HTTP", list(&info.http_addrs)),
        ("DNS", list(&info.dns_addrs)),
        ("Cluster", info.advertise.to_string()),
        ("Encrypted", if info.encrypted { "yes" } else { "no" }.to_owned()),
    ];
    let mut out = String::from("==> Quorate agent running!\n");
    for (key, value) in rows {
        out.push_str(&format!("{key:>13}: {value}\n"));
    }
    out.push_str("\n==> Log lines follow:\n\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::NodeId;

    #[test]
    fn the_banner_has_all_facts() {
        let mut info = AgentInfo {
            encrypted: false,
            version: "0.1.0".into(),
            revision: String::new(),
            name: "n1".parse().unwrap(),
            id: NodeId::from_bytes([7; 16]),
            label: "dc1".parse().unwrap(),
            role: Role::Server { port: 8300, expect: 1, bootstrap: false },
            advertise: "10.0.0.1:8301".parse().unwrap(),
            domain: "consul".into(),
            alt_domain: None,
            dns_addrs: vec!["127.0.0.1:8600".parse().unwrap(), "[::1]:8600".parse().unwrap()],
            http_addrs: Vec::new(),
        };
        insta::assert_snapshot!(banner(&info), @r"
        ==> Quorate agent running!
              Version: v0.1.0
              Node ID: 07070707-0707-0707-0707-070707070707
            Node name: n1
           Datacenter: dc1
               Server: true (bootstrap: false, expect: 1)
                 HTTP: off
                  DNS: 127.0.0.1:8600 [::1]:8600
              Cluster: 10.0.0.1:8301
            Encrypted: no

        ==> Log lines follow:

        ");
        info.role = Role::Client;
        info.encrypted = true;
        let text = banner(&info);
        assert!(text.contains("       Server: false\n") && text.contains("    Encrypted: yes\n"));
    }

    #[test]
    fn only_what_should_leave_does() {
        let on = LeaveOn { interrupt: true, terminate: false };
        assert!(leaves(Ask::Interrupt, on));
        assert!(!leaves(Ask::Terminate, on));
        assert!(!leaves(Ask::StdinEnded, LeaveOn { interrupt: true, terminate: true }));
    }
}
