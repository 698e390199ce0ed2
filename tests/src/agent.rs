//! Agents and commands: one line each in a test.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use hickory_proto::rr::RecordType;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    binary, dns, http,
    place::Place,
    process::{Line, Output, Process},
    wait::until,
};

/// An agent answers within this after its start, on a machine that does much else.
pub const READY: Duration = Duration::from_secs(30);
/// No command takes longer.
pub const COMMAND: Duration = Duration::from_secs(90);

/// The world of one test: a place and a folder.
#[derive(Debug)]
pub struct Lab {
    /// Where it runs.
    pub place: Place,
    folder: TempDir,
}

/// The lab of the test this is written in; `None` if there is nothing (more) to do.
#[macro_export]
macro_rules! lab {
    () => {{
        fn here() {}
        $crate::Lab::open(std::any::type_name_of_val(&here))
    }};
}

impl Lab {
    /// See [`lab!`](crate::lab).
    ///
    /// # Panics
    /// If the test failed in its namespaces, or there is no temporary folder.
    pub fn open(marker: &str) -> Option<Self> {
        let place = crate::place::enter(marker)?;
        Some(Self { place, folder: tempfile::tempdir().expect("a temporary folder") })
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the test's folder.
    ///
    /// # Panics
    /// If that does not work.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file in the test's folder");
        path
    }

    /// A client agent with its own data directory. A later one of the same name has the same.
    pub fn agent(&self, name: &str, ip: &str) -> Spec {
        let ip = ip.parse().expect("an IP");
        let data = self.path(&format!("data-{name}"));
        Spec { name: name.to_owned(), ip, data, args: Vec::new() }
    }
}

/// An agent to be started.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    ip: Ipv4Addr,
    data: PathBuf,
    args: Vec<String>,
}

impl Spec {
    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A server on its own.
    pub fn server(self) -> Self {
        self.arg("-server").arg("-bootstrap-expect=1")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it with exactly these words, for tests that are about the words themselves.
    pub fn spawn_words(&self, words: &[&str]) -> Agent {
        let process = Process::start(binary::path(), words);
        Agent { name: self.name.clone(), ip: self.ip, process }
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Agent {
        let mut args = vec![
            "agent".to_owned(),
            format!("-node={}", self.name),
            format!("-bind={}", self.ip),
            format!("-client={}", self.ip),
            format!("-data-dir={}", self.data.display()),
            // A test that is killed must not leave agents behind.
            "-until-stdin-ends".to_owned(),
        ];
        args.extend(self.args.iter().cloned());
        let process = Process::start(binary::path(), &args);
        Agent { name: self.name.clone(), ip: self.ip, process }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(&self) -> Agent {
        let mut agent = self.spawn();
        agent.ready();
        agent
    }
}

/// An agent's process.
#[derive(Debug)]
pub struct Agent {
    /// The node's name.
    pub name: String,
    /// Its one address.
    pub ip: Ipv4Addr,
    /// The process with its log.
    pub process: Process,
}

impl Agent {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }

    /// Gossip, UDP and TCP.
    pub fn gossip(&self) -> SocketAddr {
        self.at(8301)
    }

    /// HTTP.
    pub fn http(&self) -> SocketAddr {
        self.at(8500)
    }

    /// DNS, UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        self.at(8600)
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// If it ends or does not answer in time, with its last lines.
    pub fn ready(&mut self) {
        let what = format!("{} answers", self.name);
        until(&what, READY, || {
            if let Some(status) = self.process.ended() {
                panic!("{} has ended ({status}):\n{}", self.name, self.process.tail());
            }
            match http::request(self.http(), "GET", "/v1/agent/self") {
                Ok(r) if r.status == 200 => Ok(()),
                Ok(r) => Err(format!("{}: {}\n{}", r.status, r.body, self.process.tail())),
                Err(e) => Err(format!("{e}\n{}", self.process.tail())),
            }
        });
    }

    /// A `GET`.
    ///
    /// # Panics
    /// Without an answer.
    pub fn get(&self, path: &str) -> http::Reply {
        self.request("GET", path)
    }

    /// A `PUT`.
    ///
    /// # Panics
    /// Without an answer.
    pub fn put(&self, path: &str) -> http::Reply {
        self.request("PUT", path)
    }

    /// A request of any method.
    ///
    /// # Panics
    /// Without an answer.
    pub fn request(&self, method: &str, path: &str) -> http::Reply {
        http::request(self.http(), method, path).unwrap_or_else(|e| {
            panic!("{method} {path} at {}: {e}\n{}", self.name, self.process.tail())
        })
    }

    /// Waits until it answers a path with exactly this.
    ///
    /// # Panics
    /// After `within`.
    pub fn says(&self, path: &str, body: &str, within: Duration) {
        until(&format!("{}: {path} is {body}", self.name), within, || {
            let said = self.get(path).body;
            if said == body { Ok(()) } else { Err(format!("{said}\n{}", self.tail())) }
        });
    }

    /// Runs a command against this agent.
    pub fn run(&self, words: &[&str]) -> Output {
        let addr = format!("-http-addr={}", self.http());
        let mut all = vec![words[0], &addr];
        all.extend(&words[1..]);
        quorate(&all)
    }

    /// Name and status of all members as this agent sees them, by name.
    ///
    /// # Panics
    /// Without an answer.
    pub fn members(&self) -> Vec<(String, String)> {
        members_of(&self.get("/v1/agent/members").json())
    }

    /// Waits until this agent sees exactly these members; how long that took.
    ///
    /// # Panics
    /// After `within`.
    pub fn sees(&self, wanted: &[(&str, &str)], within: Duration) -> Duration {
        let mut wanted: Vec<(String, String)> =
            wanted.iter().map(|(n, s)| ((*n).to_owned(), (*s).to_owned())).collect();
        wanted.sort();
        let what = format!("{} sees {wanted:?}", self.name);
        until(&what, within, || {
            let members = self.members();
            if members == wanted { Ok(()) } else { Err(format!("{members:?}\n{}", self.tail())) }
        })
        .1
    }

    /// Asks its DNS over UDP.
    ///
    /// # Panics
    /// Without an answer.
    pub fn dig(&self, name: &str, kind: RecordType) -> dns::Answer {
        dns::udp(self.dns(), &dns::question(name, kind, None))
            .unwrap_or_else(|e| panic!("{name} {kind} at {}: {e}\n{}", self.name, self.tail()))
    }

    /// A counter or gauge without labels of `agent/metrics`, without the prefix.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/v1/agent/metrics").json();
        let full = format!("quorate.{name}");
        let of = |list: &str, field: &str| {
            let found = metrics[list].as_array()?.iter().find(|m| m["Name"] == full.as_str())?;
            found[field].as_u64()
        };
        of("Counters", "Count")
            .or_else(|| of("Gauges", "Value"))
            .unwrap_or_else(|| panic!("no metric {full}: {metrics}"))
    }

    /// Ctrl-C.
    pub fn interrupt(&mut self) {
        self.process.signal(Signal::INT);
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits for a log line that contains `part`.
    ///
    /// # Panics
    /// After `within`.
    pub fn line(&self, part: &str, within: Duration) -> Line {
        self.process.line(part, within)
    }

    /// Its last lines.
    pub fn tail(&self) -> String {
        self.process.tail()
    }
}

/// Name and status of the members in an answer of `agent/members`, by name.
pub fn members_of(json: &Value) -> Vec<(String, String)> {
    let status = |m: &Value| match m["Status"].as_u64() {
        Some(1) => "alive".to_owned(),
        Some(2) => "leaving".to_owned(),
        Some(3) => "left".to_owned(),
        Some(4) => "failed".to_owned(),
        _ => m["Status"].to_string(),
    };
    let all = json.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out: Vec<_> =
        all.iter().map(|m| (m["Name"].as_str().unwrap_or_default().into(), status(m))).collect();
    out.sort();
    out
}

/// Runs a command to its end.
pub fn quorate(words: &[&str]) -> Output {
    Process::start(binary::path(), words).finish(COMMAND)
}
