//! Members that were heard of and not met, members that are forgotten and live, and detours.

use super::*;
use crate::node::{Outgoing, claims::Origin};

fn ghost(i: u8) -> Claim {
    let record = Record {
        version: Version { generation: 1, incarnation: 0 },
        ..Record::of_client(
            NodeId::from_bytes([i; 16]),
            Name::new(std::format!("n{i}")).unwrap(),
            addr(usize::from(i)),
        )
    };
    Claim { record: record.into(), statement: Statement::Alive }
}

fn hear(w: &mut World, at: usize, claim: &Claim) {
    let now = w.now;
    w.hosts[at].node.learn_claim(now, claim.clone(), Origin::Packet(addr(200)));
    w.drain();
}

#[test]
fn talk_of_a_member_that_never_was_dies() {
    let mut w = World::joined(5);
    let claim = ghost(77);
    hear(&mut w, 1, &claim);
    assert_eq!(w.state(1, 77), Some(State::Alive));
    w.run(secs(12));
    // It is told again: what was dropped is known.
    hear(&mut w, 1, &claim);
    for i in 0..5 {
        assert_eq!(w.state(i, 77), None, "n{i}");
        let failed = |e: &&Event| matches!(e, Event::Failed { .. });
        assert_eq!(w.hosts[i].events.iter().filter(failed).count(), 0, "n{i}");
        assert_eq!(w.hosts[i].node.stats().get(Counter::HearsayDropped), 1, "n{i}");
    }
    // Its own word, from its own address, counts.
    let now = w.now;
    w.hosts[1].node.introduced(now, &claim.record, addr(9), true);
    assert_eq!(w.state(1, 77), None);
    w.hosts[1].node.introduced(now, &claim.record, addr(77), true);
    assert_eq!(w.state(1, 77), Some(State::Alive));
}

/// Somebody makes so many members up, and tells `at` of them.
fn haunt(w: &mut World, at: usize, ghosts: u8) {
    (0..ghosts).for_each(|i| hear(w, at, &ghost(100 + i)));
}

#[test]
pub(super) fn the_round_goes_on_however_many_are_made_up() {
    let mut w = World::joined(5);
    w.run(secs(5));
    haunt(&mut w, 0, 30);
    let node = &mut w.hosts[0].node;
    let others = (1..5).map(|i| NodeId::from_bytes([i; 16]));
    let other = others.clone().find(|id| node.observers().all(|o| o != *id)).unwrap();
    let targets: Vec<NodeId> = (0..600).filter_map(|_| node.next_target()).collect();
    assert_eq!(targets.len(), 600);
    assert!(targets.contains(&other), "who observes nobody is probed by the round only");
    let talk = targets.iter().filter(|id| !others.clone().any(|o| o == **id)).count();
    assert!(talk >= 200, "{talk} looks at those that were only heard of");
}

#[test]
pub(super) fn those_that_were_met_are_found_among_any_number_of_others() {
    let mut w = World::joined(5);
    haunt(&mut w, 0, 60);
    let mut seen = [0; 5];
    for _ in 0..40 {
        let target = NodeId::from_bytes([1; 16]);
        let (helpers, met) = w.hosts[0].node.random_met(2, |_, id| id != target);
        assert_eq!((helpers.len(), met), (2, 2));
        helpers.iter().for_each(|id| seen[usize::from(id.as_bytes()[0])] += 1);
    }
    assert!(seen[2..].iter().all(|n| *n > 15), "{seen:?}");
}

/// n0 of so many members was told of these ghosts, and has looked whether they observe it.
fn haunted(n: usize, ghosts: &[u8]) -> World {
    let mut w = World::joined(n);
    w.run(secs(5));
    ghosts.iter().for_each(|g| hear(&mut w, 0, &ghost(*g)));
    w.run(Duration::from_millis(1100));
    w
}

#[test]
fn who_could_not_be_reached_counts_until_it_is_gone_whoever_else_is_unmet() {
    let is_wanted = |g: &u8| haunted(5, &[*g]).hosts[0].node.is_shy();
    let (wanted, other) = ((100..200).find(is_wanted), (100..200).find(|g| !is_wanted(g)));
    let [wanted, other] = [wanted, other].map(Option::unwrap);
    let mut w = haunted(5, &[wanted]);
    hear(&mut w, 0, &ghost(other));
    assert!(w.hosts[0].node.is_shy());
    // Nobody tells n0 of it again.
    w.cut = Some(0);
    let now = w.now;
    assert!(w.hosts[0].node.disbelieve(now, ghost(wanted).id()));
    w.run(Duration::from_millis(1100));
    let node = &w.hosts[0].node;
    assert!(node.is_unmet(ghost(other).id()) && !node.is_shy());
}

#[test]
fn ids_that_may_be_made_up_have_no_place_in_the_ring() {
    let mut w = haunted(9, &[100, 101, 102, 103, 104, 105, 106, 107]);
    let node = &mut w.hosts[0].node;
    assert!(node.is_shy());
    let first = (0..100).filter_map(|_| node.hearers(Some(0)).first().copied());
    let first: alloc::collections::BTreeSet<_> = first.collect();
    assert!(first.len() > 4, "some are always told first: {first:?}");
}

#[test]
fn who_leaves_waits_for_no_answer_of_those_that_are_made_up() {
    let mut w = haunted(3, &[100, 101, 102, 103, 104, 105, 106, 107]);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    assert!(node.is_shy());
    assert_eq!(node.sure_count(), 2, "who is cut off, or looks for the failed, counts these");
    node.command(now, Command::Leave).unwrap();
    w.drain();
    assert!(w.hosts[0].events.contains(&Event::LeaveFinished { confirmed: 2 }));
}

#[test]
pub(super) fn few_that_were_only_heard_of_are_kept_for_a_restart() {
    let mut w = World::joined(5);
    haunt(&mut w, 0, 60);
    // Some of them would be its observers.
    w.run(Duration::from_millis(1100));
    assert!(w.hosts[0].node.is_shy());
    haunt(&mut w, 0, 120);
    w.hosts[0].node.save_peers();
    let peers = &w.hosts[0].node.storage.durable.peers;
    let met = peers.iter().filter(|p| p.id.as_bytes()[0] < 100).count();
    assert_eq!((met, peers.len()), (4, 8));
}

#[test]
fn who_was_met_and_dies_has_failed() {
    let mut w = World::joined(5);
    w.run(secs(10));
    w.hosts[2].up = false;
    w.run(secs(4));
    assert!([0, 1, 3, 4].into_iter().all(|i| w.state(i, 2) == Some(State::Failed)));
}

#[test]
fn little_is_sent_to_who_was_not_met() {
    let mut w = World::joined(3);
    let claim = ghost(77);
    let now = w.now;
    let node = &mut w.hosts[0].node;
    node.learn_claim(now, claim.clone(), Origin::Packet(addr(1)));
    let mut buf = Vec::new();
    while node.poll_transmit(now, &mut buf).is_some() {}
    let mut answer = |node: &mut Node, news: &Arc<wire::Packed>| {
        node.spread(now, news);
        let from = wire::Sender { id: claim.id(), version: claim.version() };
        let ping = wire::Ping { cookie: 2, from, target: wire::Mark::new(2, node.me.id), root: 0 };
        node.on_ping(now, addr(77), ping);
        let sent = node.poll_transmit(now, &mut buf).unwrap();
        assert_eq!(sent.to, addr(77));
        sent.len
    };
    let news = node.claim_about(NodeId::from_bytes([1; 16])).unwrap();
    let small = answer(node, &news);
    node.met(now, claim.id());
    assert!(answer(node, &news) > small + 20);
}

#[test]
fn who_is_forgotten_and_lives_hears_of_it() {
    let mut w = World::joined(3);
    let (now, id) = (w.now, NodeId::from_bytes([1; 16]));
    let record = w.hosts[1].node.local().record;
    let alive = Claim { record: record.clone(), statement: Statement::Alive };
    let by = NodeId::from_bytes([0; 16]);
    let failed = Claim { record: record.clone(), statement: Statement::Failed { by } };
    let node = &mut w.hosts[0].node;
    node.learn_claim(now, failed, Origin::Own);
    node.forget(id);
    node.queue.forget(id);
    let mut buf = Vec::new();
    while node.poll_transmit(now, &mut buf).is_some() {}
    // It cannot be believed, but its subject is told.
    node.learn_claim(now, alive, Origin::Packet(addr(2)));
    assert_eq!(w.state(0, 1), None);
    w.drain();
    assert_eq!(w.state(0, 1), Some(State::Alive));
    assert!(w.hosts[1].node.local().record.version > record.version);
}

/// Else one that alone has dropped somebody would look for it once in 5 s times the members.
#[test]
fn who_was_dropped_and_is_still_talked_of_is_contacted_soon() {
    let mut w = World::joined(12);
    let id = NodeId::from_bytes([1; 16]);
    let record = w.hosts[1].node.local().record;
    let claim = Claim { record, statement: Statement::Alive };
    let (start, node) = (w.now, &mut w.hosts[0].node);
    node.heard_of(id, None, State::Alive);
    assert!(node.disbelieve(start, id));
    let contacts = |node: &mut Node, until: Instant| {
        let mut contacts = 0;
        while let Some(at) = node.poll_timeout().filter(|at| *at <= until) {
            node.handle_timeout(at);
            let mut buf = Vec::new();
            while node.poll_transmit(at, &mut buf).is_some() {}
            while let Some(action) = node.poll_stream() {
                let there = matches!(action, StreamAction::Open { to, .. } if to == addr(1));
                contacts += usize::from(there);
            }
        }
        contacts
    };
    assert_eq!(contacts(node, start + secs(5)), 0);
    node.learn_claim(start + secs(5), claim, Origin::Packet(addr(2)));
    assert_eq!(w.state(0, 1), None);
    let node = &mut w.hosts[0].node;
    assert!(contacts(node, start + secs(10)) > 0);
}

#[test]
fn who_is_forgotten_far_ahead_hears_how_far_at_once() {
    let mut w = World::joined(3);
    let (now, id) = (w.now, NodeId::from_bytes([1; 16]));
    let record = w.hosts[1].node.local().record;
    let Version { generation, incarnation } = record.version;
    let ahead = Version { generation, incarnation: incarnation + 9 };
    let by = NodeId::from_bytes([0; 16]);
    let accused = Record { version: ahead, ..(*record).clone() };
    let failed = Claim { record: accused.into(), statement: Statement::Failed { by } };
    let node = &mut w.hosts[0].node;
    node.learn_claim(now, failed, Origin::Own);
    node.forget(id);
    node.queue.forget(id);
    node.scratch.out.clear();
    let alive = Claim { record: record.clone(), statement: Statement::Alive };
    node.learn_claim(now, alive, Origin::Packet(addr(2)));
    w.drain();
    assert_eq!(w.state(0, 1), Some(State::Alive));
    let own = w.hosts[1].node.local().record.version;
    assert_eq!(own, Version { generation, incarnation: incarnation + 10 });
    assert_eq!(w.hosts[1].node.stats().get(Counter::Refutations), 1);
}

/// Two that hold each other for gone would wait for chance to bring them together.
#[test]
fn who_is_gone_and_said_to_live_far_ahead_is_asked() {
    let mut w = World::joined(3);
    let by = NodeId::from_bytes([0; 16]);
    let known = w.hosts[1].node.local().record;
    let version = Version { incarnation: 1 << 20, ..known.version };
    let far = Record { version, ..(*known).clone() };
    let [alive, failed] = [Statement::Alive, Statement::Failed { by }]
        .map(|statement| Claim { record: far.clone().into(), statement });
    let pings = |w: &mut World, claim: &Claim| {
        let node = &mut w.hosts[0].node;
        node.scratch.out.clear();
        node.learn_claim(w.now, claim.clone(), Origin::Stream { spread: true });
        let ping = |o: &&Outgoing| matches!(o, Outgoing::Ping { .. });
        node.scratch.out.iter().filter(ping).count()
    };
    assert_eq!(pings(&mut w, &alive), 0, "a live member has its turn");
    let gone = Claim { record: known, statement: Statement::Failed { by } };
    w.hosts[0].node.learn_claim(w.now, gone, Origin::Own);
    w.hosts[0].node.timers.clear();
    assert_eq!((pings(&mut w, &failed), pings(&mut w, &alive)), (0, 1));
    // Once, and not while that is under way.
    assert_eq!(pings(&mut w, &alive), 0);
    w.hosts[0].up = true;
    w.run(Duration::from_millis(900));
    assert_eq!(w.hosts[0].node.scratch.out.len(), 0);
    w.hosts[0].node.replies_left = 0;
    w.hosts[0].node.drop_probes();
    assert_eq!(pings(&mut w, &alive), 0, "as far as the rate allows");
}

#[test]
fn three_detours_in_a_row_make_a_member_degraded_and_one_ack_ends_that() {
    let mut w = World::joined(3);
    let id = NodeId::from_bytes([1; 16]);
    let node = &mut w.hosts[0].node;
    node.reached_by_others(id);
    node.reached_by_others(id);
    assert_eq!((node.degraded().count(), node.next_target()), (0, Some(id)));
    node.reached_by_others(id);
    assert_eq!((node.degraded().next(), node.stats().degraded), (Some(id), 1));
    let told = |w: &mut World, want: bool| {
        w.drain();
        let said = |e: &&Event| matches!(e, Event::Degraded { degraded, .. } if *degraded == want);
        w.hosts[0].events.iter().filter(said).count()
    };
    assert_eq!(told(&mut w, true), 1);
    w.hosts[0].node.reached(id);
    w.hosts[0].node.reached(id);
    assert_eq!((told(&mut w, false), w.hosts[0].node.stats().degraded), (1, 0));
}

#[test]
fn who_was_dropped_is_contacted_again_as_long_as_the_failed() {
    let mut w = World::new(2);
    w.join(1, 0).unwrap();
    hear(&mut w, 0, &ghost(2));
    w.run(secs(12));
    assert_eq!(w.state(0, 2), None);
    // It comes up there, and nobody tells it of us or us of it.
    w.start(config(2));
    w.run(secs(60));
    assert_eq!(
        (w.state(0, 2), w.state(1, 2), w.alive(2)),
        (Some(State::Alive), Some(State::Alive), 2)
    );
}

/// Who is killed just after it came was met by few: the others wait for those to declare it.
#[test]
pub(super) fn who_met_a_member_is_the_first_to_declare_its_failure() {
    let mut w = World::joined(3);
    let claim = ghost(77);
    hear(&mut w, 1, &claim);
    let by = w.hosts[0].node.me.id;
    let said = |statement| Claim { record: claim.record.clone(), statement };
    let evidence = crate::record::Evidence::Refused;
    hear(&mut w, 1, &said(Statement::Suspect { by, evidence, witnesses: 2 }));
    w.run(Duration::from_millis(800));
    assert_eq!(w.state(1, 77), Some(State::Suspect), "the time of who met it is over");
    hear(&mut w, 1, &said(Statement::Failed { by }));
    assert_eq!(w.state(1, 77), Some(State::Failed));
    let told = |e: &Event| matches!(e, Event::Failed { .. });
    assert!(w.hosts[1].events.iter().any(told));
    assert_eq!(w.hosts[1].node.stats().get(Counter::HearsayDropped), 0);
}

/// What nobody could refute would stay for ever.
#[test]
fn a_stranger_at_a_version_beyond_refutation_is_not_believed() {
    let mut w = World::joined(2);
    let mut claim = ghost(77);
    let at = |claim: &mut Claim, generation| {
        let record = Arc::make_mut(&mut claim.record);
        record.version = Version { generation, incarnation: 0 };
        claim.statement = Statement::Failed { by: NodeId::from_bytes([1; 16]) };
    };
    at(&mut claim, (1 << 40) + 1);
    hear(&mut w, 0, &claim);
    assert_eq!(w.state(0, 77), None);
    assert_eq!(w.hosts[0].node.stats().get(Counter::ImplausibleClaim), 1);
    at(&mut claim, 1 << 40);
    hear(&mut w, 0, &claim);
    assert_eq!(w.state(0, 77), Some(State::Failed));
}

/// Whoever missed what led a member far ahead asks it when it speaks, and believes its answer.
#[test]
fn who_is_too_far_ahead_is_asked() {
    let mut w = World::joined(2);
    w.run(secs(5));
    let (now, id, from) = (w.now, w.hosts[1].node.me.id, w.hosts[1].node.me.addr);
    let node = &mut w.hosts[0].node;
    let probes = node.probes.len();
    let version = |incarnation| Version { generation: 1, incarnation };
    for (from, incarnation, asked) in [(from, 1, 0), (addr(9), 1 << 20, 0), (from, 1 << 20, 1)] {
        node.ask_for_voucher(now, from, wire::Sender { id, version: version(incarnation) });
        assert_eq!(node.probes.len(), probes + asked);
    }
}
