//! User events and queries as applications meet them: filters, the list of the last events, and
//! the answer to `ping`.
//!
//! An event's filters travel in its payload and each receiver applies them to itself, as Consul
//! has it: who fires knows nothing of who listens.

mod filter;
mod log;

use std::{collections::BTreeMap, time::Duration};

use quorate_core::{
    Command, CommandOutcome, EventId, Instant, Node, NodeId, QueryFilter, UserEvent,
};
use tokio::sync::oneshot;

pub use filter::{FilterError, Filters};
pub use log::{Blocking, EventLog, FiredEvent};

use crate::handle::RequestError;
use filter::Wrapped;

/// The query that every agent answers by itself: with its name and the version of its build.
pub const PING: &str = "ping";

/// One answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryAnswer {
    /// Who answered.
    pub from: NodeId,
    /// What it said.
    pub payload: Vec<u8>,
}

/// What became of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOutcome {
    /// The answers, in the order in which they came.
    pub answers: Vec<QueryAnswer>,
    /// Members that heard it.
    pub acks: usize,
    /// Members that were asked.
    pub expected: usize,
}

/// Who waits for an event that is to be fired.
pub(crate) type FireReply = oneshot::Sender<Result<FiredEvent, RequestError>>;
/// Who waits for answers.
pub(crate) type QueryReply = oneshot::Sender<Result<QueryOutcome, RequestError>>;

/// The driver's part: queries under way, and where events go.
#[derive(Debug)]
pub(crate) struct Talk {
    log: std::sync::Arc<EventLog>,
    queries: BTreeMap<EventId, (QueryOutcome, QueryReply)>,
}

impl Talk {
    pub(crate) fn new(log: std::sync::Arc<EventLog>) -> Self {
        Self { log, queries: BTreeMap::new() }
    }

    /// Fires an event; the reply has it as it went out.
    pub(crate) fn fire(
        node: &mut Node,
        now: Instant,
        (name, payload, filters): (String, Vec<u8>, Filters),
        reply: FireReply,
    ) {
        let wrapped = Wrapped::new(&filters, payload.clone());
        let command = Command::UserEvent { name: name.clone(), payload: wrapped.encode() };
        // A receiver that is gone does not want the answer any more.
        drop(reply.send(match node.command(now, command) {
            Ok(CommandOutcome::Fired { id, time }) => {
                Ok(FiredEvent { id, name, payload, filters, version: Wrapped::VERSION, time })
            }
            Ok(_) => Err(RequestError::Stopped),
            Err(e) => Err(e.into()),
        }));
    }

    /// Asks all members; the reply comes when the query is over.
    pub(crate) fn ask(
        &mut self,
        node: &mut Node,
        now: Instant,
        (name, payload, timeout): (String, Vec<u8>, Option<Duration>),
        reply: QueryReply,
    ) {
        let ms = timeout.map_or(0, |t| u32::try_from(t.as_millis()).unwrap_or(u32::MAX).max(1));
        let filter = QueryFilter::default();
        let command = Command::Query { name, payload, filter, ack: true, timeout_ms: ms };
        match node.command(now, command) {
            Ok(CommandOutcome::Fired { id, .. }) => {
                self.queries.insert(id, (QueryOutcome::default(), reply));
            }
            Ok(_) => drop(reply.send(Err(RequestError::Stopped))),
            Err(e) => drop(reply.send(Err(e.into()))),
        }
    }

    /// What the node told of events and queries; nothing for other events.
    pub(crate) fn on_event(&mut self, node: &mut Node, now: Instant, event: quorate_core::Event) {
        use quorate_core::Event;
        match event {
            Event::User { event } => self.log_event(node, &event),
            Event::QueryReceived { query } if &*query.name == PING => {
                let local = node.local().record;
                let build = local.tags.get("build").unwrap_or_default();
                let payload = format!("{} {build}", local.name).into_bytes();
                // Too late, or asked twice: then nobody waits for it.
                let _ = node.command(now, Command::Answer { id: query.id, payload });
            }
            Event::QueryReceived { query } => {
                tracing::debug!(
                    "query {} ({}) has no answer here",
                    query.name.escape_debug(),
                    query.id
                );
            }
            Event::QueryAnswer { id, from, payload } => {
                if let Some((outcome, _)) = self.queries.get_mut(&id) {
                    outcome.answers.push(QueryAnswer { from, payload });
                }
            }
            Event::QueryDone { id, acks, expected, .. } => {
                if let Some((mut outcome, reply)) = self.queries.remove(&id) {
                    (outcome.acks, outcome.expected) = (acks, expected);
                    let _ = reply.send(Ok(outcome));
                }
            }
            Event::Lost { .. } => self.recover(node),
            _ => {}
        }
    }

    /// Events of the node are missing: what it still remembers is told now, and queries end with
    /// what came, for their end may be among what is lost.
    fn recover(&mut self, node: &Node) {
        for (event, told) in node.recent_events() {
            if told && self.log.lacks(event) {
                self.log_event(node, event);
            }
        }
        for (_, (outcome, reply)) in std::mem::take(&mut self.queries) {
            let _ = reply.send(Ok(outcome));
        }
    }

    fn log_event(&self, node: &Node, event: &UserEvent) {
        let name = event.name.escape_debug();
        let Some(wrapped) = Wrapped::decode(&event.payload) else {
            tracing::warn!("event {name} ({}) is of a form that is not known here", event.id);
            return;
        };
        let local = node.local().record;
        match wrapped.filters().takes(local.name.as_str(), &[]) {
            Ok(true) => {
                tracing::debug!("new event: {name} ({})", event.id);
                self.log.push(wrapped.into_event(event));
            }
            Ok(false) => {}
            Err(e) => tracing::warn!("event {name} ({}): {e}", event.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Config, Durable, Event, Label, Limits, Name, Pairs, Role};
    use std::sync::Arc;

    fn node(events: usize) -> Node {
        let config = Config {
            name: Name::new("n1").unwrap(),
            addr: ([127, 0, 0, 1], 8301).into(),
            label: Label::new("dc1").unwrap(),
            keys: None,
            role: Role::Client,
            tags: Pairs::new([("build", "1.2.3")]).unwrap(),
            meta: Pairs::default(),
            durable: Durable::new(NodeId::from_bytes([1; 16])),
            rejoin_after_leave: false,
            tuning: Arc::default(),
            limits: Arc::new(Limits { events, ..Limits::default() }),
        };
        let mut node = Node::new(config, [1; 32], Instant::ZERO).unwrap();
        let p = node.poll_persist().unwrap();
        node.handle_persisted(Instant::ZERO, p.token);
        node
    }

    fn drain(talk: &mut Talk, node: &mut Node) -> bool {
        let mut lost = false;
        while let Some(event) = node.poll_event() {
            lost |= matches!(event, Event::Lost { .. });
            talk.on_event(node, Instant::ZERO, event);
        }
        lost
    }

    #[test]
    fn events_that_the_node_lost_are_made_up_for_once() {
        let (log, mut node) = (Arc::new(EventLog::default()), node(16));
        let mut talk = Talk::new(Arc::clone(&log));
        for i in 0..40 {
            let (reply, _) = oneshot::channel();
            let event = (format!("e{i}"), vec![i], Filters::default());
            Talk::fire(&mut node, Instant::ZERO, event, reply);
        }
        assert!(drain(&mut talk, &mut node));
        let mut names: Vec<_> = log.list(None).iter().map(|e| e.payload[0]).collect();
        names.sort_unstable();
        assert_eq!(names, (0..40).collect::<Vec<_>>());
        talk.recover(&node);
        assert_eq!(log.list(None).len(), 40);
    }

    #[test]
    fn a_ping_is_answered_by_name_and_build_and_a_filter_keeps_out() {
        let (log, mut node) = (Arc::new(EventLog::default()), node(64));
        let mut talk = Talk::new(Arc::clone(&log));
        let (reply, mut answer) = oneshot::channel();
        talk.ask(&mut node, Instant::ZERO, (PING.to_owned(), vec![], None), reply);
        assert!(!drain(&mut talk, &mut node));
        let outcome = answer.try_recv().unwrap().unwrap();
        assert_eq!((outcome.answers.len(), outcome.expected), (1, 1));
        assert_eq!(outcome.answers[0].payload, b"n1 1.2.3");
        for pattern in ["^n1$", "^n2$"] {
            let (reply, _) = oneshot::channel();
            let filters = Filters { node: pattern.into(), ..Filters::default() };
            Talk::fire(&mut node, Instant::ZERO, (pattern.into(), vec![], filters), reply);
        }
        drain(&mut talk, &mut node);
        assert_eq!(log.list(None).len(), 1);
    }
}
