//! The bootstrap quorum on whole nodes. Interleavings are `bootstrap::model`'s, faults the
//! simulator's.

use super::*;

fn server(i: usize, expect: u8) -> Config {
    Config { role: Role::Server { port: 8300, expect, bootstrap: false }, ..config(i) }
}

/// Servers with these `expect` values, all joined to the first.
fn servers(expects: &[u8]) -> World {
    let mut w = World::new(0);
    for (i, expect) in expects.iter().enumerate() {
        w.start(server(i, *expect));
        if i > 0 {
            w.join(i, 0).unwrap();
        }
    }
    w
}

impl World {
    fn status(&self, i: usize) -> &BootstrapStatus {
        self.hosts[i].node.bootstrap()
    }

    /// The quorum at `i`: its identity, and the numbers of its voters.
    fn quorum(&self, i: usize) -> Option<(ClusterId, Vec<u8>)> {
        let q = self.status(i).quorum.as_ref()?;
        Some((q.cluster, q.voters.iter().map(|v| v.id.as_bytes()[0]).collect()))
    }

    fn conflicts(&self, i: usize) -> Vec<BootstrapConflict> {
        let conflict = |e: &Event| match e {
            Event::BootstrapConflict { conflict, .. } => Some(*conflict),
            _ => None,
        };
        self.hosts[i].events.iter().filter_map(conflict).collect()
    }
}

#[test]
fn three_servers_agree_and_later_ones_follow() {
    let mut w = servers(&[3, 3]);
    w.run(secs(2));
    let s = w.status(1);
    assert_eq!((s.state, s.missing, s.contact.len()), (BootstrapState::Waiting, 1, 2));
    w.start(server(2, 3));
    w.join(2, 0).unwrap();
    w.run(secs(1));
    let quorum = w.quorum(0).unwrap();
    assert_eq!(quorum.1, [0, 1, 2]);
    w.start(server(3, 3));
    w.start(Config { role: Role::Client, ..config(4) });
    w.join(3, 0).unwrap();
    w.join(4, 0).unwrap();
    w.run(secs(1));
    for i in 0..5 {
        assert_eq!(w.quorum(i), Some(quorum.clone()), "n{i}");
        assert_eq!(w.status(i).voter, i < 3, "n{i}");
        assert_eq!(w.status(i).quorum.as_ref().unwrap().voters[2].addr.port(), 8300);
        assert_eq!(w.conflicts(i), [], "n{i}");
    }
}

#[test]
fn a_lone_server_that_expects_itself_is_a_quorum_within_half_a_second() {
    for role in [
        Role::Server { port: 8300, expect: 1, bootstrap: false },
        Role::Server { port: 8300, expect: 0, bootstrap: true },
    ] {
        let mut w = World::new(0);
        w.start(Config { role, ..config(0) });
        w.run(Duration::from_millis(500));
        assert_eq!(w.quorum(0).unwrap().1, [0]);
    }
}

#[test]
fn a_server_that_expects_others_or_nothing_is_not_counted() {
    let mut w = servers(&[3, 3, 5, 0]);
    w.run(secs(5));
    assert_eq!((w.quorum(0), w.status(0).missing), (None, 1));
    assert_eq!(w.status(2).missing, 4);
    assert_eq!(w.status(3).state, BootstrapState::Joining);
    assert_eq!(w.conflicts(0), [BootstrapConflict::Expect { ours: 3, theirs: 5 }]);
    assert_eq!(w.conflicts(2), [BootstrapConflict::Expect { ours: 5, theirs: 3 }; 2]);
    w.start(server(4, 3));
    w.join(4, 1).unwrap();
    w.run(secs(2));
    for i in 0..5 {
        assert_eq!(w.quorum(i).unwrap().1, [0, 1, 4], "n{i}");
    }
}

#[test]
fn two_quorums_that_meet_say_so_and_stay_apart() {
    let mut w = World::new(0);
    (0..6).for_each(|i| w.start(server(i, 3)));
    for (i, to) in [(1, 0), (2, 0), (4, 3), (5, 3)] {
        w.join(i, to).unwrap();
    }
    w.run(secs(2));
    let (a, b) = (w.quorum(0).unwrap(), w.quorum(3).unwrap());
    assert_eq!((&a.1[..], &b.1[..]), (&[0, 1, 2][..], &[3, 4, 5][..]));
    w.join(0, 3).unwrap();
    w.run(secs(5));
    for i in 0..6 {
        let (own, other) = if i < 3 { (&a, &b) } else { (&b, &a) };
        assert_eq!(w.quorum(i).as_ref(), Some(own), "n{i}");
        let told = BootstrapConflict::Cluster { ours: own.0, theirs: other.0 };
        assert_eq!(w.conflicts(i), [told; 3], "n{i}");
    }
}

/// What must not be believed, beside what must: the same report with the cookie that it has to
/// echo, from the life that is known.
#[test]
pub(super) fn a_report_without_our_cookie_or_of_an_earlier_life_proves_nothing() {
    for (right_cookie, right_life) in [(false, true), (true, false), (true, true)] {
        let believed = right_cookie && right_life;
        let case = std::format!("cookie {right_cookie}, life {right_life}");
        assert_eq!(takes_a_final(right_cookie, right_life), believed, "{case}");
    }
}

/// Does n0 follow a quorum that n1 tells of, with the right cookie and in its present life?
fn takes_a_final(right_cookie: bool, right_life: bool) -> bool {
    let mut w = servers(&[3, 3]);
    w.run(secs(1));
    let forger = w.hosts[1].node.local().record;
    let asked = w.hosts[0].node.bootstrap_report(w.now, forger.id, 0).cookie;
    let echo = if right_cookie { asked } else { asked ^ 1 };
    let mut version = forger.version;
    version.generation -= u64::from(!right_life);
    let mut attempt =
        Attempt { cluster: ClusterId::from_random([7; 16]), voters: BoundedVec::default() };
    let voter = Voter { id: forger.id, birth: 1, era: 0, addr: addr(1) };
    attempt.voters = BoundedVec::new(vec![voter]).unwrap();
    let stage = Stage::Final { attempt: attempt.into(), voter: true };
    let from = wire::Sender { id: forger.id, version };
    let memory = Memory { birth: 1, era: 0, stage };
    let report = wire::BootstrapReport { from, cookie: 1, echo, ask: false, memory };
    let head = wire::stream_head(&Label::new("dc1").unwrap());
    let mut bytes = Vec::new();
    wire::begin_datagram(&head, &mut bytes);
    wire::append_message(&wire::Message::BootstrapReport(report), &mut bytes);
    wire::finish_datagram(&head, &mut bytes);
    w.hosts[0].node.handle_datagram(w.now, addr(1), &bytes);
    w.drain();
    w.quorum(0).is_some()
}

#[test]
fn more_servers_than_can_agree_are_refused() {
    let refused = Node::new(server(1, 17), [1; 32], Instant::ZERO).err();
    assert_eq!(refused, Some(ConfigError::Expect(17)));
}

#[test]
pub(super) fn a_restored_disk_gives_no_promise_and_still_follows() {
    let mut w = servers(&[3, 3]);
    w.run(secs(1));
    let old = w.hosts[1].node.storage.durable.clone();
    // It ran for some generations after the copy was made.
    let later = Durable { generation: old.generation + 3, ..old.clone() };
    for durable in [later, old] {
        let c = Config { durable, ..server(1, 3) };
        w.hosts[1].node = Node::new(c, [9; 32], w.now).unwrap();
        w.drain();
        w.join(1, 0).unwrap();
        w.run(secs(1));
    }
    assert_eq!(w.status(1).state, BootstrapState::Forgetful);
    assert_eq!(w.conflicts(1), [BootstrapConflict::Forgotten]);
    w.start(server(2, 3));
    w.join(2, 0).unwrap();
    w.run(secs(2));
    assert_eq!((w.quorum(0), w.quorum(1)), (None, None));
    w.start(server(3, 3));
    w.join(3, 0).unwrap();
    w.run(secs(2));
    assert_eq!(w.quorum(1).unwrap().1, [0, 2, 3]);
    assert!(!w.status(1).voter);
}

/// Who died is not counted from the second after its last word on, long before it is failed.
#[test]
fn a_server_that_fell_silent_is_soon_not_in_contact() {
    let mut w = servers(&[3, 3]);
    w.run(secs(2));
    assert_eq!(w.status(0).contact.len(), 2);
    w.hosts[1].up = false;
    w.run(Duration::from_millis(1100));
    assert_eq!(w.state(0, 1), Some(State::Alive), "not even suspected when the third comes");
    w.start(server(2, 3));
    w.join(2, 0).unwrap();
    w.run(Duration::from_millis(500));
    assert_eq!((w.status(0).state, w.status(0).missing), (BootstrapState::Waiting, 1));
    assert_eq!(w.hosts[0].node.bootstrap_memory().era, 0, "no attempt was made in vain");
}
