//! Who is told what, and in which round.

use super::*;
use alloc::collections::BTreeSet;

fn id(i: usize) -> NodeId {
    NodeId::from_bytes([i as u8; 16])
}

/// Whom n3 of nine tells what it has told so often already.
fn told(w: &mut World, times: u32) -> Vec<NodeId> {
    w.hosts[3].node.hearers(Some(times))
}

#[test]
fn each_round_goes_on_in_the_ring_and_to_another_at_random() {
    let mut w = World::joined(9);
    for _ in 0..50 {
        for (times, next) in [(0, [4, 5]), (2, [4, 5]), (3, [6, 7]), (5, [6, 7]), (6, [4, 5])] {
            let to = told(&mut w, times);
            assert_eq!((to.len(), &to[..2]), (3, &next.map(id)[..]), "{times}");
            assert!(![id(3), to[0], to[1]].contains(&to[2]), "{to:?}");
        }
    }
    let many: BTreeSet<_> = (0..60).map(|_| told(&mut w, 0)[2]).collect();
    assert_eq!(many.len(), 6, "the rest is random");
}

#[test]
fn who_is_gone_has_no_place_in_the_ring_and_the_last_is_followed_by_the_first() {
    let mut w = World::joined(9);
    w.hosts[4].up = false;
    w.run(Duration::from_secs(20));
    assert_eq!(told(&mut w, 0)[..2], [5, 6].map(id));
    assert_eq!(w.hosts[8].node.hearers(Some(0))[..2], [0, 1].map(id));
    assert_eq!(w.hosts[8].node.hearers(Some(3))[..2], [2, 3].map(id));
}

#[test]
fn where_few_are_there_all_are_told() {
    let mut w = World::joined(3);
    for times in [0, 3] {
        let mut to = w.hosts[0].node.hearers(Some(times));
        to.sort_unstable();
        assert_eq!(to, [id(1), id(2)], "{times}");
    }
}
