//! A process that comes late for its deadlines.

use super::*;
use crate::node::claims::Origin;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// n0 holds n1 for accused of that since now.
fn accused(w: &mut World, evidence: Evidence) {
    without_regular_probes(w);
    let by = NodeId::from_bytes([2; 16]);
    let accusation = says(w, 1, Statement::Suspect { by, evidence, witnesses: 2 });
    w.hosts[0].node.learn_claim(w.now, accusation, Origin::Own);
    hush(w, 0);
}

#[test]
fn who_is_late_gives_others_as_much_more_time() {
    let mut w = World::joined(5);
    accused(&mut w, Evidence::Silent);
    Arc::make_mut(&mut w.hosts[0].node.cfg.tuning).pause_threshold = MS(3_000);
    // The last look was due after 0.5 s, the end after 1.5 s: both are past, and unheard.
    w.now = w.now + MS(1_600);
    let now = w.now;
    w.hosts[0].node.handle_timeout(now);
    assert_eq!(w.state(0, 1), Some(State::Suspect), "declared failed without a look");
    // One more accuser does not take that time back.
    let by = NodeId::from_bytes([3; 16]);
    let again = says(&w, 1, Statement::Suspect { by, evidence: Evidence::Silent, witnesses: 0 });
    w.hosts[0].node.learn_claim(now, again, Origin::Own);
    w.hosts[0].node.handle_timeout(now);
    assert_eq!(w.state(0, 1), Some(State::Suspect));
    w.run(secs(2));
    assert_eq!(w.state(0, 1), Some(State::Alive), "its answer to the look was not heard");
}

/// How long until n0, which meets each deadline this much late, declares n1 failed.
fn found_out(mut w: World, late: Duration) -> Duration {
    (1..3).for_each(|i| w.hosts[i].up = false);
    let from = w.now;
    while w.state(0, 1) != Some(State::Failed) && w.now.since(from) < secs(600) {
        let Some(due) = w.hosts[0].node.poll_timeout() else { break };
        w.now = due + late;
        let now = w.now;
        w.hosts[0].node.handle_timeout(now);
        w.drain();
    }
    assert_eq!(w.state(0, 1), Some(State::Failed), "{late:?}");
    w.now.since(from)
}

#[test]
fn who_is_late_for_ever_finds_out_at_last() {
    let mut w = World::joined(3);
    accused(&mut w, Evidence::Silent);
    let took = found_out(w, MS(1_400));
    assert!((secs(20)..secs(90)).contains(&took), "{took:?}");
}

/// It drops its probes each time that it was away.
#[test]
fn who_seems_to_be_away_all_the_time_finds_out_at_last() {
    let took = found_out(World::joined(3), MS(1_600));
    assert!((secs(40)..secs(300)).contains(&took), "{took:?}");
}

/// Before it hears that it is accused: it may have to stand again before it comes to that.
#[test]
fn who_was_away_for_long_says_that_it_is_there() {
    for (gap, raised) in [(2_999, 0), (3_000, 1)] {
        let mut w = World::joined(3);
        let before = w.hosts[1].node.me.version.incarnation;
        w.now = w.hosts[1].node.poll_timeout().unwrap() + MS(gap);
        let now = w.now;
        w.hosts[1].node.handle_timeout(now);
        w.drain();
        assert_eq!(w.hosts[1].node.me.version.incarnation, before + raised, "{gap} ms");
        let held = w.hosts[0].node.members().find(|m| m.record.id == w.hosts[1].node.me.id);
        assert_eq!(held.unwrap().record.version, w.hosts[1].node.me.version);
    }
}

/// It runs for a moment, in which it reads but one packet. What no member sent changes nothing.
#[test]
fn who_was_away_for_long_says_so_before_it_reads() {
    let head = wire::stream_head(&Label::new("dc1").unwrap());
    let mut genuine = Vec::new();
    wire::begin_datagram(&head, &mut genuine);
    wire::finish_datagram(&head, &mut genuine);
    let garbage = b"not even a packet".to_vec();
    for (gap, bytes, raised) in [(2_900, &genuine, 0), (3_100, &garbage, 0), (3_100, &genuine, 1)] {
        let mut w = World::joined(3);
        let before = w.hosts[1].node.me.version.incarnation;
        w.now = w.hosts[1].node.poll_timeout().unwrap() + MS(gap);
        let now = w.now;
        w.hosts[1].node.handle_datagram(now, addr(0), bytes);
        w.drain();
        assert_eq!(w.hosts[1].node.me.version.incarnation, before + raised, "{gap} ms");
        let held = w.hosts[0].node.members().find(|m| m.record.id == w.hosts[1].node.me.id);
        assert_eq!(held.unwrap().record.version, w.hosts[1].node.me.version);
        // Its deadlines are put off: it is not away a second time.
        w.hosts[1].node.handle_timeout(now);
        assert_eq!(w.hosts[1].node.stats().get(Counter::Pauses), 1);
    }
}

/// Others remember for a minute, and give it more time meanwhile.
#[test]
pub(super) fn who_was_away_says_so_again_only_when_it_may_be_forgotten() {
    // Its first word is that it was away, or refutes an accusation.
    for refutes in [false, true] {
        let mut w = World::joined(3);
        let start = w.hosts[1].node.me.version.incarnation;
        let mut raised = Vec::new();
        if refutes {
            let by = NodeId::from_bytes([2; 16]);
            let evidence = Evidence::Silent;
            let accusation = says(&w, 1, Statement::Suspect { by, evidence, witnesses: 0 });
            let now = w.now;
            w.hosts[1].node.learn_claim(now, accusation, Origin::Own);
        }
        for pause in [0, 10, 40] {
            w.run(secs(pause));
            w.now = w.hosts[1].node.poll_timeout().unwrap() + MS(4_000);
            let now = w.now;
            w.hosts[1].node.handle_timeout(now);
            raised.push(w.hosts[1].node.me.version.incarnation - start);
        }
        assert_eq!(raised, [1, 1, 2], "after each absence; accused first: {refutes}");
    }
}
