//! Watch streams on whole nodes. How fast a crash is known is the simulator's.

use super::*;

/// After the observers were picked.
const PICKED: Duration = Duration::from_secs(5);

fn id(i: usize) -> NodeId {
    NodeId::from_bytes([i as u8; 16])
}

/// The numbers of who observes `i`.
fn observers(w: &World, i: usize) -> Vec<u8> {
    w.hosts[i].node.observers().map(|id| id.as_bytes()[0]).collect()
}

fn watched(n: usize) -> World {
    let mut w = World::joined(n);
    w.run(PICKED);
    w
}

fn count(w: &World, c: Counter) -> u64 {
    w.hosts.iter().map(|h| h.node.stats().get(c)).sum()
}

impl World {
    /// The process dies; its kernel closes what it held.
    fn kill(&mut self, i: usize) {
        self.hosts[i].up = false;
        let ends: Vec<(End, End)> =
            self.peers.iter().filter(|(a, _)| a.0 == i).map(|(a, b)| (*a, *b)).collect();
        for (a, b) in ends {
            self.peers.remove(&a);
            self.peers.remove(&b);
            self.hosts[b.0].node.handle_stream(self.now, b.1, StreamEvent::Finished);
        }
        self.drain();
    }
}

#[test]
fn each_has_three_observers_or_all_there_are() {
    for n in [2, 3, 4, 12] {
        let w = watched(n);
        for i in 0..n {
            assert_eq!(observers(&w, i).len(), 3.min(n - 1), "n{i} of {n}");
        }
    }
}

#[test]
fn one_observer_that_goes_is_replaced_and_the_others_stay() {
    let mut w = watched(12);
    let before = observers(&w, 0);
    let gone = usize::from(before[0]);
    w.hosts[gone].node.command(w.now, Command::Leave).unwrap();
    w.drain();
    w.run(PICKED);
    let after = observers(&w, 0);
    assert_eq!(after.len(), 3);
    assert!(!after.contains(&before[0]));
    assert!(before[1..].iter().all(|o| after.contains(o)), "{before:?} {after:?}");
}

#[test]
pub(super) fn new_observers_are_picked_though_another_cannot_be_reached() {
    let mut w = watched(3);
    let (timer, now) = (super::super::timers::Timer::Watch, w.now);
    // As if a watch had failed again and again.
    w.hosts[0].node.timers.set(timer, now + secs(15));
    w.start(config(3));
    w.join(3, 0).unwrap();
    w.run(secs(2));
    assert!(observers(&w, 0).contains(&3));
}

#[test]
fn an_observer_that_refuses_is_not_asked_again_with_every_change() {
    let mut w = World::new(4);
    Arc::make_mut(&mut w.hosts[3].node.cfg.limits).watches = 0;
    for i in 1..4 {
        w.join(i, 0).unwrap();
    }
    w.run(secs(10));
    let refused = |w: &World| w.hosts[3].node.stats().get(Counter::WatchesRefused);
    let before = refused(&w);
    assert!(before > 0);
    for _ in 0..20 {
        // As if the members had changed.
        w.hosts[0].node.timers.set(super::super::timers::Timer::Watch, w.now);
        w.run(Duration::from_millis(500));
    }
    let more = refused(&w) - before;
    assert!(more < 8, "asked {more} times in ten seconds, by three that wait up to 15 s each");
}

#[test]
fn a_leave_makes_nobody_look() {
    let mut w = watched(5);
    w.hosts[2].node.command(w.now, Command::Leave).unwrap();
    w.drain();
    w.run(secs(1));
    w.kill(2);
    w.run(secs(1));
    assert_eq!(count(&w, Counter::WatchesBroken), 0);
    assert_eq!(count(&w, Counter::Suspicions), 0);
    assert_eq!(w.state(0, 2), Some(State::Left));
}

#[test]
fn a_death_is_known_before_anybody_would_have_probed() {
    for n in [2, 5] {
        let mut w = watched(n);
        (0..n).for_each(|i| w.hosts[i].node.timers.stop(super::super::timers::Timer::Probe));
        w.kill(1);
        w.run(Duration::from_millis(400));
        for i in (0..n).filter(|i| *i != 1) {
            assert_eq!(w.state(i, 1), Some(State::Failed), "n{i} of {n}");
        }
    }
}

#[test]
fn a_broken_stream_of_a_live_member_proves_nothing_and_is_opened_again() {
    let mut w = watched(5);
    let broken: Vec<StreamId> = w.hosts[0].node.conns.keys().copied().collect();
    assert!(broken.len() >= 3);
    for s in broken {
        let other = w.peers.remove(&(0, s)).unwrap();
        w.peers.remove(&other);
        let reset = StreamEvent::Failed(StreamError::Reset);
        w.hosts[0].node.handle_stream(w.now, s, reset);
        w.hosts[other.0].node.handle_stream(w.now, other.1, reset);
    }
    assert!(count(&w, Counter::WatchesBroken) >= 6);
    w.drain();
    w.run(PICKED);
    assert_eq!(count(&w, Counter::Suspicions), 0);
    assert_eq!(count(&w, Counter::ProbesRescued), 0, "they answered the ping");
    assert!((0..5).all(|i| observers(&w, i).len() == 3 && w.alive(i) == 4));
}

#[test]
pub(super) fn who_breaks_streams_again_and_again_is_not_looked_at_each_time() {
    let mut w = watched(2);
    let record = (*w.hosts[1].node.local().record).clone();
    let hello = wire::Hello { purpose: wire::Purpose::Watch { target: id(0) }, record };
    let mut bytes = wire::stream_head(&w.hosts[0].node.cfg.label);
    wire::append_frame(&wire::Message::Hello(hello), &mut bytes);
    let probes = w.hosts[0].node.probes.len();
    for n in 0..100 {
        let s = StreamId::accepted(9000 + n);
        let node = &mut w.hosts[0].node;
        node.handle_stream(w.now, s, StreamEvent::Accepted { from: addr(1) });
        node.handle_stream(w.now, s, StreamEvent::Data(&bytes));
        node.handle_stream(w.now, s, StreamEvent::Finished);
        // As if it had answered at once.
        node.drop_probes();
    }
    let node = &w.hosts[0].node;
    assert_eq!(node.stats().get(Counter::WatchesBroken), 100);
    assert_eq!(node.probes.len(), probes);
    let pings =
        node.scratch.out.iter().filter(|o| matches!(o, super::super::Outgoing::Ping { .. }));
    assert!(pings.count() <= 8);
}

#[test]
pub(super) fn an_observer_gives_up_a_stream_that_is_silent_for_minutes() {
    let mut w = watched(2);
    assert_eq!(w.hosts[0].node.observers().count(), 1);
    // Nothing that n1 says on a stream arrives any more.
    let ends: Vec<End> = w.peers.keys().filter(|e| e.0 == 1).copied().collect();
    for e in ends {
        w.peers.remove(&e);
    }
    let silent = *w.hosts[0].node.conns.keys().find(|s| s.is_accepted()).unwrap();
    w.run(secs(100));
    assert!(w.hosts[0].node.conns.contains_key(&silent), "one beat may be late");
    w.run(secs(90));
    assert!(!w.hosts[0].node.conns.contains_key(&silent));
    assert_eq!(w.hosts[1].node.observers().count(), 1, "another one is open");
    assert_eq!(w.alive(0), 1, "and nobody is accused for it");
}

#[test]
pub(super) fn strangers_and_too_many_are_not_watched() {
    let mut c = config(0);
    Arc::make_mut(&mut c.limits).watches = 1;
    let mut w = World::new(0);
    w.start(c);
    (1..4).for_each(|i| {
        w.start(config(i));
        w.join(i, 0).unwrap();
    });
    w.run(PICKED);
    let accepted = w.hosts[0].node.conns.keys().filter(|s| s.is_accepted()).count();
    assert_eq!(accepted, 1);
    // Meant for somebody else.
    let record = (*w.hosts[1].node.local().record).clone();
    let hello = wire::Hello { purpose: wire::Purpose::Watch { target: id(2) }, record };
    let mut bytes = wire::stream_head(&w.hosts[0].node.cfg.label);
    wire::append_frame(&wire::Message::Hello(hello), &mut bytes);
    let s = StreamId::accepted(9000);
    w.hosts[0].node.handle_stream(w.now, s, StreamEvent::Accepted { from: addr(1) });
    w.hosts[0].node.handle_stream(w.now, s, StreamEvent::Data(&bytes));
    assert!(!w.hosts[0].node.conns.contains_key(&s));
}

#[test]
pub(super) fn who_left_owes_no_answer_and_is_not_doubted() {
    let mut w = World::joined(4);
    w.run(secs(5));
    let (now, id) = (w.now, w.hosts[2].node.me.id);
    let node = &mut w.hosts[0].node;
    let failed = node.stats().get(Counter::ProbesFailed);
    let cookie = node.start_probe(now, id, crate::node::probe::Kind::Regular).unwrap();
    let before = node.probes.len();
    let record = Arc::clone(&node.table.get(id).unwrap().record);
    let left = Claim { record, statement: Statement::Left { by: id, prune: false } };
    node.learn_claim(now, left, crate::node::claims::Origin::Packet(addr(2)));
    node.on_probe_late(now, cookie);
    assert_eq!(node.probes.len(), before - 1, "no helper is asked");
    let cookie = node.start_probe(now, id, crate::node::probe::Kind::Regular).unwrap();
    node.on_probe_end(now, cookie);
    assert_eq!(node.stats().get(Counter::ProbesFailed), failed);
    // A helper brings an answer from before the leave.
    node.reached_by_others(id);
    assert_eq!(node.next_doubtful(), None);
}

/// A kernel closes what a process held piece by piece: the first stream of the look is accepted
/// before the listener is closed, and reset with it.
#[test]
pub(super) fn a_stream_that_is_reset_while_a_process_dies_is_opened_once_more() {
    let mut w = watched(2);
    w.hosts[1].up = false;
    let (now, node) = (w.now, &mut w.hosts[0].node);
    let watching = |c: &crate::node::streams::Conn| {
        matches!(c.role, crate::node::streams::Role::Watching { .. })
    };
    let watch = node.conns.iter().find(|(_, c)| watching(c)).map(|(id, _)| *id).unwrap();
    let opened = |node: &mut Node| loop {
        match node.poll_stream() {
            Some(StreamAction::Open { id, .. }) => break Some(id),
            Some(_) => {}
            None => break None,
        }
    };
    node.handle_stream(now, watch, StreamEvent::Finished);
    let first = opened(node).expect("it looks at once");
    node.handle_stream(now, first, StreamEvent::Connected);
    node.handle_stream(now, first, StreamEvent::Failed(StreamError::Reset));
    let second = opened(node).expect("it looks once more");
    node.handle_stream(now, second, StreamEvent::Failed(StreamError::Refused));
    assert_eq!(node.table.get(id(1)).unwrap().state(), State::Suspect, "two answers of its kernel");
    w.run(Duration::from_millis(400));
    assert_eq!(w.state(0, 1), Some(State::Failed));
}

#[test]
fn a_living_process_that_resets_streams_is_not_asked_for_ever() {
    let mut w = watched(2);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    let cookie = node.start_probe(now, id(1), crate::node::probe::Kind::Verify).unwrap();
    node.probe_watched(now, cookie);
    let mut opened = 0;
    while let Some(action) = node.poll_stream() {
        if let StreamAction::Open { id, .. } = action {
            opened += 1;
            node.handle_stream(now, id, StreamEvent::Failed(StreamError::Reset));
        }
    }
    assert_eq!(opened, 2);
    assert_eq!(w.state(0, 1), Some(State::Alive));
}

#[test]
pub(super) fn every_other_probe_goes_to_an_observer_in_turn_and_the_round_passes_them_over() {
    let mut w = watched(12);
    let node = &mut w.hosts[0].node;
    let own: Vec<NodeId> = node.observers().collect();
    let targets: Vec<NodeId> = (0..24).map(|_| node.next_target().unwrap()).collect();
    let at = usize::from(!own.contains(&targets[0]));
    let (turns, round): (Vec<_>, Vec<_>) =
        targets[at..].iter().enumerate().partition(|(i, _)| i % 2 == 0);
    assert!(turns.iter().all(|(_, id)| own.contains(id)), "{turns:?}");
    assert!(turns.windows(3).all(|t| t[0].1 != t[1].1 && t[1].1 != t[2].1 && t[0].1 != t[2].1));
    assert!(round.iter().all(|(_, id)| !own.contains(id)), "{round:?}");
}

#[test]
fn a_member_that_does_not_ping_is_probed_by_its_observers() {
    let mut w = watched(4);
    w.run(secs(20));
    let now = w.now;
    let node = &mut w.hosts[0].node;
    let others: Vec<NodeId> = (1..4).map(id).collect();
    assert!(others.iter().all(|id| node.observes(*id)));
    let before = node.stats().get(Counter::Probes);
    others.iter().for_each(|id| node.on_overdue(now, *id));
    assert_eq!(node.stats().get(Counter::Probes), before + 3);
    // Once only, until it is overdue again; and not whoever is observed by others.
    others.iter().for_each(|id| node.on_overdue(now, *id));
    node.on_overdue(now, id(9));
    assert_eq!(node.stats().get(Counter::Probes), before + 3);
}
