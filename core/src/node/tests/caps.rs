//! Caps: each can be reached by somebody who makes things up, is counted, and leaves room for those
//! who speak for themselves.

use super::*;
use crate::node::{claims::Origin, probe::Kind};
use crate::wire::{Message, Ping, Sender};

/// A member that was never there.
fn ghost(i: u64) -> Claim {
    let mut id = [0xee; 16];
    id[..8].copy_from_slice(&i.to_be_bytes());
    let name = Name::new(std::format!("ghost{i}")).unwrap();
    let record = Record {
        version: Version { generation: 1, incarnation: 0 },
        ..Record::of_client(NodeId::from_bytes(id), name, addr(200))
    };
    Claim { record: record.into(), statement: Statement::Alive }
}

fn count(w: &World, c: Counter) -> u64 {
    w.hosts[0].node.stats().get(c)
}

/// n0 of `n` members, with these limits from now on.
fn limited(n: usize, change: impl FnOnce(&mut Limits)) -> World {
    let mut w = World::joined(n);
    change(Arc::make_mut(&mut w.hosts[0].node.cfg.limits));
    w
}

fn hear(w: &mut World, claim: Claim) {
    w.hosts[0].node.learn_claim(w.now, claim, Origin::Packet(addr(1)));
}

#[test]
fn who_makes_members_up_does_not_keep_real_ones_out() {
    let mut w = limited(3, |l| l.members = 20);
    (0..100).for_each(|i| hear(&mut w, ghost(i)));
    assert_eq!((w.alive(0), count(&w, Counter::DropFull)), (19, 100 - 17));
    let newcomer = Arc::new(Record { addr: addr(7), ..(*ghost(500).record).clone() });
    let now = w.now;
    // One that only others speak of waits, one that speaks from elsewhere is no better.
    hear(&mut w, Claim { record: Arc::clone(&newcomer), statement: Statement::Alive });
    w.hosts[0].node.introduced(now, &newcomer, addr(9), true);
    let listed = |w: &World| w.hosts[0].node.members().any(|m| m.record.id == newcomer.id);
    assert!(!listed(&w));
    w.hosts[0].node.introduced(now, &newcomer, addr(7), true);
    assert!(listed(&w));
    let real = [1, 2].map(|i| w.state(0, i));
    assert_eq!((real, w.alive(0)), ([Some(State::Alive); 2], 19), "a ghost left for it");
}

#[test]
fn queues_may_be_short_but_not_shorter() {
    let few = Limits::QUEUE_MIN;
    let check = |transmits, events| {
        let w = limited(2, |l| (l.transmits, l.events) = (transmits, events));
        w.hosts[0].node.cfg.check().is_ok()
    };
    assert!(check(few, few) && !check(few - 1, few) && !check(few, few - 1));
}

#[test]
fn strangers_leave_streams_for_members() {
    let mut w = World::joined(2);
    let accepted = |w: &mut World, n: u64, from: usize| {
        let before = w.hosts[0].node.conns.len();
        let id = StreamId::accepted(5000 + n);
        w.hosts[0].node.handle_stream(w.now, id, StreamEvent::Accepted { from: addr(from) });
        w.hosts[0].node.conns.len() > before
    };
    assert!((0..400).filter(|n| accepted(&mut w, *n, 99)).count() < 192);
    assert_eq!(w.hosts[0].node.conns.len(), Limits::default().streams * 3 / 4);
    assert!(accepted(&mut w, 400, 1), "a member's");
    assert!(!accepted(&mut w, 401, 99));
    assert_eq!((0..400).filter(|n| accepted(&mut w, 1000 + n, 1)).count(), 63);
    assert_eq!(w.hosts[0].node.conns.len(), Limits::default().streams);
    assert!(count(&w, Counter::StreamsDropped) > 400);
}

/// Pings of somebody who seems to be far ahead, from its address.
#[test]
fn one_question_to_a_member_is_enough() {
    let mut w = World::joined(3);
    w.hosts[1].up = false;
    let own = w.hosts[1].node.sender();
    let version = Version { generation: own.version.generation + (1 << 30), incarnation: 0 };
    for cookie in 0..5000 {
        let now = w.now;
        let node = &mut w.hosts[0].node;
        node.begin_replies(now, 100);
        let target = wire::Mark::new(cookie, node.me.id);
        let from = Sender { id: own.id, version };
        node.on_message(now, addr(1), Message::Ping(Ping { cookie, from, target, root: 0 }));
        node.scratch.out.clear();
        w.now = now + Duration::from_micros(100);
    }
    assert!(w.hosts[0].node.probes.len() < 4, "{}", w.hosts[0].node.probes.len());
}

#[test]
fn what_has_no_room_is_counted() {
    let mut w = limited(4, |l| {
        (l.queued_claims, l.tombstones) = (8, 4);
    });
    for i in 0..20 {
        hear(&mut w, ghost(i));
    }
    assert_eq!(w.hosts[0].node.queue.len(), 8);
    assert!(count(&w, Counter::GossipDisplaced) >= 12);
    (0..20).for_each(|i| w.hosts[0].node.forget(ghost(i).id()));
    assert_eq!(count(&w, Counter::TombstonesDropped), 16);
    let now = w.now;
    let target = NodeId::from_bytes([1; 16]);
    for _ in 0..3000 {
        w.hosts[0].node.start_probe(now, target, Kind::Contact);
    }
    assert_eq!(w.hosts[0].node.probes.len(), 1024);
    assert!(count(&w, Counter::ProbesDropped) >= 3000 - 1024);
    // Three want to be observed.
    let mut w = World::new(4);
    Arc::make_mut(&mut w.hosts[0].node.cfg.limits).watches = 1;
    for i in 1..4 {
        w.join(i, 0).unwrap();
    }
    w.run(secs(10));
    let observed = (1..4).filter(|i| w.hosts[0].node.observes(w.hosts[*i].node.me.id));
    assert_eq!(observed.count(), 1);
    assert!(count(&w, Counter::WatchesRefused) > 0);
}

#[test]
fn corrections_that_wait_are_counted() {
    let mut w = World::joined(2);
    let stale = {
        let mut record = (*w.hosts[1].node.me).clone();
        record.version = Version::default();
        Claim { record: record.into(), statement: Statement::Alive }
    };
    let now = w.now + secs(1);
    w.hosts[0].node.begin_replies(now, 100);
    for _ in 0..40 {
        w.hosts[0].node.learn_claim(now, stale.clone(), Origin::Packet(addr(1)));
    }
    assert_eq!(count(&w, Counter::CorrectionsWithheld), 8);
}

/// To look for an address among all members takes time: not for each forged one.
#[test]
fn members_are_looked_for_by_address_a_few_times_a_second() {
    let mut w = World::joined(2);
    let now = w.now + secs(2);
    let about = w.hosts[1].node.me.id;
    let node = &mut w.hosts[0].node;
    node.begin_replies(now, 0);
    let told = |node: &mut Node, to: usize| {
        node.replies_left = 32;
        node.scratch.out.clear();
        node.correct_at(addr(to), about);
        !node.scratch.out.is_empty()
    };
    // n0's own address: no member has it.
    (0..256).for_each(|_| assert!(!told(node, 0)));
    let third = Record { addr: addr(3), ..(*ghost(3).record).clone() };
    let third = Claim { record: third.into(), statement: Statement::Alive };
    node.learn_claim(now, third, Origin::Own);
    assert!(!told(node, 3), "too many were looked for");
    node.begin_replies(now + secs(1), 0);
    assert!(told(node, 3));
}

/// Else whoever keeps the old address would be asked in its turn only.
#[test]
fn who_has_moved_is_looked_at_before_others() {
    let mut w = World::joined(12);
    w.run(secs(30));
    assert_eq!(w.hosts[0].node.next_unmet(), None);
    let own = (*w.hosts[5].node.me).clone();
    let mut version = own.version;
    version.incarnation += 1;
    let moved = Record { version, addr: addr(100), ..own };
    hear(&mut w, Claim { record: moved.into(), statement: Statement::Alive });
    let id = w.hosts[5].node.me.id;
    assert_eq!(w.hosts[0].node.next_unmet(), Some(id));
    w.hosts[0].node.met(w.now, id);
    assert_eq!(w.hosts[0].node.next_unmet(), None, "it answered there");
}

/// However many strangers ask meanwhile.
#[test]
fn a_member_that_was_not_met_yet_is_answered() {
    let mut w = World::joined(2);
    let unmet = Record { addr: addr(7), ..(*ghost(7).record).clone() };
    hear(&mut w, Claim { record: unmet.clone().into(), statement: Statement::Alive });
    let answered = |w: &mut World, from: Sender, at: usize| {
        let (now, node) = (w.now, &mut w.hosts[0].node);
        node.begin_replies(now, 60);
        let target = wire::Mark::new(2, node.me.id);
        node.scratch.out.clear();
        node.on_message(now, addr(at), Message::Ping(Ping { cookie: 2, from, target, root: 0 }));
        !node.scratch.out.is_empty()
    };
    let stranger = Sender { id: ghost(99).id(), version: unmet.version };
    while answered(&mut w, stranger, 99) {}
    (0..300).for_each(|_| assert!(!answered(&mut w, stranger, 99)));
    assert!(answered(&mut w, Sender { id: unmet.id, version: unmet.version }, 7));
}
