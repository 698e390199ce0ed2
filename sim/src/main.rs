//! `sim`: run, sweep, shrink, render, compare, list. See `docs/simulator.md`.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
