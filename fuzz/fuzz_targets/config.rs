//! Configuration files: any text gives settings or an error with its place, and any settings a plan
//! or an error. The agent's own modules, without the agent.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../bin/src/config/mod.rs"]
mod config;
#[path = "../../bin/src/text.rs"]
mod text;

use std::path::Path;

use libfuzzer_sys::fuzz_target;

use config::{
    addr::Host,
    plan::{Mode, Plan},
    settings::Settings,
};

fuzz_target!(|data: &[u8]| {
    let Ok(data) = std::str::from_utf8(data) else { return };
    // Two files, as in a folder.
    let mut s = Settings::default();
    for part in data.split('\0').take(2) {
        match s.add_json(Path::new("a.json"), part) {
            Ok(()) => {}
            Err(e) => {
                let text = e.to_string();
                assert!(text.starts_with("a.json: "), "{text}");
                return;
            }
        }
    }
    for mode in [Mode::Normal, Mode::Dev] {
        match Plan::new(mode, s.clone(), &Host::default()) {
            Ok(_) => {}
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
});
