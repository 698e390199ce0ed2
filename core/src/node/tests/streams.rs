//! Streams that ask for much, and streams that do not connect.

use super::*;
use crate::{
    bounded::BoundedVec,
    node::{hedge, streams::Role},
    wire::{Hello, Message, Purpose, Want},
};

/// What host 0 writes when host 1 opens a stream, says these and nothing else.
fn answered(w: &mut World, said: &[Message]) -> (usize, bool) {
    let mut bytes = wire::stream_head(&Label::new("dc1").unwrap());
    let record = (*w.hosts[1].node.me).clone();
    wire::append_frame(&Message::Hello(Hello { purpose: Purpose::Sync, record }), &mut bytes);
    said.iter().for_each(|m| wire::append_frame(m, &mut bytes));
    let (now, id) = (w.now, StreamId::accepted(900));
    let node = &mut w.hosts[0].node;
    node.handle_stream(now, id, StreamEvent::Accepted { from: addr(1) });
    node.handle_stream(now, id, StreamEvent::Data(&bytes));
    let mut written = 0;
    while let Some(action) = node.poll_stream() {
        if let StreamAction::Write { bytes, .. } = action {
            written += bytes.len();
        }
    }
    (written, w.hosts[0].node.conns.contains_key(&id))
}

#[test]
pub(super) fn what_has_a_large_answer_is_said_once() {
    for m in [
        Message::Buckets(BoundedVec::truncated(Vec::new())),
        Message::EventDigest(77),
        Message::EventKeys(BoundedVec::truncated(Vec::new())),
    ] {
        let fire = |w: &mut World| {
            for n in 0..20u8 {
                let (name, payload) = (std::format!("e{n}"), vec![n; 300]);
                let now = w.now;
                w.hosts[0].node.command(now, Command::UserEvent { name, payload }).unwrap();
            }
            w.drain();
        };
        let mut w = World::joined(2);
        fire(&mut w);
        let once = answered(&mut w, core::slice::from_ref(&m));
        assert!(once.1, "{m:?} ends the stream");
        let mut w = World::joined(2);
        fire(&mut w);
        let often = answered(&mut w, &vec![m.clone(); 1000]);
        assert_eq!(often, (once.0, false), "{m:?} a thousand times");
    }
}

#[test]
fn no_more_records_are_asked_for_than_there_can_be() {
    let mut w = World::joined(2);
    let ids = vec![w.hosts[0].node.me.id; 2048];
    let want = Message::Want(Want { ids: BoundedVec::truncated(ids) });
    let (one, open) = answered(&mut w, core::slice::from_ref(&want));
    assert!(open && one > 0);
    let mut w = World::joined(2);
    let (all, open) = answered(&mut w, &vec![want; 1000]);
    let most = w.hosts[0].node.cfg.limits.members / 2048 + 1;
    assert!(!open && all <= one * most, "{all} bytes, {one} for one");
}

/// Streams that the node opens until `at`, and the instant of each.
fn opens(w: &mut World, at: Duration) -> Vec<(StreamId, Duration)> {
    let (start, mut all) = (w.now, Vec::new());
    let node = &mut w.hosts[0].node;
    loop {
        while let Some(action) = node.poll_stream() {
            if let StreamAction::Open { id, .. } = action {
                all.push((id, w.now.since(start)));
            }
        }
        let Some(next) = node.poll_timeout().filter(|t| *t <= start + at) else {
            w.now = start + at;
            return all;
        };
        w.now = w.now.max(next);
        node.handle_timeout(w.now);
        let mut buf = Vec::new();
        while node.poll_transmit(w.now, &mut buf).is_some() {}
    }
}

/// A node alone that joins somebody whose kernel does not answer.
fn joining() -> World {
    let mut w = World::new(1);
    let now = w.now;
    w.hosts[0].node.command(now, Command::Join { addr: addr(9) }).unwrap();
    w
}

#[test]
fn a_connection_that_does_not_come_is_tried_beside_the_first() {
    let mut w = joining();
    let all = opens(&mut w, secs(9));
    let at: Vec<u128> = all.iter().map(|o| o.1.as_millis()).collect();
    assert_eq!(at, [0, 500, 1500, 3500]);
    assert_eq!(hedge::MOST, 3);
    // The third is there first: it says what the first would have said, and the others end.
    let (now, node) = (w.now, &mut w.hosts[0].node);
    node.handle_stream(now, all[2].0, StreamEvent::Connected);
    assert!(matches!(node.conns[&all[2].0].role, Role::Joining { .. }));
    assert_eq!(node.conns.len(), 1);
    let out: Vec<StreamAction> = core::iter::from_fn(|| node.poll_stream()).collect();
    let aborted = |id| out.contains(&StreamAction::Abort { id });
    assert!(aborted(all[0].0) && aborted(all[1].0) && aborted(all[3].0), "{out:?}");
    assert!(out.iter().any(|a| matches!(a, StreamAction::Write { id, .. } if *id == all[2].0)));
    // One that comes later is no news, and the join ends once.
    node.handle_stream(now, all[0].0, StreamEvent::Connected);
    node.handle_stream(now, all[2].0, StreamEvent::Failed(StreamError::Reset));
    let finished = core::iter::from_fn(|| node.poll_event());
    let finished = finished.filter(|e| matches!(e, Event::JoinFinished { .. })).count();
    assert_eq!((finished, node.conns.len()), (1, 0));
}

#[test]
fn a_connection_that_is_there_is_not_tried_again() {
    let mut w = joining();
    let all = opens(&mut w, Duration::from_millis(100));
    let (now, node) = (w.now, &mut w.hosts[0].node);
    node.handle_stream(now, all[0].0, StreamEvent::Connected);
    assert_eq!(opens(&mut w, secs(4)), []);
}

#[test]
fn connections_beside_the_first_are_few_and_end_with_it() {
    let mut w = joining();
    let mut tried = 0;
    for _ in 0..20 {
        for (id, _) in opens(&mut w, Duration::from_millis(450)) {
            tried += 1;
            if tried > 1 {
                let reset = StreamEvent::Failed(StreamError::Unreachable);
                w.hosts[0].node.handle_stream(w.now, id, reset);
            }
        }
    }
    assert_eq!(tried, 1 + hedge::MOST, "each that failed is followed by another");
    let mut w = joining();
    let all = opens(&mut w, secs(2));
    let refused = StreamEvent::Failed(StreamError::Refused);
    w.hosts[0].node.handle_stream(w.now, all[0].0, refused);
    assert!(w.hosts[0].node.conns.is_empty(), "the rest of a join that was refused");
}

#[test]
fn where_streams_are_scarce_nothing_is_tried_twice() {
    let mut w = joining();
    Arc::make_mut(&mut w.hosts[0].node.cfg.limits).streams = 2;
    assert_eq!(opens(&mut w, secs(9)).len(), 1);
}

#[test]
fn an_exchange_on_a_later_connection_is_the_one_under_way() {
    let mut w = World::joined(2);
    w.hosts[0].node.timers.clear();
    let (id, other) = (NodeId::from_bytes([1; 16]), w.hosts[0].node.root() ^ 1);
    w.hosts[0].node.compare_root(w.now, id, other);
    let all = opens(&mut w, secs(1));
    assert_eq!(all.len(), 2);
    let (now, node) = (w.now, &mut w.hosts[0].node);
    node.handle_stream(now, all[1].0, StreamEvent::Connected);
    assert!(matches!(node.conns[&all[1].0].role, Role::Syncing(_)));
    node.compare_root(now, id, other);
    assert_eq!(opens(&mut w, Duration::ZERO), []);
}
