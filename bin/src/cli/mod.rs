//! From the command line to a command: dispatch, help, and the commands that need no agent.

pub(crate) mod parse;
pub(crate) mod table;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap_complete::Shell;

use crate::{
    agent, client,
    config::{
        addr::Host,
        plan::{Mode, Plan},
        settings::Settings,
    },
    demo,
};
use parse::{ParseError, Parsed, parse};
use table::{Action, COMMANDS, Operands, Spec, Takes};

/// The exit code for no command or one that does not exist.
const EXIT_NO_COMMAND: u8 = 127;

/// Runs the command that the words name.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let Some((first, rest)) = words.split_first() else {
        eprint!("{}", usage());
        return ExitCode::from(EXIT_NO_COMMAND);
    };
    let first = if first.starts_with('-') { first.trim_start_matches('-') } else { first.as_str() };
    let dashed = words[0].starts_with('-');
    match (first, dashed) {
        ("h" | "help", _) => return print(&usage()),
        ("v" | "version", true) => return print(&version()),
        _ => {}
    }
    let Some(spec) = table::find(first).filter(|_| !dashed) else {
        let near = crate::text::closest(first, COMMANDS.iter().map(|c| c.name));
        let hint = near.map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
        eprint!("Unknown command: {}{hint}\n\n{}", words[0], usage());
        return ExitCode::from(EXIT_NO_COMMAND);
    };
    match parse(spec, rest) {
        Ok(parsed) => dispatch(&parsed),
        Err(ParseError::Help) => print(&help(spec)),
        Err(ParseError::Usage(what)) => fail(&wrong_usage(spec, &what)),
    }
}

fn dispatch(p: &Parsed) -> ExitCode {
    let extra = p.operands();
    if p.spec.operands == Operands::None && !extra.is_empty() && p.spec.action != Action::Agent {
        let what = format!("unexpected arguments: {}", extra.join(" "));
        return fail(&wrong_usage(p.spec, &what));
    }
    match p.spec.action {
        Action::Agent => agent::command(p),
        Action::Completion => completion(p),
        Action::Demo => demo::command(p),
        Action::Keygen => keygen(),
        Action::Validate => validate(p),
        Action::Version => print(&version()),
        Action::Event
        | Action::ForceLeave
        | Action::Info
        | Action::Join
        | Action::Keyring
        | Action::Leave
        | Action::Members
        | Action::Operator
        | Action::Reload
        | Action::Rtt => client::command(p),
    }
}

/// Prints to standard output; a reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => fail(&format!("cannot write to standard output: {e}")),
    }
}

/// Prints to standard error; exit code 1.
pub(crate) fn fail(text: &str) -> ExitCode {
    eprintln!("{}", text.trim_end());
    ExitCode::FAILURE
}

/// What is wrong with the words, and where to read on.
pub(crate) fn wrong_usage(spec: &Spec, what: &str) -> String {
    format!("{what}\n\n{}See 'quorate {} -h' for the flags.", usage_line(spec), spec.name)
}

fn version() -> String {
    format!("Quorate v{}\n", env!("CARGO_PKG_VERSION"))
}

fn usage() -> String {
    let mut out =
        String::from("Usage: quorate [-version] [-help] <command> [flags]\n\nCommands:\n");
    for c in COMMANDS {
        let _ = writeln!(out, "    {:<12}  {}", c.name, c.about);
    }
    out.push_str("\n'quorate <command> -h' tells the flags of a command.\n");
    out
}

fn usage_line(spec: &Spec) -> String {
    let flags = if spec.flags().next().is_some() { " [flags]" } else { "" };
    let operands = match spec.operands {
        Operands::None => String::new(),
        Operands::Any(names) => format!(" {names}"),
    };
    format!("Usage: quorate {}{flags}{operands}\n", spec.name)
}

/// The help of a command.
fn help(spec: &Spec) -> String {
    const WIDTH: usize = 72;
    let mut out = format!("{}\n{}.\n", usage_line(spec), spec.about);
    if spec.flags().next().is_some() {
        out.push_str("\nFlags (two dashes work as well):\n");
    }
    for flag in spec.flags().filter(|f| !f.help.is_empty()) {
        let value = match flag.takes {
            Takes::Switch => String::new(),
            Takes::One(v) | Takes::Many(v) => format!("=<{v}>"),
        };
        let _ = write!(out, "\n  -{}{value}\n", flag.name);
        let mut line = String::from("     ");
        for word in flag.help.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = String::from("     ");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(out, "{line}");
    }
    out
}

fn completion(p: &Parsed) -> ExitCode {
    let shell = match p.operands().as_slice() {
        ["bash"] => Shell::Bash,
        ["zsh"] => Shell::Zsh,
        ["fish"] => Shell::Fish,
        _ => return fail(&wrong_usage(p.spec, "one shell is needed: bash, zsh or fish")),
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut parse::clap_program(), "quorate", &mut out);
    print(&String::from_utf8_lossy(&out))
}

fn keygen() -> ExitCode {
    let mut key = [0; 32];
    match getrandom::fill(&mut key) {
        Ok(()) => print(&format!("{}\n", STANDARD.encode(key))),
        Err(e) => fail(&format!("Error reading random data: {e}")),
    }
}

fn validate(p: &Parsed) -> ExitCode {
    if p.operands().is_empty() {
        return fail(&wrong_usage(p.spec, "at least one configuration file or folder is needed"));
    }
    let mut settings = Settings::default();
    let read = p.operands().iter().try_for_each(|path| settings.add_path(Path::new(path)));
    match read.and_then(|()| Plan::new(Mode::Normal, settings, &Host::current())) {
        Ok(_) if p.switch("quiet") == Some(true) => ExitCode::SUCCESS,
        Ok(plan) => {
            for w in plan.warnings {
                eprintln!("Warning: {w}");
            }
            print("Configuration is valid!\n")
        }
        Err(e) => fail(&format!("Config validation failed: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_every_public_flag_and_no_hidden_one() {
        for spec in COMMANDS {
            let text = help(spec);
            assert!(text.lines().all(|l| l.len() <= 80), "{}", spec.name);
            for flag in spec.flags() {
                let head = format!("\n  -{}", flag.name);
                let shown = [format!("{head}\n"), format!("{head}=<")];
                let is_shown = shown.iter().any(|s| text.contains(s));
                assert_eq!(is_shown, !flag.help.is_empty(), "{} -{}", spec.name, flag.name);
            }
        }
    }

    #[test]
    fn usage_lists_all_commands() {
        for spec in COMMANDS {
            assert!(usage().contains(&format!("    {} ", spec.name)), "{}", spec.name);
        }
    }
}
