//! What a recorded run gives, and that a tape plays the run again.

use super::*;

fn scenario() -> Scenario {
    let text = "cluster 3 servers 3 expect 3 seed 5\nat 0s join all via n1\n\
                at 10s crash n3\nat 20s restart n3\nat 30s leave n2\n";
    Scenario::parse(text).unwrap()
}

#[test]
fn seeds_are_a_function_of_the_scenarios() {
    let all = collect([scenario()]).unwrap();
    assert_eq!(all, collect([scenario()]).unwrap());
    for (target, size, _) in TARGETS {
        let seeds = all.get(target).unwrap_or_else(|| panic!("no seeds for {target}"));
        assert!(seeds.values().all(|s| s.len() <= *size), "{target}");
    }
    // Three nodes, one of them twice.
    assert_eq!(all["node"].len(), 4);
}

#[test]
fn tapes_hold_every_kind_of_input() {
    let all = collect([scenario()]).unwrap();
    let (mut datagrams, mut said, mut commands, mut timeouts) = (0, 0, 0, 0);
    for tape in all["node"].values() {
        let mut r = tape::Reader::new(tape);
        let head = r.head();
        assert_eq!((head.role, head.sealed), (4, false));
        while let Some(step) = r.step() {
            match step {
                tape::Step::Datagram { body, .. } => {
                    assert!(wire::messages(body).all(|m| m.is_ok()));
                    datagrams += 1;
                }
                tape::Step::Said { tag, body, .. } => {
                    assert!(matches!(wire::Message::decode(tag, body), Ok(Some(_))));
                    said += 1;
                }
                tape::Step::Join(_) | tape::Step::Leave => commands += 1,
                tape::Step::Timeout => timeouts += 1,
                _ => {}
            }
        }
    }
    assert!(datagrams > 50 && said > 5 && commands > 1 && timeouts > 100);
}
