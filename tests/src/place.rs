//! Where a test runs: network and mount namespaces of its own where the system allows that (root
//! on Linux, or a user namespace), so that tests never meet other agents or each other on
//! 127.0.0.x. Elsewhere a machine-wide lock file in the temporary folder lets one test run after
//! the other, on the host's own loopback addresses.

use std::{
    env,
    fs::{File, OpenOptions},
    net::{IpAddr, Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::binary;

/// Set for the test that runs itself again inside of the namespaces.
const INSIDE: &str = "QUORATE_TESTS_NAMESPACE";
/// Brings the loopback interface up, then becomes the test.
const SCRIPT: &str = r#"ip link set lo up && exec "$0" "$@""#;
/// Ways to get namespaces, the first that works is taken.
const WAYS: [&[&str]; 2] =
    [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];

/// A place that a test may use.
#[derive(Debug)]
pub enum Place {
    /// Namespaces of its own; gone with the process.
    Private,
    /// The host's addresses, for as long as the lock is held.
    Shared {
        /// Locked.
        lock: File,
    },
}

impl Place {
    /// May file systems be mounted without anybody else seeing them?
    pub const fn can_mount(&self) -> bool {
        matches!(self, Self::Private)
    }
}

/// Enters the place of the test that `marker` (a function inside of it) names. `None`: it has run
/// in namespaces of its own and passed, or this host cannot run it (which is printed).
///
/// # Panics
/// If it ran in its namespaces and failed.
pub fn enter(marker: &str) -> Option<Place> {
    if env::var_os(INSIDE).is_some() {
        return Some(Place::Private);
    }
    match namespaces() {
        Some(way) => {
            run_inside(way, &test_name(marker));
            None
        }
        None => shared(),
    }
}

/// `krate::module::test::here` -> `module::test`, as the test runner calls it.
fn test_name(marker: &str) -> String {
    let inner: Vec<&str> = marker.split("::").collect();
    inner[1..inner.len() - 1].join("::")
}

/// The flags of `unshare` that work on this host, tried once.
fn namespaces() -> Option<&'static [&'static str]> {
    static WAY: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    *WAY.get_or_init(|| {
        WAYS.into_iter().find(|way| {
            let mut probe = Command::new("unshare");
            probe.args(*way).args(["sh", "-c", "ip link set lo up"]);
            let quiet = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|s| s.success())
        })
    })
}

fn run_inside(way: &[&str], name: &str) {
    let exe = env::current_exe().expect("the path of this test");
    let out = Command::new("unshare")
        .args(way)
        .args(["sh", "-c", SCRIPT])
        .arg(exe)
        .args([name, "--exact", "--nocapture", "--test-threads=1", "--include-ignored"])
        .env(INSIDE, "1")
        .env(binary::VARIABLE, binary::path())
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    // Through the macros, so that the runner captures it.
    print!("{stdout}");
    eprint!("{stderr}");
    // Success of no test at all would mean that the name was wrong.
    let passed = out.status.success() && stdout.contains("test result: ok. 1 passed");
    assert!(passed, "{name} failed in its namespace ({}), see above", out.status);
}

fn shared() -> Option<Place> {
    // A host without the whole of 127/8 (macOS) has only the first address.
    if let Err(e) = TcpListener::bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10)), 0)) {
        println!("SKIPPED: this host has no address 127.0.0.10 ({e})");
        return None;
    }
    println!("no namespaces here: using the host's 127.0.0.x under a machine-wide lock");
    let path = env::temp_dir().join("quorate-tests.lock");
    let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let lock = open().expect("the lock file opens");
    lock.lock().expect("the lock can be waited for");
    Some(Place::Shared { lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_runners() {
        assert_eq!(test_name("tutorial::two_agents::here"), "two_agents");
        assert_eq!(test_name("k::m::t::here"), "m::t");
    }
}
