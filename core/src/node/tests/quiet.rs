//! What is not sent: to a process that is slow, to who was only heard of, and by servers that have
//! nothing to agree on. And what is not measured.

use super::*;
use crate::{
    node::{claims::Origin, probe::Kind, timers::Timer},
    wire::{Ping, ProbeRequest, Sender},
};

fn id(i: usize) -> NodeId {
    NodeId::from_bytes([i as u8; 16])
}

/// Somebody that n0 is told of.
fn ghost(i: usize, name: usize) -> Claim {
    let version = Version { generation: 1, incarnation: 0 };
    let name = Name::new(std::format!("n{name}")).unwrap();
    let record = Record { version, ..Record::of_client(id(i), name, addr(i)) };
    Claim { record: record.into(), statement: Statement::Alive }
}

fn hear(w: &mut World, claim: Claim) {
    w.hosts[0].node.learn_claim(w.now, claim, Origin::Packet(addr(1)));
}

/// A cluster in which n0 does nothing of its own accord.
fn still(n: usize) -> World {
    let mut w = World::joined(n);
    w.hosts[0].node.timers.clear();
    // It compares digests with nobody either.
    Arc::make_mut(&mut w.hosts[0].node.cfg.tuning).digest_quiet = Duration::ZERO;
    w
}

/// Steps n0 alone for `d`: how many of its datagrams to `to` carry `what`. Streams to members are
/// accepted at once, and nobody says anything on them.
fn sent(w: &mut World, d: Duration, to: usize, what: &str) -> usize {
    let (end, node) = (w.now + d, &mut w.hosts[0].node);
    let (mut buf, mut count) = (Vec::new(), 0);
    loop {
        while let Some(action) = node.poll_stream() {
            if let StreamAction::Open { id, .. } = action {
                node.handle_stream(w.now, id, StreamEvent::Connected);
            }
        }
        while let Some(t) = node.poll_transmit(w.now, &mut buf) {
            let said = wire::describe_datagram(None, &buf);
            count += usize::from(t.to == addr(to) && said.contains(&what));
        }
        let Some(next) = node.poll_timeout().filter(|t| *t <= end) else { break };
        w.now = w.now.max(next);
        node.handle_timeout(w.now);
    }
    w.now = end;
    count
}

#[test]
pub(super) fn a_process_that_accepts_and_does_not_answer_gets_no_more_pings() {
    let mut w = still(3);
    w.hosts[0].node.start_probe(w.now, id(1), Kind::Verify).unwrap();
    // The first and three repeats; then its kernel accepts a stream.
    assert_eq!(sent(&mut w, Duration::from_millis(501), 1, "Ping"), 4);
    assert_eq!(sent(&mut w, Duration::from_millis(498), 1, "Ping"), 0);
    // The accusation is told once.
    assert_eq!(w.state(0, 1), Some(State::Alive));
    assert_eq!(sent(&mut w, secs(1), 1, "Ping"), 1);
    let held = w.hosts[0].node.table.get(id(1)).unwrap().statement;
    assert!(matches!(held, Statement::Suspect { evidence: Evidence::Mute, .. }), "{held:?}");
}

#[test]
fn a_helper_leaves_a_process_alone_that_accepts_and_does_not_answer() {
    let mut w = still(3);
    let from = Sender { id: id(1), version: w.hosts[1].node.me.version };
    let r = ProbeRequest { cookie: 8, from, target: id(2), addr: addr(2), budget_ms: 1000 };
    w.hosts[0].node.on_probe_request(w.now, addr(1), r);
    assert_eq!(sent(&mut w, secs(2), 2, "Ping"), 1);
}

/// Of those that take the last look at a silent member one in eight takes it at a mute one.
#[test]
pub(super) fn few_look_once_more_at_a_process_that_is_slow() {
    let looks = |evidence| {
        let mut w = still(3);
        for i in 10..200 {
            hear(&mut w, ghost(i, i));
        }
        let statement = Statement::Suspect { by: id(2), evidence, witnesses: 0 };
        let accused = says(&w, 1, statement);
        let node = &mut w.hosts[0].node;
        node.learn_claim(w.now, accused, Origin::Own);
        let before = node.probes.len();
        (0..400).for_each(|_| node.on_last_look(w.now, id(1)));
        node.probes.len() - before
    };
    // Of 193 members 128 and 16.
    assert!((225..=305).contains(&looks(Evidence::Silent)));
    assert!((15..=55).contains(&looks(Evidence::Mute)));
}

#[test]
fn a_last_look_at_a_slow_process_is_one_ping() {
    for (evidence, pings) in [(Evidence::Mute, 1), (Evidence::Silent, 7)] {
        let mut w = still(3);
        let statement = Statement::Suspect { by: id(2), evidence, witnesses: 0 };
        let accused = says(&w, 1, statement);
        w.hosts[0].node.learn_claim(w.now, accused, Origin::Own);
        w.hosts[0].node.timers.clear();
        w.hosts[0].node.on_last_look(w.now, id(1));
        assert_eq!(sent(&mut w, secs(1), 1, "Ping"), pings, "{evidence:?}");
    }
}

/// Nobody may be at that address, or somebody else.
#[test]
fn an_origin_that_was_not_met_is_answered_once() {
    for (met, replies) in [(false, 1), (true, 6)] {
        let mut w = still(3);
        hear(&mut w, ghost(77, 77));
        if met {
            w.hosts[0].node.met(w.now, id(77));
        }
        let query = Query {
            time: 1,
            id: EventId::from_bytes([4; 16]),
            origin: id(77),
            timeout_ms: 5000,
            ack: true,
            filter: QueryFilter::default(),
            name: EventName::new("ping").unwrap(),
            payload: Payload::default(),
        };
        w.hosts[0].node.on_query(w.now, query);
        assert_eq!(sent(&mut w, secs(4), 77, "QueryReply"), replies);
    }
}

#[test]
pub(super) fn who_was_not_met_helps_only_where_nobody_else_can() {
    let asked = |n: usize| {
        let mut w = still(n);
        hear(&mut w, ghost(77, 77));
        w.hosts[0].node.start_probe(w.now, id(1), Kind::Verify).unwrap();
        sent(&mut w, Duration::from_millis(600), 77, "ProbeRequest")
    };
    // Three are asked: with three others all of these.
    assert_eq!((asked(5), asked(4)), (0, 1));
}

/// News goes to who was met, and a name that two of hearsay have sends nobody to look.
#[test]
fn talk_of_two_with_one_name_makes_nobody_look() {
    for met in [false, true] {
        let mut w = still(2);
        hear(&mut w, ghost(77, 77));
        if met {
            w.hosts[0].node.met(w.now, id(77));
        }
        hear(&mut w, ghost(78, 77));
        assert_eq!(w.hosts[0].node.probes.len(), usize::from(met));
    }
}

#[test]
pub(super) fn acks_to_who_was_not_met_carry_no_news() {
    for (met, news) in [(false, 0), (true, 1)] {
        let mut w = still(3);
        hear(&mut w, ghost(77, 77));
        if met {
            w.hosts[0].node.met(w.now, id(77));
        }
        let told = w.hosts[0].node.claim_about(id(1)).unwrap();
        sent(&mut w, Duration::ZERO, 77, "Claim");
        w.hosts[0].node.queue.push(&told, 16);
        let from = Sender { id: id(77), version: ghost(77, 77).version() };
        let (target, root) = (wire::Mark::new(2, id(0)), w.hosts[0].node.root());
        w.hosts[0].node.on_ping(w.now, addr(77), Ping { cookie: 2, from, target, root });
        assert_eq!(sent(&mut w, Duration::ZERO, 77, "Claim"), news);
    }
}

/// A member that is late with its ping is looked at out of turn: if that were measured, whoever
/// is late often would weigh more than others in where we think we are.
#[test]
fn an_overdue_probe_measures_no_round_trip() {
    let mut w = World::joined(4);
    w.run(secs(10));
    for h in &mut w.hosts {
        h.node.timers.stop(Timer::Probe);
    }
    let trips = |w: &World| w.hosts[0].node.stats().get(Counter::RoundTrips);
    let before = trips(&w);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    (1..4).for_each(|i| node.on_overdue(now, id(i)));
    assert_eq!(node.probes.len(), 3);
    w.drain();
    assert!(w.hosts[0].node.probes.is_empty());
    assert_eq!(trips(&w), before);
    w.hosts[0].node.start_probe(now, id(1), Kind::Regular).unwrap();
    w.drain();
    assert_eq!(trips(&w), before + 1);
}

/// Servers that are to agree report to each other four times a second, others ask now and then.
#[test]
fn who_has_nothing_to_agree_on_looks_on() {
    let server = |i, expect, stage| {
        let role = Role::Server { port: 8300, expect, bootstrap: false };
        let mut durable = Durable::new(id(i));
        durable.bootstrap.stage = stage;
        Config { role, durable, ..config(i) }
    };
    // What n0 expects (none: a client) and n1; is n0 bound by what it did earlier?
    let reports = |own: Option<u8>, other: u8, bound: bool| {
        let mut w = World::new(0);
        let stage = if bound { Stage::Forgetful } else { Stage::Free };
        w.start(own.map_or_else(|| config(0), |expect| server(0, expect, stage)));
        w.start(server(1, other, Stage::Free));
        w.join(1, 0).unwrap();
        w.run(secs(1));
        w.hosts[0].node.timers.clear();
        w.hosts[0].node.timers.set(Timer::Bootstrap, w.now);
        sent(&mut w, secs(10), 1, "BootstrapReport")
    };
    assert!(reports(None, 3, false) <= 8);
    assert!(reports(Some(0), 0, false) <= 8);
    for (own, other, bound) in [(3, 0, false), (0, 3, false), (0, 0, true)] {
        let n = reports(Some(own), other, bound);
        assert!((35..=45).contains(&n), "{n} with {own}, {other}, {bound}");
    }
}
