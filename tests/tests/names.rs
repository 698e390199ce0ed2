//! Two agents of one name in clusters that meet: one of them ends, says why, and stays out.

use std::time::Duration;

use quorate_tests::lab;

const SOON: Duration = Duration::from_secs(30);
const LOWER: &str = "-node-id=00000000-0000-4000-8000-000000000001";
const HIGHER: &str = "-node-id=00000000-0000-4000-8000-000000000002";

#[test]
fn of_two_holders_of_a_name_one_leaves_with_an_error_and_is_refused_afterwards() {
    let Some(lab) = lab!() else { return };
    let east = lab.agent("east", "127.0.0.10").start();
    let west = lab.agent("west", "127.0.0.11").start();
    let mut keeps = lab.agent("twin", "127.0.0.12").arg(LOWER).start();
    let loser = lab.agent("later", "127.0.0.13").arg("-node=twin").arg(HIGHER);
    let mut loses = loser.start();
    assert_eq!(east.run(&["join", "127.0.0.12"]).code, Some(0));
    assert_eq!(west.run(&["join", "127.0.0.13"]).code, Some(0));
    assert_eq!(east.run(&["join", "127.0.0.11"]).code, Some(0));

    // The same on both sides, whoever is asked: neither knew of the other, so the lower id stays.
    assert_eq!(loses.process.wait(SOON), Some(1));
    let log = loses.process.tail();
    for part in ["127.0.0.12:8301", "which has held it for longer", "-node"] {
        assert!(log.contains(part), "{part}:\n{log}");
    }
    let members = [("east", "alive"), ("twin", "alive"), ("twin", "left"), ("west", "alive")];
    east.sees(&members, SOON);
    west.sees(&members, SOON);
    assert!(keeps.process.ended().is_none());
    let dug = east.dig("twin.node.consul.", hickory_proto::rr::RecordType::A);
    let text = format!("{dug:?}");
    assert!(text.contains("127.0.0.12") && !text.contains("127.0.0.13"), "{text}");

    let again = loser.start();
    let refused = again.run(&["join", "127.0.0.10"]);
    assert_eq!(refused.code, Some(1));
    let why = "the name 'twin' is taken by a live member at 127.0.0.12:8301";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
}
