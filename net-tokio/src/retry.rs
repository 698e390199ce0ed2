//! Finding the cluster: `start_join` (once, or the agent ends) and `retry_join` (until one
//! answers). Host names are looked up anew in every round.

use std::{future::Future, net::SocketAddr, time::Duration};

use quorate_core::{CommandError, JoinError};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    address::{AddressError, JoinAddr, parse_join_addr},
    agent::Stopped,
    handle::{AgentHandle, RequestError},
};

/// Joins of one round that run at once.
const AT_ONCE: usize = 16;

/// An address to join, as it was given and as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    addr: JoinAddr,
}

impl Target {
    /// Parses an address; without a port it gets the default one.
    ///
    /// # Errors
    /// [`AddressError`] if it is none.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        Ok(Self { text: text.to_owned(), addr: parse_join_addr(text, default_port)? })
    }
}

/// When `retry_join` tries again, and when it gives up.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The pause between two rounds.
    pub interval: Duration,
    /// Rounds at most; 0: no limit.
    pub max: u32,
}

/// Something that can join an address: the agent, or what stands in for it in tests.
pub(crate) trait Join: Clone + Send + Sync + 'static {
    /// Contacts `addr`; how many members it told of.
    fn join(&self, addr: SocketAddr) -> impl Future<Output = Result<usize, RequestError>> + Send;
}

impl Join for AgentHandle {
    async fn join(&self, addr: SocketAddr) -> Result<usize, RequestError> {
        AgentHandle::join(self, addr).await
    }
}

/// What became of each address of a target, or why it has none.
type Contacted = Result<Vec<(SocketAddr, Result<usize, RequestError>)>, AddressError>;

/// What came of one round.
#[derive(Debug, Default)]
struct Round {
    /// Addresses that answered.
    contacted: usize,
    /// One of them was the agent's own.
    met_myself: bool,
    /// The agent is leaving: nothing more to do.
    stopping: bool,
    /// Each target that did not work, and why.
    failures: Vec<(String, String)>,
}

/// Does `start`, then `retry`. Returns why the agent must end, if it must.
pub(crate) async fn run(
    agent: impl Join,
    start: Vec<Target>,
    retry: Vec<Target>,
    policy: RetryPolicy,
) -> Option<Stopped> {
    if !start.is_empty() {
        let r = round(&agent, &start).await;
        if r.stopping {
            return None;
        }
        log_round("start_join", &r);
        if r.contacted == 0 && !r.met_myself {
            return Some(Stopped::StartJoinFailed { failures: r.failures });
        }
    }
    if retry.is_empty() { None } else { retry_rounds(&agent, &retry, policy).await }
}

async fn retry_rounds(
    agent: &impl Join,
    targets: &[Target],
    policy: RetryPolicy,
) -> Option<Stopped> {
    let mut attempts = 0_u32;
    loop {
        let r = round(agent, targets).await;
        if r.stopping {
            return None;
        }
        log_round("retry_join", &r);
        // A lone seed that lists only itself has nobody to wait for.
        if r.contacted > 0 || (r.met_myself && r.failures.is_empty()) {
            return None;
        }
        attempts = attempts.saturating_add(1);
        if policy.max > 0 && attempts >= policy.max {
            if r.met_myself {
                // One of the seeds itself: the others will come to it.
                tracing::warn!("retry_join: no other address answered (rounds: {attempts})");
                return None;
            }
            return Some(Stopped::RetryJoinExhausted { attempts });
        }
        tracing::info!("retry_join: next round in {:?}", policy.interval);
        sleep(policy.interval).await;
    }
}

fn log_round(setting: &str, r: &Round) {
    for (target, why) in &r.failures {
        tracing::warn!("{setting}: {target}: {why}");
    }
    if r.contacted > 0 {
        let es = if r.contacted == 1 { "" } else { "es" };
        tracing::info!("{setting}: joined by contacting {} address{es}", r.contacted);
    }
}

/// Contacts all targets, some at once; a host name counts for each of its addresses.
async fn round(agent: &impl Join, targets: &[Target]) -> Round {
    let mut out = Round::default();
    for some in targets.chunks(AT_ONCE) {
        let mut tasks = JoinSet::new();
        for target in some {
            let (agent, target) = (agent.clone(), target.clone());
            tasks.spawn(async move {
                let results = contact(&agent, &target.addr).await;
                (target.text, results)
            });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((text, results)) => tally(&mut out, &text, results),
                Err(e) => out.failures.push(("(a join)".to_owned(), e.to_string())),
            }
        }
    }
    out.failures.sort();
    out
}

async fn contact(agent: &impl Join, addr: &JoinAddr) -> Contacted {
    let mut results = Vec::new();
    for addr in addr.candidates().await? {
        results.push((addr, agent.join(addr).await));
    }
    Ok(results)
}

fn tally(out: &mut Round, text: &str, results: Contacted) {
    let results = match results {
        Ok(r) => r,
        Err(e) => return out.failures.push((text.to_owned(), e.to_string())),
    };
    for (addr, result) in results {
        match result {
            Ok(_) => out.contacted += 1,
            Err(RequestError::Join(JoinError::Myself)) => out.met_myself = true,
            Err(
                RequestError::Stopped
                | RequestError::Command(CommandError::Leaving)
                | RequestError::Join(JoinError::Leaving),
            ) => out.stopping = true,
            Err(e) => {
                let addr = addr.to_string();
                let why = if addr == text { e.to_string() } else { format!("{addr}: {e}") };
                out.failures.push((text.to_owned(), why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::StreamError;
    use std::sync::{Arc, Mutex};

    /// Port 1 is the agent itself, port 2 answers from the third call on, others refuse.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Vec<u16>>>);

    impl Fake {
        fn calls(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Join for Fake {
        async fn join(&self, addr: SocketAddr) -> Result<usize, RequestError> {
            let mut calls = self.0.lock().unwrap();
            calls.push(addr.port());
            match addr.port() {
                1 => Err(JoinError::Myself.into()),
                2 if calls.len() > 2 => Ok(3),
                3 => Err(RequestError::Stopped),
                _ => Err(JoinError::Stream(StreamError::Refused).into()),
            }
        }
    }

    fn targets(ports: &[u16]) -> Vec<Target> {
        ports.iter().map(|p| Target::parse(&format!("127.0.0.1:{p}"), 8301).unwrap()).collect()
    }

    fn policy(max: u32) -> RetryPolicy {
        RetryPolicy { interval: Duration::from_millis(1), max }
    }

    #[tokio::test]
    async fn start_join_needs_one_answer() {
        let fake = Fake::default();
        let ended = run(fake.clone(), targets(&[8, 9]), vec![], policy(0)).await;
        let why = "connection refused".to_owned();
        let failures =
            vec![("127.0.0.1:8".to_owned(), why.clone()), ("127.0.0.1:9".to_owned(), why)];
        assert_eq!(ended, Some(Stopped::StartJoinFailed { failures }));
        // The third call answers: one of three is enough.
        assert_eq!(run(fake, targets(&[8, 2, 9]), vec![], policy(0)).await, None);
    }

    #[tokio::test]
    async fn retry_join_goes_on_until_one_answers() {
        let fake = Fake::default();
        assert_eq!(run(fake.clone(), vec![], targets(&[2]), policy(0)).await, None);
        assert_eq!(fake.calls(), 3);
    }

    #[tokio::test]
    async fn retry_join_gives_up_at_its_limit() {
        let fake = Fake::default();
        let ended = run(fake.clone(), vec![], targets(&[9]), policy(4)).await;
        assert_eq!(ended, Some(Stopped::RetryJoinExhausted { attempts: 4 }));
        assert_eq!(fake.calls(), 4);
    }

    #[tokio::test]
    async fn a_seed_that_lists_itself_neither_spins_nor_ends() {
        let fake = Fake::default();
        assert_eq!(run(fake.clone(), targets(&[1]), targets(&[1]), policy(0)).await, None);
        assert_eq!(fake.calls(), 2);
        // With others listed it tries them, but its own limit does not end it.
        assert_eq!(run(fake.clone(), vec![], targets(&[1, 9]), policy(3)).await, None);
        assert_eq!(fake.calls(), 2 + 6);
    }

    #[tokio::test]
    async fn a_leaving_agent_joins_nobody() {
        let fake = Fake::default();
        assert_eq!(run(fake, targets(&[3]), targets(&[9]), policy(1)).await, None);
    }
}
