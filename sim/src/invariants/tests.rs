//! Each checker is shown a history that breaks its invariant, and one close to it that does not.

use std::sync::Arc;

use quorate_core::{Claim, Evidence, Label, Name, NodeId, Record, Statement, wire};

use super::*;

fn v(generation: u64, incarnation: u32) -> Version {
    Version { generation, incarnation }
}

fn seen(subject: u32, version: Version) -> Seen {
    Seen { subject, version, content: content(version) }
}

fn content(version: Version) -> u64 {
    version.generation << 32 | u64::from(version.incarnation)
}

/// Observer 0 is member 0; member 1 has published 1.0 to 3.0.
fn checker() -> Checker {
    let mut c = Checker::default();
    c.starts(0, 0);
    for version in [v(1, 0), v(1, 1), v(1, 2), v(2, 0), v(3, 0)] {
        c.publishes(seen(1, version)).unwrap();
    }
    c
}

fn caught(result: Result<(), Violation>, by: Invariant) {
    match result {
        Err(violation) => assert_eq!(violation.invariant, by, "{violation}"),
        Ok(()) => panic!("{} was not caught", by.name()),
    }
}

#[test]
fn s1_a_stored_version_goes_down() {
    let mut c = checker();
    c.tells(0, Told::Alive, seen(1, v(1, 2))).unwrap();
    caught(c.tells(0, Told::Updated, seen(1, v(1, 1))), Invariant::S1);
    let mut c = checker();
    c.tells(0, Told::Alive, seen(1, v(1, 2))).unwrap();
    let list = [(seen(1, v(1, 1)), State::Alive)];
    caught(c.lists(0, &Limits::default(), list.into_iter()), Invariant::S1);
}

#[test]
fn s1_a_restart_forgets_its_generation() {
    caught(checker().begins(seen(1, v(3, 0))), Invariant::S1);
    caught(checker().publishes(seen(1, v(2, 0))), Invariant::S1);
    checker().begins(seen(1, v(4, 0))).unwrap();
}

#[test]
fn s12_an_event_is_told_once_and_its_clock_rises() {
    let key = |time| (time, quorate_core::EventId::from_bytes([1; 16]));
    let mut e = Events::default();
    caught(e.tells(0, key(1)), Invariant::S12);
    e.fires(key(1));
    e.tells(0, key(1)).unwrap();
    e.tells(1, key(1)).unwrap();
    assert!(e.was_told(1, &key(1)) && !e.was_told(2, &key(1)));
    caught(e.tells(0, key(1)), Invariant::S12);
    e.starts(0);
    e.tells(0, key(1)).unwrap();
    e.shows(1, 7, 1, 0).unwrap();
    caught(e.shows(1, 6, 1, 0), Invariant::S12);
    caught(e.shows(1, 7, quorate_core::EVENT_WINDOW + 1, 0), Invariant::S8);
}

#[test]
fn s2_the_dead_come_back_at_the_same_version() {
    for (told, back, allowed) in [
        (Told::Failed, v(1, 1), false),
        (Told::Failed, v(1, 2), true),
        (Told::Left, v(1, 2), false),
        (Told::Left, v(2, 0), true),
    ] {
        let mut c = checker();
        c.tells(0, Told::Alive, seen(1, v(1, 1))).unwrap();
        c.tells(0, told, seen(1, v(1, 1))).unwrap();
        let result = c.tells(0, Told::Alive, seen(1, back));
        if allowed { result.unwrap() } else { caught(result, Invariant::S2) }
    }
}

#[test]
fn s2_holds_across_pruning() {
    let mut c = checker();
    c.tells(0, Told::Alive, seen(1, v(1, 1))).unwrap();
    c.tells(0, Told::Failed, seen(1, v(1, 1))).unwrap();
    c.tells(0, Told::Reaped, seen(1, v(1, 1))).unwrap();
    caught(c.tells(0, Told::Alive, seen(1, v(1, 1))), Invariant::S2);
    // Who has no room to remember that holds it against nobody.
    c.drops_tombstones(0);
    c.tells(0, Told::Alive, seen(1, v(1, 1))).unwrap();
    c.tells(0, Told::Failed, seen(1, v(1, 1))).unwrap();
    c.drops_tombstones(0);
    caught(c.tells(0, Told::Alive, seen(1, v(1, 1))), Invariant::S2);
}

#[test]
fn s3_somebody_else_raises_a_version() {
    caught(checker().tells(0, Told::Alive, seen(1, v(3, 1))), Invariant::S3);
    caught(checker().tells(0, Told::Alive, seen(2, v(1, 0))), Invariant::S3);
}

#[test]
fn s4_one_version_with_two_contents() {
    let other = Seen { content: 77, ..seen(1, v(1, 1)) };
    caught(checker().tells(0, Told::Alive, other), Invariant::S4);
    caught(checker().publishes(Seen { content: 77, ..seen(1, v(3, 0)) }), Invariant::S4);
}

#[test]
fn s6_a_refutation_does_not_exceed_or_wraps() {
    caught(checker().refutes(1, v(3, 0)), Invariant::S6);
    let mut c = Checker::default();
    c.publishes(seen(1, v(1, u32::MAX))).unwrap();
    caught(c.refutes(1, v(1, 0)), Invariant::S6);
    c.refutes(1, v(2, 0)).unwrap();
}

#[test]
fn s6_a_refutation_that_waited_for_the_disk_is_not_out() {
    let mut c = checker();
    c.refutes(1, v(4, 0)).unwrap();
    c.written(1, 3).unwrap();
    caught(c.clone().written(1, 4), Invariant::S6);
    c.publishes(seen(1, v(4, 0))).unwrap();
    c.written(1, 4).unwrap();
}

#[test]
fn s5_a_node_accuses_itself() {
    let label = Label::new("dc1").unwrap();
    let (own, other) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
    let datagram = |about, statement| {
        let record = Record {
            version: v(1, 0),
            ..Record::of_client(about, Name::new("n1").unwrap(), "10.0.0.1:8301".parse().unwrap())
        };
        let head = wire::stream_head(&label);
        let mut bytes = Vec::new();
        wire::begin_datagram(&head, &mut bytes);
        let claim = Claim { record: Arc::new(record), statement };
        wire::append_message(&wire::Message::Claim(claim), &mut bytes);
        wire::finish_datagram(&head, &mut bytes);
        bytes
    };
    let accusation = Statement::Suspect { by: other, evidence: Evidence::Silent, witnesses: 0 };
    caught(own_claims(&label, None, own, &datagram(own, accusation)), Invariant::S5);
    caught(
        own_claims(&label, None, own, &datagram(own, Statement::Failed { by: own })),
        Invariant::S5,
    );
    own_claims(&label, None, own, &datagram(other, accusation)).unwrap();
    own_claims(&label, None, own, &datagram(own, Statement::Left { by: own, prune: false }))
        .unwrap();
    own_claims(&label, None, own, &datagram(own, Statement::Alive)).unwrap();
    let mut damaged = datagram(own, Statement::Alive);
    damaged.pop();
    caught(own_claims(&label, None, own, &damaged), Invariant::S8);
}

#[test]
fn s7_events_do_not_alternate() {
    let mut c = checker();
    c.tells(0, Told::Alive, seen(1, v(1, 0))).unwrap();
    caught(c.tells(0, Told::Alive, seen(1, v(1, 1))), Invariant::S7);
    caught(checker().tells(0, Told::Failed, seen(1, v(1, 0))), Invariant::S7);
    caught(c.tells(0, Told::Reaped, seen(1, v(1, 1))), Invariant::S7);
}

#[test]
fn s7_the_list_is_not_what_the_events_told() {
    let limits = Limits::default();
    let listed = |state| [(seen(1, v(1, 0)), state)].into_iter();
    caught(checker().lists(0, &limits, listed(State::Alive)), Invariant::S7);
    checker().lists(0, &limits, listed(State::Failed)).unwrap();
    let mut c = checker();
    c.tells(0, Told::Alive, seen(1, v(1, 0))).unwrap();
    c.lists(0, &limits, listed(State::Suspect)).unwrap();
    caught(c.clone().lists(0, &limits, listed(State::Failed)), Invariant::S7);
    caught(c.clone().lists(0, &limits, std::iter::empty()), Invariant::S7);
    c.loses_events(0);
    c.lists(0, &limits, listed(State::Failed)).unwrap();
    c.lists(0, &limits, listed(State::Failed)).unwrap();
}

#[test]
fn s8_caps_and_s9_what_is_sealed() {
    let limits = Limits { members: 1, ..Limits::default() };
    let mut c = checker();
    c.publishes(seen(2, v(1, 0))).unwrap();
    c.loses_events(0);
    let list = [(seen(1, v(3, 0)), State::Alive), (seen(2, v(1, 0)), State::Alive)];
    caught(c.lists(0, &limits, list.into_iter()), Invariant::S8);
    caught(outputs(&limits, 1, 1401), Invariant::S8);
    caught(sealed(false, false), Invariant::S9);
    sealed(false, true).unwrap();
    sealed(true, false).unwrap();
    caught(outputs(&limits, 10_000, 100), Invariant::S8);
    outputs(&limits, 10, 1400).unwrap();
    let limits = Limits { streams: 5, queued_claims: 7, ..limits };
    for (streams, open, claims) in [(3, 2, 0), (6, 9, 0), (0, 0, 8)] {
        caught(held(&limits, streams, open, claims), Invariant::S8);
    }
    held(&limits, 5, 5, 7).unwrap();
}
