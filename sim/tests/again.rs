//! What a failed run prints: lines that bring back just this run, its trace and its page.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sim::trace::Event;

const LEAVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/departures/leave.scn");
/// n3 lives: that fails.
const FAILS: &str = "cluster 3 seed 4\nat 0s join all via n1\nat 5s heal\n\
    within 3s n3 failed everywhere\n";

fn sim(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(args).current_dir(folder).output().expect("the program runs")
}

fn said(out: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    String::from_utf8(out.stdout.clone()).expect("UTF-8")
}

/// What follows `key: cargo run .. --` in what was printed, as a shell takes it.
fn told(text: &str, key: &str) -> Vec<String> {
    let line = text.lines().find_map(|l| l.trim_start().strip_prefix(key)).expect(key);
    let line = line.trim_start().strip_prefix("cargo run --release -p sim -- ").expect(line);
    let script = format!("printf '%s\\n' {line}");
    let out = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    said(&out).lines().map(str::to_owned).collect()
}

/// Does what the line of `key` says; gives what it printed, and the file that it names last.
fn follow(folder: &Path, text: &str, key: &str) -> (String, String) {
    let words = told(text, key);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    let out = sim(folder, &args);
    assert_eq!(out.status.code(), Some(0), "{words:?}: {out:?}");
    let at = words.iter().position(|w| w == "--trace" || w == "--html").expect("a file");
    (said(&out), fs::read_to_string(folder.join(&words[at + 1])).expect("it was written"))
}

fn events(lines: &str) -> Vec<Event> {
    lines.lines().map(|l| serde_json::from_str(l).expect("an event")).collect()
}

/// The failure that was printed must be the trace's first (one look may find several), and stand in
/// the page.
fn shows(folder: &Path, text: &str, check: &str) -> Vec<Event> {
    let (_, trace) = follow(folder, text, "trace:");
    let events = events(&trace);
    let first = events.iter().find(|e| e.event == "violation").expect("a violation");
    assert!(first.detail.starts_with(check), "{first:?}");
    let (ms, s) = (first.t / 1_000_000 % 1000, first.t / 1_000_000_000);
    assert!(text.contains(&format!("{check} at {s}.{ms:03}s on n{}", first.node)), "{text}");
    let (_, page) = follow(folder, text, "page:");
    assert!(page.starts_with("<!") && page.contains(check), "{check} is not in the page");
    events
}

#[test]
fn a_scenario_that_fails_names_its_trace_and_its_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("not so.scn"), FAILS).expect("it is written");
    let plain = shows(folder, &said(&sim(folder, &["run", "not so.scn"])), "within-failed");
    let flags = ["--seed", "9", "--sealed", "--set", "probe_interval=700"];
    let out = sim(folder, &[&["run", "not so.scn"], &flags[..]].concat());
    assert_eq!(out.status.code(), Some(1));
    let text = said(&out);
    let other = shows(folder, &text, "within-failed");
    assert_ne!(plain, other, "the flags made no difference");
    assert!(text.contains(&format!(", {} events,", other.len())), "{text}");
    // Each flag by itself is passed on, too: the number of events tells.
    for flags in [&flags[..2], &flags[2..3], &flags[3..], &["--profile", "memberlist"]] {
        let text = said(&sim(folder, &[&["run", "not so.scn"], flags].concat()));
        let other = shows(folder, &text, "within-failed");
        assert!(plain != other && text.contains(&format!(", {} events,", other.len())), "{text}");
    }
}

/// The other layer has no trace of causes, but tells every change.
#[test]
fn on_real_agents_the_changes_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("not so.scn"), FAILS).expect("it is written");
    let run = ["run", "not so.scn", "--layer", "turmoil", "--seed", "5"];
    let text = said(&sim(folder.path(), &run));
    let words = told(&text, "events:");
    let again = said(&sim(folder.path(), &words.iter().map(String::as_str).collect::<Vec<_>>()));
    let failure = text.lines().find(|l| l.contains("within-failed at ")).expect("a failure");
    assert!(again.contains(failure) && again.contains(": n3 Alive at "), "{again}");
    assert!(!text.contains(" Alive at ") && again.contains("--seed 5"), "{text}");
}

#[test]
fn a_trace_that_was_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("no.scn"), FAILS).expect("it is written");
    let text = said(&sim(folder.path(), &["run", "no.scn", "--trace", "out.jsonl"]));
    assert!(text.contains("\n  trace:  out.jsonl\n"), "{text}");
    assert!(!events(&fs::read_to_string(folder.path().join("out.jsonl")).expect("it")).is_empty());
}

#[test]
fn a_seed_that_fails_in_a_sweep_names_its_trace_and_its_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // So short a stream brings nothing across.
    let flags = ["--set", "stream_timeout=1", "--sealed"];
    let sweep = ["sweep", "--seeds", "1", "--first", "1", "--jobs", "1"];
    let out = sim(folder, &[&sweep[..], &flags].concat());
    assert_eq!(out.status.code(), Some(1));
    let text = said(&out);
    let check = text.lines().find_map(|l| l.strip_prefix("seed 1: ")).expect("a failure");
    let check = check.split(' ').next().expect("a check");
    shows(folder, &text, check);
    let shrink = told(&text, "repeat:");
    assert_eq!(shrink[..3], ["shrink", "--seed", "1"]);
    // The scenario itself.
    let list = told(&text, "scenario:");
    let list = said(&sim(folder, &list.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(list, sim::aim::Aim::Everything.draw(1).to_string());
    // What is left of it, too.
    let args: Vec<&str> = shrink.iter().map(String::as_str).collect();
    let out = sim(folder, &[&args[..], &["--keep", "kept", "--budget", "60"]].concat());
    let text = said(&out).replace(&format!("{check} at "), &format!("{check} at"));
    assert!(text.contains(check), "{text}");
    assert!(follow(folder, &text, "trace:").0.contains("events: written to"), "{text}");
}

#[test]
fn what_is_aimed_is_drawn_so_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["sweep", "--aim", "hostile", "--seeds", "1", "--set", "stream_timeout=1"];
    let text = said(&sim(folder.path(), &args));
    let check = text.lines().find_map(|l| l.strip_prefix("seed 0: ")).expect("a failure");
    shows(folder.path(), &text, check.split(' ').next().expect("a check"));
}

/// `render` runs a scenario as `run` does, whatever flags both are given.
#[test]
fn a_scenario_is_shown_as_it_is_run() {
    let here = Path::new(".");
    let mut seen = Vec::new();
    for flags in [
        &[][..],
        &["--seed", "7"],
        &["--sealed"],
        &["--set", "probe_interval=2000"],
        &["--profile", "memberlist"],
    ] {
        let run = said(&sim(here, &[&["run", LEAVE, "--events"], flags].concat()));
        let render = said(&sim(here, &[&["render", LEAVE], flags].concat()));
        let (lines, _summary) = run.split_at(render.len().min(run.len()));
        assert!(lines == render && render.lines().count() > 100, "{flags:?}");
        assert!(!seen.contains(&render), "{flags:?} changed nothing");
        seen.push(render);
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_bug_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let sweep = ["sweep", "--jobs", "1", "--max-failures", "1", "--plant", "no-refutation"];
    let text = said(&sim(folder.path(), &sweep));
    let features = "sim --features planted-bugs -- render --seed ";
    assert_eq!(text.matches(features).count(), 2, "{text}");
    let text = text.replace(" --features planted-bugs", "");
    let seed = text.lines().find(|l| l.starts_with("seed ")).expect("a failure");
    let check = seed.split(": ").nth(1).expect("a check").split(' ').next().expect("a check");
    shows(folder.path(), &text, check);
}

#[test]
fn a_trace_is_shown_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("out.jsonl");
    let trace = trace.to_str().expect("UTF-8");
    said(&sim(folder.path(), &["run", LEAVE, "--trace", trace]));
    for flags in [&["--seed", "7"][..], &["--sealed"], &["--profile", "memberlist"]] {
        let out = sim(folder.path(), &[&["render", trace], flags].concat());
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{flags:?}");
        let expected = format!("shown as it was written, not with {}\n", flags.join(" "));
        assert!(why.ends_with(&expected), "{why}");
    }
    // Neither a file nor a seed is nothing to show.
    assert_eq!(sim(folder.path(), &["render"]).status.code(), Some(2));
    let both = ["render", LEAVE, "--aim", "hostile"];
    assert_eq!(sim(folder.path(), &both).status.code(), Some(2));
}

#[test]
fn a_file_that_is_no_text_is_named_with_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("bad.scn"), b"cluster 3\n# caf\xe9\n").expect("it is written");
    let expected =
        r"sim: bad.scn: line 2, column 6: expected UTF-8 (at byte 16 of the file), found `\xe9`";
    for args in [
        &["run", "bad.scn"][..],
        &["run", "bad.scn", "--layer", "turmoil"],
        &["shrink", "bad.scn"],
        &["render", "bad.scn"],
        &["render", "bad.scn", "--html", "x.html"],
        &["corpus", "out", "bad.scn"],
    ] {
        let out = sim(folder.path(), args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&out.stderr), format!("{expected}\n"), "{args:?}");
    }
    let marked = [b"\xef\xbb\xbf", FAILS.replace("failed", "alive").as_bytes()].concat();
    fs::write(folder.path().join("marked.scn"), marked).expect("it is written");
    assert!(said(&sim(folder.path(), &["run", "marked.scn"])).starts_with("pass marked.scn"));
}
