//! What becomes of a failure that others report, and of a member that was cut off.

use super::*;
use crate::node::claims::Origin;

fn id(i: usize) -> NodeId {
    NodeId::from_bytes([i as u8; 16])
}

/// n1 tells n0 that n2 is failed.
fn told(w: &mut World) {
    let claim = says(w, 2, Statement::Failed { by: id(1) });
    w.hosts[0].node.learn_claim(w.now, claim, Origin::Packet(addr(1)));
}

fn doubted(w: &World) -> u64 {
    w.hosts[0].node.stats().get(Counter::FailuresDoubted)
}

/// Who told of a failure of whom.
fn failures(w: &World) -> Vec<(usize, NodeId)> {
    let failed = |(i, e): (usize, &Event)| match e {
        Event::Failed { record } => Some((i, record.id)),
        _ => None,
    };
    let all = w.hosts.iter().enumerate().flat_map(|(i, h)| h.events.iter().map(move |e| (i, e)));
    all.filter_map(failed).collect()
}

#[test]
fn a_reported_failure_of_a_live_member_is_refuted_and_never_told() {
    let mut w = World::joined(4);
    let before = w.hosts[2].node.local().record.version;
    told(&mut w);
    assert_eq!((w.state(0, 2), doubted(&w)), (Some(State::Alive), 1));
    w.drain();
    let now = w.hosts[2].node.local().record.version;
    assert!(now > before, "the accusation rides on the ping");
    let held = w.hosts[0].node.table.get(id(2)).unwrap();
    assert_eq!(held.version(), now, "and the refutation on the ack");
    w.run(secs(5));
    assert!(failures(&w).is_empty());
}

#[test]
fn a_reported_failure_is_believed_when_a_look_meets_nobody() {
    let mut w = World::joined(4);
    w.hosts[2].up = false;
    told(&mut w);
    w.drain();
    assert_eq!(w.state(0, 2), Some(State::Alive));
    // A helper and the host itself refuse as soon as they are asked.
    w.run(Duration::from_millis(501));
    assert_eq!(w.state(0, 2), Some(State::Failed));
    w.run(Duration::from_millis(501));
    assert_eq!(w.state(3, 2), Some(State::Failed), "and passed on, and looked into there");
}

#[test]
fn a_report_that_is_old_when_the_look_ends_is_not_believed() {
    let mut w = World::joined(4);
    w.hosts[2].up = false;
    let refuted = {
        let mut c = says(&w, 2, Statement::Alive);
        Arc::make_mut(&mut c.record).version.incarnation += 1;
        c
    };
    told(&mut w);
    w.hosts[0].node.learn_claim(w.now, refuted, Origin::Packet(addr(1)));
    w.run(Duration::from_millis(501));
    assert_eq!(w.state(0, 2), Some(State::Suspect), "what the look met counts");
}

#[test]
fn a_failure_of_a_suspect_needs_no_look() {
    let mut w = World::joined(4);
    let statement = Statement::Suspect { by: id(3), evidence: Evidence::Silent, witnesses: 2 };
    let accused = says(&w, 2, statement);
    w.hosts[0].node.learn_claim(w.now, accused, Origin::Packet(addr(3)));
    told(&mut w);
    assert_eq!((w.state(0, 2), doubted(&w)), (Some(State::Failed), 0));
}

/// Who is killed just after it came: few met it, and their word goes round at once.
#[test]
fn a_failure_of_who_was_not_met_is_believed_unseen() {
    let mut w = World::joined(4);
    let record = Record::of_client(id(77), Name::new("n77").unwrap(), addr(77));
    for statement in [Statement::Alive, Statement::Failed { by: id(1) }] {
        let claim = Claim { record: Arc::new(record.clone()), statement };
        w.hosts[0].node.learn_claim(w.now, claim, Origin::Packet(addr(1)));
    }
    assert_eq!((w.state(0, 77), doubted(&w)), (Some(State::Failed), 0));
}

/// The refutation of one near the limit would not be believed by those who did not hear of it.
#[test]
fn a_failure_far_ahead_is_believed_unseen() {
    for (generation, incarnation, expected) in [
        (0, 0, State::Alive),
        (0, (1 << 16) - 1, State::Alive),
        (0, 1 << 16, State::Failed),
        ((1 << 24) - 1, 0, State::Alive),
        (1 << 24, 0, State::Failed),
    ] {
        let mut w = World::joined(4);
        let mut claim = says(&w, 2, Statement::Failed { by: id(1) });
        let version = &mut Arc::make_mut(&mut claim.record).version;
        version.generation += generation;
        version.incarnation += incarnation;
        w.hosts[0].node.learn_claim(w.now, claim, Origin::Packet(addr(1)));
        assert_eq!(w.state(0, 2), Some(expected), "{generation} {incarnation}");
        w.run(secs(2));
        assert_eq!(w.state(0, 2), Some(State::Alive), "{generation} {incarnation}");
    }
}

/// Whoever makes them up gets no more looks than answers out of us.
#[test]
fn looks_for_datagrams_are_counted_with_the_answers() {
    let mut w = World::joined(4);
    w.hosts[0].node.replies_left = 1;
    let probes = w.hosts[0].node.probes.len();
    told(&mut w);
    told(&mut w);
    assert_eq!((w.state(0, 2), doubted(&w)), (Some(State::Alive), 1));
    assert_eq!(w.hosts[0].node.probes.len(), probes + 1);
    let claim = says(&w, 2, Statement::Failed { by: id(1) });
    let stream = Origin::Stream { spread: true };
    w.hosts[0].node.learn_claim(w.now, claim, stream);
    assert_eq!((w.state(0, 2), doubted(&w)), (Some(State::Alive), 2), "no source is forged there");
}

#[test]
fn who_was_cut_off_believes_what_it_likes_and_nobody_else_does() {
    let mut w = World::joined(5);
    w.cut = Some(4);
    w.run(secs(60));
    assert!((0..4).all(|i| w.state(i, 4) == Some(State::Failed)));
    assert!((0..4).any(|i| w.state(4, i) == Some(State::Failed)));
    w.cut = None;
    // One ping a second, whatever its health is.
    w.run(Duration::from_millis(1010));
    for i in 0..5 {
        assert_eq!(w.alive(i), 4, "n{i}");
        assert_eq!(w.hosts[i].node.digest(), w.hosts[0].node.digest(), "n{i}");
    }
    w.run(secs(30));
    assert!(failures(&w).iter().all(|(by, of)| *by == 4 || *of == id(4)));
}

/// What it queued before it knew is not told any more, and what it comes to believe then never is.
#[test]
pub(super) fn accusations_of_a_member_that_hears_nobody_are_not_gossiped() {
    let mut w = World::joined(8);
    w.cut = Some(7);
    w.run(secs(20));
    let node = &mut w.hosts[7].node;
    assert!(node.table.iter().any(|e| e.state() != State::Alive));
    let queued = node.queue.len();
    let other = node.table.iter().find(|e| e.state() == State::Alive).unwrap().id();
    node.accuse(w.now, other, Evidence::Silent, 0);
    assert_eq!(node.queue.len(), queued);
    node.heard_somebody(w.now);
    assert_eq!(node.queue.len(), 0);
    node.timers.clear();
    node.accuse(w.now, id(6), Evidence::Silent, 0);
    assert_eq!(node.queue.len(), 1, "else they are");
}

#[test]
fn a_member_that_hears_nobody_asks_once_a_second() {
    let mut w = World::joined(3);
    w.cut = Some(2);
    w.run(secs(30));
    // Nothing else that it would send counts here.
    let node = &mut w.hosts[2].node;
    node.timers.clear();
    node.listen(w.now);
    let sent = |w: &mut World| {
        let before = w.hosts[2].node.stats().get(Counter::DatagramsOut);
        w.run(secs(10));
        w.hosts[2].node.stats().get(Counter::DatagramsOut) - before
    };
    assert_eq!(sent(&mut w), 8, "from the third second on");
    Arc::make_mut(&mut w.hosts[2].node.cfg.tuning).alone_after = Duration::ZERO;
    let node = &mut w.hosts[2].node;
    node.timers.clear();
    node.listen(w.now);
    assert_eq!(sent(&mut w), 0);
}
