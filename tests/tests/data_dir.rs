//! The data directory: `kill -9` at any moment never makes it unreadable nor takes a generation
//! back; a disk that is full or read-only is said clearly.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use net_tokio::persist::DataDir;
use quorate_core::Durable;
use quorate_tests::{Agent, Lab, Random, Spec, lab};

const SOON: Duration = Duration::from_secs(20);
const KILLS: u32 = 200;

/// What the directory holds, read from a copy so that looking does not change it. `None`: the
/// agent had not got far enough to make it.
fn stored(lab: &Lab, dir: &Path) -> Option<Durable> {
    if !dir.exists() {
        return None;
    }
    let copy = lab.path("copy");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir(&copy).expect("a folder");
    let (mut slots, mut id) = (0, 0);
    for entry in fs::read_dir(dir).expect("the directory is readable") {
        let entry = entry.expect("the directory is readable");
        let name = entry.file_name();
        fs::copy(entry.path(), copy.join(&name)).expect("its files are readable");
        slots += u32::from(name == "state.0" || name == "state.1");
        id += u32::from(name == "node-id");
    }
    let (_, state) = DataDir::open(&copy, None).unwrap_or_else(|e| panic!("unreadable: {e}"));
    // Before the first save there is nothing to compare with.
    (slots + id > 0).then_some(state)
}

/// How long a start takes here, from the process to the banner.
fn start_time(lab: &Lab, spec: &Spec) -> Duration {
    let start = Instant::now();
    let agent = spec.spawn();
    agent.line("agent running!", SOON);
    let took = start.elapsed();
    drop(agent);
    assert!(stored(lab, spec.data()).is_some());
    took
}

/// How long to wait with a kill: into the start, or into the writes of an agent that runs (its
/// peers, about a second after they are known; its leave).
fn moment(kill: u32, agent: &mut Agent, random: &mut Random, span_us: usize) -> Duration {
    let mut below = |us| Duration::from_micros(random.below(us) as u64);
    match kill % 25 {
        7 => {
            agent.line("member alive: agent-one", SOON);
            Duration::from_millis(990) + below(30_000)
        }
        3 | 13 | 23 => {
            agent.line("agent running!", SOON);
            agent.interrupt();
            below(span_us)
        }
        _ => below(span_us),
    }
}

#[test]
fn two_hundred_kills_at_any_moment() {
    let Some(lab) = lab!() else { return };
    let other = lab.agent("agent-one", "127.0.0.10").server().start();
    let spec = lab.agent("agent-two", "127.0.0.11").arg("-retry-join=127.0.0.10");
    let spec = spec.arg("-retry-interval=10ms");
    let span_us = usize::try_from(start_time(&lab, &spec).as_micros()).expect("a short time") * 2;
    let mut random = Random::new(200);
    let mut last = stored(&lab, spec.data()).expect("it ran");
    let (mut full, mut saved) = (0, 0);
    for kill in 0..KILLS {
        let mut agent = spec.spawn();
        let at = moment(kill, &mut agent, &mut random, span_us);
        // The point is the random moment; there is nothing to wait for.
        thread::sleep(at);
        agent.kill();
        let state = stored(&lab, spec.data()).expect("it was there before");
        assert_eq!(state.id, last.id, "kill {kill} after {at:?}");
        assert!(
            state.generation >= last.generation,
            "kill {kill} after {at:?}: generation {} after {}",
            state.generation,
            last.generation
        );
        saved += u32::from(state.generation > last.generation);
        if !agent.process.lines_with("agent running!").is_empty() {
            full += 1;
            let rose = state.generation > last.generation;
            assert!(rose, "kill {kill}: an agent that runs has a generation of its own");
        }
        last = state;
    }
    println!("{full} of {KILLS} starts were complete, {saved} had saved a generation");
    assert!(full > 0 && saved < KILLS, "the moments are not spread: {full}, {saved}");
    assert!(full < KILLS, "all starts were complete before the kill");

    // And it is an agent like any other in the end.
    let agent = spec.start();
    let both = [("agent-one", "alive"), ("agent-two", "alive")];
    agent.sees(&both, SOON);
    other.sees(&both, SOON);
}

#[test]
fn kills_from_the_very_first_moment_of_a_directory() {
    let Some(lab) = lab!() else { return };
    let probe = lab.agent("probe", "127.0.0.11");
    let span_us = usize::try_from(start_time(&lab, &probe).as_micros()).expect("a short time");
    let mut random = Random::new(201);
    for i in 0..40 {
        let spec = lab.agent(&format!("new-{i}"), "127.0.0.11");
        let mut agent = spec.spawn();
        thread::sleep(Duration::from_micros(random.below(span_us) as u64));
        agent.kill();
        let first = stored(&lab, spec.data());
        let again = spec.start();
        drop(again);
        let second = stored(&lab, spec.data()).expect("it ran");
        if let Some(first) = first {
            assert!(second.generation > first.generation, "{first:?}, {second:?}");
            assert_eq!(second.id, first.id, "an id that was stored stays");
        }
    }
}

/// A start that must fail over its disk: exit code 1 and one line that says why and what to do.
fn refused(mut agent: Agent) -> String {
    assert_eq!(agent.process.wait(SOON), Some(1), "{}", agent.tail());
    let said = agent.process.lines_with("==> ");
    assert_eq!(said.len(), 1, "{}", agent.tail());
    assert!(agent.process.lines_with("running!").is_empty(), "{}", agent.tail());
    said[0].text.clone()
}

/// A small file system of its own at `path`; `false` (printed) where that cannot be had.
fn mounted(lab: &Lab, path: &Path, options: &str) -> bool {
    fs::create_dir(path).expect("a folder");
    if !lab.place.can_mount() {
        println!("SKIPPED: no mount namespace here");
        return false;
    }
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
    let done = mount.status().is_ok_and(|s| s.success());
    if !done {
        println!("SKIPPED: a tmpfs cannot be mounted here");
    }
    done
}

fn fill(dir: &Path) {
    let filler = [0; 512];
    let mut file = fs::File::create(dir.join("filler")).expect("a file");
    while std::io::Write::write_all(&mut file, &filler).is_ok() {}
}

#[test]
fn a_full_disk() {
    let Some(lab) = lab!() else { return };
    let disk = lab.path("disk");
    if !mounted(&lab, &disk, "size=64k") {
        return;
    }
    fill(&disk);
    let spec = lab.agent("agent-one", "127.0.0.10");
    let data = disk.join("data");
    let full = spec.clone().arg(format!("-data-dir={}", data.display()));
    let said = refused(full.spawn());
    for part in ["data directory: cannot write", "No space left on device", "free some space"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains(&data.display().to_string()), "{said}");

    // With room again it starts, keeps its state, and refuses once more when the disk is full.
    fs::remove_file(disk.join("filler")).expect("removed");
    drop(full.start());
    let before = stored(&lab, &data).expect("it ran");
    fill(&disk);
    let said = refused(full.spawn());
    assert!(said.contains("No space left on device"), "{said}");
    let after = stored(&lab, &data).expect("still readable");
    assert_eq!((after.id, after.generation), (before.id, before.generation));
    fs::remove_file(disk.join("filler")).expect("removed");
    drop(full.start());
    assert!(stored(&lab, &data).expect("it ran").generation > before.generation);
}

#[test]
fn a_disk_that_fills_up_while_the_agent_runs() {
    let Some(lab) = lab!() else { return };
    let disk = lab.path("disk");
    if !mounted(&lab, &disk, "size=64k") {
        return;
    }
    let data = disk.join("data");
    let one = lab.agent("agent-one", "127.0.0.10").arg(format!("-data-dir={}", data.display()));
    let one = one.start();
    let before = stored(&lab, &data).expect("it runs");
    fill(&disk);
    let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").start();
    let both = [("agent-one", "alive"), ("agent-two", "alive")];
    one.sees(&both, SOON);
    two.sees(&both, SOON);
    // It says so, goes on, and catches up once there is room.
    let line = one.line("No space left on device", SOON);
    assert!(line.text.contains("free some space"), "{}", line.text);
    assert_eq!(stored(&lab, &data).expect("readable").generation, before.generation);
    fs::remove_file(disk.join("filler")).expect("removed");
    quorate_tests::eventually("the peer is written", SOON, || {
        stored(&lab, &data).is_some_and(|s| s.peers.iter().any(|p| p.name.as_str() == "agent-two"))
    });
    one.sees(&both, SOON);
}

#[test]
fn a_read_only_disk() {
    let Some(lab) = lab!() else { return };
    let disk = lab.path("disk");
    if !mounted(&lab, &disk, "size=64k,ro") {
        return;
    }
    let spec = lab.agent("agent-one", "127.0.0.10").arg(format!("-data-dir={}", disk.display()));
    let said = refused(spec.spawn());
    for part in ["Read-only file system", "-data-dir", &disk.display().to_string()] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_data_directory_that_is_none() {
    let Some(lab) = lab!() else { return };
    let file = lab.write("file", "not a directory");
    let spec = lab.agent("agent-one", "127.0.0.10").arg(format!("-data-dir={}", file.display()));
    let said = refused(spec.spawn());
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert!(said.contains("must be a directory"), "{said}");
}

#[test]
fn damage_on_disk_is_told_and_never_takes_a_generation_back() {
    let Some(lab) = lab!() else { return };
    let spec = lab.agent("agent-one", "127.0.0.10");
    drop(spec.start());
    let before = stored(&lab, spec.data()).expect("it ran");
    for slot in ["state.0", "state.1"] {
        let path = spec.data().join(slot);
        let mut bytes = fs::read(&path).expect("the slot");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&path, &bytes).expect("written");
        let agent = spec.start();
        agent.line(&format!("{slot} is damaged"), SOON);
        drop(agent);
        let after = stored(&lab, spec.data()).expect("it ran");
        assert_eq!(after.id, before.id);
        assert!(after.generation > before.generation, "{before:?}, {after:?}");
    }
    for slot in ["state.0", "state.1"] {
        fs::write(spec.data().join(slot), b"nonsense").expect("written");
    }
    let said = refused(spec.spawn());
    assert!(said.contains("damaged") && said.contains("state.0"), "{said}");
}

#[test]
fn an_id_given_by_flag_is_kept() {
    let Some(lab) = lab!() else { return };
    let id = "00000000-0000-4000-8000-00000000000a";
    let spec = lab.agent("agent-one", "127.0.0.10");
    drop(spec.clone().arg(format!("-node-id={id}")).start());
    let agent = spec.start();
    assert_eq!(agent.get("/v1/agent/self").json()["Config"]["NodeID"], id);
    let text = fs::read_to_string(spec.data().join("node-id")).expect("the file");
    assert_eq!(text.trim(), id);
}
