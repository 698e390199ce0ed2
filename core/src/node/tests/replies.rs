//! Answers to addresses that may be forged: never larger than the question, and few.

use super::*;
use crate::wire::{Message, Ping, ProbeRequest, Sender};

const VICTIM: &str = "10.9.9.9:53";
const HEADS: usize = 28;

fn datagram(ms: &[Message]) -> Vec<u8> {
    let head = wire::stream_head(&Label::new("dc1").unwrap());
    let mut out = Vec::new();
    wire::begin_datagram(&head, &mut out);
    ms.iter().for_each(|m| wire::append_message(m, &mut out));
    wire::finish_datagram(&head, &mut out);
    out
}

/// Datagrams to the victim after this one came "from" it: how many, how many bytes on the wire.
fn reflected(w: &mut World, bytes: &[u8]) -> (usize, usize) {
    let (now, victim) = (w.now, VICTIM.parse().unwrap());
    let node = &mut w.hosts[0].node;
    node.handle_datagram(now, victim, bytes);
    let (mut buf, mut sum) = (Vec::new(), (0, 0));
    while let Some(t) = node.poll_transmit(now, &mut buf) {
        if t.to == victim {
            sum = (sum.0 + 1, sum.1 + t.len + HEADS);
        }
    }
    sum
}

fn stranger() -> Sender {
    Sender { id: NodeId::from_bytes([77; 16]), version: Version::default() }
}

fn own(w: &World) -> NodeId {
    w.hosts[0].node.me.id
}

/// The node's own numbers are as large as they can be, the stranger's as small.
fn large() -> World {
    let mut w = World::joined(3);
    let version = Version { generation: u64::MAX - 9, incarnation: u32::MAX };
    let now = w.now;
    w.hosts[0].node.publish(now, version);
    w.drain();
    w
}

#[test]
pub(super) fn no_answer_to_a_stranger_is_larger_than_its_question() {
    let mut w = large();
    let ping = |id| {
        let target = wire::Mark::new(0, id);
        Message::Ping(Ping { cookie: 0, from: stranger(), target, root: 0 })
    };
    let leave = {
        let record = Record { id: stranger().id, ..(*w.hosts[1].node.me).clone() };
        let by = record.id;
        let statement = Statement::Left { by, prune: false };
        let claim = Claim { record: record.into(), statement };
        Message::Leave(wire::Leave { cookie: 0, claim })
    };
    let other = NodeId::from_bytes([1; 16]);
    for m in [ping(own(&w)), ping(other), leave] {
        let question = datagram(&[m]);
        let (count, bytes) = reflected(&mut w, &question);
        assert!(count == 1 && bytes <= question.len() + HEADS, "{count} of {bytes} bytes");
    }
    // Many questions in one datagram, too.
    let question = datagram(&vec![ping(own(&w)); 35]);
    let (count, bytes) = reflected(&mut w, &question);
    assert!(count > 5 && bytes <= question.len() + HEADS, "{count} of {bytes} bytes");
    assert!(w.hosts[0].node.stats().get(Counter::RepliesWithheld) > 0);
}

#[test]
fn a_forged_ping_of_the_dead_does_not_send_their_record_anywhere() {
    let mut w = World::joined(3);
    w.hosts[2].up = false;
    w.run(secs(20));
    assert_eq!(w.state(0, 2), Some(State::Failed));
    let from = Sender { id: NodeId::from_bytes([2; 16]), version: Version::default() };
    let target = wire::Mark::new(0, own(&w));
    let question = datagram(&[Message::Ping(Ping { cookie: 0, from, target, root: 0 })]);
    let (count, bytes) = reflected(&mut w, &question);
    assert!(count <= 1 && bytes <= question.len() + HEADS, "{count} of {bytes} bytes");
    // At its own address it hears what is held of it.
    let now = w.now;
    let node = &mut w.hosts[0].node;
    node.handle_datagram(now, addr(2), &question);
    let mut buf = Vec::new();
    let mut told = 0;
    while let Some(t) = node.poll_transmit(now, &mut buf) {
        let claims = wire::describe_datagram(None, &buf).contains(&"Claim");
        told += usize::from(t.to == addr(2) && claims);
    }
    assert!(told > 0);
}

#[test]
pub(super) fn strangers_get_few_answers_in_a_second() {
    let mut w = World::joined(2);
    let mut answers = 0;
    for cookie in 0..2000 {
        let target = wire::Mark::new(cookie, own(&w));
        let ping = Ping { cookie, from: stranger(), target, root: 0 };
        answers += reflected(&mut w, &datagram(&[Message::Ping(ping)])).0;
    }
    assert_eq!(answers, 256);
    w.run(secs(2));
    let target = wire::Mark::new(1, own(&w));
    let ping = Ping { cookie: 1, from: stranger(), target, root: 0 };
    assert_eq!(reflected(&mut w, &datagram(&[Message::Ping(ping)])).0, 1);
}

#[test]
fn a_forged_request_does_not_make_a_helper_flood_an_address() {
    let mut w = World::joined(3);
    let (now, victim) = (w.now, VICTIM.parse().unwrap());
    let id = NodeId::from_bytes([1; 16]);
    let from = Sender { id, version: w.hosts[1].node.me.version };
    let target = NodeId::from_bytes([2; 16]);
    let r = ProbeRequest { cookie: 9, from, target, addr: victim, budget_ms: 10_000 };
    let question = datagram(&[Message::ProbeRequest(r)]);
    let node = &mut w.hosts[0].node;
    node.handle_datagram(now, addr(1), &question);
    let (mut buf, mut count) = (Vec::new(), 0);
    for step in 0..200 {
        let now = now + Duration::from_millis(step * 100);
        node.handle_timeout(now);
        while let Some(t) = node.poll_transmit(now, &mut buf) {
            count += usize::from(t.to == victim);
        }
        while let Some(action) = node.poll_stream() {
            assert!(!matches!(action, StreamAction::Open { to, .. } if to == victim));
        }
    }
    assert_eq!(count, 1);
}

/// n0 alone hears a claim of n1 at `version`. The failure of somebody who is suspected already is
/// believed unseen.
fn told(w: &mut World, at: usize, version: Version, statement: Statement) {
    let record = Record { version, ..(*w.hosts[1].node.me).clone() };
    let claim = Claim { record: record.into(), statement };
    let (now, bytes) = (w.now, datagram(&[Message::Claim(claim)]));
    w.hosts[at].node.handle_datagram(now, VICTIM.parse().unwrap(), &bytes);
}

#[test]
fn who_missed_the_accusation_believes_the_refutation_after_its_own_ping() {
    let mut w = World::joined(3);
    let own = w.hosts[1].node.me.version;
    // One that was led near the limit and refuted above it, all of which n0 and n2 missed.
    let far = Version { generation: own.generation + (1 << 24) + 7, incarnation: 0 };
    w.hosts[1].node.mint_generation(far.generation - 1);
    w.drain();
    assert_eq!(w.hosts[1].node.me.version, far);
    let at = |w: &World, i: usize| {
        let id = NodeId::from_bytes([1; 16]);
        w.hosts[i].node.members().find(|m| m.record.id == id).unwrap().record.version
    };
    assert_eq!((at(&w, 0), at(&w, 2)), (own, own), "the step is too large to be believed");
    w.run(secs(10));
    assert_eq!((at(&w, 0), at(&w, 2)), (far, far), "it answered for itself");
}

#[test]
fn what_others_were_led_to_by_several_steps_is_refuted_all_the_same() {
    let mut w = World::joined(3);
    let own = w.hosts[1].node.me.version;
    let by = NodeId::from_bytes([9; 16]);
    for step in 1..=5_u64 {
        let generation = own.generation + (step << 24);
        for i in [0, 2] {
            let version = Version { generation, incarnation: 0 };
            told(&mut w, i, version, Statement::Failed { by });
        }
    }
    assert_eq!(w.state(0, 1), Some(State::Failed));
    w.run(secs(10));
    assert_eq!((w.state(0, 1), w.state(2, 1)), (Some(State::Alive), Some(State::Alive)));
}

#[test]
fn the_highest_versions_are_believed_by_nobody() {
    let mut w = World::joined(3);
    let by = NodeId::from_bytes([9; 16]);
    let highest = Version { generation: u64::MAX, incarnation: u32::MAX };
    for statement in [Statement::Failed { by }, Statement::Left { by, prune: true }] {
        (0..3).for_each(|i| told(&mut w, i, highest, statement));
    }
    w.run(secs(10));
    assert!((0..3).all(|i| w.alive(i) == 2));
    assert!(w.hosts[1].node.me.version.generation < 3);
}

/// What n0 holds of n1 after n1 said on a stream from `from` that it is at address 9, `step` above
/// what n0 knew; n1 is silent since `gone` ago.
fn moved(gone: Duration, from: usize, step: Version) -> (Version, State) {
    let mut w = World::joined(3);
    let by = NodeId::from_bytes([2; 16]);
    let known = w.hosts[1].node.me.version;
    w.hosts[1].up = false;
    let suspect = Statement::Suspect { by, evidence: Evidence::Silent, witnesses: 0 };
    told(&mut w, 0, known, suspect);
    told(&mut w, 0, known, Statement::Failed { by });
    w.run(gone);
    let generation = known.generation + step.generation;
    let version = Version { generation, incarnation: step.incarnation };
    let record = Record { version, addr: addr(9), ..(*w.hosts[1].node.me).clone() };
    let now = w.now;
    w.hosts[0].node.introduced(now, &record, addr(from), true);
    let held = w.hosts[0].node.members().find(|m| m.record.id == record.id).unwrap();
    (held.record.version, held.state)
}

#[test]
fn who_was_led_far_and_moved_is_believed_on_a_stream_from_there() {
    let at = |generation, incarnation| Version { generation, incarnation };
    let (known, step) = (at(1, 0), at(1 << 32, 9));
    let gone = secs(5);
    assert_eq!(moved(gone, 9, step), (at((1 << 32) + 1, 9), State::Alive));
    assert_eq!(moved(gone, 9, at(0, 1 << 20)), (at(1, 1 << 20), State::Alive));
    // A live member would not have had the time to say that it is not so.
    assert_eq!(moved(gone - Duration::from_millis(1), 9, step), (known, State::Failed));
    assert_eq!(moved(gone, 8, step), (known, State::Failed), "from another address");
    // It may not be the member: what that one could not go above is not followed.
    assert_eq!(moved(gone, 9, at((1 << 32) + 1, 0)), (known, State::Failed));
}

/// What n0 holds of n1 after a forged claim that it has moved, answers from there `step`
/// generations ahead, `apart` from each other, and a `Left` at that version.
fn taken_over(w: &mut World, moves: bool, step: u64, apart: Duration) -> (Version, State) {
    let own = (*w.hosts[1].node.me).clone();
    let id = own.id;
    let at = |generation| Version { generation, incarnation: 0 };
    let (claimed, far) = (at(own.version.generation + 1), at(own.version.generation + step));
    let from = if moves { addr(9) } else { own.addr };
    let node = &mut w.hosts[0].node;
    let alive = |version| Claim {
        record: Record { version, addr: from, ..own.clone() }.into(),
        statement: Statement::Alive,
    };
    node.learn_claim(w.now, alive(claimed), claims::Origin::Packet(addr(9)));
    for now in [w.now, w.now + apart] {
        node.vouch(now, from, Sender { id, version: far });
    }
    let left = Claim { statement: Statement::Left { by: id, prune: false }, ..alive(far) };
    node.learn_claim(w.now, left, claims::Origin::Packet(addr(9)));
    let held = node.members().find(|m| m.record.id == id).unwrap();
    (held.record.version, held.state)
}

#[test]
fn who_answers_for_a_member_cannot_put_it_beyond_what_it_refutes() {
    let short = secs(5) - Duration::from_millis(1);
    for (moves, step) in [(true, u64::MAX - 1), (true, 1 << 41), (false, 1 << 41)] {
        let mut w = World::joined(3);
        assert_eq!(taken_over(&mut w, moves, step, short).1, State::Alive, "{step}");
        w.run(secs(10));
        assert!((0..3).all(|i| w.alive(i) == 2), "all are back");
    }
    // What it can go above costs one refutation.
    let mut w = World::joined(3);
    assert_eq!(taken_over(&mut w, true, 1 << 32, short).1, State::Left);
    w.run(secs(10));
    assert!((0..3).all(|i| w.alive(i) == 2), "all are back");
}

/// Else nobody that missed how it was led there would ever believe it again.
#[test]
fn a_member_that_says_so_for_long_enough_is_followed_whatever_the_step() {
    let mut w = World::joined(3);
    let generation = w.hosts[1].node.me.version.generation + (1 << 41);
    let far = Version { generation, incarnation: 0 };
    assert_eq!(taken_over(&mut w, false, 1 << 41, secs(5)), (far, State::Left));
}

/// What was said at the address before the member was back does not count when it is there again.
#[test]
fn a_voucher_ends_with_a_move() {
    let mut w = World::joined(3);
    taken_over(&mut w, true, 1 << 41, Duration::ZERO);
    let mut record = (*w.hosts[1].node.me).clone();
    record.version.generation += 2;
    let back = Claim { record: record.into(), statement: Statement::Alive };
    w.hosts[0].node.learn_claim(w.now, back.clone(), claims::Origin::Packet(addr(1)));
    w.hosts[1].node.me = (*back.record).clone().into();
    w.now = w.now + secs(5);
    assert_eq!(taken_over(&mut w, true, 1 << 41, Duration::ZERO).1, State::Alive);
}

#[test]
fn who_lives_is_not_believed_to_have_moved_far() {
    let mut w = World::joined(2);
    w.run(secs(9));
    let own = w.hosts[1].node.me.version;
    let version = Version { generation: own.generation + (1 << 24) + 1, incarnation: 0 };
    let record = Record { version, addr: addr(9), ..(*w.hosts[1].node.me).clone() };
    let now = w.now;
    w.hosts[0].node.introduced(now, &record, addr(9), true);
    assert_eq!(w.hosts[0].node.members().next().unwrap().record.addr, addr(1));
}

/// As somebody would take it who had not heard of n1.
#[test]
fn an_incarnation_that_is_far_ahead_is_refuted_with_a_generation() {
    for incarnation in [(1 << 24) + 1, u32::MAX - 1, u32::MAX] {
        let mut w = World::joined(3);
        let own = w.hosts[1].node.me.version;
        let by = NodeId::from_bytes([9; 16]);
        told(&mut w, 1, Version { incarnation, ..own }, Statement::Failed { by });
        w.drain();
        let next = Version { generation: own.generation + 1, incarnation: 0 };
        assert_eq!(w.hosts[1].node.me.version, next);
        assert_eq!((w.state(0, 1), w.state(2, 1)), (Some(State::Alive), Some(State::Alive)));
        let dropped = |h: &Host| h.node.stats().get(Counter::ImplausibleClaim);
        assert!(w.hosts.iter().all(|h| dropped(h) == 0), "all can follow");
    }
}

/// At rest no gossip tick comes: what may be sent back is a matter of time alone.
#[test]
pub(super) fn corrections_are_few_in_a_while_and_there_are_always_more() {
    let mut w = World::joined(3);
    w.run(secs(20));
    let stale = {
        let mut record = (*w.hosts[2].node.me).clone();
        record.version = Version { generation: 0, incarnation: 0 };
        Claim { record: record.into(), statement: Statement::Alive }
    };
    let sent = |w: &mut World| {
        let from = addr(1);
        let mut n = 0;
        for _ in 0..100 {
            let bytes = datagram(&[Message::Claim(stale.clone())]);
            w.hosts[0].node.handle_datagram(w.now, from, &bytes);
            let mut buf = Vec::new();
            while let Some(t) = w.hosts[0].node.poll_transmit(w.now, &mut buf) {
                n += usize::from(t.to == from);
            }
        }
        n
    };
    assert_eq!(sent(&mut w), 32);
    w.now = w.now + secs(1);
    assert_eq!(sent(&mut w), 32, "a second later");
}
