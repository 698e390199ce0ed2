//! A child process with every line it prints, and when it came.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line, without its end.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// Where it came from.
    pub source: Source,
    /// What it says.
    pub text: String,
}

/// How a command ended and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Log {
    lines: Vec<Line>,
    /// Streams that are still open.
    open: usize,
}

type SharedLog = Arc<(Mutex<Log>, Condvar)>;

/// A running (or ended) child. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    /// Open for as long as the child is wanted.
    stdin: Option<ChildStdin>,
    log: SharedLog,
    status: Option<ExitStatus>,
}

fn locked(log: &SharedLog) -> MutexGuard<'_, Log> {
    log.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows one stream to its end on a thread of its own.
fn follow(stream: impl Read + Send + 'static, source: Source, log: &SharedLog) {
    locked(log).open += 1;
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
            locked(&log).lines.push(Line { at: Instant::now(), source, text });
            log.1.notify_all();
            bytes.clear();
        }
        locked(&log).open -= 1;
        log.1.notify_all();
    });
}

impl Process {
    /// Starts `program`, with the agent's address variables taken out of its environment.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(program: &Path, args: &[impl AsRef<OsStr>]) -> Self {
        let words: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let what = format!("{} {}", program.display(), words.join(" "));
        let mut command = Command::new(program);
        for name in ["CONSUL_HTTP_ADDR", "QUORATE_HTTP_ADDR", "CONSUL_HTTP_TOKEN"] {
            command.env_remove(name);
        }
        let child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{what} does not start: {e}"));
        let log = SharedLog::default();
        if let Some(out) = child.stdout.take() {
            follow(out, Source::Stdout, &log);
        }
        if let Some(err) = child.stderr.take() {
            follow(err, Source::Stderr, &log);
        }
        Self { what, stdin: child.stdin.take(), child, log, status: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&mut self, signal: Signal) {
        // The child is not reaped by anybody else, so the id is still its own.
        if self.ended().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    /// Its exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for its end and the end of its output; the exit code (`None`: by a signal).
    ///
    /// # Panics
    /// After `within`, with the last lines.
    pub fn wait(&mut self, within: Duration) -> Option<i32> {
        let what = format!("the end of {}", self.what);
        let (status, _) =
            until(&what, within, || self.ended().ok_or_else(|| format!("\n{}", self.tail())));
        let deadline = Instant::now() + within;
        let mut log = locked(&self.log);
        while log.open > 0 && Instant::now() < deadline {
            let waited = self.log.1.wait_timeout(log, Duration::from_millis(50));
            log = waited.map_or_else(|e| e.into_inner().0, |w| w.0);
        }
        status.code()
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// All lines so far, in the order in which they came.
    pub fn lines(&self) -> Vec<Line> {
        locked(&self.log).lines.clone()
    }

    /// All lines so far that contain `part`.
    pub fn lines_with(&self, part: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|l| l.text.contains(part)).collect()
    }

    /// What it has printed on one stream.
    pub fn text(&self, source: Source) -> String {
        let lines = self.lines().into_iter().filter(|l| l.source == source);
        lines.map(|l| l.text + "\n").collect()
    }

    /// Waits for a line that contains `part`.
    ///
    /// # Panics
    /// After `within`, with the last lines.
    pub fn line(&self, part: &str, within: Duration) -> Line {
        self.line_after(0, part, within)
    }

    /// Waits for a line that contains `part` and is not among the first `skip` lines.
    ///
    /// # Panics
    /// After `within`, with the last lines.
    pub fn line_after(&self, skip: usize, part: &str, within: Duration) -> Line {
        let deadline = Instant::now() + within;
        let mut log = locked(&self.log);
        loop {
            if let Some(line) = log.lines.iter().skip(skip).find(|l| l.text.contains(part)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || log.open == 0 {
                drop(log);
                panic!("no line '{part}' within {within:?} from {}:\n{}", self.what, self.tail());
            }
            let waited = self.log.1.wait_timeout(log, left.min(Duration::from_millis(100)));
            log = waited.map_or_else(|e| e.into_inner().0, |w| w.0);
        }
    }

    /// The last lines, for messages.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(40);
        lines[from..].iter().map(|l| format!("    | {}\n", l.text)).collect()
    }

    /// Waits for its end; all it printed.
    ///
    /// # Panics
    /// After `within`.
    pub fn finish(mut self, within: Duration) -> Output {
        self.close_stdin();
        let code = self.wait(within);
        Output { code, stdout: self.text(Source::Stdout), stderr: self.text(Source::Stderr) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Does a process with this id exist? One that has ended but was not reaped yet does not.
pub fn exists(pid: u32) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    if rustix::process::test_kill_process(id).is_err() {
        return false;
    }
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // `pid (name) state ...`; the name may have any character in it.
        Ok(stat) => !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        // No /proc: then whoever has a zombie in the way sees it as running.
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

/// Resident memory of a process in KiB, where the system tells.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
