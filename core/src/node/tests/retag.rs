//! Tags and meta that change at run time.

use super::*;

fn meta(value: &str) -> Pairs {
    Pairs::new([("rack", value)]).unwrap()
}

fn set(w: &mut World, i: usize, c: Command) {
    assert_eq!(w.hosts[i].node.command(w.now, c), Ok(CommandOutcome::Done));
    w.drain();
}

fn seen(w: &World, at: usize, of: usize) -> Member {
    let id = NodeId::from_bytes([of as u8; 16]);
    w.hosts[at].node.members().find(|m| m.record.id == id).unwrap()
}

#[test]
fn new_meta_is_a_new_version_and_known_to_all() {
    let mut w = World::joined(4);
    let before = seen(&w, 0, 2).record.version;
    set(&mut w, 2, Command::SetMeta(meta("r7")));
    set(&mut w, 2, Command::SetTags(Pairs::new([("build", "9")]).unwrap()));
    w.run(Duration::from_secs(2));
    for i in [0, 1, 3] {
        let m = seen(&w, i, 2);
        assert_eq!(
            (m.record.meta.get("rack"), m.record.tags.get("build")),
            (Some("r7"), Some("9"))
        );
        assert!(m.record.version > before && m.state == State::Alive);
        let updated = |e: &&Event| matches!(e, Event::Updated { .. });
        assert!(w.hosts[i].events.iter().filter(updated).count() >= 1, "n{i}");
    }
    // The same again is no news.
    let at = w.hosts[2].node.local().record.version;
    set(&mut w, 2, Command::SetMeta(meta("r7")));
    assert_eq!(w.hosts[2].node.local().record.version, at);
}

#[test]
fn what_is_set_before_the_generation_is_on_disk_comes_with_it() {
    let mut node = Node::new(config(1), [1; 32], Instant::from_nanos(1)).unwrap();
    let now = Instant::from_nanos(2);
    assert_eq!(node.command(now, Command::SetMeta(meta("r1"))), Ok(CommandOutcome::Done));
    let p = node.poll_persist().unwrap();
    node.handle_persisted(now, p.token);
    let local = node.local().record;
    assert_eq!((local.meta.get("rack"), local.version.incarnation), (Some("r1"), 0));
}
