//! The program from outside, where no agent is needed: exit codes, refusals, messages.

use std::process::{Command, Output};

use tokio::net::TcpSocket;

fn quorate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(args)
        .env_remove("CONSUL_HTTP_ADDR")
        .env_remove("QUORATE_HTTP_ADDR")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let out = quorate(args);
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// An agent that must not start: what it says on standard error, in one line.
fn refused(args: &[&str]) -> String {
    let mut all = vec!["agent"];
    all.extend(args);
    let (code, out, err) = run(&all);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
    let line = err.trim_end();
    assert!(!line.contains('\n'), "{args:?}: {err}");
    line.strip_prefix("==> ").unwrap_or_else(|| panic!("{args:?}: {err}")).to_owned()
}

/// A port that refuses while the socket lives: nobody else can take it.
fn dead_addr() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let addr = socket.local_addr().expect("bound").to_string();
    (socket, addr)
}

#[test]
fn no_command_and_an_unknown_one_print_the_usage_and_exit_with_127() {
    for args in [&[][..], &["frobnicate"], &["-frobnicate"]] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(127), ""), "{args:?}");
        assert!(err.contains("Usage: quorate") && err.contains("force-leave"), "{err}");
    }
    assert!(run(&["membrs"]).2.contains("did you mean members?"));
}

#[test]
fn help_and_version_are_answers() {
    for args in [&["-h"][..], &["--help"], &["agent", "-h"], &["members", "--help"]] {
        let (code, out, err) = run(args);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
        assert!(out.starts_with("Usage: quorate"), "{out}");
    }
    for arg in ["version", "-v", "-version", "--version"] {
        let (code, out, _) = run(&[arg]);
        assert_eq!(code, Some(0), "{arg}");
        assert_eq!(out, format!("Quorate v{}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn wrong_flags_and_arguments_exit_with_1() {
    for (args, want) in [
        (&["agent", "-nod=x"][..], "unknown flag -nod (did you mean -node?)"),
        (&["members", "-zz"], "unknown flag -zz"),
        (&["members", "now"], "unexpected arguments: now"),
        (&["agent", "-server=perhaps"], "-server: 'perhaps' is not true or false"),
        (&["join"], "At least one address to join must be specified."),
        (&["force-leave"], "The name of one member must be specified."),
        (&["force-leave", "a", "b"], "The name of one member must be specified."),
        (&["completion", "tcsh"], "one shell is needed"),
        (&["validate"], "at least one configuration file"),
        (&["members", "-wan"], "Error: there is no WAN pool"),
        (&["members", "-status=("], "Error: -status is not a regular expression"),
        (&["members", "-http-addr=https://x"], "only plain HTTP is supported"),
        (&["demo", "-for=long"], "Error: -for needs a number with a unit"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
        assert!(err.contains(want), "{args:?}: {err}");
    }
}

#[test]
fn every_start_refusal() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = format!("-data-dir={}", dir.path().join("data").display());
    let data = data.as_str();
    for (args, want) in [
        (&["-node=x"][..], "data_dir cannot be empty"),
        (&[data, "-bootstrap-expect=1"], "'bootstrap_expect > 0' requires 'server = true'"),
        (
            &[data, "-server", "-bootstrap", "-bootstrap-expect=1"],
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        (&["-dev", "-bootstrap-expect=1"], "'bootstrap_expect > 0' not allowed in dev mode"),
        (
            &[data, "-server", "-bootstrap-expect=-1"],
            "bootstrap_expect cannot be -1. Must be greater than or equal to zero",
        ),
        (&[data, "-datacenter=a.b"], "datacenter 'a.b' is not valid"),
        (&[data, "-encrypt=x"], "encrypt has an invalid key"),
        (&[data, "-encrypt=AAAA"], "encrypt has an invalid key: it has 3 bytes, not 16, 24 or 32"),
        (&[data, "-advertise=0.0.0.0"], "advertise_addr cannot be 0.0.0.0"),
        (&[data, "-bind=::1", "-advertise=::"], "advertise_addr cannot be ::"),
        (&[data, "-log-level=loud"], "log_level 'loud' is not valid: choose trace, debug, info"),
        (&[data, "extra"], "unexpected arguments: extra"),
        (&[data, "-hcl=x"], "-hcl is not supported yet"),
        (&[data, "-node-meta=x"], "-node-meta: 'x' is not key:value"),
        (&[data, "-node-id=x"], "node_id 'x' is not a UUID"),
        (&[data, "-retry-interval=5"], "-retry-interval: '5' is not a duration"),
        (&[data, "-config-file=/none/x.json"], "/none/x.json: cannot be read"),
        (&[data, "-config-dir=/none"], "/none: cannot be read"),
        (&[data, "-bind=127.0.0.1", "-log-file=/none/x"], "log_file /none/x cannot be opened"),
        (&[data, "-bind=127.0.0.1", "-pid-file=/none/x"], "pid_file /none/x cannot be written"),
    ] {
        let got = refused(args);
        assert!(got.starts_with(want), "{args:?}: {got}");
    }
    assert!(!dir.path().join("data").exists(), "a refused start leaves nothing behind");
}

#[test]
fn wrong_files_are_named_with_the_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    for (name, json, want) in [
        ("a.json", r#"{"node_nme": "x"}"#, "unknown key 'node_nme' (did you mean 'node_name'?)"),
        ("b.json", "{\n \"server\": true,\n}", "line 3, column 1: "),
        ("c.json", r#"{"ports": {"dns": "x"}}"#, "ports.dns must be a whole number, not a string"),
        ("d.hcl", "server = true", "HCL is not supported yet"),
    ] {
        let path = file(name, json);
        let got = refused(&["-data-dir=/none", &format!("-config-file={path}")]);
        assert!(got.starts_with(&format!("{path}: {want}")), "{got}");
        let (code, out, err) = run(&["validate", &path]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.starts_with(&format!("Config validation failed: {path}: {want}")), "{err}");
        std::fs::remove_file(path).expect("removed");
    }
    let good = file("e.json", r#"{"data_dir": "/x", "bind_addr": "127.0.0.1", "connect": {}}"#);
    for path in [good.as_str(), dir.path().to_str().expect("UTF-8")] {
        let (code, out, err) = run(&["validate", path]);
        assert_eq!((code, out.as_str()), (Some(0), "Configuration is valid!\n"), "{err}");
        assert!(err.contains("without effect here: connect"), "{err}");
        assert_eq!(run(&["validate", "-quiet", path]).1, "");
    }
}

#[test]
fn without_an_agent_commands_say_what_they_tried() {
    let (_held, addr) = dead_addr();
    let http = format!("-http-addr={addr}");
    let dial = format!("dial tcp {addr}: connect: connection refused");
    for (args, want) in [
        (
            &["members"][..],
            format!(
                "Error retrieving members: Get \"http://{addr}/v1/agent/members?segment=_all\": \
                 {dial}\n"
            ),
        ),
        (&["leave"], format!("Error leaving: Put \"http://{addr}/v1/agent/leave\": {dial}\n")),
        (&["info"], format!("Error querying agent: Get \"http://{addr}/v1/agent/self\": {dial}\n")),
        (
            &["join", "10.0.0.1"],
            format!(
                "Error joining address '10.0.0.1': Put \"http://{addr}/v1/agent/join/10.0.0.1\": \
                 {dial}\nFailed to join any nodes.\n"
            ),
        ),
        (
            &["force-leave", "-prune", "x"],
            format!(
                "Error force leaving: Put \"http://{addr}/v1/agent/force-leave/x?prune\": {dial}\n"
            ),
        ),
    ] {
        let mut all = vec![args[0], http.as_str()];
        all.extend(&args[1..]);
        assert_eq!(run(&all), (Some(1), String::new(), want), "{args:?}");
    }
}

#[test]
fn the_agents_address_comes_from_the_environment_too() {
    let (_held, addr) = dead_addr();
    for (name, value) in
        [("CONSUL_HTTP_ADDR", addr.clone()), ("QUORATE_HTTP_ADDR", format!("http://{addr}"))]
    {
        let out = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .arg("members")
            .env(name, value)
            .output()
            .expect("the program starts");
        assert!(text(&out.stderr).contains(&format!("http://{addr}/")), "{name}");
    }
}

#[test]
fn keys_are_random_and_completions_know_the_flags() {
    let (code, key, _) = run(&["keygen"]);
    assert_eq!((code, key.trim_end().len()), (Some(0), 44));
    assert_ne!(key, run(&["keygen"]).1);
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = run(&["completion", shell]);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("bootstrap-expect") && out.contains("force-leave"), "{shell}");
        assert!(!out.contains("until-stdin-ends") && !out.contains("atlas"), "{shell}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for args in [&["-h"][..], &["version"], &["keygen"], &["agent", "-h"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(args)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = child.wait_with_output().expect("the program ends");
        assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""), "{args:?}");
    }
}
