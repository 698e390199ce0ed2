//! What the command line takes, what it refuses, and that it says so before the work begins.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const PASSES: &str = "cluster 3 seed 4\nat 0s join all via n1\nwithin 30s converged\n";
/// n3 lives: that fails.
const FAILS: &str = "cluster 3 seed 4\nat 0s join all via n1\nat 5s heal\n\
    within 3s n3 failed everywhere\n";

fn sim(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(args).current_dir(folder).output().expect("the program runs")
}

/// Exit code, standard output, standard error.
fn said(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let out = sim(folder, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// It is refused with a text that has `why` in it, and nothing was done.
fn refuses(folder: &Path, args: &[&str], why: &str) {
    let (code, out, error) = said(folder, args);
    assert!(code == Some(2) && error.contains(why), "{args:?}: {code:?} {error}");
    assert_eq!(out, "", "{args:?}");
}

/// A folder with `ok.scn`, `fails.scn` and `bad.scn`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("ok.scn", PASSES), ("fails.scn", FAILS), ("bad.scn", "clutser 3\n")] {
        fs::write(folder.path().join(name), text).expect("it is written");
    }
    folder
}

#[test]
fn a_folder_that_cannot_be_written_is_known_before_the_work() {
    let folder = folder();
    // Below a file there is no folder, whoever asks.
    let keep = ["--keep", "ok.scn/kept"];
    let sweep = ["sweep", "--seeds", "1", "--jobs", "1"];
    for work in [&sweep[..], &["shrink", "fails.scn"], &["shrink", "ok.scn"]] {
        refuses(folder.path(), &[work, &keep].concat(), "sim: ok.scn/kept: ");
    }
    let kept = [&sweep[..], &["--keep", "a/b"]].concat();
    assert_eq!(sim(folder.path(), &kept).status.code(), Some(0));
    assert_eq!(fs::read_dir(folder.path().join("a/b")).expect("it is there").count(), 0);
}

#[test]
fn an_input_is_never_written_over() {
    let folder = folder();
    let folder = folder.path();
    fs::hard_link(folder.join("ok.scn"), folder.join("linked")).expect("it is linked");
    let why = "this would overwrite what is read from ";
    for args in [
        &["run", "ok.scn", "--trace", "./ok.scn"][..],
        &["render", "ok.scn", "--trace", "ok.scn"],
        &["render", "ok.scn", "--html", "ok.scn"],
        &["render", "fails.scn", "--scenario", "ok.scn", "--html", "ok.scn"],
        #[cfg(unix)]
        &["run", "ok.scn", "--trace", "linked"],
    ] {
        refuses(folder, args, why);
        assert_eq!(fs::read_to_string(folder.join("ok.scn")).expect("it is there"), PASSES);
    }
    let other = ["run", "ok.scn", "--trace", "out.jsonl"];
    for _ in 0..2 {
        assert_eq!(sim(folder, &other).status.code(), Some(0), "an earlier output is replaced");
    }
    refuses(folder, &["render", "out.jsonl", "--html", "out.jsonl"], why);
    // What is shown and written may be one terminal or one device.
    let null = sim(folder, &["render", "--seed", "1", "--trace", "/dev/null"]);
    assert_eq!(null.status.code(), Some(0));
}

#[test]
fn constants_may_be_set_in_any_order() {
    let folder = folder();
    let (min, max) = (["--set", "silent.min=50000"], ["--set", "silent.max=90000"]);
    for set in [[min, max], [max, min]] {
        let out = sim(folder.path(), &[&["run", "ok.scn"], &set.concat()[..]].concat());
        assert_eq!(out.status.code(), Some(0), "{set:?}: {out:?}");
    }
    refuses(folder.path(), &[&["run", "ok.scn"], &min[..]].concat(), "sim: silent.min=50000: ");
}

#[test]
fn what_is_rendered_is_known_by_what_is_in_it() {
    let folder = folder();
    let folder = folder.path();
    let (_, expected, _) = said(folder, &["render", "ok.scn"]);
    assert!(expected.lines().count() > 100);
    let at = |name: &str| folder.join(name);
    said(folder, &["run", "ok.scn", "--trace", "out.jsonl"]);
    for (from, to) in [("ok.scn", "noext"), ("ok.scn", "OK.SCN"), ("out.jsonl", "trace.txt")] {
        fs::copy(at(from), at(to)).expect("it is copied");
        assert_eq!(said(folder, &["render", to]), (Some(0), expected.clone(), String::new()));
    }
    refuses(folder, &["render", "trace.txt", "--sealed"], "shown as it was written");
    // An empty trace is one: nothing happened.
    fs::write(at("none.jsonl"), "").expect("it is written");
    assert_eq!(said(folder, &["render", "none.jsonl"]).0, Some(0));
    #[cfg(unix)]
    for from in ["ok.scn", "out.jsonl"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
        let file = fs::File::open(at(from)).expect("it is there");
        command.args(["render", "/dev/stdin"]).stdin(file);
        let out = command.output().expect("the program runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), expected, "{out:?}");
    }
}

#[test]
fn help_names_the_list_that_has_the_cases() {
    let folder = folder();
    let (_, help, _) = said(folder.path(), &["compare", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("(`sim list --faults` names them)"), "{help}");
    let (_, listed, _) = said(folder.path(), &["list", "--faults"]);
    for (case, _) in sim::compare::CASES {
        assert!(listed.contains(&format!("case {case} ")), "{case}: {listed}");
    }
}

#[test]
fn no_flag_is_passed_over() {
    let folder = folder();
    for (args, why) in [
        (&["list", "--words", "--faults"][..], "cannot be used with"),
        (&["list", "--words", "--seed", "4"], "cannot be used with"),
        (&["list", "--faults", "--seed", "4"], "cannot be used with"),
        (&["list", "--aim", "hostile"], "--seed <SEED>"),
        (&["list", "--words", "--aim", "hostile"], "cannot be used with"),
        (&["shrink", "fails.scn", "--aim", "hostile"], "cannot be used with"),
        (&["shrink", "--aim", "hostile"], "required"),
        (&["shrink"], "required"),
        (&["render", "ok.scn", "--node", "99"], "ok.scn: there is no node 99 in this trace"),
        (&["render", "ok.scn", "--node", "m2"], "invalid value 'm2'"),
    ] {
        refuses(folder.path(), args, why);
    }
    for args in [&["list"][..], &["list", "--seed", "4", "--aim", "hostile"], &["list", "--words"]]
    {
        assert_eq!(sim(folder.path(), args).status.code(), Some(0), "{args:?}");
    }
    let node = |n: &str| said(folder.path(), &["render", "ok.scn", "--node", n]);
    assert_eq!(node("n2"), node("2"));
    assert!(node("2").1.contains(" n2 ") && node("2").0 == Some(0));
    assert_ne!(node("n2"), node("n3"));
}

#[test]
fn a_file_that_cannot_be_run_leaves_the_others_alone() {
    let folder = folder();
    let files = ["ok.scn", "bad.scn", "fails.scn", "none.scn", "ok.scn"];
    for layer in ["world", "turmoil"] {
        let run = [&["run", "--layer", layer], &files[..]].concat();
        let (code, out, error) = said(folder.path(), &run);
        let lines = |start: &str| out.lines().filter(|l| l.starts_with(start)).count();
        assert_eq!((lines("pass ok.scn"), lines("FAIL fails.scn")), (2, 1), "{out}");
        let last = out.lines().last().unwrap_or_default();
        assert!(last.starts_with("2 of 5 scenarios pass") || last.starts_with("2 pass, 1 fail"));
        let errors: Vec<&str> = error.lines().collect();
        assert!(errors[0].starts_with("sim: bad.scn: line 1, column 1: "), "{error}");
        assert!(errors[1].starts_with("sim: none.scn: "), "{error}");
        assert_eq!(errors[2..], ["sim: 2 of 5 scenarios cannot be run"]);
        assert_eq!(code, Some(2));
        // Of a single one, the error says it all.
        let (code, out, error) = said(folder.path(), &["run", "--layer", layer, "bad.scn"]);
        assert_eq!((code, out.as_str(), error.lines().count()), (Some(2), "", 1));
    }
}

#[test]
fn nothing_is_run_for_no_seed() {
    let folder = folder();
    let why = "invalid value '0' for '--seeds <SEEDS>'";
    refuses(folder.path(), &["sweep", "--seeds", "0"], why);
    refuses(folder.path(), &["compare", "--seeds", "0"], why);
}

#[test]
fn a_budget_that_ended_the_shrinking_is_named() {
    let folder = folder();
    let shrink = |budget| {
        let args = ["shrink", "fails.scn", "--keep", "kept", "--budget", budget];
        said(folder.path(), &args).1
    };
    let ended = "the budget (1 runs) ended this: more runs may make it smaller";
    assert!(shrink("1").contains(ended), "{}", shrink("1"));
    assert!(!shrink("5000").contains("budget"));
}
