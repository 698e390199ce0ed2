//! What the program says when nobody reads it, or when there is nothing to do.

use std::process::{Command, Stdio};

/// Runs it with a standard output whose reader is gone: exit code and standard error.
fn unread(args: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(args)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let out = child.wait_with_output().expect("the program ends");
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/departures/");
    let scenario = &format!("{folder}leave.scn");
    for args in [
        &["list"][..],
        &["list", "--words"],
        &["run", scenario],
        &["run", scenario, "--events"],
        &["render", scenario],
        &["sweep", "--seeds", "1"],
        &["compare", "--sizes", "3", "--cases", "rest", "--seeds", "1"],
    ] {
        assert_eq!(unread(args), (Some(141), String::new()), "{args:?}");
    }
}

/// Nothing done is no success.
#[test]
fn what_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().to_str().expect("UTF-8");
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/departures/leave.scn");
    for (args, why) in [
        (&["run", empty][..], "there is no scenario (.scn) in this folder"),
        (&["render", scenario, "--causes-of", "9999999"], "there is no event 9999999"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(why), "{args:?}: {said}");
        assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0), "{args:?}");
    }
}
