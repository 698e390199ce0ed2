//! Rules that are met nowhere else one by one: what shortens a suspicion, who is told, how much
//! work a stranger or a storm can make.

use super::*;
use crate::{
    bootstrap::Agreement,
    node::{Outgoing, claims::Origin, probe::Kind},
    planted,
    wire::{Message, NotMe, ProbeRequest, Sender},
};

fn id(i: usize) -> NodeId {
    NodeId::from_bytes([i as u8; 16])
}

fn count(w: &World, c: Counter) -> u64 {
    w.hosts[0].node.stats().get(c)
}

/// A cluster of which only what a test begins moves; the last host is silent, if `silent`.
fn resting(n: usize, silent: bool) -> World {
    let mut w = World::joined(n);
    w.run(secs(2));
    w.hosts.iter_mut().for_each(|h| h.node.drop_probes());
    without_regular_probes(&mut w);
    w.cut = silent.then_some(n - 1);
    w
}

/// How long n0 holds the last host of `n` for live from now on, in steps of 50 ms.
fn patience(w: &mut World, n: usize) -> Duration {
    let (step, began) = (Duration::from_millis(50), w.now);
    while w.now.since(began) < secs(20) && w.state(0, n - 1) != Some(State::Failed) {
        w.run(step);
    }
    w.now.since(began)
}

/// A probe of a second, in which two helpers say in time that they met nothing either, then 1.5 s.
#[test]
pub(super) fn what_helpers_met_shortens_a_suspicion() {
    let mut w = resting(5, true);
    w.hosts[0].node.start_probe(w.now, id(4), Kind::Verify).unwrap();
    let took = patience(&mut w, 5);
    assert!((2450..=2600).contains(&took.as_millis()), "{took:?}");
}

#[test]
pub(super) fn further_accusers_shorten_a_suspicion() {
    let mut w = resting(5, true);
    for i in 1..4 {
        let (by, evidence) = (id(i), Evidence::Silent);
        let accused = says(&w, 4, Statement::Suspect { by, evidence, witnesses: 0 });
        w.hosts[0].node.learn_claim(w.now, accused, Origin::Packet(addr(i)));
    }
    let took = patience(&mut w, 5);
    assert!((1450..=1600).contains(&took.as_millis()), "{took:?}");
}

#[test]
pub(super) fn the_accused_is_told_at_once() {
    let mut w = resting(3, false);
    w.hosts[0].node.accuse(w.now, id(1), Evidence::Silent, 2);
    // Others may hear of it later.
    hush_gossip(&mut w);
    w.drain();
    assert_eq!(w.hosts[1].node.stats().get(Counter::Refutations), 1);
    assert_eq!(w.hosts[1].node.awareness, 1, "it may have been slow");
    assert_eq!(w.state(0, 1), Some(State::Alive));
}

/// Of what n0 has to send only pings leave.
fn hush_gossip(w: &mut World) {
    w.hosts[0].node.scratch.out.retain(|o| matches!(o, Outgoing::Ping { .. }));
}

/// Its host refuses, as one does at which another process has the port for a moment; nobody else
/// says so.
#[test]
pub(super) fn a_refusal_alone_ends_no_probe() {
    let mut w = resting(4, false);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    let cookie = node.start_probe(now, id(1), Kind::Verify).unwrap();
    node.on_probe_late(now, cookie);
    while let Some(action) = node.poll_stream() {
        if let StreamAction::Open { id, .. } = action {
            node.handle_stream(now, id, StreamEvent::Failed(StreamError::Refused));
        }
    }
    assert!(node.is_probed(id(1)));
    assert_eq!(w.state(0, 1), Some(State::Alive));
}

#[test]
pub(super) fn who_is_not_meant_by_a_ping_says_so() {
    let mut w = World::joined(2);
    let (cookie, from) = (8, w.hosts[1].node.sender());
    let target = wire::Mark::new(cookie, NodeId::from_bytes([7; 16]));
    let ping = wire::Ping { cookie, from, target, root: 0 };
    let now = w.now;
    w.hosts[0].node.on_message(now, addr(1), wire::Message::Ping(ping));
    assert_eq!(w.hosts[0].node.stats().get(Counter::WrongTarget), 1);
}

#[test]
pub(super) fn another_process_at_the_address_means_that_the_one_we_knew_is_gone() {
    let mut w = resting(4, false);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    let cookie = node.start_probe(now, id(1), Kind::Verify).unwrap();
    let from = Sender { id: id(77), version: Version::default() };
    node.on_not_me(now, NotMe { cookie, from });
    let held = node.table.get(id(1)).unwrap().statement;
    assert!(matches!(held, Statement::Suspect { evidence: Evidence::Refused, .. }), "{held:?}");
}

#[test]
pub(super) fn an_ack_counts_for_the_probe_whose_cookie_it_has() {
    let mut w = resting(4, true);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    let cookie = node.start_probe(now, id(3), Kind::Verify).unwrap();
    let version = Version::default();
    for guess in [0, cookie ^ 2, cookie.wrapping_add(2), u64::MAX] {
        let ack = wire::Ack { cookie: guess, version, root: 0 };
        node.on_ack(now, addr(3), ack, crate::node::degraded::Path::Packet, None);
    }
    assert!(node.is_probed(id(3)));
    assert_eq!(count(&w, Counter::StrayReply), 4);
}

#[test]
fn probes_that_a_stream_rescued_are_counted_apart() {
    use crate::node::degraded::Path::{Packet, Stream};
    let mut w = resting(4, true);
    // Whether it was late, whether a watch broke before, how the answer came: what is counted.
    for (late, watched, path, counts) in [
        (true, false, Stream, (1, 1)),
        (true, false, Packet, (2, 1)),
        (false, false, Packet, (2, 1)),
        // That is how a look after a broken watch is answered: it rescues nothing.
        (true, true, Stream, (2, 1)),
    ] {
        let (now, node) = (w.now, &mut w.hosts[0].node);
        let cookie = node.start_probe(now, id(3), Kind::Verify).unwrap();
        match (late, watched) {
            (true, true) => node.probe_watched(now, cookie),
            (true, false) => node.on_probe_late(now, cookie),
            (false, _) => {}
        }
        let version = node.table.get(id(3)).unwrap().record.version;
        node.on_ack(now, addr(3), wire::Ack { cookie, version, root: 0 }, path, None);
        assert!(!w.hosts[0].node.is_probed(id(3)));
        let counted = (count(&w, Counter::ProbesRescued), count(&w, Counter::ProbesByStream));
        assert_eq!(counted, counts, "late {late}, watched {watched}, {path:?}");
    }
}

/// What left last before the process was stopped is still unanswered.
#[test]
pub(super) fn who_was_stopped_blames_nobody() {
    let mut w = resting(4, false);
    let node = &mut w.hosts[1].node;
    node.start_probe(w.now, id(2), Kind::Regular).unwrap();
    node.scratch.out.clear();
    w.now = w.now + secs(4);
    w.hosts[1].node.handle_timeout(w.now);
    let stats = w.hosts[1].node.stats();
    assert_eq!((stats.get(Counter::Pauses), stats.get(Counter::Suspicions)), (1, 0));
}

/// Else somebody who sees none of the packets could answer for another.
#[test]
pub(super) fn cookies_do_not_follow_from_each_other() {
    let mut w = resting(2, false);
    let mut all: Vec<_> = (0..100).map(|_| w.hosts[0].node.new_cookie()).collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|c| c[1] - c[0] > 1 << 32));
}

#[test]
pub(super) fn no_more_is_asked_for_others_than_fits() {
    let mut w = resting(3, true);
    let from = Sender { id: id(1), version: w.hosts[1].node.me.version };
    let most = Limits::default().relays;
    for cookie in 0..=most as u64 {
        let r = ProbeRequest { cookie, from, target: id(2), addr: addr(2), budget_ms: 1000 };
        w.hosts[0].node.on_probe_request(w.now, addr(1), r);
    }
    assert_eq!((w.hosts[0].node.relays.len(), count(&w, Counter::RelaysDropped)), (most, 1));
}

#[test]
pub(super) fn an_application_hears_how_many_events_it_missed() {
    let mut w = resting(2, false);
    let node = &mut w.hosts[0].node;
    let most = node.cfg.limits.events;
    (0..most + 3).for_each(|_| node.event(Event::Paused { gap_ms: 1 }));
    (0..most).for_each(|_| drop(node.poll_event()));
    assert_eq!(node.poll_event(), Some(Event::Lost { count: 3 }));
    assert_eq!(node.poll_event(), None);
}

/// Lifeguard: who may be slow itself gives others as much more time.
#[test]
pub(super) fn a_bad_health_waits_longer_for_an_answer() {
    let mut w = resting(4, true);
    w.hosts[0].node.awareness = 3;
    w.hosts[0].node.start_probe(w.now, id(3), Kind::Verify).unwrap();
    let before = count(&w, Counter::ProbesLate);
    w.run(Duration::from_millis(1900));
    assert_eq!(count(&w, Counter::ProbesLate), before, "four times half a second");
    w.run(Duration::from_millis(200));
    assert_eq!(count(&w, Counter::ProbesLate), before + 1);
}

#[test]
pub(super) fn a_stranger_gets_no_help() {
    let mut w = resting(3, false);
    let (now, version) = (w.now, Version::default());
    let from = Sender { id: id(77), version };
    let r = ProbeRequest { cookie: 8, from, target: id(2), addr: addr(2), budget_ms: 1000 };
    let node = &mut w.hosts[0].node;
    node.on_probe_request(now, addr(77), r);
    assert!(node.relays.is_empty());
    assert_eq!(count(&w, Counter::RelaysDropped), 1);
}

#[test]
pub(super) fn a_storm_of_news_leaves_in_few_rounds() {
    let mut w = resting(6, false);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    for i in 20..80 {
        let version = Version { generation: 1, incarnation: 0 };
        let name = Name::new(std::format!("n{i}")).unwrap();
        let record = Record { version, ..Record::of_client(id(i), name, addr(i)) };
        let claim = Claim { record: record.into(), statement: Statement::Alive };
        node.learn_claim(now, claim, Origin::Packet(addr(1)));
        node.finish();
    }
    let sent = node.scratch.out.iter().filter(|o| matches!(o, Outgoing::Gossip { .. })).count();
    let (rounds, fanout) = (8, 3);
    assert!((fanout..=rounds * fanout).contains(&sent), "{sent} datagrams");
}

/// Each failed member hears from about one of the others per interval, however many there are.
#[test]
pub(super) fn the_failed_are_contacted_in_turns() {
    let mut w = World::joined(20);
    let failed = says(&w, 19, Statement::Failed { by: id(3) });
    without_regular_probes(&mut w);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    node.learn_claim(now, failed, Origin::Own);
    let mut contacts = 0;
    for _ in 0..190 {
        node.drop_probes();
        node.on_reconnect_timer(now);
        contacts += usize::from(node.is_probed(id(19)));
    }
    assert!((1..=30).contains(&contacts), "{contacts} contacts in 190 intervals of 19 members");
}

#[test]
pub(super) fn a_leave_that_was_lost_is_told_again() {
    let mut w = resting(4, false);
    w.hosts[2].node.command(w.now, Command::Leave).unwrap();
    w.hosts[2].node.scratch.out.clear();
    w.run(secs(1));
    assert!(w.hosts[2].events.contains(&Event::LeaveFinished { confirmed: 3 }));
}

#[test]
pub(super) fn no_more_queries_are_open_than_fit() {
    let mut w = resting(3, false);
    for n in 0..=ASKED_QUERIES {
        let query = Query {
            time: 1 + n as u64,
            id: EventId::from_bytes([n as u8; 16]),
            origin: id(1),
            timeout_ms: 5000,
            ack: false,
            filter: QueryFilter::default(),
            name: EventName::new("ping").unwrap(),
            payload: Payload::default(),
        };
        w.hosts[0].node.on_query(w.now, query);
    }
    w.drain();
    let told = |e: &&Event| matches!(e, Event::QueryReceived { .. });
    assert_eq!(w.hosts[0].events.iter().filter(told).count(), ASKED_QUERIES);
    assert_eq!(count(&w, Counter::QueriesDropped), 1);
}

/// One round trip that took long is not where a member is.
#[test]
pub(super) fn of_three_round_trips_the_median_counts() {
    let mut w = resting(3, false);
    let (place, ms) = (Place::from(&Coordinate::ORIGIN), Duration::from_millis);
    let node = &mut w.hosts[0].node;
    (0..40).for_each(|_| node.learn_place(id(1), place, Some(ms(10))));
    let before = node.coordinate();
    node.learn_place(id(1), place, Some(secs(5)));
    let moved = node.coordinate().distance_ns(&before);
    assert!(moved < 20_000_000, "by {moved} ns");
}

/// Whoever answers a repeat may mean the first ping: nobody knows how long that took.
#[test]
pub(super) fn an_answer_to_a_repeat_measures_no_round_trip() {
    let mut w = resting(2, false);
    let before = count(&w, Counter::RoundTrips);
    w.hosts[0].node.start_probe(w.now, id(1), Kind::Regular).unwrap();
    w.hosts[0].node.scratch.out.clear();
    w.run(Duration::from_millis(400));
    assert!(!w.hosts[0].node.is_probed(id(1)));
    assert_eq!(count(&w, Counter::RoundTrips), before);
}

#[test]
pub(super) fn a_datagram_of_another_datacenter_changes_nothing() {
    let mut w = resting(2, false);
    let version = Version { generation: 1, incarnation: 0 };
    let record = Record { version, ..Record::of_client(id(7), config(7).name, addr(7)) };
    let claim = Claim { record: record.into(), statement: Statement::Alive };
    for (label, known) in [("dc2", None), ("dc1", Some(State::Alive))] {
        let head = wire::stream_head(&Label::new(label).unwrap());
        let mut bytes = Vec::new();
        wire::begin_datagram(&head, &mut bytes);
        wire::append_message(&Message::Claim(claim.clone()), &mut bytes);
        wire::finish_datagram(&head, &mut bytes);
        w.hosts[0].node.handle_datagram(w.now, addr(1), &bytes);
        assert_eq!((w.state(0, 7), count(&w, Counter::DropLabel)), (known, 1), "{label}");
    }
}

/// What n1 writes when n0 has promised an attempt of these: `birth` is of whom n0 takes n1 for.
fn answered(voters: usize, birth: u64) -> Memory {
    let memory = |n: u64| Memory { birth: n, ..Memory::blank() };
    let voter = |i: usize| {
        let birth = if i == 1 { birth } else { i as u64 + 1 };
        Voter { id: id(i), birth, era: 0, addr: addr(i) }
    };
    let mut attempt =
        Attempt { cluster: ClusterId::from_random([7; 16]), voters: BoundedVec::default() };
    attempt.voters = BoundedVec::new((0..voters).map(voter).collect()).unwrap();
    let (attempt, ballot) = (attempt.into(), Ballot::ZERO);
    let stage = Stage::Promised { attempt, ballot, accepted: None };
    let mut server = Agreement::new(id(1), 3, memory(2), planted::chosen());
    server.hear(id(0), Memory { stage, ..memory(1) });
    server.step().unwrap_or_else(|| server.memory().clone())
}

#[test]
pub(super) fn a_promise_is_for_an_attempt_of_its_own_size_only() {
    assert!(matches!(answered(3, 2).stage, Stage::Promised { .. }));
    let refused = answered(2, 2);
    assert_eq!((refused.era, refused.stage), (1, Stage::Free));
}

#[test]
pub(super) fn who_lost_its_disk_is_not_asked_by_what_was_asked_of_it_before() {
    assert_eq!(answered(3, 9).stage, Stage::Free);
}

#[test]
pub(super) fn somebody_asks_about_an_attempt_that_stands_still() {
    let Stage::Promised { attempt, .. } = answered(3, 2).stage else { panic!("no promise") };
    let stage = Stage::Promised { attempt, ballot: Ballot::ZERO, accepted: None };
    let memory = Memory { birth: 2, era: 0, stage };
    let asked = Agreement::new(id(1), 3, memory, planted::chosen()).recover();
    let ballot = asked.map(|m| match m.stage {
        Stage::Promised { ballot, .. } => ballot,
        _ => Ballot::ZERO,
    });
    assert_eq!(ballot, Some(Ballot { round: 1, owner: id(1) }));
}
