//! User events and queries on whole nodes. Loss, partitions and restarts are the simulator's.

use std::string::{String, ToString};

use super::*;
use crate::wire::{Message, append_message};

fn fire(w: &mut World, at: usize, name: &str) -> CommandOutcome {
    let c = Command::UserEvent { name: name.into(), payload: vec![7, 8] };
    let outcome = w.hosts[at].node.command(w.now, c).unwrap();
    w.drain();
    outcome
}

/// The names of the events that were told at `i`, in order.
fn told(w: &World, i: usize) -> Vec<String> {
    let name = |e: &Event| match e {
        Event::User { event } => Some(event.name.as_str().to_string()),
        _ => None,
    };
    w.hosts[i].events.iter().filter_map(name).collect()
}

fn count(w: &World, i: usize, c: Counter) -> u64 {
    w.hosts[i].node.stats().get(c)
}

fn event(time: u64, n: u8) -> UserEvent {
    UserEvent {
        time,
        id: EventId::from_bytes([n; 16]),
        origin: NodeId::from_bytes([0; 16]),
        name: EventName::new("forged").unwrap(),
        payload: Payload::default(),
    }
}

/// Hands a message to `i` as a datagram from the address of `from`.
fn send(w: &mut World, i: usize, from: usize, m: &Message) {
    let mut envelope = wire::Envelope::new(Label::new("dc1").unwrap(), None);
    let mut buf = Vec::new();
    envelope.begin(&mut buf);
    append_message(m, &mut buf);
    envelope.finish(&mut buf);
    w.hosts[i].node.handle_datagram(w.now, addr(from), &buf);
    w.drain();
}

#[test]
fn an_event_is_told_once_on_every_member() {
    let mut w = World::joined(9);
    let CommandOutcome::Fired { time, .. } = fire(&mut w, 3, "deploy") else { panic!() };
    assert_eq!(time, 1);
    fire(&mut w, 4, "again");
    w.run(secs(5));
    let root = w.hosts[0].node.digest();
    for i in 0..9 {
        let mut names = told(&w, i);
        names.sort();
        assert_eq!(names, ["again", "deploy"], "n{i}");
        assert_eq!((w.hosts[i].node.queued_events(), w.hosts[i].node.digest()), (0, root), "n{i}");
        assert_eq!(w.hosts[i].node.event_time(), 2, "n{i}");
        assert_eq!(w.hosts[i].node.recent_events().count(), 2);
    }
}

#[test]
pub(super) fn who_comes_later_is_told_what_comes_later() {
    let mut w = World::joined(3);
    fire(&mut w, 0, "before");
    w.run(secs(2));
    w.start(config(3));
    w.join(3, 1).unwrap();
    w.run(secs(2));
    assert!(told(&w, 3).is_empty());
    assert!(w.hosts[3].node.recent_events().map(|(_, told)| told).eq([false]));
    fire(&mut w, 2, "after");
    w.run(secs(2));
    assert_eq!(told(&w, 3), ["after"]);
    assert!(w.hosts[3].node.recent_events().map(|(_, told)| told).eq([false, true]));
    let CommandOutcome::Fired { time, .. } = fire(&mut w, 3, "own") else { panic!() };
    assert_eq!(time, 3);
    // The joining side may as well be the old cluster.
    w.start(config(4));
    w.join(0, 4).unwrap();
    w.run(secs(2));
    assert!(told(&w, 4).is_empty());
    assert_eq!(w.hosts[4].node.event_time(), 3);
}

#[test]
fn what_gossip_missed_is_found_by_the_digest_on_both_sides() {
    let mut w = World::joined(3);
    // Too short for an accusation to end, too long for any gossip.
    w.hosts[2].up = false;
    fire(&mut w, 0, "missed");
    w.run(Duration::from_millis(400));
    for h in &mut w.hosts {
        h.node.user.rumors.clear();
    }
    w.hosts[2].up = true;
    w.hosts[2].node.fire(w.now, "own".into(), vec![]).unwrap();
    w.hosts[2].node.user.rumors.clear();
    w.run(secs(10));
    for i in 0..3 {
        let mut names = told(&w, i);
        names.sort();
        assert_eq!(names, ["missed", "own"], "n{i}");
    }
}

#[test]
fn forged_times_and_sizes_change_nothing() {
    let mut w = World::joined(3);
    fire(&mut w, 0, "one");
    w.run(secs(2));
    send(&mut w, 1, 0, &Message::UserEvent(event(u64::MAX, 9)));
    send(&mut w, 1, 0, &Message::UserEvent(event(2 + (1 << 32), 9)));
    assert_eq!((count(&w, 1, Counter::ImplausibleEvents), w.hosts[1].node.event_time()), (2, 1));
    let mut large = event(2, 9);
    large.payload = Payload::new(vec![0; EVENT_BYTES]).unwrap();
    send(&mut w, 1, 0, &Message::UserEvent(large));
    assert_eq!(count(&w, 1, Counter::DropMalformed), 1);
    send(&mut w, 1, 0, &Message::UserEvent(event(1 << 20, 9)));
    assert_eq!((told(&w, 2).len(), w.hosts[2].node.event_time()), (2, 1 << 20));
}

#[test]
fn the_clock_ends_and_does_not_wrap() {
    let mut w = World::joined(2);
    // No number of plausible steps can be taken in a test: begin at the end.
    w.hosts[0].node.user.clock = u64::MAX;
    let c = Command::UserEvent { name: "x".into(), payload: vec![] };
    let refused = w.hosts[0].node.command(w.now, c);
    assert_eq!(refused, Err(CommandError::EventClock));
    assert_eq!(w.hosts[0].node.event_time(), u64::MAX);
}

#[test]
pub(super) fn what_is_older_than_the_window_is_not_told() {
    let mut w = World::joined(2);
    for i in 0..EVENT_WINDOW as u64 {
        w.hosts[0].node.on_user_event(w.now, event(100 + i, 1));
    }
    w.drain();
    let before = told(&w, 0).len();
    w.hosts[0].node.on_user_event(w.now, event(99, 1));
    w.hosts[0].node.on_user_event(w.now, event(500, 1));
    w.hosts[0].node.on_user_event(w.now, event(100, 1));
    w.drain();
    assert_eq!((before, told(&w, 0).len()), (EVENT_WINDOW, EVENT_WINDOW + 1));
    assert_eq!(count(&w, 0, Counter::OldEvents), 2);
    assert_eq!(w.hosts[0].node.recent_events().count(), EVENT_WINDOW);
}

#[test]
pub(super) fn commands_say_what_does_not_fit() {
    let mut w = World::joined(2);
    let mut fire = |name: &str, n: usize| {
        let c = Command::UserEvent { name: name.into(), payload: vec![0; n] };
        w.hosts[0].node.command(w.now, c)
    };
    assert_eq!(fire("", 0), Err(CommandError::EventName(0)));
    assert_eq!(fire(&"x".repeat(129), 0), Err(CommandError::EventName(129)));
    assert_eq!(fire("ab", 511), Err(CommandError::EventTooLarge(513)));
    let mut busy = Ok(CommandOutcome::Done);
    for _ in 0..=EVENT_QUEUE {
        busy = fire("ab", 510);
    }
    assert_eq!(busy, Err(CommandError::EventsBusy(EVENT_QUEUE)));
    let unknown = EventId::from_bytes([1; 16]);
    let c = Command::Answer { id: unknown, payload: vec![] };
    assert_eq!(w.hosts[0].node.command(w.now, c), Err(CommandError::UnknownQuery(unknown)));
    let c = Command::Answer { id: unknown, payload: vec![0; 1025] };
    assert_eq!(w.hosts[0].node.command(w.now, c), Err(CommandError::AnswerTooLarge(1025)));
}

// ---- queries ----

fn ask(w: &mut World, filter: QueryFilter, ack: bool, timeout_ms: u32) -> EventId {
    let (name, payload) = ("ping".into(), vec![1]);
    let c = Command::Query { name, payload, filter, ack, timeout_ms };
    let Ok(CommandOutcome::Fired { id, .. }) = w.hosts[0].node.command(w.now, c) else {
        panic!("a query is refused")
    };
    w.drain();
    id
}

fn received(w: &World, i: usize) -> Vec<EventId> {
    let id = |e: &Event| match e {
        Event::QueryReceived { query } => Some(query.id),
        _ => None,
    };
    w.hosts[i].events.iter().filter_map(id).collect()
}

fn answer(w: &mut World, i: usize, id: EventId) {
    let c = Command::Answer { id, payload: vec![i as u8] };
    w.hosts[i].node.command(w.now, c).unwrap();
    w.drain();
}

fn answers(w: &World) -> Vec<u8> {
    let from = |e: &Event| match e {
        Event::QueryAnswer { from, payload, .. } => {
            assert_eq!(payload[..], [from.as_bytes()[0]]);
            Some(payload[0])
        }
        _ => None,
    };
    let mut all: Vec<u8> = w.hosts[0].events.iter().filter_map(from).collect();
    all.sort_unstable();
    all
}

fn done(w: &World) -> Option<(usize, usize, usize)> {
    w.hosts[0].events.iter().find_map(|e| match e {
        Event::QueryDone { acks, answers, expected, .. } => Some((*acks, *answers, *expected)),
        _ => None,
    })
}

#[test]
fn a_query_ends_when_all_have_answered() {
    let mut w = World::joined(5);
    let id = ask(&mut w, QueryFilter::default(), false, 0);
    w.run(secs(1));
    for i in 0..5 {
        assert_eq!(received(&w, i), [id], "n{i}");
        assert_eq!(done(&w), None);
        answer(&mut w, i, id);
    }
    assert_eq!((answers(&w), done(&w)), (vec![0, 1, 2, 3, 4], Some((5, 5, 5))));
    let again = Command::Answer { id, payload: vec![] };
    let again = w.hosts[1].node.command(w.now, again);
    assert_eq!(again, Err(CommandError::UnknownQuery(id)));
    w.run(secs(70));
    assert!(w.hosts.iter().all(|h| h.node.user.queries.is_empty()));
}

#[test]
fn a_filter_asks_some_and_acks_tell_who_heard() {
    let mut w = World::joined(4);
    let nodes = BoundedVec::new(vec![Name::new("n2").unwrap(), Name::new("n3").unwrap()]).unwrap();
    let id = ask(&mut w, QueryFilter { nodes, tags: Pairs::default() }, true, 2000);
    w.run(secs(1));
    assert_eq!((received(&w, 0), received(&w, 1)), (vec![], vec![]));
    assert_eq!(received(&w, 2), [id]);
    answer(&mut w, 3, id);
    w.run(secs(2));
    assert_eq!((answers(&w), done(&w)), (vec![3], Some((2, 1, 2))));
    let tags = Pairs::new([("build", "0.9")]).unwrap();
    w.hosts[0].events.clear();
    ask(&mut w, QueryFilter { tags, ..QueryFilter::default() }, true, 2000);
    assert_eq!(done(&w), Some((0, 0, 0)));
}

#[test]
fn a_reply_is_repeated_until_it_is_confirmed_and_not_for_ever() {
    let mut w = World::joined(3);
    let id = ask(&mut w, QueryFilter::default(), false, 5000);
    w.run(secs(1));
    // Nobody hears the origin's side for a while.
    w.hosts[0].up = false;
    answer(&mut w, 1, id);
    w.run(Duration::from_millis(500));
    w.hosts[0].up = true;
    w.run(secs(1));
    assert_eq!(answers(&w), [1]);
    // Nobody else is there, and nothing else is due.
    (w.hosts[0].up, w.hosts[1].up) = (false, false);
    let sent = count(&w, 2, Counter::DatagramsOut);
    w.hosts[2].node.timers.clear();
    answer(&mut w, 2, id);
    w.run(secs(4));
    assert_eq!(count(&w, 2, Counter::DatagramsOut) - sent, 6);
}

#[test]
pub(super) fn strangers_are_not_answered() {
    let mut w = World::joined(3);
    let query = Query {
        time: 1,
        id: EventId::from_bytes([4; 16]),
        origin: NodeId::from_bytes([77; 16]),
        timeout_ms: 1000,
        ack: true,
        filter: QueryFilter::default(),
        name: EventName::new("ping").unwrap(),
        payload: Payload::default(),
    };
    let sent = count(&w, 1, Counter::DatagramsOut);
    send(&mut w, 1, 0, &Message::Query(query));
    assert_eq!(count(&w, 1, Counter::DatagramsOut), sent);
    assert_eq!((received(&w, 1), count(&w, 1, Counter::QueriesDropped)), (vec![], 1));
    // Nor are answers of strangers taken.
    let id = ask(&mut w, QueryFilter::default(), false, 1000);
    let from = NodeId::from_bytes([1; 16]);
    let reply = wire_reply(id, from);
    send(&mut w, 0, 2, &reply);
    assert_eq!((answers(&w), count(&w, 0, Counter::StrayReply)), (vec![], 1));
    send(&mut w, 0, 1, &reply);
    send(&mut w, 0, 1, &reply);
    assert_eq!(answers(&w), [1]);
}

fn wire_reply(id: EventId, from: NodeId) -> Message {
    let answer = Some(Answer::new(vec![from.as_bytes()[0]]).unwrap());
    Message::QueryReply(QueryReply { id, from, answer })
}
