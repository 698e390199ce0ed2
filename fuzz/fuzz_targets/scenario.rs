//! Scenario files: any text gives a scenario or an error with its place, and what parses prints
//! to a text that parses to the same scenario.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(s) = sim::scenario::Scenario::parse(text) else { return };
    let printed = s.to_string();
    match sim::scenario::Scenario::parse(&printed) {
        Ok(again) => assert_eq!(again, s, "changed by printing:\n{printed}"),
        Err(e) => panic!("what was printed does not parse: {e}\n{printed}"),
    }
});
