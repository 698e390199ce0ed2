//! A running agent: binds everything, starts the driver and the DNS and HTTP servers, and tells
//! why it ended. Whatever can fail at a start fails before [`Agent::start`] returns: addresses,
//! the data directory (its first write included), the configuration.

mod config;
mod error;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use quorate_core::{Config, ConfigError, Durable, Node, NodeId, Pairs};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    clock::{Clock, TokioClock},
    counters::IoCounters,
    dns::{DnsConfig, DnsServer},
    driver::{Disk, Driver, Parts, Publisher},
    handle::AgentHandle,
    http::{CounterSource, HttpConfig, HttpServer},
    persist::{DataDir, KEYRING, PersistError, Writer, random_id},
    retry::{self, RetryPolicy, Target},
    transport::{TokioNet, TokioUdp, bind_gossip, bind_tcp},
    view::AgentInfo,
};
pub use config::AgentConfig;
pub use error::{Service, StartError, Stopped};

/// At a shutdown the driver gets so long; it is ended by force then.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A running agent. Dropping it ends it in the background, without a leave.
#[derive(Debug)]
pub struct Agent {
    handle: AgentHandle,
    stopped: watch::Receiver<Option<Stopped>>,
    /// Dropped to end the driver.
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
    joiner: AbortOnDrop,
    dns: Option<DnsServer>,
    http: Option<HttpServer>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All sockets, bound.
struct Sockets {
    udp: TokioUdp,
    tcp: TcpListener,
    gossip: SocketAddr,
    dns_udp: Vec<UdpSocket>,
    dns_tcp: Vec<TcpListener>,
    dns_addrs: Vec<SocketAddr>,
    http: Vec<TcpListener>,
    http_addrs: Vec<SocketAddr>,
}

impl Agent {
    /// Starts an agent. When this returns it is bound, its identity is on disk, and it answers;
    /// joins go on in the background. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`StartError`]: nothing runs then.
    pub async fn start(config: AgentConfig) -> Result<Self, StartError> {
        let port = config.bind.port();
        let start_join = targets("start_join", &config.start_join, port)?;
        let retry_join = targets("retry_join", &config.retry_join, port)?;
        let (dir, durable) = open_data_dir(&config).await?;
        let config = with_stored_keys(config, dir.as_ref());
        let sockets = Sockets::bind(&config).await?;

        let clock = TokioClock::new();
        let mut node = make_node(&config, durable, sockets.gossip, &clock)?;
        let disk = first_save(&mut node, dir, &clock).await?;

        let (mut publisher, first) = Publisher::new(&node, config.label.clone());
        let info = agent_info(&config, &sockets, node.local().record.id);
        let advertise = info.advertise;
        let (handle, parts) = AgentHandle::new(info, first);
        publisher.connect(parts.view, parts.index);
        let io = Arc::new(IoCounters::default());
        let dns = start_dns(&handle, config.dns.clone(), sockets.dns_udp, sockets.dns_tcp)?;
        let http = start_http(&handle, &config, sockets.http, &io, dns.as_ref());

        tracing::debug!("gossip on {}, advertised as {advertise}", sockets.gossip);
        let driver = Driver::new(Parts {
            node,
            clock,
            net: TokioNet::new(sockets.gossip.ip()),
            udp: sockets.udp,
            listener: sockets.tcp,
            accepted_max: config.limits.streams,
            disk,
            publisher,
            requests: parts.requests,
            io,
            events: Arc::clone(handle.events()),
        });
        let (stop, stop_rx) = oneshot::channel();
        let (verdict, stopped) = watch::channel(None);
        let verdict = Arc::new(verdict);
        let driver = tokio::spawn(supervise(driver.run(stop_rx), Arc::clone(&verdict)));
        let policy = RetryPolicy { interval: config.retry_interval, max: config.retry_max };
        let joining = retry::run(handle.clone(), start_join, retry_join, policy);
        let joiner = AbortOnDrop(tokio::spawn(async move {
            if let Some(stopped) = joining.await {
                decide(&verdict, stopped);
            }
        }));
        Ok(Self { handle, stopped, stop, driver, joiner, dns, http })
    }

    /// A handle on it, for reads and commands.
    pub const fn handle(&self) -> &AgentHandle {
        &self.handle
    }

    /// Waits until the agent ends by itself (or cannot go on), and tells why. What still runs
    /// then (the servers, or all of it) ends with [`Agent::shutdown`]. Cancel safe.
    pub async fn stopped(&mut self) -> Stopped {
        match self.stopped.wait_for(Option::is_some).await {
            Ok(stopped) => stopped.clone().unwrap_or(Stopped::Shutdown),
            // Both tasks are gone without a word: they panicked, and the log has it.
            Err(_) => Stopped::Fatal { reason: "the agent's task ended unexpectedly".to_owned() },
        }
    }

    /// Ends everything without leaving the cluster (others will see a failure unless it has left
    /// before); returns when all has ended and the last state is on disk. Idempotent by nature:
    /// what has ended already is not waited for.
    pub async fn shutdown(self) {
        let Self { stop, mut driver, joiner, dns, http, .. } = self;
        drop((stop, joiner));
        let servers = async {
            if let Some(http) = http {
                http.shutdown().await;
            }
            if let Some(dns) = dns {
                dns.shutdown().await;
            }
        };
        let driver = async {
            if timeout(SHUTDOWN_TIMEOUT, &mut driver).await.is_err() {
                tracing::error!("the agent's task did not end in time: ended by force");
                driver.abort();
            }
        };
        tokio::join!(servers, driver);
    }
}

/// The first verdict stays.
fn decide(verdict: &watch::Sender<Option<Stopped>>, stopped: Stopped) {
    verdict.send_if_modified(|v| {
        let first = v.is_none();
        if first {
            *v = Some(stopped);
        }
        first
    });
}

/// Tells how the driver ended, also if it panicked.
async fn supervise(
    driver: impl Future<Output = Stopped> + Send + 'static,
    verdict: Arc<watch::Sender<Option<Stopped>>>,
) {
    let stopped = match tokio::spawn(driver).await {
        Ok(stopped) => stopped,
        Err(e) => Stopped::Fatal { reason: format!("the agent's task broke: {e}") },
    };
    decide(&verdict, stopped);
}

fn targets(
    setting: &'static str,
    texts: &[String],
    default_port: u16,
) -> Result<Vec<Target>, StartError> {
    let parse = |text: &String| {
        Target::parse(text, default_port).map_err(|e| StartError::JoinTarget {
            target: text.clone(),
            setting,
            reason: e.to_string(),
        })
    };
    texts.iter().map(parse).collect()
}

/// Identity and generation from disk, or new ones if nothing is kept.
async fn open_data_dir(config: &AgentConfig) -> Result<(Option<DataDir>, Durable), StartError> {
    let node_id = config.node_id;
    match config.data_dir.clone() {
        None => {
            let id = node_id.map_or_else(random_id, Ok)?;
            Ok((None, Durable::new(id)))
        }
        Some(path) => {
            let opened = blocking(move || DataDir::open(&path, node_id)).await?;
            Ok((Some(opened.0), opened.1))
        }
    }
}

/// The keyring of the data directory wins over `-encrypt`: it is what the cluster was told last.
fn with_stored_keys(mut config: AgentConfig, dir: Option<&DataDir>) -> AgentConfig {
    let Some((dir, stored)) = dir.and_then(|d| Some((d, d.keys()?))) else { return config };
    let file = dir.path().join(KEYRING);
    match &config.keys {
        Some(given) if given.primary() == stored.primary() => {}
        Some(_) => tracing::warn!(
            "the key of -encrypt is not used: the keyring in {} was changed and wins \
             (remove the file to start with -encrypt)",
            file.display()
        ),
        None => tracing::info!("using the keyring in {}", file.display()),
    }
    config.keys = Some(stored.clone());
    config
}

async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, PersistError> + Send + 'static,
) -> Result<T, PersistError> {
    tokio::task::spawn_blocking(f)
        .await
        .unwrap_or_else(|e| Err(PersistError::Thread(e.to_string())))
}

fn make_node(
    config: &AgentConfig,
    durable: Durable,
    gossip: SocketAddr,
    clock: &TokioClock,
) -> Result<Node, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Random)?;
    let mut tuning = config.tuning.clone();
    tuning.reconnect_timeout = config.reconnect_timeout;
    let core = Config {
        name: config.name.clone(),
        addr: advertised(config.advertise, gossip),
        label: config.label.clone(),
        keys: config.keys.clone(),
        role: config.role,
        tags: Pairs::new([("build", config.version.as_str())])?,
        meta: config.meta.clone(),
        durable,
        rejoin_after_leave: config.rejoin_after_leave,
        tuning: Arc::new(tuning),
        limits: Arc::new(config.limits.clone()),
    };
    if core.addr.ip().is_multicast() {
        return Err(ConfigError::Address(core.addr).into());
    }
    Ok(Node::new(core, seed, clock.now())?)
}

/// The advertised address; what it leaves open comes from the bound one.
fn advertised(advertise: SocketAddr, bound: SocketAddr) -> SocketAddr {
    let port = if advertise.port() == 0 { bound.port() } else { advertise.port() };
    SocketAddr::new(advertise.ip(), port)
}

/// Does the first save as part of the start: a full or read-only disk shows now.
async fn first_save(
    node: &mut Node,
    dir: Option<DataDir>,
    clock: &TokioClock,
) -> Result<Disk, StartError> {
    let Some(mut dir) = dir else { return Ok(Disk::None) };
    if let Some(p) = node.poll_persist() {
        let (state, keys) = (p.state, p.keys);
        dir = blocking(move || {
            keys.iter().try_for_each(|k| dir.save_keys(k))?;
            dir.save(&state).map(|()| dir)
        })
        .await?;
        node.handle_persisted(clock.now(), p.token);
    }
    Ok(Disk::Writer(Writer::start(dir)))
}

impl Sockets {
    async fn bind(config: &AgentConfig) -> Result<Self, StartError> {
        let failed = |service, addr| move |source| StartError::Bind { service, addr, source };
        let (udp, tcp) = bind_gossip(config.bind).await.map_err(|(is_udp, e)| {
            let service = if is_udp { Service::GossipUdp } else { Service::GossipTcp };
            failed(service, config.bind)(e)
        })?;
        let gossip = udp.local_addr().map_err(failed(Service::GossipUdp, config.bind))?;
        let (mut dns_udp, mut dns_tcp, mut dns_addrs) = (Vec::new(), Vec::new(), Vec::new());
        for &addr in &config.dns_addrs {
            let u = UdpSocket::bind(addr).await.map_err(failed(Service::DnsUdp, addr))?;
            let bound = u.local_addr().map_err(failed(Service::DnsUdp, addr))?;
            dns_tcp.push(bind_tcp(bound).map_err(failed(Service::DnsTcp, bound))?);
            dns_udp.push(u);
            dns_addrs.push(bound);
        }
        let (mut http, mut http_addrs) = (Vec::new(), Vec::new());
        for &addr in &config.http_addrs {
            let l = bind_tcp(addr).map_err(failed(Service::Http, addr))?;
            http_addrs.push(l.local_addr().map_err(failed(Service::Http, addr))?);
            http.push(l);
        }
        Ok(Self { udp, tcp, gossip, dns_udp, dns_tcp, dns_addrs, http, http_addrs })
    }
}

fn agent_info(config: &AgentConfig, sockets: &Sockets, id: NodeId) -> AgentInfo {
    AgentInfo {
        encrypted: config.keys.is_some(),
        version: config.version.clone(),
        revision: config.revision.clone(),
        name: config.name.clone(),
        id,
        label: config.label.clone(),
        role: config.role,
        advertise: advertised(config.advertise, sockets.gossip),
        domain: config.domain.clone(),
        alt_domain: config.alt_domain.clone(),
        dns_addrs: sockets.dns_addrs.clone(),
        http_addrs: sockets.http_addrs.clone(),
    }
}

fn start_dns(
    handle: &AgentHandle,
    config: DnsConfig,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
) -> Result<Option<DnsServer>, StartError> {
    if udp.is_empty() && tcp.is_empty() {
        return Ok(None);
    }
    DnsServer::start(handle.clone(), config, udp, tcp)
        .map(Some)
        .map_err(|e| StartError::Server { service: Service::DnsUdp, reason: e.to_string() })
}

fn start_http(
    handle: &AgentHandle,
    config: &AgentConfig,
    listeners: Vec<TcpListener>,
    io: &Arc<IoCounters>,
    dns: Option<&DnsServer>,
) -> Option<HttpServer> {
    if listeners.is_empty() {
        return None;
    }
    let io = Arc::clone(io);
    let mut counters: Vec<Arc<dyn CounterSource>> =
        vec![Arc::new(move || io.iter().collect::<Vec<_>>())];
    if let Some(dns) = dns.map(DnsServer::counters) {
        counters.push(Arc::new(move || dns.iter().collect::<Vec<_>>()));
    }
    let (data_dir, reload) = (config.data_dir.clone(), config.reload.clone());
    let config = HttpConfig { data_dir, counters, reload, ..HttpConfig::default() };
    Some(HttpServer::start(handle.clone(), listeners, config))
}
