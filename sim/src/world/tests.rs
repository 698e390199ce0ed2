//! The network, streams, clocks and processes of the world do what the language says.

use super::*;

fn run_text(text: &str) -> Outcome {
    let scenario = Scenario::parse(text).unwrap();
    let options = Options { sink: Sink::Memory(Vec::new()), ..Options::default() };
    run(scenario, options).unwrap()
}

fn passes(text: &str) -> Outcome {
    let o = run_text(text);
    let lines: Vec<_> = o.trace.iter().rev().take(30).map(crate::trace::render).collect();
    assert!(o.failures.is_empty(), "{:?}\n{}", o.failures, lines.join("\n"));
    o
}

/// The check that fails.
fn fails(text: &str) -> String {
    let o = run_text(text);
    o.failures.first().map_or_else(|| panic!("{text} passes"), |f| f.check.clone())
}

/// Events of one kind at one node, with their details.
fn details(o: &Outcome, kind: Kind, node: u32) -> Vec<&str> {
    let ours = |e: &&Event| e.event == kind.name() && e.node == node;
    o.trace.iter().filter(ours).map(|e| e.detail.as_str()).collect()
}

fn first(o: &Outcome, kind: Kind, node: u32) -> u64 {
    o.trace.iter().find(|e| e.event == kind.name() && e.node == node).map_or(0, |e| e.t)
}

#[test]
fn a_process_keeps_the_name_it_was_given() {
    let o = passes(
        "cluster 2 seed 1\nat 1s start n3 as n2\nat 2s crash n3\nat 3s restart n3\nat 5s heal\n",
    );
    assert_eq!(details(&o, Kind::Start, 3), ["n2 generation 0", "n2 generation 1"]);
}

#[test]
fn two_nodes_meet() {
    let o = passes("cluster 2 seed 1\nat 0s join n2 via n1\nwithin 5s converged\n");
    assert!(o.measures.datagrams > 0 && o.measures.stream_bytes > 0);
    assert!(!o.trace.iter().any(|e| e.event == "send" && e.message.is_empty()));
}

#[test]
fn expectations_fail_when_they_should() {
    let joined = "cluster 3 seed 1\nat 0s join all via n1\n";
    let cases = [
        ("within 1ms converged\n", "within-converged"),
        ("at 5s heal\nwithin 5s n2 failed everywhere\n", "within-failed"),
        ("at 5s crash n2\nfor 20s n2 not failed\n", "for-not-failed"),
        ("at 5s heal\nfor 20s n2 failed on n1\n", "for-failed"),
        ("at 5s heal\nsometimes failed\n", "sometimes-failed"),
        ("at 5s leave n2\nwithin 5s n2 unknown everywhere\n", "within-unknown"),
    ];
    for (lines, check) in cases {
        assert_eq!(fails(&format!("{joined}{lines}")), check, "{lines}");
    }
}

#[test]
fn a_quorum_must_be_the_one_that_is_expected() {
    let start = "cluster 4 servers 4 expect 3 seed 1\nat 0s join all via n1\n";
    for (lines, check) in [
        ("at 5s heal\nwithin 1s quorum n1 n2\n", "within-quorum"),
        ("at 0s partition n1 n2 | n3 n4\nwithin 9s quorum\n", "within-quorum"),
        ("never quorum\n", "never-quorum"),
    ] {
        assert_eq!(fails(&format!("{start}{lines}")), check, "{lines}");
    }
}

#[test]
fn a_dead_process_refuses_and_a_dead_host_is_silent() {
    let o = run_text("cluster 2 seed 1\nat 1s crash n2\nat 2s join n1 via n2\nat 30s heal\n");
    let told = details(&o, Kind::Broken, 1);
    assert!(told.first() == Some(&"Refused"), "{told:?}");
    let at = first(&o, Kind::Broken, 1);
    assert!(at < 2_100_000_000, "{at}");
    let o = run_text("cluster 2 seed 1\nat 1s poweroff n2\nat 2s join n1 via n2\nat 30s heal\n");
    let told = details(&o, Kind::Broken, 1);
    assert!(told.is_empty() || told[0] == "TimedOut", "{told:?}");
    let joins = details(&o, Kind::JoinFinished, 1);
    assert!(joins[0].contains("timeout") || joins[0].contains("in time"), "{joins:?}");
    assert!(first(&o, Kind::JoinFinished, 1) >= 11_000_000_000);
}

#[test]
fn a_paused_process_accepts_and_answers_later() {
    let o = passes(
        "cluster 2 seed 1\nat 1s pause n2 for 4s\nat 2s join n1 via n2\nwithin 20s converged\n",
    );
    assert!(first(&o, Kind::Connect, 1) < 2_100_000_000);
    assert!(first(&o, Kind::JoinFinished, 1) >= 5_000_000_000);
}

#[test]
fn lost_segments_arrive_in_the_end() {
    let o =
        passes("cluster 2 seed 3\nnet loss 60%\nat 0s join n2 via n1\nwithin 60s n2 alive on n1\n");
    assert!(o.trace.iter().any(|e| e.detail == "lost"));
}

#[test]
fn a_crash_resets_streams_and_a_partition_does_not() {
    let text =
        "cluster 2 seed 1\nnet latency 200ms\nat 1s join n2 via n1\nat 1.5s FAULT\nat 9s heal\n";
    let o = run_text(&text.replace("FAULT", "crash n1"));
    assert!(!details(&o, Kind::Broken, 2).is_empty());
    let o = run_text(&text.replace("FAULT", "isolate n1"));
    let soon = o.trace.iter().any(|e| e.event == "broken" && e.t < 5_000_000_000);
    assert!(!soon);
}

#[test]
fn packets_over_the_mtu_and_the_queue_are_dropped() {
    let o = run_text("cluster 2 seed 1\nnet mtu 55\nat 0s join all via n1\nat 9s heal\n");
    assert!(o.trace.iter().any(|e| e.detail == "larger than the MTU"));
    assert!(o.trace.iter().all(|e| e.event != "receive" || e.bytes <= 55));
    let o = run_text(
        "cluster 6 seed 1\nnet bandwidth 1000\nat 0s join all via n1\nat 2s replay n1 2s\n\
         at 2s replay n1 2s\nat 3s replay n1 3s\nat 3s replay n1 3s\nat 9s heal\n",
    );
    assert!(o.trace.iter().any(|e| e.detail == "queue full"));
}

#[test]
fn a_suspended_machine_does_not_see_its_absence_and_a_paused_process_does() {
    let text = "cluster 3 seed 1\nat 0s join all via n1\nat 5s FAULT n2 for 8s\nat 20s heal\n";
    let o = run_text(&text.replace("FAULT", "pause"));
    assert_eq!(details(&o, Kind::Paused, 2).len(), 1);
    let o = run_text(&text.replace("FAULT", "suspend"));
    assert!(details(&o, Kind::Paused, 2).is_empty());
}

#[test]
fn a_fast_clock_probes_more_often() {
    let count = |drift: &str| {
        let o = run_text(&format!(
            "cluster 2 seed 1\nclock n2 drift {drift}\nat 0s join all via n1\nat 200s heal\n"
        ));
        o.trace.iter().filter(|e| e.event == "send" && e.node == 2).count()
    };
    let (slow, fast) = (count("-300000ppm"), count("+300000ppm"));
    assert!(fast * 10 > slow * 13, "{slow} and {fast}");
}

/// How long each datagram to n2 was under way after 5 s, milliseconds.
fn delays(o: &Outcome) -> Vec<u64> {
    let late = |e: &&Event| e.event == "receive" && e.node == 2 && e.t > 5_000_000_000;
    let cause = |e: &Event| o.trace.get(e.cause as usize - 1).map_or(0, |c| c.t);
    o.trace.iter().filter(late).map(|e| (e.t - cause(e)) / 1_000_000).collect()
}

#[test]
fn a_starved_process_stands_for_seconds_and_then_takes_all_at_once() {
    let text = "cluster 3 seed 1\nat 0s join all via n1\nat 5s starve n2 20x for 60s\n\
                at 66s heal\n";
    let delays = delays(&run_text(text));
    assert!(delays.iter().any(|d| *d > 3_000), "{delays:?}");
    assert!(delays.iter().any(|d| *d < 10), "{delays:?}");
}

#[test]
fn shared_cores_are_had_in_turn_and_busy_processes_stand_in_the_line() {
    let text = "cluster 3 seed 1\ncores 1\nat 0s join all via n1\nSATURATE\nat 15s heal\n";
    let free = delays(&run_text(&text.replace("SATURATE\n", "")));
    assert!(free.iter().all(|d| *d < 10), "{free:?}");
    // 50 quanta of 4 ms before it is n2's turn, each time.
    let o = run_text(&text.replace("SATURATE", "at 5s saturate 50 for 8s"));
    let busy = delays(&o);
    assert!(busy.iter().any(|d| (150..=210).contains(d)), "{busy:?}");
    assert!(o.trace.iter().filter(|e| e.t > 14_000_000_000).count() > 5, "they do not go on");
}

#[test]
fn a_deadline_that_was_put_off_while_it_waited_still_comes() {
    let text = "cluster 2 seed 1\nat 0s join all via n1\nat 5s starve n2 30x for 60s\n\
                at 5s poweroff n1\nat 90s heal\n";
    let o = run_text(text);
    let sends = |e: &&Event| e.event == "send" && e.node == 2 && e.t > 70_000_000_000;
    assert!(o.trace.iter().filter(sends).count() > 5);
}

#[test]
fn replayed_packets_come_from_the_past_and_garbage_is_dropped() {
    let o = passes(
        "cluster 2 seed 1\nat 0s join all via n1\nat 5s replay n1 5s\nat 6s garbage n2 50\n\
         at 10s heal\nwithin 5s converged\nsometimes drop-not-ours\n",
    );
    let at =
        |t: u64| o.trace.iter().filter(move |e| e.event == "receive" && e.t / 1_000_000_000 == t);
    assert!(at(6).count() >= 50);
}

#[test]
fn streams_are_played_back_and_sealed_ones_are_answered_by_a_head_only() {
    let text = "cluster 3 seed 1\nKEYS\nat 0s join all via n1\nat 5s replay n2 5s\nat 6s heal\n";
    // Magic, format, mode and label; the key's id and the random number.
    let head = 4 + "dc1".len() as u32 + 4 + 16;
    for (keys, says_more) in [("keys k1", false), ("", true)] {
        let o = passes(&text.replace("KEYS", keys));
        let again: Vec<_> = o.trace.iter().filter(|e| e.detail == "played back").collect();
        assert!(again.len() >= 3 && again.iter().all(|e| e.node == 2 && e.t == 5_000_000_000));
        let is_soon = |e: &&Event| (5_000_000_000..5_200_000_000).contains(&e.t);
        let soon = || o.trace.iter().filter(is_soon);
        let accepted = soon().filter(|e| e.event == "accept" && e.to == Some(2)).count();
        assert_eq!(accepted, again.len(), "{keys}");
        let answers: Vec<_> = soon().filter(|e| e.event == "write").map(|e| e.bytes).collect();
        assert!(!answers.is_empty());
        assert_eq!(answers.iter().any(|b| *b > head), says_more, "{keys}: {answers:?}");
    }
}

#[test]
fn a_silent_host_is_played_back_as_well() {
    for fault in ["crash n2", "poweroff n2", "suspend n2 for 20s"] {
        let o = passes(&format!(
            "cluster 3 seed 1\nkeys k1\nat 0s join all via n1\nat 5s {fault}\n\
             at 8s replay n2 8s\nat 30s heal\n"
        ));
        let again = o.trace.iter().filter(|e| e.detail == "played back").count();
        let is_soon = |e: &&Event| (8_000_000_000..8_200_000_000).contains(&e.t);
        let head = |e: &&Event| e.event == "write" && e.bytes == 27;
        let answers = o.trace.iter().filter(is_soon).filter(head).count();
        assert!(again > 0 && answers >= again, "{fault}: {answers} of {again}");
    }
}

#[test]
fn bandwidth_holds_for_streams_too() {
    let arrives = |net: &str| {
        let text = "cluster 30 seed 1\nNET\nat 0s join n1..n29 via n1\n\
                    at 60s join n30 via n1\nat 90s heal\n";
        let o = run_text(&text.replace("NET", net));
        let data = o.trace.iter().filter(|e| e.event == "data" && e.node == 30);
        data.filter(|e| e.bytes > 500).map(|e| e.t).next()
    };
    let (free, slow) = (arrives("net loss 0%").unwrap(), arrives("net bandwidth 2000").unwrap());
    assert!(free < 60_100_000_000 && slow > 60_250_000_000, "{free} and {slow}");
}

#[test]
fn a_second_starvation_takes_the_place_of_the_first() {
    for (second, until) in [("1x for 1s", 7_100_000_000), ("2x for 60s", 9_000_000_000)] {
        let o = run_text(&format!(
            "cluster 5 seed 1\nat 0s join all via n1\nat 5s starve n2 1000x for 5m\n\
             at 6s starve n2 {second}\nat 10s heal\n"
        ));
        let speaks = |e: &&Event| e.event == "send" && e.node == 2 && e.t > 6_000_000_000;
        let first = o.trace.iter().find(speaks).map(|e| e.t);
        assert!(first.is_some_and(|t| t < until), "{second}: speaks at {first:?}");
    }
}

/// Seconds in which something from or to n2 met a cut.
fn cut_seconds(text: &str) -> Vec<u64> {
    let lost = |e: &&Event| e.detail == "no way";
    let mut all: Vec<u64> =
        run_text(text).trace.iter().filter(lost).map(|e| e.t / 1_000_000_000).collect();
    all.dedup();
    all
}

#[test]
fn a_flap_that_was_healed_has_no_part_in_the_next() {
    let text = "cluster 2 seed 1\nat 0s join all via n1\nFIRST\nat 3s flap n2 every 10s for 60s\n\
                at 70s heal\n";
    let alone = cut_seconds(&text.replace("FIRST\n", ""));
    assert!(alone.iter().all(|s| (s - 3) / 10 % 2 == 0), "{alone:?}");
    let first = "at 1s flap n2 every 10s for 60s\nat 2s heal";
    let second = cut_seconds(&text.replace("FIRST", first));
    assert!(second.iter().all(|s| *s < 2 || (s - 3) / 10 % 2 == 0), "{second:?}");
    let slow = "at 2s flap n2 every 20s for 30s";
    let second = cut_seconds(&text.replace("FIRST", slow));
    assert!(second.iter().all(|s| *s == 2 || (s - 3) / 10 % 2 == 0), "{second:?}");
}

#[test]
fn a_process_that_was_never_paused_does_not_resume() {
    let o = passes(
        "cluster 2 seed 1\nat 0s join all via n1\nat 5s pause n2 for 10s\nat 6s crash n2\n\
         at 7s restart n2\nat 20s heal\n",
    );
    assert!(details(&o, Kind::Resume, 2).is_empty());
}

#[test]
fn talk_of_a_node_that_runs_does_not_keep_it_from_starting() {
    passes(
        "cluster 3 seed 1\nat 0s join all via n1\nwithin 5s n3 alive on n1\n\
         at 10s rumour n3 on n2\nfor 5s n3 alive everywhere\n",
    );
}

#[test]
fn a_failure_that_a_deadline_made_leads_back_to_the_suspicion() {
    let o = run_text(
        "cluster 5 seed 1\nat 0s join all via n1\nat 12s pause n3 for 30s\n\
         for 40s n3 not failed\n",
    );
    let by_seq = |seq: u64| &o.trace[seq as usize - 1];
    let violation = by_seq(o.failures[0].cause);
    let failed = by_seq(violation.cause);
    let suspected = by_seq(failed.cause);
    let kinds = [violation, failed, suspected].map(|e| e.event.as_str());
    assert_eq!(kinds, ["violation", "failed", "suspected"]);
    assert!(suspected.node == failed.node && suspected.to == Some(3));
}

#[test]
fn taking_a_step_out_leaves_what_was_before_it() {
    let text =
        "cluster 5 seed 9\nnet loss 10%\nat 0s join all via n1\nat 20s crash n2\nat 40s heal\n";
    let with = run_text(text);
    let without = run_text(&text.replace("at 20s crash n2\n", ""));
    let before = |o: &Outcome| -> Vec<Event> {
        o.trace.iter().filter(|e| e.t < 20_000_000_000).cloned().collect()
    };
    assert_eq!(before(&with), before(&without));
    assert_ne!(with.hash, without.hash);
}

#[test]
fn measures_tell_detection_and_traffic() {
    let o = passes(
        "cluster 5 seed 1\nat 0s join all via n1\nat 10s poweroff n5\n\
         within 20s n5 failed everywhere\n",
    );
    assert_eq!(o.measures.detections_ns.len(), 4);
    assert_eq!(o.measures.false_failures, 0);
    assert_eq!(o.measures.met_ns.len(), 1);
}
