//! `quorate demo`: three agents, a table, lines to try; nothing of it is left behind, however it
//! ends.

use std::time::Duration;

use quorate_tests::{Output, Process, binary, eventually, lab, process::exists, quorate};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(60);

/// The process ids that it prints, as in `demo-1  pid 123  gossip ...`.
fn children(demo: &Process) -> Vec<u32> {
    let lines = demo.lines();
    let pids = lines.iter().filter_map(|l| {
        let mut words = l.text.split_whitespace();
        words.find(|w| *w == "pid")?;
        words.next()?.parse().ok()
    });
    pids.collect()
}

fn started() -> (Process, Vec<u32>) {
    let demo = Process::start(binary::path(), &["demo"]);
    demo.line("All 3 were alive", SOON);
    let pids = children(&demo);
    assert_eq!(pids.len(), 3, "{}", demo.tail());
    assert!(pids.iter().all(|&pid| exists(pid)), "{pids:?}");
    (demo, pids)
}

fn all_end(pids: &[u32]) {
    eventually("the agents of the demo end", SOON, || !pids.iter().any(|&pid| exists(pid)));
}

/// What follows `prefix` in the line that begins with it.
fn suggested(demo: &Process, prefix: &str) -> String {
    let lines = demo.lines();
    let line = lines.iter().find_map(|l| l.text.trim_start().strip_prefix(prefix));
    line.unwrap_or_else(|| panic!("no line to try with '{prefix}':\n{}", demo.tail())).to_owned()
}

#[test]
fn it_shows_the_table_and_lines_that_work_and_ends_on_ctrl_c() {
    let Some(_lab) = lab!() else { return };
    let (mut demo, pids) = started();
    let text: Vec<String> = demo.lines().into_iter().map(|l| l.text).collect();
    for i in 1..=3 {
        let row = text.iter().any(|l| l.starts_with(&format!("demo-{i} ")) && l.contains("alive"));
        assert!(row, "demo-{i} is not in the table:\n{}", demo.tail());
    }
    let head = "Node    Address          Status  Type    Build  Protocol  DC   Segment";
    assert!(text.iter().any(|l| l == head), "{}", demo.tail());

    let members = suggested(&demo, &format!("{} ", binary::path().display()));
    let out = quorate(&members.split_whitespace().collect::<Vec<_>>());
    assert_eq!((out.code, out.stdout.lines().count()), (Some(0), 4), "{}", out.stdout);
    let dig = suggested(&demo, "dig @");
    let dig: Vec<&str> = dig.split_whitespace().collect();
    let [ip, "-p", port, name] = dig[..] else { panic!("dig @{dig:?}") };
    let to = format!("{ip}:{port}").parse().expect("an address");
    let question = quorate_tests::dns::question(name, hickory_proto::rr::RecordType::A, None);
    let found = quorate_tests::dns::udp(to, &question).expect("an answer");
    assert_eq!(found.answers().len(), 1, "{}", found.dump());
    let url = suggested(&demo, "curl http://");
    let (host, path) = url.split_once('/').expect("a path");
    let to = host.parse().expect("an address");
    let reply = quorate_tests::http::request(to, "GET", &format!("/{path}")).expect("an answer");
    assert_eq!(reply.status, 200);

    demo.signal(Signal::INT);
    assert_eq!(demo.wait(SOON), Some(0), "{}", demo.tail());
    all_end(&pids);
}

#[test]
fn its_agents_end_with_it_when_it_is_killed() {
    let Some(_lab) = lab!() else { return };
    let (mut demo, pids) = started();
    demo.kill();
    all_end(&pids);
}

#[test]
fn it_notices_when_one_of_them_is_killed() {
    let Some(_lab) = lab!() else { return };
    let (mut demo, pids) = started();
    let kill = suggested(&demo, "kill -9 ");
    let pid = kill.split_whitespace().next().and_then(|w| w.parse().ok()).expect("a process id");
    assert_eq!(Some(&pid), pids.last().as_ref().map(|p| *p));
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).expect("an id")).expect("not 0");
    rustix::process::kill_process(raw, Signal::KILL).expect("it runs");
    demo.line("failed", SOON);
    demo.signal(Signal::TERM);
    assert_eq!(demo.wait(SOON), Some(0), "{}", demo.tail());
    all_end(&pids);
}

#[test]
fn it_ends_by_itself_after_a_time() {
    let Some(_lab) = lab!() else { return };
    let out: Output = quorate(&["demo", "-for=5s"]);
    assert_eq!(out.code, Some(0), "{}{}", out.stdout, out.stderr);
    assert!(out.stdout.contains("demo-3"), "{}", out.stdout);
}

#[test]
fn two_demos_do_not_meet() {
    let Some(_lab) = lab!() else { return };
    let (mut first, first_pids) = started();
    let (mut second, second_pids) = started();
    for demo in [&mut first, &mut second] {
        demo.signal(Signal::INT);
        assert_eq!(demo.wait(SOON), Some(0), "{}", demo.tail());
    }
    all_end(&first_pids);
    all_end(&second_pids);
}
