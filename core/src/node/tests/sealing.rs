//! Sealed clusters of whole nodes: who is let in, and what a recorded packet can do.

use super::*;
use crate::wire::{Key, KeyError, Keyring};

pub(super) fn key(n: u8) -> Key {
    Key::new(&[n; 32]).unwrap()
}

pub(super) fn sealed(i: usize, k: u8) -> Config {
    Config { keys: Some(Keyring::new(key(k))), ..config(i) }
}

pub(super) fn cluster(n: usize) -> World {
    let mut w = World::new(0);
    (0..n).for_each(|i| w.start(sealed(i, 1)));
    for i in 1..n {
        assert!(w.join(i, 0).is_ok());
    }
    w.run(secs(3));
    assert!((0..n).all(|i| w.alive(i) == n - 1));
    w
}

pub(super) fn command(w: &mut World, i: usize, c: Command) -> Result<CommandOutcome, CommandError> {
    let done = w.hosts[i].node.command(w.now, c);
    w.drain();
    done
}

pub(super) fn count(w: &World, i: usize, c: Counter) -> u64 {
    w.hosts[i].node.stats().get(c)
}

#[test]
fn a_sealed_cluster_works_and_says_nothing_readable() {
    let mut w = cluster(4);
    w.hosts[0].node.start_probe(
        w.now,
        NodeId::from_bytes([1; 16]),
        super::super::probe::Kind::Contact,
    );
    let mut buf = Vec::new();
    let t = w.hosts[0].node.poll_transmit(w.now, &mut buf).unwrap();
    assert!(!buf[..t.len].windows(16).any(|b| b == [0_u8; 16]), "the sender's id in clear");
    w.hosts[2].up = false;
    w.run(secs(20));
    assert_eq!(w.state(0, 2), Some(State::Failed));
    command(&mut w, 1, Command::Leave).unwrap();
    w.run(secs(1));
    assert_eq!(w.state(3, 1), Some(State::Left));
    assert_eq!(count(&w, 0, Counter::DropKey) + count(&w, 0, Counter::DropReplay), 0);
}

#[test]
fn another_key_or_none_is_told_so_on_both_sides() {
    let mut w = World::new(0);
    w.start(sealed(0, 1));
    w.start(sealed(1, 2));
    w.start(config(2));
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        assert_eq!(w.join(from, to), Err(JoinError::Key), "n{from} at n{to}");
        w.hosts[from].events.clear();
    }
    assert!((0..3).all(|i| w.alive(i) == 0 && w.hosts[i].node.conns.is_empty()));
}

#[test]
fn what_was_recorded_changes_nothing() {
    let mut w = cluster(3);
    // n1 refutes an accusation: news that anybody would like to suppress or repeat.
    let accused = says(&w, 1, Statement::Failed { by: NodeId::from_bytes([2; 16]) });
    w.hosts[1].node.learn_claim(w.now, accused.clone(), super::super::claims::Origin::Own);
    w.hosts[1].node.finish();
    let mut recorded = Vec::new();
    let mut buf = Vec::new();
    while let Some(t) = w.hosts[1].node.poll_transmit(w.now, &mut buf) {
        recorded.push((t.to, buf[..t.len].to_vec()));
    }
    assert!(!recorded.is_empty());
    for round in 0..3 {
        for (to, bytes) in &recorded {
            let i = w.hosts.iter().position(|h| h.node.cfg.addr == *to).unwrap();
            let before = (w.hosts[i].node.revision(), count(&w, i, Counter::DropReplay));
            w.hosts[i].node.handle_datagram(w.now, addr(1), bytes);
            let after = (w.hosts[i].node.revision(), count(&w, i, Counter::DropReplay));
            assert_eq!(after == (before.0, before.1 + 1), round > 0);
            w.drain();
        }
    }
    let mut bad = recorded[0].1.clone();
    for bit in 0..bad.len() * 8 {
        bad[bit / 8] ^= 1 << (bit % 8);
        let revision = w.hosts[0].node.revision();
        w.hosts[0].node.handle_datagram(w.now, addr(1), &bad);
        assert!(w.hosts[0].node.revision() == revision && w.hosts[0].node.scratch.out.is_empty());
        bad[bit / 8] ^= 1 << (bit % 8);
    }
}

/// How many ends of streams a process that knows nobody learns something from when they are played
/// to it, of how many.
fn taught_by_recordings(w: &World, c: impl Fn(usize) -> Config) -> (usize, usize) {
    let taught = |((by, id), bytes): (&End, &Vec<u8>)| {
        let (now, mut node) = (w.now, Node::new(c(9), [9; 32], w.now).unwrap());
        let token = node.poll_persist().unwrap().token;
        node.handle_persisted(now, token);
        let (said, before) = (StreamEvent::Data(bytes), node.revision());
        if id.is_accepted() {
            node.command(now, Command::Join { addr: addr(*by) }).unwrap();
            let Some(StreamAction::Open { id, .. }) = node.poll_stream() else {
                panic!("a join opens no stream")
            };
            for event in [StreamEvent::Connected, said, StreamEvent::Finished] {
                node.handle_stream(now, id, event);
            }
        } else {
            let from = addr(*by);
            for event in [StreamEvent::Accepted { from }, said, StreamEvent::Finished] {
                node.handle_stream(now, StreamId::accepted(1), event);
            }
        }
        node.revision() != before
    };
    (w.written.iter().filter(|x| taught(*x)).count(), w.written.len())
}

#[test]
fn what_was_said_on_a_stream_cannot_be_said_again() {
    let w = cluster(4);
    let (taught, ends) = taught_by_recordings(&w, |i| sealed(i, 1));
    assert!(taught == 0 && ends > 20, "{taught} of {ends}");
    let (taught, ends) = taught_by_recordings(&World::joined(4), config);
    assert!(taught > 10, "in clear {taught} of {ends}: this test sees nothing");
}

#[test]
fn a_key_is_replaced_while_the_cluster_runs() {
    let mut w = cluster(5);
    let all = |w: &mut World, c: &dyn Fn() -> Command| {
        for i in 0..5 {
            command(w, i, c()).unwrap();
        }
        w.run(secs(2));
    };
    assert_eq!(command(&mut w, 0, Command::UseKey(key(2))), Err(KeyError::Unknown.into()));
    all(&mut w, &|| Command::InstallKey(key(2)));
    for i in 0..4 {
        command(&mut w, i, Command::UseKey(key(2))).unwrap();
    }
    w.run(secs(30));
    // n4 still seals with the old one.
    assert_eq!(command(&mut w, 0, Command::RemoveKey(key(1))), Err(KeyError::InUse.into()));
    assert_eq!(command(&mut w, 4, Command::RemoveKey(key(1))), Err(KeyError::Primary.into()));
    command(&mut w, 4, Command::UseKey(key(2))).unwrap();
    w.run(secs(1));
    all(&mut w, &|| Command::RemoveKey(key(1)));
    w.run(secs(60));
    for i in 0..5 {
        assert_eq!(w.alive(i), 4);
        assert_eq!(w.hosts[i].node.keyring().unwrap().keys().count(), 1);
        assert_eq!((count(&w, i, Counter::ProbesLate), count(&w, i, Counter::DropKey)), (0, 0));
    }
}

#[test]
fn without_encryption_there_is_no_keyring() {
    let mut w = World::joined(2);
    assert_eq!(command(&mut w, 0, Command::InstallKey(key(1))), Err(CommandError::NotSealed));
    assert!(w.hosts[0].node.keyring().is_none());
}

#[test]
pub(super) fn sealed_and_clear_datagrams_do_not_mix() {
    let mut w = cluster(2);
    let mut clear = Vec::new();
    let head = wire::stream_head(&Label::new("dc1").unwrap());
    wire::begin_datagram(&head, &mut clear);
    let claim = says(&w, 1, Statement::Failed { by: NodeId::from_bytes([9; 16]) });
    wire::append_message(&wire::Message::Claim(claim), &mut clear);
    wire::finish_datagram(&head, &mut clear);
    w.hosts[0].node.handle_datagram(w.now, addr(1), &clear);
    assert_eq!(count(&w, 0, Counter::DropKey), 1);
    assert_eq!(w.state(0, 1), Some(State::Alive));
}
