//! Rules that no run of a cluster shows, or shows by chance only: each test here must fail with
//! its bug. `sim/tests/planted.rs` knows the other bugs, and that the rest of them is here.

use super::{
    bootstrap, hearsay, names, obituary, quiet, replies, rules, sealing, slow, streams, user, watch,
};
use crate::planted::{Bug, caught};

const CAUGHT: &[(Bug, fn())] = &[
    // Failure detection.
    (Bug::WitnessesUncounted, rules::what_helpers_met_shortens_a_suspicion),
    (Bug::NackLate, rules::what_helpers_met_shortens_a_suspicion),
    (Bug::AccusersUncounted, rules::further_accusers_shorten_a_suspicion),
    (Bug::AccusedNotTold, rules::the_accused_is_told_at_once),
    (
        Bug::LastLookNotTaken,
        super::who_missed_a_refutation_looks_once_more_before_it_declares_a_failure,
    ),
    (Bug::SlowLookedAt, quiet::few_look_once_more_at_a_process_that_is_slow),
    (Bug::MutePinged, quiet::a_process_that_accepts_and_does_not_answer_gets_no_more_pings),
    (Bug::RefusalAloneCounts, rules::a_refusal_alone_ends_no_probe),
    (Bug::NotMeUnminded, rules::another_process_at_the_address_means_that_the_one_we_knew_is_gone),
    (Bug::WrongTargetAcks, rules::who_is_not_meant_by_a_ping_says_so),
    (Bug::AnyCookieCounts, rules::an_ack_counts_for_the_probe_whose_cookie_it_has),
    (Bug::HealthUnminded, rules::a_bad_health_waits_longer_for_an_answer),
    (Bug::PauseUnguarded, rules::who_was_stopped_blames_nobody),
    (Bug::AwaySaysAgain, slow::who_was_away_says_so_again_only_when_it_may_be_forgotten),
    (Bug::HealthStays, rules::the_accused_is_told_at_once),
    (Bug::HelpersNotAsked, quiet::who_was_not_met_helps_only_where_nobody_else_can),
    (Bug::StreamNotTried, quiet::a_process_that_accepts_and_does_not_answer_gets_no_more_pings),
    (Bug::LeftDoubted, watch::who_left_owes_no_answer_and_is_not_doubted),
    (Bug::StrangersHelped, rules::a_stranger_gets_no_help),
    (Bug::UnmetHelp, quiet::who_was_not_met_helps_only_where_nobody_else_can),
    (Bug::GraceNotGiven, hearsay::who_met_a_member_is_the_first_to_declare_its_failure),
    (Bug::LoneAccusesAloud, obituary::accusations_of_a_member_that_hears_nobody_are_not_gossiped),
    (Bug::HelpersByChance, hearsay::those_that_were_met_are_found_among_any_number_of_others),
    (Bug::RoundStands, hearsay::the_round_goes_on_however_many_are_made_up),
    (Bug::TalkKept, hearsay::few_that_were_only_heard_of_are_kept_for_a_restart),
    // Watch streams and cadence.
    (Bug::WatchWaits, watch::new_observers_are_picked_though_another_cannot_be_reached),
    (Bug::ResetIsSilence, watch::a_stream_that_is_reset_while_a_process_dies_is_opened_once_more),
    (Bug::BeatUnminded, watch::an_observer_gives_up_a_stream_that_is_silent_for_minutes),
    (Bug::LooksUnlimited, watch::who_breaks_streams_again_and_again_is_not_looked_at_each_time),
    (Bug::WatchesUncapped, watch::strangers_and_too_many_are_not_watched),
    (
        Bug::ObserversByChance,
        watch::every_other_probe_goes_to_an_observer_in_turn_and_the_round_passes_them_over,
    ),
    // Dissemination.
    (Bug::RoundsUnlimited, rules::a_storm_of_news_leaves_in_few_rounds),
    (Bug::NewsToUnmet, quiet::acks_to_who_was_not_met_carry_no_news),
    (Bug::StaleUncorrected, replies::corrections_are_few_in_a_while_and_there_are_always_more),
    (Bug::ForgottenStays, super::what_one_forgot_the_other_forgets_and_their_digests_agree),
    (Bug::FailedContactedByAll, rules::the_failed_are_contacted_in_turns),
    (Bug::GoneNotTold, super::one_ping_is_enough_for_two_that_hold_each_other_for_gone),
    (Bug::AnyWriteCounts, super::a_generation_waits_for_its_own_write_and_not_for_an_earlier_one),
    (Bug::LeaveToldOnce, rules::a_leave_that_was_lost_is_told_again),
    (Bug::PastTold, user::who_comes_later_is_told_what_comes_later),
    (Bug::OldEventsTold, user::what_is_older_than_the_window_is_not_told),
    (Bug::EventsUncapped, user::commands_say_what_does_not_fit),
    (Bug::StrangersQuery, user::strangers_are_not_answered),
    (Bug::QueriesUncapped, rules::no_more_queries_are_open_than_fit),
    (Bug::LatencyUnfiltered, rules::of_three_round_trips_the_median_counts),
    (Bug::RepeatMeasured, rules::an_answer_to_a_repeat_measures_no_round_trip),
    (Bug::OverflowUntold, rules::an_application_hears_how_many_events_it_missed),
    (Bug::HearsayTakesNames, names::a_senior_holder_that_only_others_speak_of_takes_no_name),
    // What others can make us do.
    (Bug::WaitingUncapped, names::what_comes_for_a_join_that_waits_is_capped),
    (Bug::CookiesGuessable, rules::cookies_do_not_follow_from_each_other),
    (Bug::RelaysUncapped, rules::no_more_is_asked_for_others_than_fits),
    (Bug::CorrectionsUnlimited, replies::corrections_are_few_in_a_while_and_there_are_always_more),
    (Bug::StrangersToldMore, replies::no_answer_to_a_stranger_is_larger_than_its_question),
    (Bug::StrangersOftenTold, replies::strangers_get_few_answers_in_a_second),
    (Bug::SaidTwice, streams::what_has_a_large_answer_is_said_once),
    (Bug::StreamsUncapped, super::streams_and_joins_are_capped),
    (Bug::LabelUnchecked, rules::a_datagram_of_another_datacenter_changes_nothing),
    (Bug::ClearTaken, sealing::sealed_and_clear_datagrams_do_not_mix),
    // The bootstrap.
    (Bug::ExpectIgnored, rules::a_promise_is_for_an_attempt_of_its_own_size_only),
    (Bug::BirthIgnored, rules::who_lost_its_disk_is_not_asked_by_what_was_asked_of_it_before),
    (Bug::AttemptNotAsked, rules::somebody_asks_about_an_attempt_that_stands_still),
    (Bug::ForgetfulPromises, bootstrap::a_restored_disk_gives_no_promise_and_still_follows),
    (
        Bug::EchoUnchecked,
        bootstrap::a_report_without_our_cookie_or_of_an_earlier_life_proves_nothing,
    ),
    (
        Bug::EarlierLifeCounts,
        bootstrap::a_report_without_our_cookie_or_of_an_earlier_life_proves_nothing,
    ),
];

#[test]
fn each_broken_rule_is_caught() {
    let unseen: alloc::vec::Vec<Bug> =
        CAUGHT.iter().filter(|(bug, test)| !caught(*bug, *test)).map(|c| c.0).collect();
    assert!(unseen.is_empty(), "not noticed: {unseen:?}");
}
