//! Which `quorate` is tested: `QUORATE_BIN`, else the one that cargo builds from this checkout in
//! the profile of the tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Names the program to test; inherited by tests that run themselves again in a namespace.
pub const VARIABLE: &str = "QUORATE_BIN";

/// The program; built once per test process.
///
/// # Panics
/// If it cannot be built, with the reason on standard error.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--package=quorate", "--bin=quorate", "--message-format=json"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if let Some(profile) = profile() {
        command.arg(format!("--profile={profile}"));
    }
    let out = command.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "the program was not built: {}", {
        eprintln!("{}", String::from_utf8_lossy(&out.stderr));
        out.status
    });
    // One JSON object per line; the last one with an executable is the program.
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    };
    let path = text.lines().rev().find_map(executable);
    path.expect("cargo names what it built")
}

/// The profile of this test's own executable, `None` for dev: `<target>/<folder>/deps/<test>`.
fn profile() -> Option<String> {
    let exe = env::current_exe().ok()?;
    let folder = exe.parent()?.parent()?.file_name()?.to_str()?;
    (folder != "debug").then(|| folder.to_owned())
}
