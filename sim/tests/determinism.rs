//! The same scenario gives the same trace in debug and release, with one thread and with four.
//!
//! Builds the other one of the two profiles, which takes a while the first time.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

const THIS: &str = env!("CARGO_BIN_EXE_sim");

/// `sim` as cargo builds it with the other profile.
fn other_build() -> PathBuf {
    let (flag, folder): (&[&str], _) =
        if cfg!(debug_assertions) { (&["--release"], "release") } else { (&[], "debug") };
    let target = Path::new(THIS).parent().and_then(Path::parent).unwrap();
    let done = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "sim", "--bin", "sim"])
        .args(flag)
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(done.success(), "building the other profile failed");
    target.join(folder).join("sim")
}

fn output(sim: &Path, args: &[&str]) -> String {
    let out = Command::new(sim).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{} {args:?}: {errors}", sim.display());
    String::from_utf8(out.stdout).unwrap()
}

/// The first pair of lines that differ.
fn first_difference<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str)> {
    let (mut a, mut b) = (a.lines(), b.lines());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (x, y) if x == y => {}
            (x, y) => return Some((x.unwrap_or("(end)"), y.unwrap_or("(end)"))),
        }
    }
}

#[test]
fn debug_and_release_run_alike() {
    let (this, other) = (Path::new(THIS), other_build());
    let one = output(this, &["hash", "--seeds", "100", "--jobs", "1"]);
    let four = output(&other, &["hash", "--seeds", "100", "--jobs", "4"]);
    assert!(one.lines().count() > 50, "{one}");
    let Some((x, y)) = first_difference(&one, &four) else { return };
    // Which event differs first, if it is a scenario of ours?
    let name = x.split_once(' ').map_or("", |p| p.1);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let events = |sim: &Path| {
        let file = file.display().to_string();
        if file.ends_with(".scn") { output(sim, &["render", &file]) } else { String::new() }
    };
    let (here, there) = (events(this), events(&other));
    panic!("{x} became {y}; the first event that differs: {:?}", first_difference(&here, &there));
}
