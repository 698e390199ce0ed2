//! Real agents in one process, on free ports of 127.0.0.1.

use super::*;
use crate::view::{Member, Status};
use quorate_core::{Counter, Label, Name, Tuning};
use std::{net::Ipv4Addr, path::Path};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep},
};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(name: &str) -> AgentConfig {
    let addr = (Ipv4Addr::LOCALHOST, 0).into();
    let mut c = AgentConfig::new(Name::new(name).unwrap(), Label::new("dc1").unwrap(), addr);
    c.tuning = Tuning {
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(100),
        gossip_interval: Duration::from_millis(50),
        ..Tuning::default()
    };
    c.retry_interval = Duration::from_millis(100);
    c
}

async fn start(name: &str) -> Agent {
    Agent::start(config(name)).await.unwrap()
}

fn gossip(a: &Agent) -> SocketAddr {
    a.handle().info.advertise
}

fn status(a: &Agent, name: &str) -> Option<Status> {
    a.handle().view().by_name(name).map(|m| m.status)
}

/// Waits until `a` holds `name` to be `want`.
async fn until(a: &Agent, name: &str, want: Status) -> Member {
    let started = Instant::now();
    let mut index = 0;
    loop {
        let view = a.handle().changed_since(index, Duration::from_millis(200)).await;
        index = view.index;
        let found = view.by_name(name);
        if let Some(m) = found.filter(|m| m.status == want) {
            return m.clone();
        }
        let now = found.map(|m| m.status);
        assert!(started.elapsed() < PATIENCE, "{name} is {now:?}, not {want:?}");
    }
}

/// A cluster of two that know each other.
async fn pair() -> (Agent, Agent) {
    let (a, b) = (start("n1").await, start("n2").await);
    a.handle().join(gossip(&b)).await.unwrap();
    until(&a, "n2", Status::Alive).await;
    until(&b, "n1", Status::Alive).await;
    (a, b)
}

#[tokio::test]
async fn three_agents_join_and_one_leaves() {
    let (a, mut b) = pair().await;
    let c = start("n3").await;
    c.handle().join(gossip(&a)).await.unwrap();
    for agent in [&a, &b, &c] {
        for name in ["n1", "n2", "n3"] {
            let m = until(agent, name, Status::Alive).await;
            assert_eq!(m.record.tags.get("build"), Some(env!("CARGO_PKG_VERSION")));
        }
        assert_eq!(agent.handle().view().members().len(), 3);
    }
    let started = Instant::now();
    let confirmed = b.handle().leave().await.unwrap();
    assert!(confirmed > 0);
    // While it lingers it can still be asked, and says so itself.
    assert_eq!(status(&b, "n2"), Some(Status::Left));
    assert_eq!(b.stopped().await, Stopped::Left { confirmed });
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(b.handle().join(gossip(&a)).await, Err(crate::handle::RequestError::Stopped));
    for agent in [&a, &c] {
        until(agent, "n2", Status::Left).await;
    }
    for agent in [a, b, c] {
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn a_lone_agent_is_alive_and_leaves_at_once() {
    let mut a = start("n1").await;
    let view = a.handle().view();
    assert_eq!((view.index > 0, status(&a, "n1")), (true, Some(Status::Alive)));
    assert_eq!(a.handle().leave().await, Ok(0));
    assert_eq!(a.stopped().await, Stopped::Left { confirmed: 0 });
    a.shutdown().await;
}

fn on_disk(name: &str, dir: &Path, port: u16) -> AgentConfig {
    let mut c = config(name);
    c.data_dir = Some(dir.to_owned());
    c.bind.set_port(port);
    c
}

/// Bytes of the larger slot: it grows with the peers in it.
fn saved_bytes(dir: &Path) -> u64 {
    let size = |slot| std::fs::metadata(dir.join(slot)).map_or(0, |m| m.len());
    size("state.0").max(size("state.1"))
}

/// Waits until the peers are saved, some time after they became known.
async fn until_saved(dir: &Path, empty: u64) {
    let started = Instant::now();
    while saved_bytes(dir) <= empty {
        assert!(started.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_killed_agent_comes_back_by_itself_and_one_that_left_does_not() {
    let tmp = tempfile::tempdir().unwrap();
    let a = start("n1").await;
    let b = Agent::start(on_disk("n2", tmp.path(), 0)).await.unwrap();
    let (id, port) = (b.handle().info.id, gossip(&b).port());
    let empty = saved_bytes(tmp.path());
    b.handle().join(gossip(&a)).await.unwrap();
    let first = until(&a, "n2", Status::Alive).await.record.version.generation;
    until_saved(tmp.path(), empty).await;
    b.shutdown().await;

    let mut b = Agent::start(on_disk("n2", tmp.path(), port)).await.unwrap();
    assert_eq!(b.handle().info.id, id);
    until(&b, "n1", Status::Alive).await;
    let started = Instant::now();
    loop {
        let m = until(&a, "n2", Status::Alive).await;
        if m.record.version.generation > first {
            break;
        }
        assert!(started.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }

    b.handle().leave().await.unwrap();
    b.stopped().await;
    b.shutdown().await;
    let mut b = Agent::start(on_disk("n2", tmp.path(), port)).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(status(&b, "n1"), None);

    b.handle().join(gossip(&a)).await.unwrap();
    until_saved(tmp.path(), empty).await;
    b.handle().leave().await.unwrap();
    b.stopped().await;
    b.shutdown().await;
    let mut again = on_disk("n2", tmp.path(), port);
    again.rejoin_after_leave = true;
    let b = Agent::start(again).await.unwrap();
    until(&b, "n1", Status::Alive).await;
    b.shutdown().await;
    a.shutdown().await;
}

#[tokio::test]
async fn a_failed_member_is_noticed_and_can_be_forced_out() {
    let (a, b) = pair().await;
    b.shutdown().await;
    until(&a, "n2", Status::Failed).await;
    let unknown = a.handle().force_leave(Name::new("x").unwrap(), false).await.unwrap_err();
    assert_eq!(unknown.to_string(), "No node found with name 'x'");
    a.handle().force_leave(Name::new("n2").unwrap(), false).await.unwrap();
    until(&a, "n2", Status::Left).await;
    a.shutdown().await;
}

#[tokio::test]
async fn start_join_in_vain_ends_the_agent_and_retry_join_waits() {
    // Bound and deaf: nobody else can take the port while this lives.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = deaf.local_addr().unwrap();
    let mut c = config("n1");
    c.start_join = vec![dead.to_string()];
    let mut a = Agent::start(c).await.unwrap();
    let stopped = a.stopped().await;
    assert!(!stopped.is_wanted());
    assert!(stopped.to_string().contains(&format!("{dead}: connection refused")), "{stopped}");
    a.shutdown().await;

    let mut c = config("n1");
    c.retry_join = vec![dead.to_string()];
    c.retry_max = 2;
    let mut a = Agent::start(c.clone()).await.unwrap();
    assert_eq!(a.stopped().await, Stopped::RetryJoinExhausted { attempts: 2 });
    a.shutdown().await;

    c.retry_max = 0;
    let a = Agent::start(c).await.unwrap();
    let mut late = config("n2");
    late.bind = dead;
    drop(deaf);
    let b = Agent::start(late).await.unwrap();
    until(&b, "n1", Status::Alive).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_start_that_cannot_be_names_the_place_and_the_way_out() {
    let tmp = tempfile::tempdir().unwrap();
    let a = Agent::start(on_disk("n1", tmp.path(), 0)).await.unwrap();
    let mut taken = config("n2");
    taken.bind = gossip(&a);
    let mut elsewhere = config("n2");
    elsewhere.bind = "192.0.2.1:0".parse().unwrap();
    let mut http = config("n2");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    http.http_addrs = vec![busy.local_addr().unwrap()];
    let mut target = config("n2");
    target.retry_join = vec!["a b".to_owned()];
    let mut nowhere = config("n2");
    nowhere.advertise = "0.0.0.0:8301".parse().unwrap();
    let full = on_disk("n2", Path::new("/dev/null/x"), 0);
    for (c, words) in [
        (taken, vec![gossip(&a).to_string(), "-serf-lan-port".into()]),
        (elsewhere, vec!["192.0.2.1:0".into(), "-bind".into()]),
        (http.clone(), vec![http.http_addrs[0].to_string(), "-http-port".into()]),
        (target, vec!["'a b'".into(), "retry_join".into()]),
        (nowhere, vec!["0.0.0.0:8301".into()]),
        (full, vec!["/dev/null/x".into(), "-data-dir".into()]),
        (on_disk("n2", tmp.path(), 0), vec!["in use".into()]),
    ] {
        let e = Agent::start(c).await.err().map(|e| e.to_string()).unwrap_or_default();
        for word in words {
            assert!(e.contains(&word), "{word} is not in: {e}");
        }
    }
    a.shutdown().await;
}

#[tokio::test]
async fn garbage_and_half_open_streams_change_nothing() {
    let (a, b) = pair().await;
    let to = gossip(&a);
    let before = a.handle().view();
    let mut seed = 1_u64;
    let mut junk = |len: usize| -> Vec<u8> {
        let step = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..len).map(step).collect()
    };
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for len in 0..600 {
        udp.send_to(&junk(len * 7 % 2000), to).await.unwrap();
    }
    // More than are allowed; silent ones, and ones that talk nonsense.
    let mut half_open = Vec::new();
    for i in 0..300 {
        let s = TcpStream::connect(to).await.unwrap();
        if i % 2 == 0 {
            let _ = s.try_write(&junk(100));
        }
        half_open.push(s);
    }
    let mut last = half_open.pop().unwrap();
    let ended = timeout(PATIENCE, last.read(&mut [0; 64])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    let stats = a.handle().stats().await.unwrap();
    assert!(stats.get(Counter::DropNotOurs) + stats.get(Counter::DropChecksum) > 0);
    drop(half_open);

    let c = start("n3").await;
    let started = Instant::now();
    while let Err(e) = c.handle().join(to).await {
        assert!(started.elapsed() < PATIENCE, "{e}");
        sleep(Duration::from_millis(100)).await;
    }
    until(&a, "n3", Status::Alive).await;
    until(&b, "n3", Status::Alive).await;
    assert_eq!(status(&a, "n2"), Some(Status::Alive));
    let unchanged = |m: &&Member| a.handle().view().members().contains(m);
    assert_eq!(before.members().iter().filter(unchanged).count(), 2);
    for agent in [a, b, c] {
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn a_shutdown_frees_every_port_and_file() {
    let tmp = tempfile::tempdir().unwrap();
    let mut c = on_disk("n1", tmp.path(), 0);
    c.dns_addrs = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    c.http_addrs = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    for _ in 0..3 {
        let a = Agent::start(c.clone()).await.unwrap();
        let info = Arc::clone(&a.handle().info);
        assert!(info.dns_addrs[0].port() != 0 && info.http_addrs[0].port() != 0);
        a.shutdown().await;
        c.bind = info.advertise;
        c.dns_addrs = info.dns_addrs.clone();
        c.http_addrs = info.http_addrs.clone();
    }
}

/// What overflowed in the queue of events is in the list all the same, and the log says so.
#[tokio::test]
async fn lost_events_are_made_up_for_by_the_list() {
    use quorate_core::wire::{Envelope, Message, append_message};
    use quorate_core::{Claim, NodeId, Record, Statement, Version};
    let mut c = config("n1");
    c.limits.events = 16;
    let a = Agent::start(c).await.unwrap();
    let mut envelope = Envelope::new(Label::new("dc1").unwrap(), None);
    let mut datagram = Vec::new();
    envelope.begin(&mut datagram);
    for n in 2..=50u8 {
        let record = Record {
            version: Version { generation: 1, incarnation: 0 },
            ..Record::of_client(
                NodeId::from_bytes([n; 16]),
                Name::new(format!("n{n}")).unwrap(),
                SocketAddr::from(([127, 0, 9, n], 9)),
            )
        };
        let claim = Claim { record: Arc::new(record), statement: Statement::Alive };
        append_message(&Message::Claim(claim), &mut datagram);
    }
    envelope.finish(&mut datagram);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&datagram, gossip(&a)).await.unwrap();
    let started = Instant::now();
    while a.handle().view().members().len() < 50 {
        assert!(started.elapsed() < PATIENCE, "{}", a.handle().view().members().len());
        sleep(Duration::from_millis(10)).await;
    }
    let stats = a.handle().stats().await.unwrap();
    assert!(stats.get(Counter::EventsLost) >= 33, "{}", stats.get(Counter::EventsLost));
    a.shutdown().await;
}
