//! Who keeps a name: turns, joins under a taken name, and two live holders that meet.

use super::*;
use crate::node::{claims::Origin, names};

/// The node that the world starts next, under another one's name.
fn twin(i: usize, of: usize) -> Config {
    Config { name: config(of).name, ..config(i) }
}

fn events(w: &World, i: usize, want: impl Fn(&Event) -> bool) -> usize {
    w.hosts[i].events.iter().filter(|e| want(e)).count()
}

fn begin_join(w: &mut World, i: usize, to: usize) {
    let c = Command::Join { addr: addr(to) };
    w.hosts[i].node.command(w.now, c).unwrap();
    w.drain();
}

fn outcome(w: &World, i: usize) -> Option<Result<usize, JoinError>> {
    w.hosts[i].events.iter().rev().find_map(|e| match e {
        Event::JoinFinished { result, .. } => Some(result.clone()),
        _ => None,
    })
}

#[test]
fn a_newcomer_says_that_its_name_had_a_holder_before() {
    let mut w = World::joined(4);
    w.hosts[3].up = false;
    w.run(secs(4));
    assert_eq!(w.state(0, 3), Some(State::Failed));
    w.start(twin(4, 3));
    w.join(4, 0).unwrap();
    w.run(secs(1));
    assert_eq!(w.hosts[4].node.local().record.turn, 1);
    for i in 0..3 {
        let listed: Vec<_> = w.hosts[i].node.members().filter(|m| m.record.turn == 1).collect();
        assert_eq!(listed.len(), 1, "n{i}");
        assert_eq!(w.state(i, 3), None, "n{i} keeps the dead holder");
    }
    let first = w.hosts[3].node.local().record;
    let second = w.hosts[4].node.local().record;
    assert!(first.is_senior_to(&second) && !second.is_senior_to(&first));
}

/// Two answer at once, and the first of them has the new record already.
#[test]
fn a_turn_that_comes_back_late_is_taken() {
    let mut w = World::joined(2);
    let life = |generation, turn| {
        let record = Record { turn, ..(*w.hosts[0].node.local().record).clone() };
        let version = Version { generation, incarnation: 3 };
        let record = Arc::new(Record { version, ..record });
        Claim { record, statement: Statement::Failed { by: NodeId::from_bytes([1; 16]) } }
    };
    let (own, now) = (w.hosts[0].node.local().record.version, w.now);
    let claims = [(life(own.generation - 1, 2), 2), (life(own.generation, 7), 2)];
    // The last one is of a life that our disk has forgotten.
    let claims = claims.into_iter().chain([(life(own.generation + 4, 3), 3)]);
    for (claim, turn) in claims {
        let before = w.hosts[0].node.local().record.version;
        w.hosts[0].node.learn_claim(now, claim, Origin::Packet(addr(1)));
        w.drain();
        let record = w.hosts[0].node.local().record;
        assert_eq!(record.turn, turn, "{:?}", record.version);
        assert!(record.version > before);
    }
    w.run(secs(1));
    let listed = w.hosts[1].node.members().find(|m| m.record.turn == 3);
    assert_eq!(listed.map(|m| m.state), Some(State::Alive));
}

#[test]
fn a_turn_comes_back_after_a_restart() {
    let mut w = World::joined(4);
    w.hosts[3].up = false;
    w.run(secs(4));
    w.start(twin(4, 3));
    w.join(4, 0).unwrap();
    w.run(secs(1));
    let mut c = twin(4, 3);
    c.durable.generation = 1;
    w.hosts[4] = Host { node: Node::new(c, [9; 32], w.now).unwrap(), up: true, events: vec![] };
    w.drain();
    w.join(4, 1).unwrap();
    w.run(secs(1));
    assert_eq!(w.hosts[4].node.local().record.turn, 1);
}

#[test]
fn of_two_holders_that_meet_the_later_one_leaves_and_says_why() {
    let mut w = World::new(3);
    w.start(twin(3, 1));
    w.join(1, 0).unwrap();
    w.join(3, 2).unwrap();
    w.run(secs(3));
    w.join(2, 0).unwrap();
    w.run(secs(5));
    let lost = |e: &Event| matches!(e, Event::NameLost { holder } if holder.addr == addr(1));
    assert_eq!(events(&w, 3, lost), 1);
    assert_eq!(w.hosts[3].node.local().state, LocalState::Left);
    assert_eq!(w.hosts[3].node.stats().get(Counter::NamesLost), 1);
    assert_eq!(w.hosts[1].node.local().state, LocalState::Running);
    for i in [0, 2] {
        assert_eq!((w.state(i, 1), w.state(i, 3)), (Some(State::Alive), Some(State::Left)));
        let conflict = |e: &Event| matches!(e, Event::NameConflict { .. });
        assert!(events(&w, i, conflict) > 0, "n{i} reports nothing");
    }
}

#[test]
pub(super) fn a_senior_holder_that_only_others_speak_of_takes_no_name() {
    let mut w = World::joined(3);
    // Lower than n2's id, so senior, and nobody's.
    let ghost = Record {
        id: NodeId::from_bytes(1_u128.to_be_bytes()),
        addr: addr(9),
        ..(*w.hosts[2].node.local().record).clone()
    };
    let claim = Claim { record: ghost.into(), statement: Statement::Alive };
    let now = w.now;
    w.hosts[2].node.learn_claim(now, claim, crate::node::claims::Origin::Packet(addr(0)));
    w.run(secs(20));
    assert_eq!(w.hosts[2].node.local().state, LocalState::Running);
    assert_eq!(w.alive(2), 2);
}

#[test]
fn a_join_waits_until_the_holder_was_looked_at() {
    let mut w = World::joined(4);
    w.start(twin(4, 3));
    // It lives: refused at once.
    let refused = w.join(4, 0).unwrap_err();
    assert!(matches!(refused, JoinError::NameTaken { addr: a, .. } if a == addr(3)), "{refused:?}");
    assert_eq!(w.hosts[0].node.stats().get(Counter::JoinsHeld), 1);
    assert_eq!(w.alive(0), 3);
    // It died, and nobody knows yet: let in as soon as that is known.
    w.hosts[3].up = false;
    w.hosts[4].events.clear();
    begin_join(&mut w, 4, 0);
    assert_eq!(outcome(&w, 4), None);
    w.run(secs(3));
    assert!(matches!(outcome(&w, 4), Some(Ok(3 | 4))), "{:?}", outcome(&w, 4));
    assert_eq!((w.state(0, 3), w.state(0, 4)), (None, Some(State::Alive)));
}

#[test]
pub(super) fn what_comes_for_a_join_that_waits_is_capped() {
    let mut w = World::joined(3);
    w.start(twin(3, 2));
    w.hosts[2].up = false;
    begin_join(&mut w, 3, 0);
    let waits = |w: &World| w.hosts[0].node.open_streams();
    let before = waits(&w);
    let stream = *w.peers.get(&(3, w.hosts[3].node.conns.keys().copied().next().unwrap())).unwrap();
    for _ in 0..=names::WAITING_BYTES / 4096 {
        w.hosts[0].node.handle_stream(w.now, stream.1, StreamEvent::Data(&[0; 4096]));
    }
    assert_eq!(waits(&w), before - 1);
}
