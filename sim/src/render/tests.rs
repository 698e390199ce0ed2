//! Pages of made-up traces and of a run.

use serde_json::Value;

use super::*;
use crate::{
    scenario::VOCABULARY,
    trace::Sink,
    world::{self, Options},
};

fn event(seq: u64, t: u64, cause: u64, node: u32, kind: Kind, detail: &str) -> Event {
    Event {
        t,
        seq,
        cause,
        node,
        event: kind.name().into(),
        to: None,
        message: String::new(),
        bytes: 0,
        detail: detail.into(),
    }
}

/// A trace of such moments: seconds, node, what, detail.
fn story(moments: &[(u64, u32, Kind, &str)]) -> Vec<Event> {
    let mut out = Vec::new();
    for (i, (s, node, kind, detail)) in moments.iter().enumerate() {
        out.push(event(i as u64 + 1, s * 1_000_000_000, 0, *node, *kind, detail));
    }
    out
}

fn page(scenario: Option<&str>, events: &[Event]) -> String {
    html(&Page { name: "a.scn", scenario, events, max_events: MAX_EVENTS })
}

/// What the script of a page reads.
fn data(html: &str) -> Value {
    let (_, rest) = html.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

/// Node, life, from and until in seconds.
fn lives(html: &str) -> Vec<(u64, String, u64, u64)> {
    let read = |s: &Value| {
        let at = |key: &str| s[key].as_u64().unwrap() / 1_000_000_000;
        let node = s["node"].as_u64().unwrap();
        (node, s["life"].as_str().unwrap().to_owned(), at("from"), at("until"))
    };
    let mut out: Vec<_> = data(html)["lives"].as_array().unwrap().iter().map(read).collect();
    out.sort();
    out
}

/// Label, from and until in seconds.
fn bands(html: &str) -> Vec<(String, u64, u64)> {
    let read = |b: &Value| {
        let at = |key: &str| b[key].as_u64().unwrap() / 1_000_000_000;
        (b["label"].as_str().unwrap().to_owned(), at("from"), at("until"))
    };
    data(html)["bands"].as_array().unwrap().iter().map(read).collect()
}

fn band(label: &str, from: u64, until: u64) -> (String, u64, u64) {
    (label.to_owned(), from, until)
}

#[test]
fn a_run_shows_every_node_every_fault_and_is_the_same_each_time() {
    let text = "# Three meet, one is cut off.\ncluster 3 servers 1 seed 9007199254740993\n\
        net latency 1ms..5ms\nat 0s join all via n1\nat 2s isolate n2\nat 4s heal\n\
        at 5s pause n3 for 1s\nat 7s poweroff n3\n";
    let options = Options { sink: Sink::Memory(Vec::new()), ..Options::default() };
    let outcome = world::run(Scenario::parse(text).unwrap(), options).unwrap();
    let html = page(Some(text), &outcome.trace);
    assert_eq!(html, page(Some(text), &outcome.trace));
    let d = data(&html);
    assert_eq!(d["nodes"], 3);
    assert_eq!(d["seed"], "9007199254740993", "more than a script's number can hold");
    assert_eq!(d["scenario"], text);
    assert_eq!(d["events"]["seq"].as_array().unwrap().len(), outcome.trace.len());
    for n in 1..=3 {
        assert!(lives(&html).iter().any(|l| l.0 == n && l.1 == "running"), "n{n}");
    }
    let powered_off = lives(&html).pop().unwrap();
    assert_eq!((powered_off.0, powered_off.1.as_str(), powered_off.2), (3, "running", 6));
    assert!(lives(&html).iter().any(|l| (l.0, l.1.as_str(), l.2) == (3, "off", 7)));
    assert!(lives(&html).contains(&(3, "paused".into(), 5, 6)));
    assert!(bands(&html).contains(&band("isolate n2", 2, 4)));
    assert!(bands(&html).contains(&band("pause n3 for 1s", 5, 6)));
    assert!(bands(&html).iter().any(|b| b.0 == "net latency 1ms..5ms"));
    let texts = d["texts"].as_array().unwrap();
    for step in ["join all via n1", "heal", "poweroff n3"] {
        assert!(texts.contains(&step.into()), "{step}");
    }
}

#[test]
fn every_step_of_the_language_is_read_back_and_what_lasts_is_a_band() {
    let lasting = "partition cut flap pause suspend starve saturate net link isolate".split(' ');
    for (line, _) in VOCABULARY.iter().filter(|v| v.0.starts_with("at ")) {
        let text = format!("cluster 9 seed 1\ncores 2\n{line}\n");
        let parsed = Scenario::parse(&text).unwrap();
        let [_, crate::scenario::Line::At(_, action)] = &parsed.lines[..] else { panic!("{line}") };
        let shown = action.to_string();
        let events = [
            event(1, 0, 0, 9, Kind::Start, ""),
            event(2, 1_000_000_000, 0, 0, Kind::Step, &shown),
            event(3, 9_000_000_000, 0, 9, Kind::Resume, ""),
        ];
        assert_eq!(lanes::action(&events[1]).as_ref(), Some(action), "{line}");
        let html = page(None, &events);
        assert!(data(&html)["texts"].as_array().unwrap().contains(&shown.as_str().into()));
        if lasting.clone().any(|word| shown.split(' ').next() == Some(word)) {
            assert_eq!(bands(&html).len(), 1, "{line}");
            assert!(bands(&html)[0].0.starts_with(&shown), "{line}");
        }
    }
}

#[test]
fn lives_tell_how_a_node_ended() {
    let html = page(
        None,
        &story(&[
            (0, 1, Kind::Start, "n1"),
            (0, 2, Kind::Start, "n2"),
            (0, 3, Kind::Start, "n3"),
            (1, 1, Kind::Stop, "ended"),
            (2, 2, Kind::LeaveFinished, ""),
            (3, 2, Kind::Stop, "ended"),
            (4, 0, Kind::Step, "poweroff n1"),
            (5, 0, Kind::Step, "suspend all for 2s"),
            (7, 3, Kind::Resume, ""),
            (8, 2, Kind::Start, "n2"),
            (9, 3, Kind::Stop, "silent"),
            (9, 2, Kind::Resume, ""),
            (10, 1, Kind::StartRefused, "the disk is unreadable"),
            (12, 0, Kind::Met, ""),
        ]),
    );
    let expected = [
        (1, "crashed", 1, 4),
        (1, "off", 4, 10),
        (1, "refused", 10, 12),
        (1, "running", 0, 1),
        (2, "left", 3, 8),
        (2, "running", 0, 3),
        (2, "running", 8, 12),
        (3, "off", 9, 12),
        (3, "running", 0, 5),
        (3, "running", 7, 9),
        (3, "suspended", 5, 7),
    ];
    assert_eq!(lives(&html), expected.map(|(n, life, a, b)| (n, life.to_owned(), a, b)));
}

#[test]
fn bands_end_where_the_fault_does() {
    let steps = [
        (1, "partition n1 | n2 n3"),
        (2, "isolate n1..n4"),
        (3, "cut n1 -> n2"),
        (4, "mend n2"),
        (5, "net loss 30%"),
        (6, "partition n1 n2 | n3"),
        (7, "net dup 1%"),
        (8, "heal"),
        (9, "clock n3 drift +5ppm"),
        (10, "clock all drift +0ppm"),
        (11, "disk n1 full"),
        (12, "disk n1 ok"),
        (13, "flap n4 every 1s for 9s"),
        (14, "link n1 -> n2 loss 5%"),
        (15, "link n1 -> n2 loss 6%"),
        (16, "mend n4"),
    ];
    let mut moments = vec![(0, 4, Kind::Start, "")];
    moments.extend(steps.map(|(t, s)| (t, 0, Kind::Step, s)));
    moments.push((20, 4, Kind::Refuted, ""));
    let html = page(Some("cluster 4 seed 1\nnet latency 2ms\n"), &story(&moments));
    let expected = [
        ("net latency 2ms", 0, 5),
        ("partition n1 | n2..n3", 1, 6),
        ("isolate n1..n4", 2, 8),
        ("cut n1 -> n2", 3, 4),
        ("net latency 2ms loss 30%", 5, 7),
        ("partition n1..n2 | n3", 6, 8),
        ("net latency 2ms loss 30% dup 1%", 7, 20),
        ("clock n3 drift +5ppm", 9, 10),
        ("clock all drift +0ppm", 10, 20),
        ("disk n1 full", 11, 12),
        ("flap n4 every 1s for 9s", 13, 16),
        ("link n1 -> n2 loss 5%", 14, 15),
        ("link n1 -> n2 loss 6%", 15, 20),
    ];
    let mut found = bands(&html);
    // Whether neighbours print as a span is the printer's affair.
    for b in &mut found {
        b.0 = b.0.replace("n2 n3", "n2..n3").replace("partition n1 n2", "partition n1..n2");
    }
    assert_eq!(found, expected.map(|(s, a, b)| band(s, a, b)));
    let isolated = &data(&html)["bands"][2]["nodes"];
    let ends = |r: &Value| (r["first"].as_u64(), r["last"].as_u64(), r["until"].as_u64());
    let s = |n: u64| Some(n * 1_000_000_000);
    let ends: Vec<_> = isolated.as_array().unwrap().iter().map(ends).collect();
    assert_eq!(
        ends,
        [(Some(2), Some(2), s(4)), (Some(1), Some(1), s(8)), (Some(3), Some(4), s(8))]
    );
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let evil = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>";
    let mut events = story(&[(0, 1, Kind::Start, evil), (1, 1, Kind::Violation, evil)]);
    events[0].event = evil.into();
    events[0].message = format!("]]>\u{2028}{evil}");
    let text = format!("# {evil}\ncluster 1 seed 1\n");
    let html = html(&Page { name: evil, scenario: Some(&text), events: &events, max_events: 9 });
    assert_eq!(html.matches("<script").count(), 2, "the data and the code");
    assert_eq!(html.matches("</script").count(), 2);
    assert!(!html.contains("<!--") && !html.contains("<img"));
    let d = data(&html);
    assert_eq!(d["name"], evil);
    assert_eq!(d["scenario"], text);
    assert!(d["texts"].as_array().unwrap().contains(&evil.into()));
}

#[test]
fn the_page_needs_no_network() {
    let html = page(None, &[]);
    for word in ["http:", "https:", "//cdn", "src=", "@import", "url(", "fetch(", "import("] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(html.contains("default-src 'none'"));
    // Names go to text nodes and the canvas only.
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn a_large_trace_is_cut_but_not_what_led_to_the_failure() {
    let mut events = Vec::new();
    for seq in 1..=30_000_u64 {
        let kind = match seq {
            29_000 => Kind::Violation,
            _ if seq % 1_000 == 0 => Kind::Failed,
            _ => Kind::Send,
        };
        let cause = match seq {
            29_000 => 7,
            7 => 3,
            20_000 => 19_000,
            _ => 0,
        };
        let long = "x".repeat(1_000) + &seq.to_string();
        events.push(event(seq, seq, cause, 1, kind, if seq > 29_990 { &long } else { "" }));
    }
    let html = html(&Page { name: "", scenario: None, events: &events, max_events: 100 });
    assert!(html.len() < 120_000, "{}", html.len());
    let d = data(&html);
    assert_eq!(d["total"], 30_000);
    let mut seqs: Vec<u64> = Vec::new();
    for step in d["events"]["seq"].as_array().unwrap() {
        seqs.push(seqs.last().unwrap_or(&0) + step.as_u64().unwrap());
    }
    assert_eq!(seqs.len(), 100);
    assert_eq!(seqs[..2], [3, 7], "causes of the failure");
    assert!(seqs.contains(&29_000) && (1..=30).all(|k| seqs.contains(&(k * 1_000))));
    // Beside these the newest messages, without a gap.
    let complete_after = d["complete_after"].as_u64().unwrap();
    assert!((complete_after + 1..=30_000).all(|seq| seqs.contains(&seq)), "{complete_after}");
    assert!(!seqs.contains(&complete_after));
    let longest = d["texts"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().len()).max();
    assert!(longest <= Some(MAX_TEXT + "…".len()), "{longest:?}");
}

#[test]
fn strange_traces_make_a_page() {
    let huge = [
        event(u64::MAX, u64::MAX, u64::MAX, u32::MAX, Kind::Start, ""),
        event(5, 9, 7, 2, Kind::Stop, "ended"),
        event(5, 9, 7, 2, Kind::Stop, "ended"),
        event(3, 10, 0, 1, Kind::Step, "partition"),
        event(2, 10, 0, 0, Kind::Step, "partition n1..n4000000000 | nonsense"),
        event(0, 4, 0, 0, Kind::Step, "isolate n9999"),
    ];
    let html = page(Some("not a scenario"), &huge);
    let d = data(&html);
    assert_eq!(d["nodes"], 2, "a node above the language's bound has no lane");
    assert_eq!(d["events"]["seq"], serde_json::json!([0, 2, 1, 2]));
    assert_eq!(d["events"]["cause"], serde_json::json!([0, 0, 0, 0]), "a cause is older");
    assert_eq!(bands(&html).len(), 1);
}
