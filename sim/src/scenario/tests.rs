//! The grammar: what parses, what is refused and where, and the round trip through the printer.

use proptest::{collection::vec, option, prelude::*};
use quorate_core::Counter;

use super::*;

fn set() -> impl Strategy<Value = NodeSet> {
    let span = (1u32..=9, 0u32..4).prop_map(|(a, n)| Span { first: a, last: (a + n).min(9) });
    prop_oneof![Just(NodeSet::All), vec(span, 1..4).prop_map(NodeSet::Some)]
}

fn numbered() -> impl Strategy<Value = NodeSet> {
    vec(1u32..=9, 1..4).prop_map(NodeSet::of)
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        (1u64..100_000).prop_map(Time::from_millis),
        (1u64..MAX_TIME.0).prop_map(Time),
        (1u64..1_000).prop_map(Time::from_secs),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    (0u32..=1_000_000).prop_map(Rate)
}

fn settings() -> impl Strategy<Value = LinkSettings> {
    let latency = (0u64..=60_000_000_000, 0u64..=60_000_000_000)
        .prop_map(|(a, b)| (Time(a.min(b)), Time(a.max(b))));
    (
        option::of(latency),
        (option::of(rate()), option::of(rate()), option::of(rate())),
        (option::of(rate()), option::of(rate())),
        (option::of(100u32..=65_507), option::of(1_000u32..=1_000_000_000)),
    )
        .prop_map(|(latency, (loss, burst, dup), (reorder, corrupt), (mtu, bandwidth))| {
            LinkSettings { latency, loss, burst, dup, reorder, corrupt, mtu, bandwidth }
        })
        .prop_filter("one setting at least", |s| *s != LinkSettings::default())
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::OneWay), Just(Direction::Both)]
}

fn link() -> impl Strategy<Value = LinkLine> {
    (set(), direction(), set(), settings()).prop_map(|(from, direction, to, settings)| LinkLine {
        from,
        direction,
        to,
        settings,
    })
}

fn offset() -> impl Strategy<Value = Offset> {
    let max = i64::try_from(MAX_TIME.0).unwrap_or(i64::MAX);
    (-max..=max).prop_map(Offset)
}

fn clock(is_step: bool) -> impl Strategy<Value = ClockLine> {
    let drift = (-Drift::MAX..=Drift::MAX).prop_map(Drift);
    let step = if is_step { option::of(offset()).boxed() } else { Just(None).boxed() };
    (set(), option::of(drift), option::of(offset()), step)
        .prop_map(|(nodes, drift, offset, step)| ClockLine { nodes, drift, offset, step })
        .prop_filter("one setting at least", |c| {
            c.drift.is_some() || c.offset.is_some() || c.step.is_some()
        })
}

fn key_no() -> impl Strategy<Value = KeyNo> {
    (1u8..=KeyNo::MAX).prop_map(KeyNo)
}

fn keys(fewest: usize) -> impl Strategy<Value = Vec<KeyNo>> {
    proptest::sample::subsequence((1..=KeyNo::MAX).map(KeyNo).collect::<Vec<_>>(), fewest..=8)
}

fn options(restart: bool) -> impl Strategy<Value = StartOptions> {
    let name = option::of((1u32..=9).prop_map(NodeNo));
    let protocol = option::of(range());
    (any::<bool>(), any::<bool>(), protocol, name, option::of(set()), keys(0)).prop_map(
        move |(fresh, new_address, protocol, name, join, keys)| StartOptions {
            fresh: fresh && restart,
            new_address: new_address && restart,
            protocol,
            name,
            join,
            keys,
        },
    )
}

fn range() -> impl Strategy<Value = (u8, u8)> {
    proptest::sample::select(vec![(1, 1), (1, 2), (2, 2)])
}

fn fault() -> impl Strategy<Value = DiskFault> {
    proptest::sample::select(vec![
        DiskFault::LoseUnsynced,
        DiskFault::Torn,
        DiskFault::Full,
        DiskFault::Corrupt,
        DiskFault::Backup,
        DiskFault::Restore,
        DiskFault::Ok,
    ])
}

fn topic() -> impl Strategy<Value = Topic> {
    "[a-zA-Z0-9._-]{1,64}".prop_map(|s| Topic::new(&s).unwrap())
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (set(), set()).prop_map(|(nodes, via)| Action::Join { nodes, via }),
        vec(set(), 2..4).prop_map(|groups| Action::Partition { groups }),
        set().prop_map(|nodes| Action::Isolate { nodes }),
        (set(), direction(), set()).prop_map(|(from, direction, to)| Action::Cut {
            from,
            direction,
            to
        }),
        set().prop_map(|nodes| Action::Mend { nodes }),
        (set(), 10u64..10_000, time()).prop_map(|(nodes, every, lasts)| Action::Flap {
            nodes,
            every: Time::from_millis(every),
            lasts
        }),
        Just(Action::Heal),
        set().prop_map(|nodes| Action::Crash { nodes }),
        set().prop_map(|nodes| Action::Poweroff { nodes }),
        (set(), time()).prop_map(|(nodes, lasts)| Action::Pause { nodes, lasts }),
        (set(), time()).prop_map(|(nodes, lasts)| Action::Suspend { nodes, lasts }),
        (1u32..=10_000, time())
            .prop_map(|(processes, lasts)| Action::Saturate { processes, lasts }),
        (set(), 1u32..=1_000, time()).prop_map(|(nodes, n, lasts)| Action::Starve {
            nodes,
            factor: Factor(n),
            lasts
        }),
        clock(true).prop_map(Action::Clock),
        settings().prop_map(Action::Net),
        link().prop_map(Action::Link),
        (set(), options(true)).prop_map(|(nodes, options)| Action::Restart { nodes, options }),
        (numbered(), options(false)).prop_map(|(nodes, options)| Action::Start { nodes, options }),
        set().prop_map(|nodes| Action::Leave { nodes }),
        (set(), option::of(set())).prop_map(|(nodes, on)| Action::ForceLeave { nodes, on }),
        (set(), time()).prop_map(|(nodes, window)| Action::Replay { nodes, window }),
        (set(), 1u32..=100_000).prop_map(|(nodes, count)| Action::Garbage { nodes, count }),
        set().prop_map(|nodes| Action::Retag { nodes }),
        set().prop_map(|nodes| Action::Misplace { nodes }),
        (numbered(), set()).prop_map(|(nodes, on)| Action::Rumour { nodes, on }),
        (set(), fault()).prop_map(|(nodes, fault)| Action::Disk { nodes, fault }),
        (topic(), set()).prop_map(|(name, on)| Action::Event { name, on }),
        (topic(), set()).prop_map(|(name, on)| Action::Query { name, on }),
        (set(), any::<u64>()).prop_map(|(nodes, ahead)| Action::ForgeEvent { nodes, ahead }),
        (0usize..3, key_no(), option::of(set())).prop_map(|(v, key, on)| {
            let verb = [KeyVerb::Install, KeyVerb::Use, KeyVerb::Remove][v];
            Action::Key { verb, key, on }
        }),
        (set(), 0..Lie::all().len(), set(), 0usize..6).prop_map(|(nodes, lie, accused, v)| {
            use Forged::{Far, Generation, Highest, Incarnation, Last, Same};
            let lie = Lie::all().nth(lie).unwrap_or(Lie::Accuse);
            let v = if lie == Lie::Move { v % 5 } else { v };
            let version = [Highest, Generation, Incarnation, Last, Far, Same][v];
            Action::Forge { nodes, lie, accused, version }
        }),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    proptest::sample::select(vec![
        Held::Alive,
        Held::Suspect,
        Held::Failed,
        Held::Left,
        Held::Unknown,
        Held::Degraded,
    ])
}

fn viewers() -> impl Strategy<Value = Viewers> {
    prop_oneof![Just(Viewers::Everywhere), set().prop_map(Viewers::On)]
}

fn expect() -> impl Strategy<Value = Expect> {
    let condition = prop_oneof![
        Just(Condition::Converged),
        (set(), held(), viewers()).prop_map(|(nodes, held, viewers)| Condition::Held {
            nodes,
            held,
            viewers
        }),
        proptest::option::of(set()).prop_map(|voters| Condition::Quorum { voters }),
        (topic(), viewers()).prop_map(|(name, viewers)| Condition::Event { name, viewers }),
        topic().prop_map(|name| Condition::Query { name }),
        (set(), 0u32..=1_000_000).prop_map(|(nodes, off)| Condition::Rtt { nodes, off: Rate(off) }),
    ];
    prop_oneof![
        (time(), condition).prop_map(|(t, c)| Expect::Within(t, c)),
        (time(), set(), any::<bool>(), held(), viewers()).prop_map(
            |(lasts, nodes, not, held, viewers)| Expect::For { lasts, nodes, not, held, viewers }
        ),
        Just(Expect::NeverFalseFailed),
        Just(Expect::NeverQuorum),
        proptest::sample::select(Counter::ALL.to_vec())
            .prop_map(|c| Expect::Never(Goal::by_name(&Goal::Counted(c).name()).unwrap())),
        (0..GOALS.len()).prop_map(|i| Expect::Sometimes(Goal::Named(i))),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        1 => settings().prop_map(Line::Net),
        1 => link().prop_map(Line::Link),
        1 => clock(false).prop_map(Line::Clock),
        1 => (set(), 0u8..=16, any::<bool>()).prop_map(|(nodes, expect, bootstrap)| {
            let expect = if bootstrap { 0 } else { expect };
            Line::Server(ServerLine { nodes, expect, bootstrap })
        }),
        1 => (set(), range())
            .prop_map(|(nodes, range)| Line::Protocol(ProtocolLine { nodes, range })),
        1 => keys(1).prop_map(Line::Keys),
        1 => (1u32..=1_000).prop_map(Line::Cores),
        1 => (4u32..=65_536).prop_map(Line::Queues),
        6 => (time(), action()).prop_map(|(t, a)| Line::At(t, a)),
        2 => expect().prop_map(Line::Expect),
    ]
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    let about = vec("[a-z ,.]{0,30}[a-z]", 0..3);
    let cluster = (9u32..20, 0u32..9, any::<bool>(), any::<u64>());
    (about, cluster, vec(line(), 0..30)).prop_map(
        |(about, (nodes, servers, expect, seed), mut lines)| {
            let mut had = Vec::new();
            lines.retain(|l| {
                let kind = std::mem::discriminant(l);
                let once = matches!(l, Line::Keys(_) | Line::Cores(_) | Line::Queues(_));
                let again = once && had.contains(&kind);
                had.push(kind);
                !again
            });
            let saturates = |l: &Line| matches!(l, Line::At(_, Action::Saturate { .. }));
            let shares = |l: &Line| matches!(l, Line::Cores(_));
            if lines.iter().any(saturates) && !lines.iter().any(shares) {
                lines.push(Line::Cores(2));
            }
            let about = about.iter().map(|l| l.trim().to_owned()).collect();
            let expect = (expect && servers > 0).then_some(1);
            Scenario { about, cluster: Cluster { nodes, servers, expect, seed }, lines }
        },
    )
}

proptest! {
    #[test]
    fn what_prints_parses_to_the_same(s in any_scenario()) {
        let text = s.to_string();
        prop_assert_eq!(Scenario::parse(&text), Ok(s), "{}", text);
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = Scenario::parse(&text);
        let _ = Scenario::parse(&format!("cluster 3\n{text}"));
    }

    #[test]
    fn no_words_panic(words in vec(proptest::sample::select(vec![
        "at", "0s", "n1", "n2", "all", "join", "via", "restart", "fresh", "as", "partition", "|",
        "->", "<->", "loss", "5%", "for", "within", "not", "failed", "on", "1ms..2ms", "clock",
        "drift", "+5ppm", "event", "query", "answered", "forge", "ahead", "é", "n1..n3",
        "link", "net", "latency", "-1s", "starve", "3x",
    ]), 0..9)) {
        let _ = Scenario::parse(&format!("cluster 3\n{}", words.join(" ")));
    }
}

#[test]
fn the_manual_has_every_word() {
    let manual = include_str!("../../../docs/simulator.md");
    for (line, what) in VOCABULARY {
        assert!(manual.contains(&format!("{line:<64} # {what}\n")), "{line}");
    }
    for (name, what, _) in GOALS {
        assert!(manual.contains(&format!("goal {name:<20} {what}\n")), "{name}");
    }
}

#[test]
fn every_word_of_the_vocabulary_parses() {
    let text: String = VOCABULARY.iter().map(|v| format!("{}\n", v.0)).collect();
    let s = Scenario::parse(&text).unwrap();
    assert_eq!(s.lines.len(), VOCABULARY.len() - 1);
    assert_eq!(s.highest_node(), 6);
    assert_eq!(Scenario::parse(&s.to_string()), Ok(s));
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    let cases = [
        ("", "line 1, column 1: expected `cluster` and the number of nodes"),
        ("cluster 0", "line 1, column 9: expected a number from 1 to 10000, found `0`"),
        ("cluster 10001", "line 1, column 9: expected a number from 1 to 10000, found `10001`"),
        ("cluster 3 servers 4", "line 1, column 19: expected a number from 0 to 3, found `4`"),
        ("cluster 3 expect 3", "line 1, column 11: expected `servers N` before it"),
        ("cluster 3\n\nat 5 heal", "line 3, column 4: expected a time such as 5s or 20ms"),
        ("cluster 3\nat 5s heal n1", "line 2, column 12: expected the end of the line, found `n1`"),
        ("cluster 3\nat 5s crash", "line 2, column 12: expected a node such as n1"),
        ("cluster 3\nat 5s crash n4", "line 2, column 13: expected a node of the cluster"),
        (
            "cluster 3\nat 5s crash n1..n9",
            "line 2, column 13: expected a node of the cluster (n4 is neither in it nor started), \
             found `n1..n9`",
        ),
        ("cluster 3\nat 5s saturate 9 for 1s", "line 2, column 7: expected a line `cores N`"),
        ("cluster 3\nnet loss 101%", "line 2, column 10: expected a rate such as 0.1%"),
        ("cluster 3\nnet loss 0.00001%", "line 2, column 10: expected a rate"),
        ("cluster 3\nnet loss 1% loss 2%", "line 2, column 13: expected `latency`"),
        ("cluster 3\nclock n1 step 3s", "line 2, column 10: expected `drift`, `offset`"),
        ("cluster 3\nwithin 5s n1 dead everywhere", "line 2, column 14: expected `alive`"),
        ("cluster 3\nsometimes luck", "line 2, column 11: expected a goal"),
        ("cluster 3\nat 5s frobnicate", "line 2, column 7: expected `join`"),
        ("cluster 3\nat 99999h heal", "line 2, column 4: expected a time"),
    ];
    for (text, start) in cases {
        let error = Scenario::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(start), "{text:?}: {error}");
    }
}

#[test]
fn words_in_another_order_are_named() {
    assert!(Scenario::parse("cluster 3 servers 2 expect 2 seed 7\nat 1s heal\n").is_ok());
    let restart = "cluster 3\nat 2s restart n1 ";
    for (text, error) in [
        (
            "cluster 3 seed 7 servers 2".to_owned(),
            "line 1, column 18: expected `servers` before `seed`, not after it, found `servers`",
        ),
        (
            "cluster 3 servers 2 seed 7 expect 2".to_owned(),
            "line 1, column 28: expected `expect` before `seed`, not after it, found `expect`",
        ),
        (
            "cluster 3 servers 2 expect 2 servers 3".to_owned(),
            "line 1, column 30: expected `servers` only once, found `servers`",
        ),
        (
            format!("{restart}join n2 fresh"),
            "line 2, column 26: expected `fresh` before `join`, not after it, found `fresh`",
        ),
        (
            format!("{restart}as n3 at new-address"),
            "line 2, column 24: expected `at` before `as`, not after it, found `at`",
        ),
        (
            format!("{restart}keys k1 protocol 1..1"),
            "line 2, column 26: expected `protocol` before `keys`, not after it, found `protocol`",
        ),
        (
            format!("{restart}at new-address at new-address"),
            "line 2, column 33: expected `at` only once, found `at`",
        ),
        (
            "cluster 3\nat 2s start n4 join n2 as n1".to_owned(),
            "line 2, column 24: expected `as` before `join`, not after it, found `as`",
        ),
        (
            "cluster 3\nat 2s start n4 join n2 fresh".to_owned(),
            "line 2, column 24: expected the end of the line, found `fresh`",
        ),
    ] {
        assert_eq!(Scenario::parse(&text).unwrap_err().to_string(), error, "{text:?}");
    }
}

#[test]
fn every_node_begins_with_one_keyring() {
    let error = |text: &str| Scenario::parse(text).unwrap_err().to_string();
    assert_eq!(
        error("# about\ncluster 3\nkeys k1\n\nat 1s heal\nkeys k2\n"),
        "line 6, column 1: expected `keys` only once (line 3 has it), found `keys`"
    );
    for word in ["cores 2", "queues 4"] {
        let error = error(&format!("cluster 3\n{word}\n{word}\n"));
        assert!(error.starts_with("line 3, column 1: expected `"), "{error}");
    }
    // Those of a start are another matter.
    let started = "cluster 3\nkeys k1\nat 1s restart n1 keys k2\nat 2s restart n2 keys k2 k1\n";
    assert!(Scenario::parse(started).is_ok());
}

/// Each group that parses is one of its own in the network.
#[test]
fn a_partition_has_no_more_groups_than_the_network_keeps_apart() {
    let text = |n: usize| {
        let groups: Vec<String> = (1..=n).map(|g| format!("n{g}")).collect();
        format!("cluster 70\nat 5s partition {}\n", groups.join(" | "))
    };
    let s = Scenario::parse(&text(MAX_GROUPS)).unwrap();
    let Line::At(_, Action::Partition { groups }) = &s.lines[0] else { panic!("{s}") };
    let mut network = crate::network::Network::default();
    network.partition(groups, 70);
    let pairs = (1..=64).flat_map(|a| (1..a).map(move |b| (a, b)));
    assert!(pairs.into_iter().all(|(a, b)| network.is_blocked(a, b)));
    for n in [MAX_GROUPS + 1, MAX_GROUPS + 5] {
        let error = Scenario::parse(&text(n)).unwrap_err().to_string();
        assert!(error.ends_with("expected at most 64 groups, found `n65`"), "{error}");
    }
}

#[test]
fn an_unknown_goal_is_answered_with_what_is_near_or_with_all() {
    let error =
        |line: &str| Scenario::parse(&format!("cluster 3\n{line}")).unwrap_err().to_string();
    for (line, near) in [
        ("sometimes refutatoin", "expected a goal or a counter such as `refutation`"),
        ("sometimes stream_falback", "expected a goal or a counter such as `stream-fallback`,"),
        ("never drop_kay", "expected a goal or a counter such as `drop-key`,"),
        ("never false-faild", "expected a goal or a counter such as `false-failed`,"),
    ] {
        assert!(error(line).contains(near), "{line}: {}", error(line));
    }
    for (line, others) in [("sometimes", 1), ("sometimes luck", 2), ("never luck", 3)] {
        let error = error(line);
        assert!(GOALS.iter().all(|(name, ..)| error.contains(&format!("`{name}`"))), "{error}");
        // A counter, the word itself, and what only `never` takes.
        assert_eq!(error.matches('`').count(), 2 * (GOALS.len() + others), "{error}");
    }
    assert!(error("never luck").contains("(`false-failed`, "));
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let error = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    let expected = r"line 2, column 4: expected UTF-8 (at byte 15 of the file), found `\xe9`";
    assert_eq!(error(b"cluster 3\n# \xc3\xa9\xe9 is not\n"), expected);
    // UTF-16, as some editors write it.
    assert!(error(b"\xff\xfec\0l\0").starts_with("line 1, column 1: expected UTF-8 (at byte 1 "));
    let expected = r"line 1, column 3: expected UTF-8 (at byte 6 of the file), found `\xff`";
    assert_eq!(error(b"\xef\xbb\xbf# \xff"), expected);
    assert_eq!(decode("cluster 3 # é".as_bytes()), Ok("cluster 3 # é"));
}

#[test]
fn control_characters_are_not_printed_as_they_are() {
    let error = |text: &str| Scenario::parse(text).unwrap_err().to_string();
    let expected = r"found `\u{1b}[2Jat\u{0}\u{7f}\u{9b}é`";
    let said = error("cluster 3\n\u{1b}[2Jat\0\u{7f}\u{9b}é 1s heal\n");
    assert!(said.ends_with(expected), "{said:?}");
    assert!(!error("cluster 3\nsometimes \u{7}").contains('\u{7}'));
    assert!(!error("\0").contains('\0'));
}

#[test]
fn a_byte_order_mark_says_nothing() {
    let plain = "# About\ncluster 3 seed 2\nat 1s heal\n";
    assert_eq!(Scenario::parse(&format!("\u{feff}{plain}")), Scenario::parse(plain));
    let error = Scenario::parse("\u{feff}clutser 3").unwrap_err();
    assert_eq!((error.line, error.column, error.found.as_str()), (1, 1, "clutser"));
    // Anywhere else it is a letter like any other.
    assert!(Scenario::parse("cluster 3\n\u{feff}at 1s heal\n").is_err());
}

#[test]
fn a_wrong_word_is_answered_with_all_that_may_stand_there() {
    let error = |text: &str| Scenario::parse(text).unwrap_err().to_string();
    let (lines, steps) = (error("cluster 3\nx"), error("cluster 3\nat 5s x"));
    for (text, _) in VOCABULARY.iter().skip(1) {
        let mut words = text.split(' ');
        let word = words.next().unwrap();
        assert!(lines.contains(&format!("`{word}`")), "{word}: {lines}");
        if word == "at" {
            let step = words.nth(1).unwrap();
            assert!(steps.contains(&format!("`{step}`")), "{step}: {steps}");
        }
    }
}

#[test]
fn base_and_end_times_follow_the_steps_above() {
    let s = Scenario::parse(
        "cluster 3\nwithin 3s converged\nat 5s crash n1\nwithin 20s converged\nat 9s heal\n",
    )
    .unwrap();
    assert_eq!(s.base_time(0), Time::ZERO);
    assert_eq!(s.base_time(2), Time::from_secs(5));
    assert_eq!(s.end_time(), Time::from_secs(35));
}

#[test]
fn times_and_rates_print_shortly() {
    for (text, n) in [("1.5s", 1_500_000_000), ("20ms", 20_000_000), ("1.5ms", 1_500_000)] {
        assert_eq!(Time(n).to_string(), text);
        assert_eq!(lex::time(text), Some(Time(n)));
    }
    assert_eq!(lex::time("90m"), Some(Time::from_secs(5400)));
    assert_eq!(Rate(100).to_string(), "0.01%");
    assert_eq!(lex::rate("0.01%"), Some(Rate(100)));
    assert_eq!(lex::drift("-200ppm"), Some(Drift(-200)));
}

#[test]
fn a_time_in_an_unknown_unit_is_answered_with_those_there_are() {
    for line in [
        "at 1.5m heal",
        "at 1d heal",
        "within 1.5m converged",
        "for 1d n1 not failed",
        "at 1s flap n1 every 1d for 20s",
        "net latency 1d",
        "clock n1 offset 1d",
    ] {
        let error = Scenario::parse(&format!("cluster 3\n{line}")).unwrap_err().to_string();
        assert!(error.contains("(in ns, us, ms, s, or in whole m or h)"), "{line}: {error}");
    }
    let said: Vec<&str> = lex::UNITS_SAID.split([' ', ',']).collect();
    assert!(lex::UNITS.iter().all(|(unit, _)| said.contains(unit)), "{said:?}");
}
