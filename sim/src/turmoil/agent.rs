//! What runs on a host of turmoil: the agent's driver, its DNS and HTTP, and an operator's hand.
//!
//! A [`Slot`] is how the controller and the software of one host meet. The controller puts a
//! [`Launch`] in before it boots the host; without one, the host runs and nobody listens.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::turmoil::net::{TcpListener, UdpSocket};
use net_tokio::{
    clock::Clock,
    counters::IoCounters,
    dns::{DnsConfig, Responder, Transport, Zone, reply_to_packet},
    driver::{Disk, Driver, Parts, Publisher},
    handle::{AgentHandle, RequestError},
    http::{HttpConfig, HttpStreams},
    view::AgentInfo,
};
use quorate_core::{Config, Counter, Durable, Label, Name, Node, Record};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

use super::{
    clock::SimClock,
    fabric::{Fabric, GOSSIP_PORT},
    socket::{SimListener, SimNet, SimUdp},
};

/// Where each agent answers DNS.
pub(super) const DNS_PORT: u16 = 8600;
/// Where each agent answers HTTP.
pub(super) const HTTP_PORT: u16 = 8500;
/// A longer query is none.
const MAX_QUERY_BYTES: usize = 4096;
/// A join that did not work is tried again after this.
const JOIN_RETRY: Duration = Duration::from_secs(2);
/// The node's counters are looked at this often, if anybody wants to know.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// What an operator asks for.
#[derive(Debug)]
pub(super) enum Order {
    /// Contact these nodes in turn, until one answers.
    Join(Vec<u32>),
    /// Leave.
    Leave,
    /// Declare this name as left.
    ForceLeave(Name),
}

/// A process to be started.
#[derive(Debug)]
pub(super) struct Launch {
    pub number: u32,
    pub config: Config,
    pub seed: [u8; 32],
    pub disk: Arc<Mutex<Durable>>,
    pub clock: SimClock,
    pub fabric: Fabric,
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Look at the node's counters now and then.
    pub counts: bool,
}

/// What the software of a host tells the controller.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The running agent.
    pub handle: Option<AgentHandle>,
    /// The process ended by itself.
    pub ended: bool,
    /// Why it could not start, or broke.
    pub broken: Option<String>,
    /// A join did not work.
    pub join_refused: bool,
    /// Counters that were above zero.
    pub counted: Vec<Counter>,
}

/// Where the controller and the software of a host meet.
#[derive(Debug, Default)]
pub(super) struct Slot {
    next: Mutex<Option<Launch>>,
    told: Mutex<Told>,
    count_now: Notify,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// What the next boot of the host starts; what the last process told is forgotten.
    pub(super) fn load(&self, launch: Option<Launch>) {
        *lock(&self.next) = launch;
        let mut told = self.told();
        (told.handle, told.ended) = (None, false);
    }

    /// What the process told.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// Asks the process to look at its counters now.
    pub(super) fn count_now(&self) {
        self.count_now.notify_one();
    }
}

/// The software of a host. Never ends by itself: the host stays when the process ends.
pub(super) async fn software(slot: Arc<Slot>) -> ::turmoil::Result {
    let launch = lock(&slot.next).take();
    if let Some(launch) = launch {
        if let Err(why) = process(launch, &slot).await {
            slot.told().broken = Some(why);
        }
        let mut told = slot.told();
        (told.handle, told.ended) = (None, true);
    }
    std::future::pending().await
}

fn info(own: &Record, label: Label) -> AgentInfo {
    let at = |port| vec![SocketAddr::new(own.addr.ip(), port)];
    AgentInfo {
        encrypted: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: String::new(),
        name: own.name.clone(),
        id: own.id,
        label,
        role: own.role,
        advertise: own.addr,
        domain: "consul".to_owned(),
        alt_domain: None,
        dns_addrs: at(DNS_PORT),
        http_addrs: at(HTTP_PORT),
    }
}

/// An agent's process, from start to end.
async fn process(launch: Launch, slot: &Arc<Slot>) -> Result<(), String> {
    let Launch { number, config, seed, disk, clock, fabric, mut orders, counts } = launch;
    let net = SimNet { me: number, fabric: fabric.clone() };
    let bound = |e: io::Error| format!("cannot bind: {e}");
    let socket = UdpSocket::bind(any(GOSSIP_PORT)).await.map_err(bound)?;
    let listener = TcpListener::bind(any(GOSSIP_PORT)).await.map_err(bound)?;
    let dns = UdpSocket::bind(any(DNS_PORT)).await.map_err(bound)?;
    let http = TcpListener::bind(any(HTTP_PORT)).await.map_err(bound)?;

    let (label, accepted_max) = (config.label.clone(), config.limits.streams);
    let node = Node::new(config, seed, clock.now()).map_err(|e| e.to_string())?;
    let (mut publisher, first) = Publisher::new(&node, label.clone());
    let info = info(node.local().record.as_ref(), label);
    let (handle, parts) = AgentHandle::new(info, first);
    publisher.connect(parts.view, parts.index);
    let zone = Zone::new(&handle.info, DnsConfig::default()).map_err(|e| e.to_string())?;

    // They end with the process: the set aborts them when it is dropped.
    let mut servers = JoinSet::new();
    servers.spawn(serve_dns(dns, Arc::new(Responder::new(handle.clone(), zone, 1))));
    servers.spawn(serve_http(http, HttpStreams::new(handle.clone(), HttpConfig::default())));
    if counts {
        servers.spawn(count(handle.clone(), Arc::clone(slot)));
    }
    let driver = Driver::new(Parts {
        node,
        clock,
        net: net.clone(),
        udp: SimUdp { socket: Arc::new(socket), net: net.clone() },
        listener: SimListener { listener, net },
        accepted_max,
        disk: Disk::Memory(disk),
        publisher,
        requests: parts.requests,
        io: Arc::new(IoCounters::default()),
        events: Arc::clone(handle.events()),
    });
    let (_stop, stopped) = oneshot::channel();
    let mut driver = tokio::spawn(driver.run(stopped));
    slot.told().handle = Some(handle.clone());
    let mut joiner = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            ended = &mut driver => return ended.map(|_| ()).map_err(|e| e.to_string()),
            Some(order) = orders.recv() => match order {
                Order::Join(targets) => {
                    joiner.abort_all();
                    joiner.spawn(join(handle.clone(), targets, fabric.clone(), Arc::clone(slot)));
                }
                Order::Leave => {
                    let handle = handle.clone();
                    servers.spawn(async move { drop(handle.leave().await) });
                }
                Order::ForceLeave(name) => {
                    let handle = handle.clone();
                    servers.spawn(async move { drop(handle.force_leave(name, false).await) });
                }
            },
        }
    }
}

const fn any(port: u16) -> (Ipv4Addr, u16) {
    (Ipv4Addr::UNSPECIFIED, port)
}

/// Contacts the targets in turn, at the addresses that they have then.
async fn join(handle: AgentHandle, targets: Vec<u32>, fabric: Fabric, slot: Arc<Slot>) {
    for n in targets.iter().cycle() {
        let Some(addr) = fabric.addr(*n) else { return };
        match handle.join(addr).await {
            Ok(_) | Err(RequestError::Stopped) => return,
            Err(_) => slot.told().join_refused = true,
        }
        sleep(JOIN_RETRY).await;
    }
}

async fn count(handle: AgentHandle, slot: Arc<Slot>) {
    while let Some(stats) = handle.stats().await {
        {
            let mut told = slot.told();
            for c in Counter::ALL {
                if stats.get(*c) > 0 && !told.counted.contains(c) {
                    told.counted.push(*c);
                }
            }
        }
        tokio::select! {
            biased;
            () = slot.count_now.notified() => {}
            () = sleep(COUNT_INTERVAL) => {}
        }
    }
}

async fn serve_dns(socket: UdpSocket, responder: Arc<Responder>) {
    let mut buf = vec![0; MAX_QUERY_BYTES];
    loop {
        let Ok((n, from)) = socket.recv_from(&mut buf).await else { return };
        let Some(packet) = buf.get(..n) else { continue };
        if let Some(reply) = reply_to_packet(&responder, packet, from, Transport::Udp).await {
            // A client that cannot be reached does not get its answer.
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

async fn serve_http(listener: TcpListener, streams: HttpStreams) {
    let streams = Arc::new(streams);
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { return };
        let streams = Arc::clone(&streams);
        open.spawn(async move { streams.serve(stream).await });
    }
}
