//! Members that speak different protocol versions.

use super::*;

fn speaking(ranges: &[(u8, u8)]) -> World {
    let mut w = World::new(0);
    for (i, range) in ranges.iter().enumerate() {
        let mut c = config(i);
        Arc::make_mut(&mut c.tuning).protocol = *range;
        w.start(c);
    }
    w
}

fn id(n: usize) -> NodeId {
    NodeId::from_bytes([n as u8; 16])
}

#[test]
fn each_is_answered_in_what_it_understands() {
    let mut w = speaking(&[(1, 1), (1, 2), (1, 2)]);
    w.join(1, 0).unwrap();
    w.join(2, 0).unwrap();
    w.run(Duration::from_secs(20));
    let unknown = |i: usize| w.hosts[i].node.stats().get(Counter::UnknownTag);
    assert_eq!([0, 1, 2].map(unknown), [0, 0, 0]);
    let known = |at: usize, of: usize| w.hosts[at].node.coordinate_of(id(of)).is_some();
    assert!(known(1, 2) && known(2, 1), "both speak version 2");
    assert!(!known(0, 1) && !known(1, 0), "one speaks version 1 only");
    let with = |of: usize| w.hosts[1].node.version_with(id(of));
    assert_eq!([0, 2, 9].map(with), [Some(1), Some(2), None]);
}

#[test]
fn without_a_common_version_there_is_no_join_and_a_reason() {
    let mut w = speaking(&[(1, 1), (2, 2)]);
    assert_eq!(w.join(1, 0), Err(JoinError::Incompatible { min: 1, max: 1 }));
    assert_eq!((w.alive(0), w.alive(1)), (0, 0));
    let mut c = config(3);
    Arc::make_mut(&mut c.tuning).protocol = (1, 3);
    assert!(matches!(Node::new(c, [0; 32], w.now), Err(ConfigError::Tuning(_))));
}
