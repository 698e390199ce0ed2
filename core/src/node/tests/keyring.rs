//! The keyring of a cluster: who is asked, who may refuse, and what is told of it.

use super::{
    sealing::{cluster, command, count, key, sealed},
    *,
};
use crate::wire::{Key, KeyError, KeyOp, Keyring};

fn operate(w: &mut World, i: usize, op: KeyOp) -> KeyringReport {
    w.hosts[i].events.clear();
    let outcome = command(w, i, Command::Keyring(op)).unwrap();
    for _ in 0..20 {
        let ended = w.hosts[i].events.iter().find_map(|e| match e {
            Event::KeyringFinished { id, report } => {
                (outcome == CommandOutcome::Keyring(*id)).then(|| (**report).clone())
            }
            _ => None,
        });
        if let Some(report) = ended {
            return report;
        }
        w.run(Duration::from_secs(1));
    }
    panic!("an operation without an end")
}

fn names(r: &KeyringReport) -> Vec<&str> {
    r.failures.iter().map(|f| f.0.as_str()).collect()
}

fn keys(w: &World, i: usize) -> Vec<Key> {
    w.hosts[i].node.keyring().unwrap().keys().cloned().collect()
}

#[test]
fn a_key_is_replaced_on_all_members_from_one_of_them() {
    let mut w = cluster(5);
    for op in [KeyOp::Install(key(2)), KeyOp::Use(key(2)), KeyOp::Remove(key(1))] {
        // Twice: what is so stays so.
        for _ in 0..2 {
            let report = operate(&mut w, 3, op.clone());
            assert!(report.is_complete() && report.members == 5, "{op:?}: {report:?}");
        }
    }
    let report = operate(&mut w, 0, KeyOp::List);
    assert_eq!((report.keys, report.primary), (vec![(key(2), 5)], vec![(key(2), 5)]));
    w.run(secs(30));
    for i in 0..5 {
        assert_eq!((w.alive(i), keys(&w, i)), (4, vec![key(2)]));
        assert_eq!((count(&w, i, Counter::ProbesLate), count(&w, i, Counter::DropKey)), (0, 0));
        assert_eq!(w.hosts[i].node.observers().count(), 3, "watched again under the new key");
        assert_eq!(w.hosts[i].node.conns.values().filter(|c| !c.role.is_watch()).count(), 0);
        let old = key(1).id();
        assert!(w.hosts[i].node.conns.values().all(|c| c.own.is_some_and(|o| o.0 != old)));
    }
}

#[test]
fn nobody_uses_a_key_that_somebody_lacks() {
    let mut w = cluster(4);
    for i in [0, 1, 3] {
        command(&mut w, i, Command::InstallKey(key(2))).unwrap();
    }
    let report = operate(&mut w, 0, KeyOp::Use(key(2)));
    assert!(report.called_off && names(&report) == ["n2"], "{report:?}");
    assert_eq!(report.failures[0].2, KeyFailure::Lacks);
    assert!((0..4).all(|i| keys(&w, i)[0] == key(1)));
    assert!(operate(&mut w, 0, KeyOp::Install(key(2))).is_complete());
    assert!(operate(&mut w, 0, KeyOp::Use(key(2))).is_complete());
}

#[test]
fn nobody_removes_a_key_that_somebody_seals_with() {
    let mut w = cluster(4);
    assert!(operate(&mut w, 0, KeyOp::Install(key(2))).is_complete());
    for i in 0..3 {
        command(&mut w, i, Command::UseKey(key(2))).unwrap();
    }
    let report = operate(&mut w, 1, KeyOp::Remove(key(1)));
    assert!(report.called_off && names(&report) == ["n3"], "{report:?}");
    assert_eq!(report.failures[0].2, KeyFailure::Primary);
    assert!((0..4).all(|i| keys(&w, i).len() == 2));
    // Nor the one that all seal with.
    let report = operate(&mut w, 1, KeyOp::Remove(key(2)));
    assert_eq!(names(&report), ["n0", "n1", "n2"]);
}

#[test]
fn who_does_not_answer_is_named_and_nothing_changes_without_it() {
    let mut w = cluster(4);
    let report = operate(&mut w, 0, KeyOp::Install(key(2)));
    assert!(report.is_complete());
    // n2 stands still: it is a member until it is declared failed.
    w.hosts[2].up = false;
    let report = operate(&mut w, 0, KeyOp::Use(key(2)));
    assert!(report.called_off && names(&report) == ["n2"], "{report:?}");
    assert!(matches!(report.failures[0].2, KeyFailure::Silent(_)));
    assert_eq!(keys(&w, 0)[0], key(1));
    w.run(secs(20));
    assert_eq!(w.state(0, 2), Some(State::Failed));
    let report = operate(&mut w, 0, KeyOp::Use(key(2)));
    assert!(report.is_complete() && report.members == 3, "{report:?}");
}

#[test]
fn a_full_keyring_and_a_second_operation_are_refused() {
    let mut w = cluster(3);
    for n in 2..=8 {
        assert!(operate(&mut w, 0, KeyOp::Install(key(n))).is_complete());
    }
    let report = operate(&mut w, 0, KeyOp::Install(key(9)));
    assert!(!report.called_off && names(&report) == ["n0", "n1", "n2"]);
    assert_eq!(report.failures[0].2, KeyFailure::Refused(KeyError::Full));
    let now = w.now;
    let node = &mut w.hosts[0].node;
    assert!(node.command(now, Command::Keyring(KeyOp::List)).is_ok());
    let again = node.command(now, Command::Keyring(KeyOp::List));
    assert_eq!(again, Err(CommandError::KeyringBusy));
}

#[test]
fn nothing_is_told_in_clear() {
    let mut w = World::joined(2);
    let refused = command(&mut w, 0, Command::Keyring(KeyOp::List));
    assert_eq!(refused, Err(CommandError::NotSealed));
    // Somebody asks all the same.
    let (now, id) = (w.now, StreamId::accepted(900));
    let node = &mut w.hosts[0].node;
    let target = node.me.id;
    let mut bytes = wire::stream_head(&Label::new("dc1").unwrap());
    let purpose = wire::Purpose::Keys { target };
    let record = (*w.hosts[1].node.me).clone();
    wire::append_frame(&wire::Message::Hello(wire::Hello { purpose, record }), &mut bytes);
    wire::append_frame(&wire::Message::KeyRequest(KeyOp::Install(key(1))), &mut bytes);
    let node = &mut w.hosts[0].node;
    node.handle_stream(now, id, StreamEvent::Accepted { from: addr(1) });
    node.handle_stream(now, id, StreamEvent::Data(&bytes));
    assert!(!node.conns.contains_key(&id) && node.keyring().is_none());
    assert_eq!(node.stats().get(Counter::DropKey), 1);
}

#[test]
fn a_member_answers_once_its_keyring_is_on_disk() {
    let mut ring = Keyring::new(key(1));
    ring.install(key(2)).unwrap();
    let mut w = World::new(0);
    w.start(Config { keys: Some(ring.clone()), ..sealed(0, 1) });
    let now = w.now;
    let node = &mut w.hosts[0].node;
    node.command(now, Command::Keyring(KeyOp::Use(key(2)))).unwrap();
    let finished = |node: &mut Node| {
        core::iter::from_fn(|| node.poll_event())
            .any(|e| matches!(e, Event::KeyringFinished { .. }))
    };
    assert!(!finished(node));
    let p = node.poll_persist().unwrap();
    ring.use_key(&key(2)).unwrap();
    assert_eq!(p.keys, Some(ring));
    node.handle_persisted(now, p.token);
    assert!(finished(node));
}

#[test]
fn keys_do_not_show_in_what_is_printed_for_people() {
    let op = KeyOp::Install(key(0xab));
    let report = KeyringReport { keys: vec![(key(0xab), 1)], ..KeyringReport::default() };
    let all = std::format!("{op:?} {report:?} {:?}", wire::Message::KeyRequest(op.clone()));
    assert!(!all.contains("abab") && !all.contains("171, 171"), "{all}");
}

#[test]
fn a_leave_ends_what_is_under_way() {
    let mut w = cluster(3);
    let now = w.now;
    let node = &mut w.hosts[0].node;
    node.command(now, Command::Keyring(KeyOp::List)).unwrap();
    node.command(now, Command::Leave).unwrap();
    let finished = core::iter::from_fn(|| node.poll_event()).find_map(|e| match e {
        Event::KeyringFinished { report, .. } => Some(report),
        _ => None,
    });
    let report = finished.expect("the outcome is told");
    assert!(report.failures.iter().any(|f| f.2 == KeyFailure::Leaving), "{report}");
}

#[test]
fn all_of_many_members_are_asked_in_one_pass() {
    let mut w = cluster(40);
    let now = w.now;
    w.hosts[0].node.command(now, Command::Keyring(KeyOp::List)).unwrap();
    let r = w.hosts[0].node.security.keys.running.as_ref().unwrap();
    assert_eq!(r.asked.len() + r.waiting.len() + r.answers.len(), 40);
}
