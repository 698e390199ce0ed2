//! Crashes and damage at every byte, and what each costs: never an acknowledged generation.

use super::*;
use quorate_core::{
    Attempt, Ballot, BoundedVec, ClusterId, KnownPeer, Memory, Name, Persist, Stage, Voter,
};

fn id(n: u8) -> NodeId {
    NodeId::from_random([n; 16])
}

fn durable(generation: u64) -> Durable {
    let peer = KnownPeer {
        id: id(9),
        name: Name::new("n9").unwrap(),
        addr: ([127, 0, 0, 9], 8301).into(),
    };
    Durable {
        generation,
        peers: std::sync::Arc::new(BoundedVec::truncated(vec![peer])),
        ..Durable::new(id(1))
    }
}

/// Opens, expecting it to work; the state found.
fn load(path: &Path) -> Durable {
    DataDir::open(path, None).unwrap().1
}

fn error(path: &Path) -> String {
    DataDir::open(path, None).unwrap_err().to_string()
}

/// A directory whose newest slot is known: saved at generation 1, then twice at 2.
fn filled() -> tempfile::TempDir {
    let tmp = tempfile::tempdir().unwrap();
    let (mut dir, first) = DataDir::open(tmp.path(), Some(id(1))).unwrap();
    assert_eq!(first, Durable::new(id(1)));
    for generation in [1, 2, 2] {
        dir.save(&durable(generation)).unwrap();
    }
    tmp
}

#[test]
fn a_first_start_makes_an_id_and_keeps_it() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("deep/er");
    let first = load(&path);
    assert_eq!((first.generation, first.left), (0, false));
    assert_eq!(load(&path), first);
    let text = std::fs::read_to_string(path.join("node-id")).unwrap();
    assert_eq!(text.trim().parse(), Ok(first.id));
}

#[test]
fn what_was_saved_is_loaded_newest_first() {
    let tmp = filled();
    assert_eq!(load(tmp.path()), durable(2));
    let (mut dir, mut state) = DataDir::open(tmp.path(), None).unwrap();
    for left in [true, false, true] {
        state.left = left;
        dir.save(&state).unwrap();
    }
    drop(dir);
    assert!(load(tmp.path()).left);
}

#[test]
fn both_slots_carry_an_acknowledged_generation() {
    let tmp = filled();
    for (slot, other) in [(0, 1), (1, 0)] {
        let kept = std::fs::read(tmp.path().join(SLOTS[slot])).unwrap();
        std::fs::remove_file(tmp.path().join(SLOTS[slot])).unwrap();
        assert_eq!(load(tmp.path()).generation, 2, "only slot {other} is left");
        std::fs::write(tmp.path().join(SLOTS[slot]), kept).unwrap();
    }
}

#[test]
fn both_slots_carry_a_promise_and_one_damaged_slot_does_not_lose_it() {
    for damaged in SLOTS {
        let tmp = filled();
        let (mut dir, mut state) = DataDir::open(tmp.path(), None).unwrap();
        let voter = Voter { id: id(1), birth: 7, era: 0, addr: ([127, 0, 0, 1], 8300).into() };
        let voters = BoundedVec::truncated(vec![voter]);
        let attempt = Attempt { cluster: ClusterId::from_random([3; 16]), voters };
        let stage =
            Stage::Promised { attempt: attempt.into(), ballot: Ballot::ZERO, accepted: None };
        state.bootstrap = Memory { birth: 7, era: 0, stage };
        dir.save(&state).unwrap();
        drop(dir);
        std::fs::write(tmp.path().join(damaged), b"damage").unwrap();
        assert_eq!(load(tmp.path()).bootstrap, state.bootstrap, "{damaged}");
    }
}

#[test]
fn a_directory_from_before_the_quorum_still_loads() {
    let tmp = filled();
    for slot in SLOTS {
        let path = tmp.path().join(slot);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, format::as_version_1(&bytes)).unwrap();
    }
    assert_eq!(load(tmp.path()), durable(2));
}

/// What a crash can leave while generation 3 is saved over generation 2: the two slots are
/// written one after the other, each through a temporary file. Every prefix of that file, and
/// every step between, must load as generation 2 or 3; 3 once the save would have returned.
#[test]
fn a_crash_at_any_byte_of_a_save_loses_nothing_acknowledged() {
    let tmp = filled();
    let path = tmp.path();
    let before: Vec<_> = SLOTS.iter().map(|s| std::fs::read(path.join(s)).unwrap()).collect();
    let (mut dir, _) = DataDir::open(path, None).unwrap();
    let first = dir.newest().map_or(0, |n| 1 - n);
    dir.save(&durable(3)).unwrap();
    drop(dir);
    let after: Vec<_> = SLOTS.iter().map(|s| std::fs::read(path.join(s)).unwrap()).collect();
    assert!(before[0] != after[0] && before[1] != after[1]);

    for (i, slot) in SLOTS.iter().enumerate() {
        std::fs::write(path.join(slot), &before[i]).unwrap();
    }
    for (step, slot) in [first, 1 - first].into_iter().enumerate() {
        let tmp_file = path.join(format!("{}.tmp", SLOTS[slot]));
        for cut in 0..=after[slot].len() {
            std::fs::write(&tmp_file, &after[slot][..cut]).unwrap();
            assert_eq!(load(path).generation, 2 + step as u64, "cut at {cut} of step {step}");
        }
        std::fs::rename(&tmp_file, path.join(SLOTS[slot])).unwrap();
        assert_eq!(load(path), durable(3));
    }
}

#[test]
fn a_damaged_slot_is_found_at_every_byte_and_never_lowers_the_generation() {
    let tmp = filled();
    for slot in SLOTS {
        let file = tmp.path().join(slot);
        let good = std::fs::read(&file).unwrap();
        let expect_raised = |what: &str| {
            let generation = load(tmp.path()).generation;
            assert_eq!(generation, 2 + DAMAGE_STEP, "{slot}: {what}");
        };
        for cut in 0..good.len() {
            std::fs::write(&file, &good[..cut]).unwrap();
            expect_raised(&format!("cut at {cut}"));
        }
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x40;
            std::fs::write(&file, &bad).unwrap();
            expect_raised(&format!("flipped at {i}"));
        }
        std::fs::write(&file, [&good[..], &[0]].concat()).unwrap();
        expect_raised("one byte more");
        std::fs::write(&file, good).unwrap();
    }
}

#[test]
fn both_slots_damaged_is_an_error_that_names_them() {
    let tmp = filled();
    for slot in SLOTS {
        std::fs::write(tmp.path().join(slot), b"junk").unwrap();
    }
    let e = error(tmp.path());
    assert!(e.contains("state.0") && e.contains("state.1") && e.contains("damaged"), "{e}");
    // The way out that it names.
    for slot in SLOTS {
        std::fs::remove_file(tmp.path().join(slot)).unwrap();
    }
    assert_eq!(load(tmp.path()), Durable::new(id(1)));
}

#[test]
fn a_save_repairs_a_damaged_slot() {
    let tmp = filled();
    std::fs::write(tmp.path().join(SLOTS[0]), b"junk").unwrap();
    let (mut dir, mut state) = DataDir::open(tmp.path(), None).unwrap();
    state.generation += 1;
    dir.save(&state).unwrap();
    drop(dir);
    assert_eq!(load(tmp.path()), state);
}

#[test]
fn a_later_format_is_not_taken_for_damage() {
    let tmp = filled();
    let file = tmp.path().join(SLOTS[1]);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 99;
    std::fs::write(&file, &bytes).unwrap();
    // The checksum does not fit: damage.
    assert_eq!(load(tmp.path()).generation, 2 + DAMAGE_STEP);
    let body = bytes.len() - 8;
    let mut sum = siphasher::sip::SipHasher24::new_with_key(b"quorate state v1");
    std::hash::Hasher::write(&mut sum, &bytes[..body]);
    let sum = std::hash::Hasher::finish(&sum);
    bytes[body..].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let e = error(tmp.path());
    assert!(e.contains("state.1 has format 99"), "{e}");
}

#[test]
fn node_id_flag_wins_and_the_generation_goes_on() {
    let tmp = filled();
    let (dir, state) = DataDir::open(tmp.path(), Some(id(7))).unwrap();
    assert_eq!((state.id, state.generation), (id(7), 2));
    drop(dir);
    assert_eq!(load(tmp.path()).id, id(7));
}

#[test]
fn a_change_of_id_that_was_cut_short_is_finished() {
    let tmp = filled();
    let (mut dir, state) = DataDir::open(tmp.path(), None).unwrap();
    // As `open` with another id does it, up to the first slot.
    let newest = dir.newest().unwrap();
    dir.write_slot(1 - newest, &Durable { id: id(7), ..state }).unwrap();
    drop(dir);
    assert_eq!((load(tmp.path()).id, load(tmp.path()).generation), (id(7), 2));
}

#[test]
fn a_foreign_or_broken_node_id_is_said() {
    let tmp = filled();
    let file = tmp.path().join(NODE_ID);
    std::fs::write(&file, format!("{}\n", id(8))).unwrap();
    let e = error(tmp.path());
    assert!(e.contains(&id(8).to_string()) && e.contains(&format!("-node-id={}", id(1))), "{e}");
    std::fs::write(&file, "whatever").unwrap();
    let e = error(tmp.path());
    assert!(e.contains("node-id holds no UUID"), "{e}");
    // Gone altogether: the slots know it.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(load(tmp.path()), durable(2));
}

#[test]
fn a_directory_in_use_is_said() {
    let tmp = filled();
    let held = DataDir::open(tmp.path(), None).unwrap();
    let e = error(tmp.path());
    assert!(e.contains("in use by another agent") && e.contains("-data-dir"), "{e}");
    drop(held);
    load(tmp.path());
}

#[test]
fn a_place_that_cannot_be_written_is_said() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), PathBuf::from("/proc/quorate")] {
        let e = error(&path);
        assert!(e.contains(&path.display().to_string()) && e.contains("-data-dir"), "{e}");
    }
}

#[test]
fn a_failed_save_leaves_the_old_state() {
    let tmp = filled();
    let (mut dir, state) = DataDir::open(tmp.path(), None).unwrap();
    // Directories in the place of the temporary files: not even root can open them to write.
    for slot in SLOTS {
        std::fs::create_dir(tmp.path().join(format!("{slot}.tmp"))).unwrap();
    }
    let e = dir.save(&durable(3)).unwrap_err().to_string();
    assert!(e.contains(".tmp"), "{e}");
    drop(dir);
    assert_eq!(load(tmp.path()), state);
}

#[tokio::test]
async fn the_writer_tries_again_and_acknowledges_only_what_is_saved() {
    use quorate_core::{Config, Instant, Node, Pairs, Role};
    let tmp = tempfile::tempdir().unwrap();
    let (dir, state) = DataDir::open(tmp.path(), Some(id(1))).unwrap();
    let mut node = Node::new(
        Config {
            name: Name::new("n1").unwrap(),
            addr: ([127, 0, 0, 1], 8301).into(),
            label: quorate_core::Label::new("dc1").unwrap(),
            keys: None,
            role: Role::Client,
            tags: Pairs::default(),
            meta: Pairs::default(),
            durable: state,
            rejoin_after_leave: false,
            tuning: std::sync::Arc::default(),
            limits: std::sync::Arc::default(),
        },
        [0; 32],
        Instant::ZERO,
    )
    .unwrap();
    let p = node.poll_persist().unwrap();
    let blocker = tmp.path().join("state.0.tmp");
    std::fs::create_dir(&blocker).unwrap();
    let mut writer = Writer::start(dir);
    writer.submit(p.clone());
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), writer.saved()).await;
    assert!(early.is_err());
    std::fs::remove_dir(&blocker).unwrap();
    assert_eq!(writer.saved().await, p.token);
    // The last one counts, and is on disk when `finish` returns.
    let last = Durable { left: true, ..p.state.clone() };
    writer.submit(p.clone());
    writer.submit(Persist { token: p.token, state: last.clone(), keys: None });
    writer.finish(std::time::Duration::from_secs(30)).await;
    assert_eq!(load(tmp.path()), last);
}
