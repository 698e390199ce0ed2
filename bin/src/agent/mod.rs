//! `agent`: from flags and files to a running agent, and its end.
//!
//! Exit codes: 0 after a leave (by command, or by a signal that leaves), 1 for a start that was
//! refused, a signal that does not leave, a second signal, or an agent that ended by itself.

mod log;
mod pid_file;
mod reload;
mod run;

use std::{path::Path, process::ExitCode, sync::Arc};

use crate::{
    cli::{
        self,
        parse::Parsed,
        table::{Takes, UNTIL_STDIN_ENDS, WITHOUT_EFFECT},
    },
    config::{
        ConfigError,
        addr::Host,
        plan::{Mode, Plan},
        settings::Settings,
    },
};
use pid_file::PidFile;

/// Flags of a service that no longer exists.
const ATLAS: [&str; 4] = ["atlas", "atlas-join", "atlas-token", "atlas-endpoint"];
const ATLAS_IS_GONE: &str = "-atlas flags are accepted, but the Atlas service no longer exists and \
                             nothing is joined through it: use -join or -retry-join";

/// Runs an agent until it ends.
pub(crate) fn command(p: &Parsed) -> ExitCode {
    // Also what is read again later is understood for the host as it was at the start.
    let host = Host::current();
    let plan = match plan(p, &host) {
        Ok(plan) => plan,
        Err(e) => return refuse(&e.to_string()),
    };
    let sink = match log::init(&plan.log) {
        Ok(sink) => sink,
        Err(e) => {
            let path = plan.log.file.as_deref().unwrap_or(Path::new("")).display();
            return refuse(&format!("log_file {path} cannot be opened: {e}"));
        }
    };
    // Removed when this function returns, whatever the way.
    let _pid_file = match plan.pid_file.as_deref().map(PidFile::create).transpose() {
        Ok(file) => file,
        Err(e) => return refuse(&e.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Host names and the disk: never many at once.
        .max_blocking_threads(4)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return refuse(&format!("the system gives no event loop: {e}")),
    };
    let until_stdin_ends = p.switch(UNTIL_STDIN_ENDS) == Some(true);
    let words = p.clone();
    let replan = Arc::new(move || self::plan(&words, &host));
    let code = runtime.block_on(run::run(plan, sink, replan, until_stdin_ends));
    // A look-up that still hangs in the system must not keep the process.
    runtime.shutdown_background();
    code
}

/// Prints why the agent does not start; exit code 1.
fn refuse(why: &str) -> ExitCode {
    cli::fail(&format!("==> {why}"))
}

/// What flags and files say, understood for this host.
fn plan(p: &Parsed, host: &Host) -> Result<Plan, ConfigError> {
    if p.has("hcl") {
        return Err(ConfigError::HclFlag);
    }
    if !p.operands().is_empty() {
        return Err(ConfigError::ExtraArguments(p.operands().join(" ")));
    }
    let mut settings = Settings::default();
    for (flag, path) in p.interleaved(&["config-file", "config-dir"]) {
        let path = Path::new(path);
        match flag {
            "config-dir" => settings.add_folder(path)?,
            _ => settings.add_path(path)?,
        }
    }
    for flag in p.spec.flags() {
        let Some(key) = flag.key else { continue };
        match flag.takes {
            Takes::Switch => {
                if let Some(on) = p.switch(flag.name) {
                    settings.add_flag(flag.name, key, if on { "true" } else { "false" })?;
                }
            }
            Takes::One(_) | Takes::Many(_) => {
                for value in p.many(flag.name) {
                    settings.add_flag(flag.name, key, value)?;
                }
            }
        }
    }
    let mode = if p.switch("dev") == Some(true) { Mode::Dev } else { Mode::Normal };
    let mut plan = Plan::new(mode, settings, host)?;
    if ATLAS.into_iter().any(|f| p.has(f)) {
        // Scripts that still name it must start, and their owners must know.
        plan.warnings.push(ATLAS_IS_GONE.to_owned());
    }
    let idle = WITHOUT_EFFECT.iter().filter(|f| p.has(f.name));
    let idle: Vec<String> = idle.map(|f| format!("-{}", f.name)).collect();
    if !idle.is_empty() {
        plan.warnings.push(format!("accepted, but without effect here: {}", idle.join(", ")));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{parse::parse, table::find};

    fn planned(line: &str) -> Result<Plan, ConfigError> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        let host = Host {
            name: "here".into(),
            addrs: vec![("eth0".into(), [10, 0, 0, 9].into())],
            outbound: None,
        };
        plan(&parse(find("agent").unwrap(), &words).unwrap(), &host)
    }

    #[test]
    fn the_tutorials_lines_work() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("web.json"), r#"{"service": {"name": "web"}}"#).unwrap();
        let plan = planned(&format!(
            "-server -bootstrap-expect 1 -data-dir /tmp/consul -node=agent-one \
             -bind=172.20.20.10 -config-dir {}",
            dir.path().display()
        ))
        .unwrap();
        assert_eq!(plan.name.as_str(), "agent-one");
        assert_eq!(plan.bind.to_string(), "172.20.20.10:8301");
        assert_eq!(plan.advertise, plan.bind);
        assert!(plan.role.is_server());
        assert_eq!(plan.warnings, ["accepted, but without effect here: service"]);
    }

    #[test]
    fn flags_win_over_files_and_files_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let b = file("b.json", r#"{"node_name": "b", "domain": "b", "retry_join": ["10.0.0.2"]}"#);
        let a = file("a.json", r#"{"node_name": "a", "log_level": "warn"}"#);
        let line = format!(
            "-config-file={b} -config-file={a} -data-dir=/d -domain=flag. \
                     -retry-join=10.0.0.3"
        );
        let plan = planned(&line).unwrap();
        assert_eq!((plan.name.as_str(), plan.domain.as_str()), ("a", "flag"));
        assert_eq!(plan.retry_join, ["10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn the_atlas_flags_start_an_agent_that_says_what_became_of_atlas() {
        let line = "-data-dir=/d -atlas-join -atlas=me/infrastructure -atlas-token=x";
        assert_eq!(planned(line).unwrap().warnings, [ATLAS_IS_GONE]);
    }

    #[test]
    fn flags_without_effect_start_an_agent_that_says_so() {
        let line =
            "-data-dir=/d -advertise-wan 10.0.0.9 -retry-join-wan=a -retry-join-wan=b -syslog";
        let said = "accepted, but without effect here: -advertise-wan, -retry-join-wan, -syslog";
        assert_eq!(planned(line).unwrap().warnings, [said]);
        for kept_out in ["serf-lan-allowed-cidrs", "allow-write-http-from"] {
            let words = [format!("-{kept_out}=10.0.0.0/8")];
            assert!(parse(find("agent").unwrap(), &words).is_err(), "{kept_out}");
        }
    }

    #[test]
    fn flags_that_cannot_be_honoured_are_refused() {
        let e = |line| planned(line).unwrap_err().to_string();
        assert!(e("-data-dir=/d -hcl x=1").contains("-hcl"));
        assert!(e("-data-dir=/d a b").contains("unexpected arguments: a b"));
        assert!(e("-data-dir=/d -server false").contains("unexpected arguments: false"));
    }
}
