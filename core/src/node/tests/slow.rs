//! Who is slow: a process that comes late for its deadlines, and a member that spoke up late.

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
    // The last look was due after 0.5 s, the end after 1.5 s: both are past, and unheard.
    w.now = w.now + MS(1_600);
    let now = w.now;
    w.hosts[0].node.handle_timeout(now);
    assert_eq!(w.state(0, 1), Some(State::Suspect), "declared failed without a look");
    let paused = w.hosts[0].node.stats().get(Counter::Pauses);
    assert_eq!(paused, 0, "a second is no absence");
    // One more accuser does not take that time back.
    let by = NodeId::from_bytes([3; 16]);
    let again = says(&w, 1, Statement::Suspect { by, evidence: Evidence::Silent, witnesses: 0 });
    w.hosts[0].node.learn_claim(now, again, Origin::Own);
    w.hosts[0].node.handle_timeout(now);
    assert_eq!(w.state(0, 1), Some(State::Suspect));
    w.drain();
    assert_eq!(w.state(0, 1), Some(State::Alive), "its answer to the look was not heard");
}

#[test]
fn who_is_late_for_ever_finds_out_at_last() {
    let mut w = World::joined(3);
    accused(&mut w, Evidence::Silent);
    (1..3).for_each(|i| w.hosts[i].up = false);
    let from = w.now;
    while w.state(0, 1) == Some(State::Suspect) && w.now.since(from) < MS(300_000) {
        // Each deadline is met 1.4 s late.
        let Some(due) = w.hosts[0].node.poll_timeout() else { break };
        w.now = due + MS(1_400);
        let now = w.now;
        w.hosts[0].node.handle_timeout(now);
        w.drain();
    }
    let took = w.now.since(from).as_millis();
    assert!((20_000..90_000).contains(&took), "{took} ms");
    assert_eq!(w.state(0, 1), Some(State::Failed));
}

#[test]
fn a_mute_member_that_spoke_up_lately_has_more_time() {
    let lasts = |spoke_up: bool, evidence| {
        let mut w = World::joined(5);
        if spoke_up {
            let alive = |version| {
                let record = Record { version, ..(*w.hosts[1].node.local().record).clone() };
                Claim { record: record.into(), statement: Statement::Alive }
            };
            let mut version = w.hosts[1].node.local().record.version;
            version.incarnation += 1;
            let refutation = alive(version);
            w.hosts[0].node.learn_claim(w.now, refutation.clone(), Origin::Own);
            // The others know as much, so that nobody takes it back.
            w.hosts[1].node.publish(w.now, version);
            w.drain();
        }
        (0..5).filter(|i| *i != 0).for_each(|i| w.hosts[i].up = false);
        accused(&mut w, evidence);
        let from = w.now;
        while w.state(0, 1) == Some(State::Suspect) && w.now.since(from) < MS(60_000) {
            w.run(MS(100));
        }
        w.now.since(from).as_millis() / 1_000
    };
    assert_eq!(lasts(false, Evidence::Mute), 10);
    assert_eq!(lasts(true, Evidence::Mute), 40);
    assert_eq!(lasts(true, Evidence::Silent), lasts(false, Evidence::Silent));
}
