//! `demo`: three real agents on this machine, children of this process, joined into a cluster,
//! with a live table of their members.
//!
//! Invariant: no child outlives the demo, however it ends: children run until their standard
//! input ends, and only this process holds the other end.

mod agents;
mod place;
mod screen;

use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use hyper::Method;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    cli::{self, parse::Parsed},
    client::{self, HttpError, Member, MembersError},
    text,
};
use agents::Agents;
use place::{Place, places};
use screen::Screen;

/// Agents must answer within this after their start.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the table is looked at.
const REFRESH: Duration = Duration::from_millis(500);

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// The system refused something.
    #[error("{what}: {cause}")]
    System { what: &'static str, cause: std::io::Error },
    /// An agent ended or does not answer.
    #[error("{name} {what}; its log is in {log}")]
    Agent { name: String, what: String, log: String },
    /// A join did not work.
    #[error("{name} could not join the cluster: {cause}; the logs are in {logs}")]
    Join { name: String, cause: HttpError, logs: String },
    /// The time of `-for` was over first.
    #[error("the cluster did not form in the time given; the logs are in {0}")]
    NotFormed(String),
    /// Ctrl-C before the cluster was there.
    #[error("interrupted")]
    Interrupted,
}

/// Runs the demo.
pub(crate) fn command(p: &Parsed) -> ExitCode {
    let limit = match p.one("for").map(text::duration).transpose() {
        Ok(limit) => limit,
        Err(e) => return cli::fail(&format!("Error: -for needs {e}")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return cli::fail(&format!("Error: the system gives no event loop: {e}")),
    };
    match runtime.block_on(run(limit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => cli::fail(&format!("Error: {e}")),
    }
}

/// Resolves when somebody wants the demo to end.
async fn asked_to_end() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

async fn run(limit: Option<Duration>) -> Result<(), DemoError> {
    let started = Instant::now();
    let over = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let end = asked_to_end();
    tokio::pin!(over, end);
    let places = places().map_err(|cause| DemoError::System { what: "no free ports", cause })?;
    let mut agents = Agents::start(&places)?;
    let formed = tokio::select! {
        biased;
        _ = &mut end => Err(DemoError::Interrupted),
        () = &mut over => Err(DemoError::NotFormed(agents.folder())),
        formed = form(&mut agents, &places) => formed,
    };
    if let Err(e) = formed {
        // The logs stay: the message names them.
        agents.stop(!matches!(e, DemoError::Interrupted)).await;
        return Err(e);
    }
    let mut screen = Screen::new();
    screen.say(&what_to_try(&agents, &places));
    let mut all_alive = None;
    tokio::select! {
        biased;
        _ = &mut end => {}
        () = &mut over => {}
        () = watch(&mut agents, &places, &mut screen, &mut all_alive, started) => {}
    }
    let formed = all_alive.is_some() || limit.is_none();
    screen.say("\nEnding all agents ...\n");
    let folder = agents.folder();
    agents.stop(!formed).await;
    if formed { Ok(()) } else { Err(DemoError::NotFormed(folder)) }
}

/// Waits until all answer, then joins the others to the first.
async fn form(agents: &mut Agents, places: &[Place]) -> Result<(), DemoError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    for (i, place) in places.iter().enumerate() {
        while place.client().members().await.is_err() {
            let ended = agents.ended(i);
            if ended.is_some() || Instant::now() > deadline {
                return Err(DemoError::Agent {
                    name: place.name.clone(),
                    what: ended.unwrap_or_else(|| "does not answer".into()),
                    log: agents.log(i),
                });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    let Some((first, others)) = places.split_first() else { return Ok(()) };
    for place in others {
        let path = format!("/v1/agent/join/{}", client::escape(&first.gossip.to_string()));
        place.client().send(Method::PUT, &path, READY_TIMEOUT).await.map_err(|cause| {
            DemoError::Join { name: place.name.clone(), cause, logs: agents.folder() }
        })?;
    }
    Ok(())
}

/// The member list of the first agent that answers.
async fn members(places: &[Place]) -> Result<(String, Vec<Member>), MembersError> {
    let mut last = None;
    for place in places {
        match place.client().members().await {
            Ok(members) => return Ok((place.name.clone(), members)),
            Err(e) => last = Some(e),
        }
    }
    let nobody = || MembersError::Http(HttpError::Body("no agent is left".into()));
    Err(last.unwrap_or_else(nobody))
}

/// Draws the table until somebody ends it. `all_alive` is set at the first full table.
async fn watch(
    agents: &mut Agents,
    places: &[Place],
    screen: &mut Screen,
    all_alive: &mut Option<Duration>,
    started: Instant,
) {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut table = match members(places).await {
            Ok((from, members)) => {
                let alive = members.iter().filter(|m| m.status() == "alive").count();
                if alive == places.len() {
                    all_alive.get_or_insert_with(|| started.elapsed());
                }
                format!("Members as {from} sees them:\n{}", client::summary(&members))
            }
            Err(e) => format!("No agent answers: {e}\n"),
        };
        if let Some(took) = all_alive {
            let ms = took.as_millis();
            let _ = writeln!(table, "All {} were alive {ms} ms after the start.", places.len());
        }
        for (i, place) in places.iter().enumerate() {
            if let Some(what) = agents.ended(i) {
                let _ = writeln!(table, "{} {what}.", place.name);
            }
        }
        screen.table(&table);
    }
}

/// What to type in another terminal.
fn what_to_try(agents: &Agents, places: &[Place]) -> String {
    let me = agents.program();
    let mut out = String::from("Three agents are running:\n");
    for (i, p) in places.iter().enumerate() {
        let pid = agents.pid(i);
        let _ = writeln!(
            out,
            "  {}  pid {pid}  gossip {}  HTTP {}  DNS {}",
            p.name, p.gossip, p.http, p.dns
        );
    }
    if let [first, .., last] = places {
        let (ip, port) = (first.dns.ip(), first.dns.port());
        let _ = write!(
            out,
            "\nTo try in another terminal:\n  \
             {me} members -http-addr={http}\n  \
             dig @{ip} -p {port} {name}.node.consul\n  \
             curl http://{http}/v1/catalog/nodes?pretty\n  \
             kill -9 {pid}    # {name} fails, and the others notice\n\n\
             Logs are in {folder} until the end. Ctrl-C ends all.\n\n",
            http = first.http,
            name = last.name,
            pid = agents.pid(places.len() - 1),
            folder = agents.folder(),
        );
    }
    out
}
