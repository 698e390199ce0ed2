//! From words to a command with its flags: one or two dashes, values after `=` or a blank,
//! switches with or without `=true`.
//!
//! The words are first brought into one form (`--name=value`), by the flags that the command
//! has, and then given to clap. A flag that takes a value takes the next word whatever it is.

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::table::{COMMANDS, Flag, Operands, Spec, Takes};

const OPERANDS: &str = "operands";

/// A parsed command line.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    /// The command.
    pub(crate) spec: &'static Spec,
    matches: ArgMatches,
}

/// What a command line came to, if not to a command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// Help was asked for.
    #[error("help")]
    Help,
    /// It cannot be understood.
    #[error("{0}")]
    Usage(String),
}

impl Parsed {
    /// Is the switch on? `None` if it was not given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.matches.try_get_one::<bool>(name).ok().flatten().copied()
    }

    /// The value of a flag.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.matches.try_get_one::<String>(name).ok().flatten().map(String::as_str)
    }

    /// The values of a flag, in their order.
    pub(crate) fn many(&self, name: &str) -> Vec<&str> {
        let values = self.matches.try_get_many::<String>(name).ok().flatten();
        values.into_iter().flatten().map(String::as_str).collect()
    }

    /// The values of several flags with the name of each, in the order of the words.
    pub(crate) fn interleaved(&self, names: &[&'static str]) -> Vec<(&'static str, &str)> {
        let mut all: Vec<(usize, &'static str, &str)> = Vec::new();
        for &name in names {
            let places = self.matches.indices_of(name).into_iter().flatten();
            all.extend(places.zip(self.many(name)).map(|(i, value)| (i, name, value)));
        }
        all.sort_unstable();
        all.into_iter().map(|(_, name, value)| (name, value)).collect()
    }

    /// Was it given?
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(self.matches.try_contains_id(name), Ok(true))
    }

    /// What followed the flags.
    pub(crate) fn operands(&self) -> Vec<&str> {
        self.many(OPERANDS)
    }
}

/// Parses the words after the command's name.
///
/// # Errors
/// [`ParseError`]: help asked for, or what is wrong with the words.
pub(crate) fn parse(spec: &'static Spec, words: &[String]) -> Result<Parsed, ParseError> {
    let words = normalise(spec, words);
    if words.iter().take_while(|w| *w != "--").any(|w| w == "--help") {
        return Err(ParseError::Help);
    }
    match clap_command(spec, |_| true).no_binary_name(true).try_get_matches_from(words) {
        Ok(matches) => Ok(Parsed { spec, matches }),
        Err(e) => Err(ParseError::Usage(explain(spec, &e))),
    }
}

/// Brings each flag into the form `--name` or `--name=value`.
fn normalise(spec: &Spec, words: &[String]) -> Vec<String> {
    let mut out = Vec::with_capacity(words.len());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            out.push(word.clone());
            out.extend(rest.cloned());
            break;
        }
        let Some(bare) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            out.push(word.clone());
            continue;
        };
        if matches!(bare, "h" | "help") {
            out.push("--help".into());
            continue;
        }
        let name = bare.split('=').next().unwrap_or(bare);
        let takes = spec.flag(name).map(|f| f.takes);
        match takes {
            Some(Takes::One(_) | Takes::Many(_)) if !bare.contains('=') => match rest.next() {
                Some(value) => out.push(format!("--{bare}={value}")),
                None => out.push(format!("--{bare}")),
            },
            // A lone `-` or a flag that does not exist: clap says so.
            _ => out.push(format!("--{bare}")),
        }
    }
    out
}

/// As Go's flags have it.
fn parse_bool(s: &str) -> Result<bool, String> {
    match s {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

fn clap_command(spec: &Spec, wanted: fn(&Flag) -> bool) -> Command {
    let mut cmd = Command::new(spec.name)
        .about(spec.about)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true);
    for flag in spec.flags().filter(|f| wanted(f)) {
        let arg = Arg::new(flag.name).long(flag.name).help(flag.help).hide(flag.help.is_empty());
        let arg = match flag.takes {
            Takes::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(parse_bool),
            Takes::One(value) => arg.value_name(value).require_equals(true),
            Takes::Many(value) => {
                arg.value_name(value).require_equals(true).action(ArgAction::Append)
            }
        };
        cmd = cmd.arg(match flag.takes {
            Takes::Switch => arg,
            // `-flag=` is an empty value, not a missing one.
            _ => arg.value_parser(clap::builder::StringValueParser::new()),
        });
    }
    let operands = Arg::new(OPERANDS).num_args(0..).hide(true);
    cmd.arg(match spec.operands {
        Operands::Any(name) => operands.value_name(name),
        Operands::None => operands,
    })
}

/// The whole program for the completions, without hidden flags.
pub(crate) fn clap_program() -> Command {
    let public = |spec| clap_command(spec, |flag| !flag.help.is_empty());
    Command::new("quorate").subcommands(COMMANDS.iter().map(public))
}

fn context(e: &clap::Error, kind: ContextKind) -> Option<String> {
    match e.get(kind)? {
        ContextValue::String(s) => Some(s.clone()),
        ContextValue::Strings(v) => v.first().cloned(),
        _ => None,
    }
}

/// clap's finding in our spelling.
fn explain(spec: &Spec, e: &clap::Error) -> String {
    let arg = context(e, ContextKind::InvalidArg).unwrap_or_default();
    let name = arg.trim_start_matches('-').split(['=', '[', ' ']).next().unwrap_or_default();
    match e.kind() {
        ErrorKind::UnknownArgument => {
            let names = spec.flags().filter(|f| !f.help.is_empty()).map(|f| f.name);
            let hint = match crate::text::closest(name, names) {
                Some(near) => format!(" (did you mean -{near}?)"),
                None => String::new(),
            };
            format!("unknown flag -{name}{hint}")
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::ValueValidation => {
            match context(e, ContextKind::InvalidValue).filter(|v| !v.is_empty()) {
                Some(value) => format!("-{name}: '{value}' is not true or false"),
                None => format!("-{name} needs a value"),
            }
        }
        _ => e.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::find;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    fn agent(line: &str) -> Result<Parsed, ParseError> {
        parse(find("agent").unwrap(), &words(line))
    }

    #[test]
    fn one_dash_two_dashes_equals_or_blank_are_the_same() {
        for line in ["-node=x", "-node x", "--node=x", "--node x", "-node=y -node x"] {
            assert_eq!(agent(line).unwrap().one("node"), Some("x"), "{line}");
        }
        assert_eq!(agent("-node=a=b").unwrap().one("node"), Some("a=b"));
        assert_eq!(agent("-node=").unwrap().one("node"), Some(""));
    }

    #[test]
    fn a_flag_takes_the_next_word_whatever_it_is() {
        let p = agent("-http-port -1 -node -server").unwrap();
        assert_eq!(p.one("http-port"), Some("-1"));
        assert_eq!(p.one("node"), Some("-server"));
        assert_eq!(p.switch("server"), None);
    }

    #[test]
    fn switches_take_a_value_only_after_equals() {
        assert_eq!(agent("-server").unwrap().switch("server"), Some(true));
        assert_eq!(agent("-server=false").unwrap().switch("server"), Some(false));
        assert_eq!(agent("--server=1").unwrap().switch("server"), Some(true));
        let p = agent("-server false").unwrap();
        assert_eq!((p.switch("server"), p.operands()), (Some(true), vec!["false"]));
        let e = agent("-server=maybe").unwrap_err();
        assert_eq!(e, ParseError::Usage("-server: 'maybe' is not true or false".into()));
    }

    #[test]
    fn repeated_flags_add_up_in_order() {
        let p = agent("-join 1.1.1.1 --join=2.2.2.2 -join=[::1]:8301").unwrap();
        assert_eq!(p.many("join"), ["1.1.1.1", "2.2.2.2", "[::1]:8301"]);
        assert!(p.many("retry-join").is_empty());
        let p = agent("-config-dir=a -config-file=b -config-dir=c").unwrap();
        let files = p.interleaved(&["config-file", "config-dir"]);
        assert_eq!(files, [("config-dir", "a"), ("config-file", "b"), ("config-dir", "c")]);
    }

    #[test]
    fn errors_name_the_flag_and_a_near_one() {
        let usage = |line| agent(line).unwrap_err().to_string();
        assert_eq!(usage("-nod=x"), "unknown flag -nod (did you mean -node?)");
        assert_eq!(usage("-zzzzzz"), "unknown flag -zzzzzz");
        assert_eq!(usage("-node"), "-node needs a value");
        assert_eq!(usage("-bootstrap-expect"), "-bootstrap-expect needs a value");
    }

    #[test]
    fn help_is_asked_for_in_four_ways_but_not_as_a_value() {
        for line in ["-h", "-help", "--help", "-node=x --h"] {
            assert_eq!(agent(line).unwrap_err(), ParseError::Help, "{line}");
        }
        assert_eq!(agent("-node -h").unwrap().one("node"), Some("-h"));
        assert_eq!(agent("-- -h").unwrap().operands(), ["-h"]);
    }

    #[test]
    fn clap_finds_no_fault_with_the_table() {
        clap_program().debug_assert();
    }
}
