//! `sim`: run, sweep, shrink, render, compare, list. See `docs/simulator.md`.
#![forbid(unsafe_code)]

mod cli;
mod pages;

use std::process::ExitCode;

fn main() -> ExitCode {
    pages::use_large();
    cli::main()
}
