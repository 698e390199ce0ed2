//! Nodes that share their scratch space.

use super::*;

/// Whoever takes turns with others must not send what they had to say.
#[test]
fn what_was_not_drained_stays_with_its_node() {
    let mut w = World::joined(2);
    let (mut shared, mut buf) = (Scratch::new(16), Vec::new());
    let later = w.now + Duration::from_secs(2);
    let (first, second) = w.hosts.split_at_mut(1);
    let (n0, n1) = (&mut first[0].node, &mut second[0].node);
    n0.swap_scratch(&mut shared);
    // It pings, and nobody asks for what goes out.
    n0.handle_timeout(later);
    n0.swap_scratch(&mut shared);
    n1.swap_scratch(&mut shared);
    assert_eq!(n1.poll_transmit(later, &mut buf), None);
    n1.swap_scratch(&mut shared);
    n0.swap_scratch(&mut shared);
    let sent = n0.poll_transmit(later, &mut buf).map(|t| t.to);
    assert_eq!(sent, Some(addr(1)));
    while n0.poll_transmit(later, &mut buf).is_some() {}
    n0.swap_scratch(&mut shared);
    n1.swap_scratch(&mut shared);
    assert_eq!(n1.poll_transmit(later, &mut buf), None);
}
