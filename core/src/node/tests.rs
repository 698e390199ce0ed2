//! Nodes that talk to each other without loss, in steps of virtual time. Faults, races and scale
//! are the simulator's; here each rule is met once, by itself.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};
use core::{net::SocketAddr, time::Duration};
use std::sync::Arc;

use super::claims;
use crate::*;

mod bootstrap;
mod caps;
mod gossip;
mod hearsay;
mod keyring;
mod names;
mod obituary;
mod order;
mod planted;
mod quiet;
mod replies;
mod retag;
mod rules;
mod scratch;
mod sealing;
mod slow;
mod strangers;
mod streams;
mod user;
mod versions;
mod watch;

struct Host {
    node: Node,
    up: bool,
    events: Vec<Event>,
}

/// (host, its id of the stream) on both ends.
type End = (usize, StreamId);

struct World {
    now: Instant,
    hosts: Vec<Host>,
    peers: BTreeMap<End, End>,
    /// What was written at each end of every stream.
    written: BTreeMap<End, Vec<u8>>,
    accepted: u64,
    /// This host runs, and nothing reaches it or leaves it.
    cut: Option<usize>,
}

fn addr(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(i).unwrap()], 8301))
}

fn config(i: usize) -> Config {
    Config {
        name: Name::new(std::format!("n{i}")).unwrap(),
        addr: addr(i),
        label: Label::new("dc1").unwrap(),
        keys: None,
        role: Role::Client,
        tags: Pairs::default(),
        meta: Pairs::default(),
        durable: Durable::new(NodeId::from_bytes([u8::try_from(i).unwrap(); 16])),
        rejoin_after_leave: false,
        tuning: Arc::default(),
        limits: Arc::default(),
    }
}

impl World {
    fn new(n: usize) -> Self {
        let (now, accepted) = (Instant::from_nanos(1), 0);
        let (hosts, peers, written) = Default::default();
        let mut w = Self { now, hosts, peers, written, accepted, cut: None };
        (0..n).for_each(|i| w.start(config(i)));
        w
    }

    fn start(&mut self, c: Config) {
        let seed = [self.hosts.len() as u8; 32];
        let node = Node::new(c, seed, self.now).unwrap();
        self.hosts.push(Host { node, up: true, events: Vec::new() });
        self.drain();
    }

    fn joined(n: usize) -> Self {
        let mut w = Self::new(n);
        for i in 1..n {
            w.join(i, 0).unwrap();
        }
        w.run(Duration::from_secs(3));
        for i in 0..n {
            assert_eq!(w.alive(i), n - 1, "n{i}");
            w.hosts[i].events.clear();
        }
        w
    }

    fn join(&mut self, i: usize, to: usize) -> Result<usize, JoinError> {
        let c = Command::Join { addr: addr(to) };
        let Ok(CommandOutcome::Joining(want)) = self.hosts[i].node.command(self.now, c) else {
            panic!("a join is refused");
        };
        self.drain();
        let done = self.hosts[i].events.iter().find_map(|e| match e {
            Event::JoinFinished { id, result, .. } if *id == want => Some(result.clone()),
            _ => None,
        });
        done.expect("a join without an end")
    }

    fn alive(&self, i: usize) -> usize {
        self.hosts[i].node.members().filter(|m| m.state == State::Alive).count()
    }

    fn state(&self, at: usize, of: usize) -> Option<State> {
        let id = NodeId::from_bytes([of as u8; 16]);
        self.hosts[at].node.members().find(|m| m.record.id == id).map(|m| m.state)
    }

    /// Moves everything until nothing moves.
    fn drain(&mut self) {
        let mut wire: VecDeque<(usize, SocketAddr, Vec<u8>)> = VecDeque::new();
        loop {
            let mut quiet = true;
            for i in 0..self.hosts.len() {
                if !self.hosts[i].up {
                    continue;
                }
                assert!(self.hosts[i].node.observers_agree(), "n{i}: accepted, or not");
                let mut buf = Vec::new();
                while let Some(p) = self.hosts[i].node.poll_persist() {
                    self.hosts[i].node.handle_persisted(self.now, p.token);
                    quiet = false;
                }
                while let Some(t) = self.hosts[i].node.poll_transmit(self.now, &mut buf) {
                    assert!(buf.len() <= 1400, "a datagram of {} bytes", buf.len());
                    wire.push_back((i, t.to, buf.clone()));
                }
                while let Some(a) = self.hosts[i].node.poll_stream() {
                    self.stream(i, a);
                    quiet = false;
                }
                while let Some(e) = self.hosts[i].node.poll_event() {
                    self.hosts[i].events.push(e);
                }
            }
            while let Some((from, to, bytes)) = wire.pop_front() {
                quiet = false;
                if self.cut.is_some_and(|c| from == c || self.hosts[c].node.cfg.addr == to) {
                    continue;
                }
                if let Some(h) = self.hosts.iter_mut().find(|h| h.up && h.node.cfg.addr == to) {
                    h.node.handle_datagram(self.now, addr(from), &bytes);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn stream(&mut self, i: usize, a: StreamAction) {
        let now = self.now;
        match a {
            StreamAction::Open { id, to } => {
                let there = self.hosts.iter().position(|h| h.node.cfg.addr == to);
                match there.filter(|&p| self.hosts[p].up) {
                    _ if self.cut.is_some_and(|c| c == i || there == Some(c)) => {
                        let ev = StreamEvent::Failed(StreamError::TimedOut);
                        self.hosts[i].node.handle_stream(now, id, ev);
                    }
                    Some(p) => {
                        self.accepted += 1;
                        let theirs = StreamId::accepted(self.accepted);
                        self.peers.insert((i, id), (p, theirs));
                        self.peers.insert((p, theirs), (i, id));
                        let from = addr(i);
                        let ev = StreamEvent::Accepted { from };
                        self.hosts[p].node.handle_stream(now, theirs, ev);
                        self.hosts[i].node.handle_stream(now, id, StreamEvent::Connected);
                    }
                    None => {
                        let ev = StreamEvent::Failed(StreamError::Refused);
                        self.hosts[i].node.handle_stream(now, id, ev);
                    }
                }
            }
            StreamAction::Write { id, bytes } => {
                self.written.entry((i, id)).or_default().extend(&bytes);
                if let Some(&(p, theirs)) = self.peers.get(&(i, id)) {
                    for part in bytes.chunks(100) {
                        self.hosts[p].node.handle_stream(now, theirs, StreamEvent::Data(part));
                    }
                }
            }
            StreamAction::Close { id } => {
                if let Some((p, theirs)) = self.peers.remove(&(i, id)) {
                    self.hosts[p].node.handle_stream(now, theirs, StreamEvent::Finished);
                }
            }
            StreamAction::Abort { id } => {
                if let Some((p, theirs)) = self.peers.remove(&(i, id)) {
                    let ev = StreamEvent::Failed(StreamError::Reset);
                    self.hosts[p].node.handle_stream(now, theirs, ev);
                }
            }
        }
    }

    fn run(&mut self, d: Duration) {
        let end = self.now + d;
        loop {
            let next = self.hosts.iter().filter(|h| h.up).filter_map(|h| h.node.poll_timeout());
            let Some(at) = next.min().filter(|&t| t <= end) else { break };
            self.now = self.now.max(at);
            for h in self.hosts.iter_mut().filter(|h| h.up) {
                if h.node.poll_timeout().is_some_and(|t| t <= self.now) {
                    h.node.handle_timeout(self.now);
                }
            }
            self.drain();
        }
        self.now = end;
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn two_nodes_join_and_both_know() {
    let mut w = World::new(2);
    assert_eq!(w.join(1, 0), Ok(1));
    assert_eq!((w.alive(0), w.alive(1)), (1, 1));
    assert_eq!(w.hosts[0].node.digest(), w.hosts[1].node.digest());
    assert!(matches!(&w.hosts[0].events[..], [Event::Alive { .. }]));
}

#[test]
fn nothing_leaves_before_the_generation_is_on_disk() {
    let mut node = Node::new(config(1), [1; 32], Instant::ZERO).unwrap();
    let p = node.poll_persist().unwrap();
    assert_eq!(p.state.generation, 1);
    let join = Command::Join { addr: addr(2) };
    node.command(Instant::ZERO, join).unwrap();
    node.handle_timeout(Instant::ZERO + secs(100));
    let mut buf = Vec::new();
    assert_eq!(node.poll_transmit(Instant::ZERO, &mut buf), None);
    assert_eq!(node.poll_stream(), None);
    node.handle_persisted(Instant::ZERO, p.token);
    assert!(matches!(node.poll_stream(), Some(StreamAction::Open { .. })));
    assert_eq!(node.local().record.version, Version { generation: 1, incarnation: 0 });
}

#[test]
fn a_killed_process_is_failed_on_all_and_comes_back_with_its_next_generation() {
    let mut w = World::joined(6);
    w.hosts[3].up = false;
    w.run(secs(4));
    for i in [0, 1, 2, 4, 5] {
        assert_eq!(w.state(i, 3), Some(State::Failed), "n{i}");
    }
    let mut c = config(3);
    c.durable.generation = 1;
    c.durable.peers = Arc::new(BoundedVec::truncated(vec![KnownPeer {
        id: config(1).durable.id,
        name: config(1).name,
        addr: addr(1),
    }]));
    w.hosts[3] = Host { node: Node::new(c, [9; 32], w.now).unwrap(), up: true, events: vec![] };
    w.run(secs(1));
    for i in [0, 1, 2, 4, 5] {
        assert_eq!(w.state(i, 3), Some(State::Alive), "n{i}");
    }
    assert_eq!(w.alive(3), 5);
}

#[test]
fn a_leave_is_confirmed_and_never_a_failure() {
    let mut w = World::joined(5);
    w.hosts[2].node.command(w.now, Command::Leave).unwrap();
    w.drain();
    assert!(w.hosts[2].events.contains(&Event::LeaveFinished { confirmed: 3 }));
    w.hosts[2].up = false;
    w.run(secs(20));
    for i in [0, 1, 3, 4] {
        assert_eq!(w.state(i, 2), Some(State::Left), "n{i}");
        assert!(!w.hosts[i].events.iter().any(|e| matches!(e, Event::Failed { .. })), "n{i}");
    }
    let again = w.hosts[2].node.command(w.now, Command::Leave);
    assert_eq!(again, Err(CommandError::Leaving));
}

#[test]
fn an_accusation_is_refuted_above_its_version() {
    let mut w = World::joined(3);
    let record = w.hosts[1].node.local().record;
    let by = NodeId::from_bytes([2; 16]);
    let statement = Statement::Suspect { by, evidence: Evidence::Silent, witnesses: 0 };
    let claim = Claim { record: record.clone(), statement };
    w.hosts[0].node.learn_claim(w.now, claim.clone(), super::claims::Origin::Own);
    w.run(secs(1));
    let now = w.hosts[1].node.local().record.version;
    assert!(now > record.version, "{now} is not above {}", record.version);
    assert_eq!(w.state(0, 1), Some(State::Alive));
    assert_eq!(w.hosts[1].node.stats().get(Counter::Refutations), 1);
}

#[test]
fn force_leave_of_a_live_node_in_a_cluster_of_two_is_refuted() {
    let mut w = World::joined(2);
    let name = Name::new("n1").unwrap();
    let force = |name: &Name| Command::ForceLeave { name: name.clone(), prune: false };
    w.hosts[0].node.command(w.now, force(&name)).unwrap();
    w.run(secs(2));
    assert_eq!(w.state(0, 1), Some(State::Alive));
    assert_eq!(w.hosts[1].node.local().record.version.generation, 2);
    let unknown = Name::new("nx").unwrap();
    assert_eq!(
        w.hosts[0].node.command(w.now, force(&unknown)),
        Err(CommandError::UnknownMember(unknown))
    );
}

#[test]
fn until_the_disk_has_the_answer_an_accusation_is_refuted_once() {
    let mut w = World::joined(2);
    let (record, now) = (w.hosts[1].node.local().record, w.now);
    let left = Statement::Left { by: NodeId::from_bytes([0; 16]), prune: false };
    let claim = Claim { record, statement: left };
    for _ in 0..3 {
        w.hosts[1].node.learn_claim(now, claim.clone(), claims::Origin::Packet(addr(0)));
    }
    w.drain();
    let answer = w.hosts[1].node.local().record.version;
    let refuted = |e: &Event| match e {
        Event::Refuted { version, .. } => Some(*version),
        _ => None,
    };
    let told: Vec<_> = w.hosts[1].events.iter().filter_map(refuted).collect();
    assert_eq!((answer.generation, told), (2, vec![answer]));
    assert_eq!(w.state(0, 1), Some(State::Alive));
}

#[test]
fn force_leave_turns_failed_into_left_and_prune_forgets() {
    let mut w = World::joined(4);
    w.hosts[3].up = false;
    w.run(secs(4));
    let name = Name::new("n3").unwrap();
    let c = Command::ForceLeave { name: name.clone(), prune: false };
    w.hosts[0].node.command(w.now, c).unwrap();
    w.run(secs(1));
    assert!((0..3).all(|i| w.state(i, 3) == Some(State::Left)));
    let c = Command::ForceLeave { name, prune: true };
    w.hosts[0].node.command(w.now, c).unwrap();
    w.run(secs(1));
    assert_eq!(w.state(0, 3), None);
}

#[test]
fn a_dead_address_another_datacenter_and_a_taken_name_are_told() {
    let mut w = World::new(2);
    assert_eq!(w.join(0, 9), Err(JoinError::Stream(StreamError::Refused)));
    assert_eq!(w.join(0, 0), Err(JoinError::Myself));
    let mut other = config(2);
    other.label = Label::new("dc2").unwrap();
    w.start(other);
    let wrong = w.join(2, 0).unwrap_err();
    assert_eq!(std::format!("{wrong}"), "Member 'n0' part of wrong datacenter 'dc1'");
    let mut twin = config(3);
    twin.name = Name::new("n0").unwrap();
    w.start(twin);
    let taken = w.join(3, 0).unwrap_err();
    assert!(matches!(taken, JoinError::NameTaken { .. }), "{taken:?}");
    assert_eq!(w.alive(0), 0);
}

#[test]
fn a_process_that_was_stopped_accuses_nobody() {
    let mut w = World::joined(4);
    w.hosts[1].up = false;
    w.run(secs(4));
    w.hosts[1].up = true;
    let now = w.now;
    w.hosts[1].node.handle_timeout(now);
    w.drain();
    w.run(secs(5));
    assert_eq!(w.hosts[1].node.stats().get(Counter::Pauses), 1);
    assert_eq!(w.hosts[1].node.stats().get(Counter::Suspicions), 0);
    assert!((0..4).all(|i| w.alive(i) == 3));
}

#[test]
fn a_wiped_disk_learns_its_past_from_the_cluster() {
    let mut w = World::joined(3);
    w.hosts[2].up = false;
    // Same id, but the generation counter is lost and starts below what others know.
    let known = Version { generation: 7, incarnation: 0 };
    for i in 0..2 {
        let mut record = (*w.hosts[2].node.local().record).clone();
        record.version = known;
        let claim = Claim { record: record.into(), statement: Statement::Alive };
        w.hosts[i].node.learn_claim(w.now, claim.clone(), super::claims::Origin::Own);
    }
    let node = Node::new(config(2), [8; 32], w.now).unwrap();
    w.hosts[2] = Host { node, up: true, events: vec![] };
    w.drain();
    w.join(2, 0).unwrap();
    w.run(secs(2));
    assert_eq!(w.hosts[2].node.local().record.version.generation, 8);
    assert!((0..3).all(|i| w.alive(i) == 2));
}

#[test]
fn reaped_members_do_not_come_back_at_their_old_version() {
    let mut w = World::new(0);
    for i in 0..3 {
        let mut c = config(i);
        Arc::make_mut(&mut c.tuning).reconnect_timeout = secs(20);
        w.start(c);
    }
    w.join(1, 0).unwrap();
    w.join(2, 0).unwrap();
    let record = w.hosts[2].node.local().record;
    w.hosts[2].up = false;
    w.run(secs(40));
    assert_eq!(w.state(0, 2), None);
    assert!(w.hosts[0].events.iter().any(|e| matches!(e, Event::Reaped { .. })));
    let claim = Claim { record, statement: Statement::Alive };
    w.hosts[0].node.learn_claim(w.now, claim.clone(), super::claims::Origin::Own);
    assert_eq!(w.state(0, 2), None);
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut w = World::joined(2);
    let before = w.hosts[0].node.revision();
    let id = StreamId::accepted(1000);
    for (n, bytes) in [&b""[..], b"Q", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 1400]].iter().enumerate()
    {
        w.hosts[0].node.handle_datagram(w.now, addr(1), bytes);
        let ev = StreamEvent::Accepted { from: addr(1) };
        let id = StreamId::accepted(2000 + n as u64);
        w.hosts[0].node.handle_stream(w.now, id, ev);
        w.hosts[0].node.handle_stream(w.now, id, StreamEvent::Data(bytes));
    }
    w.hosts[0].node.handle_stream(w.now, id, StreamEvent::Data(b"nobody knows this stream"));
    assert_eq!(w.hosts[0].node.revision(), before);
    assert_eq!(w.hosts[0].node.stats().get(Counter::DropNotOurs), 4 + 2);
    w.run(secs(30));
    assert!(
        w.hosts[0].node.conns.values().all(|c| c.role.is_watch()),
        "half-open streams end by their deadline"
    );
}

#[test]
fn streams_and_joins_are_capped() {
    let mut w = World::joined(2);
    for n in 0..400 {
        let id = StreamId::accepted(5000 + n);
        w.hosts[0].node.handle_stream(w.now, id, StreamEvent::Accepted { from: addr(1) });
    }
    assert_eq!(w.hosts[0].node.conns.len(), Limits::default().streams);
    // The two watch streams between the two count, too.
    assert_eq!(w.hosts[0].node.stats().get(Counter::StreamsDropped), 400 - (256 - 2));
}

#[test]
fn a_left_of_an_older_incarnation_does_not_take_the_version_down() {
    let mut w = World::joined(2);
    let old = w.hosts[1].node.local().record;
    let mut record = (*old).clone();
    record.version.incarnation = 4;
    let alive = Claim { record: record.into(), statement: Statement::Alive };
    let left = Claim { record: old, statement: Statement::Left { by: alive.id(), prune: false } };
    w.hosts[0].node.learn_claim(w.now, alive.clone(), super::claims::Origin::Own);
    w.hosts[0].node.learn_claim(w.now, left.clone(), super::claims::Origin::Own);
    let m = w.hosts[0].node.members().next().unwrap();
    assert_eq!((m.state, m.record.version.incarnation), (State::Left, 4));
}

/// No probes of anybody's own accord: what is seen comes from the rule under test.
fn without_regular_probes(w: &mut World) {
    for h in &mut w.hosts {
        h.node.timers.stop(super::timers::Timer::Probe);
    }
}

/// Nothing that is queued or written leaves this node any more.
fn hush(w: &mut World, i: usize) {
    let spread = w.hosts[i].node.table.spread();
    w.hosts[i].node.queue = super::queue::Queue::new(spread);
    w.hosts[i].node.scratch.out.clear();
}

fn says(w: &World, of: usize, statement: Statement) -> Claim {
    Claim { record: w.hosts[of].node.local().record, statement }
}

#[test]
fn a_generation_waits_for_its_own_write_and_not_for_an_earlier_one() {
    let mut w = World::joined(2);
    let node = &mut w.hosts[0].node;
    let earlier = node.persist();
    node.mint_generation(1);
    let own = node.poll_persist().unwrap().token;
    node.handle_persisted(w.now, earlier);
    assert_eq!(node.local().record.version.generation, 1, "used before it was on disk");
    node.handle_persisted(w.now, own);
    assert_eq!(node.local().record.version.generation, 2);
}

#[test]
fn what_one_forgot_the_other_forgets_and_their_digests_agree() {
    let mut w = World::joined(3);
    w.hosts[2].up = false;
    w.run(secs(6));
    assert_eq!(w.state(1, 2), Some(State::Failed));
    w.hosts[0].node.forget(NodeId::from_bytes([2; 16]));
    w.run(secs(20));
    assert_eq!(w.state(1, 2), None, "still listed where it was not forgotten");
    assert_eq!(w.hosts[0].node.digest(), w.hosts[1].node.digest());
}

#[test]
fn who_missed_a_refutation_looks_once_more_before_it_declares_a_failure() {
    let mut w = World::joined(5);
    without_regular_probes(&mut w);
    let by = NodeId::from_bytes([2; 16]);
    let statement = Statement::Suspect { by, evidence: Evidence::Silent, witnesses: 2 };
    let accusation = says(&w, 1, statement);
    w.hosts[0].node.learn_claim(w.now, accusation.clone(), super::claims::Origin::Own);
    hush(&mut w, 0);
    // Nor does it ask anybody whether that was all.
    w.hosts[0].node.timers.stop(super::timers::Timer::Settle);
    w.run(secs(6));
    let failed = w.hosts[0].events.iter().any(|e| matches!(e, Event::Failed { .. }));
    assert!(!failed, "a live member was declared failed without a last look");
    assert_eq!(w.state(0, 1), Some(State::Alive));
}

#[test]
fn a_lost_ping_is_repeated_before_anybody_else_is_asked() {
    let mut w = World::joined(2);
    without_regular_probes(&mut w);
    let target = NodeId::from_bytes([1; 16]);
    w.hosts[0].node.start_probe(w.now, target, super::probe::Kind::Verify);
    w.hosts[0].node.scratch.out.clear();
    w.run(Duration::from_millis(400));
    assert!(w.hosts[0].node.probes.is_empty(), "one lost packet kept the probe open");
    assert_eq!(w.hosts[0].node.stats().get(Counter::ProbesLate), 0);
}

#[test]
fn one_ping_is_enough_for_two_that_hold_each_other_for_gone() {
    let mut w = World::joined(2);
    without_regular_probes(&mut w);
    let by = NodeId::from_bytes([9; 16]);
    for (at, of) in [(0, 1), (1, 0)] {
        let failed = says(&w, of, Statement::Failed { by });
        w.hosts[at].node.learn_claim(w.now, failed.clone(), super::claims::Origin::Own);
        hush(&mut w, at);
    }
    // The caller has refuted meanwhile; only it knows.
    let mut version = w.hosts[0].node.local().record.version;
    version.incarnation += 1;
    w.hosts[0].node.publish(w.now, version);
    hush(&mut w, 0);
    let target = NodeId::from_bytes([1; 16]);
    w.hosts[0].node.start_probe(w.now, target, super::probe::Kind::Contact);
    w.drain();
    assert_eq!((w.state(0, 1), w.state(1, 0)), (Some(State::Alive), Some(State::Alive)));
}
