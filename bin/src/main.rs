//! `quorate`: the agent and the commands around it.
//!
//! Code map: `cli` is the table of commands, its parser and help; `config` understands files and
//! flags; `agent` runs one; `client` are the commands that talk to a running agent over HTTP;
//! `demo` starts a cluster of three on this machine.
#![forbid(unsafe_code)]

mod agent;
mod cli;
mod client;
mod config;
mod demo;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Result<Vec<String>, _> =
        std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    match words {
        Ok(words) => cli::run(&words),
        Err(word) => {
            eprintln!("Error: the argument {word:?} is not valid UTF-8");
            ExitCode::from(1)
        }
    }
}
