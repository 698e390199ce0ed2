//! What a run is a function of besides its scenario, and the lines that bring a failure back.

use clap::{Args, ValueEnum};
use sim::{Program, constants};

use super::Error;

/// Which constants the nodes run with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Profile {
    /// Ours.
    #[default]
    Quorate,
    /// memberlist's, on the same state machine.
    Memberlist,
}

impl Profile {
    fn program(self) -> Program {
        match self {
            Self::Quorate => Program::default(),
            Self::Memberlist => Program::memberlist(),
        }
    }
}

/// What the nodes run.
#[derive(Clone, Debug, Args)]
pub(super) struct Under {
    /// Constants of the protocol.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// One of them has this value (`sim compare --help` names them); may be repeated.
    #[arg(long, value_name = "NAME=V")]
    set: Vec<String>,
    /// Seal all packets and streams.
    #[arg(long)]
    sealed: bool,
    /// Break one of its rules (`sim list --bugs` names them).
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
}

/// How one scenario is run: all that runs or shows one takes this, so that what failed in one
/// command can be looked at with another.
#[derive(Clone, Debug, Args)]
pub(super) struct Once {
    /// Run with another seed than the file's.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    #[command(flatten)]
    pub(super) under: Under,
}

impl Once {
    /// As the command line says it, with a blank before each.
    pub(super) fn flags(&self) -> String {
        let seed = self.seed.map_or_else(String::new, |s| format!(" --seed {s}"));
        format!("{seed}{}", self.under.flags())
    }
}

impl Under {
    /// What the nodes run.
    pub(super) fn program(&self) -> Result<Program, Error> {
        let mut program = Program { sealed: self.sealed, ..self.profile.program() };
        constants::change(&mut program.tuning, &self.set)?;
        #[cfg(feature = "planted-bugs")]
        if let Some(name) = &self.plant {
            return program
                .plant(name)
                .ok_or_else(|| format!("`{name}` is no bug; `sim list --bugs` names them"));
        }
        Ok(program)
    }

    /// As the command line says it, with a blank before each.
    fn flags(&self) -> String {
        let profile = match self.profile {
            Profile::Quorate => "",
            Profile::Memberlist => " --profile memberlist",
        };
        let set: String = self.set.iter().map(|s| format!(" --set {}", quoted(s))).collect();
        let sealed = if self.sealed { " --sealed" } else { "" };
        let flags = format!("{profile}{set}{sealed}");
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = &self.plant {
            return format!("{flags} --plant {}", quoted(bug));
        }
        flags
    }

    /// The line that does `what` on the same.
    pub(super) fn line(&self, what: &str) -> String {
        #[cfg(feature = "planted-bugs")]
        if self.plant.is_some() {
            let features = "--features planted-bugs";
            return format!("{REPEAT} {features} -- {what}{}", self.flags());
        }
        format!("{REPEAT} -- {what}{}", self.flags())
    }

    /// The lines that write the trace and the page of a failed run: `what` is how `render` is
    /// told which; `name` is what the files are called. A trace that is there is only named.
    pub(super) fn shown(&self, what: &str, name: &str, trace: Option<&str>) -> String {
        let render = |flag: &str, end: &str| {
            let file = quoted(&format!("{name}.{end}"));
            self.line(&format!("render {what} --{flag} {file}"))
        };
        let trace = trace.map_or_else(|| render("trace", "jsonl"), str::to_owned);
        format!("  trace:  {trace}\n  page:   {}", render("html", "html"))
    }
}

/// How every line that repeats something begins.
pub(super) const REPEAT: &str = "cargo run --release -p sim";

/// A word of a command line as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_word_as_it_is() {
        for word in ["a/b-c.scn", "probe_interval=5", "two words", "it's", "$HOME", "", "*é;\n"] {
            let line = format!("printf %s {}", quoted(word));
            let out = std::process::Command::new("sh").args(["-c", &line]).output();
            let said = String::from_utf8(out.expect("a shell").stdout).expect("UTF-8");
            assert_eq!(said, word, "{line}");
        }
        assert_eq!(quoted("sim/a.scn"), "sim/a.scn");
    }
}
