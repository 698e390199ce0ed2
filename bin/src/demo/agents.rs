//! The demo's child processes, their folder, and their end.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{DemoError, place::Place};
use crate::cli::table::UNTIL_STDIN_ENDS;

/// Children that have not ended by then are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Running agents in a folder of their own. Dropping them ends them.
pub(super) struct Agents {
    program: PathBuf,
    folder: PathBuf,
    children: Vec<Child>,
}

impl Agents {
    /// Starts one agent per place.
    ///
    /// # Errors
    /// [`DemoError::System`]; those that were started end.
    pub(super) fn start(places: &[Place]) -> Result<Self, DemoError> {
        let system = |what| move |cause| DemoError::System { what, cause };
        let program =
            std::env::current_exe().map_err(system("this program cannot be found on disk"))?;
        let folder = new_folder().map_err(system("no folder for the agents can be made"))?;
        let mut agents = Self { program, folder, children: Vec::new() };
        for (i, place) in places.iter().enumerate() {
            let child = agents.spawn(place, i == 0).map_err(system("an agent cannot start"));
            match child {
                Ok(child) => agents.children.push(child),
                Err(e) => {
                    let _ = fs::remove_dir_all(&agents.folder);
                    return Err(e);
                }
            }
        }
        Ok(agents)
    }

    fn spawn(&self, place: &Place, is_first: bool) -> std::io::Result<Child> {
        let log = File::create(self.log_path(&place.name))?;
        let mut command = Command::new(&self.program);
        command
            .arg("agent")
            .arg(format!("-node={}", place.name))
            .arg(format!("-bind={}", place.gossip.ip()))
            .arg(format!("-serf-lan-port={}", place.gossip.port()))
            .arg(format!("-client={}", place.http.ip()))
            .arg(format!("-http-port={}", place.http.port()))
            .arg(format!("-dns-port={}", place.dns.port()))
            .arg(format!("-data-dir={}", self.folder.join(&place.name).display()))
            .arg(format!("-{UNTIL_STDIN_ENDS}"));
        if is_first {
            command.args(["-server", "-bootstrap-expect=1"]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for the demo, which ends its children itself.
            .process_group(0)
            .spawn()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The program, as it can be typed.
    pub(super) fn program(&self) -> String {
        self.program.display().to_string()
    }

    /// The folder of logs and data.
    pub(super) fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    /// The log of the agent with this index.
    pub(super) fn log(&self, i: usize) -> String {
        self.log_path(&format!("demo-{}", i + 1)).display().to_string()
    }

    /// Its process id.
    pub(super) fn pid(&self, i: usize) -> u32 {
        self.children.get(i).map_or(0, Child::id)
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self, i: usize) -> Option<String> {
        let status = self.children.get_mut(i)?.try_wait().ok()??;
        Some(format!("has ended ({status})"))
    }

    /// Ends all, and removes the folder unless its logs are still wanted.
    pub(super) async fn stop(mut self, keep_folder: bool) {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        let all_ended = async {
            for child in &mut self.children {
                while matches!(child.try_wait(), Ok(None)) {
                    sleep(Duration::from_millis(10)).await;
                }
            }
        };
        if timeout(STOP_TIMEOUT, all_ended).await.is_err() {
            kill(&mut self.children);
        }
        if !keep_folder {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        kill(&mut self.children);
    }
}

/// Kills and reaps those that still run: only ours, by their handles.
fn kill(children: &mut [Child]) {
    for child in children {
        if matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A new folder with a name that nobody can guess.
fn new_folder() -> std::io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let name = format!("quorate-demo-{:016x}", u64::from_le_bytes(random));
    let folder = Path::new(&std::env::temp_dir()).join(name);
    fs::create_dir(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_ends_the_children() {
        let folder = new_folder().unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        assert!(rustix::process::test_kill_process(pid).is_ok());
        drop(Agents { program: "x".into(), folder: folder.clone(), children: vec![child] });
        assert!(rustix::process::test_kill_process(pid).is_err());
        fs::remove_dir(folder).unwrap();
    }
}
