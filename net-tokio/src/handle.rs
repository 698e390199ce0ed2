//! How everything but the driver talks to the agent: reads from the view, commands by message.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use quorate_core::{
    CommandError, Coordinate, JoinError, KeyringReport, Name, Node, NodeId, Pairs, Stats,
    wire::KeyOp,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    user::{EventLog, Filters, FireReply, FiredEvent, QueryOutcome, QueryReply},
    view::{AgentInfo, View},
};

/// A command to the driver, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// Contact an address; answered when the join has ended.
    Join {
        /// The gossip address.
        addr: SocketAddr,
        /// Members learned, or why not.
        reply: oneshot::Sender<Result<usize, RequestError>>,
    },
    /// Leave; answered when the members know. The driver ends afterwards.
    Leave {
        /// How many members confirmed.
        reply: oneshot::Sender<Result<usize, RequestError>>,
    },
    /// Declare a failed member as left.
    ForceLeave {
        /// Its name.
        name: Name,
        /// Forget it at once.
        prune: bool,
        /// Done, or why not.
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    /// Tell all members something.
    Fire {
        /// Name, payload, and whom it is for.
        event: Box<(String, Vec<u8>, Filters)>,
        /// The event, or why not.
        reply: FireReply,
    },
    /// Ask all members something; answered when the query is over.
    Query {
        /// Name, payload, and how long answers are waited for.
        query: Box<(String, Vec<u8>, Option<Duration>)>,
        /// What became of it.
        reply: QueryReply,
    },
    /// Look at the keyring of all members, or change it; answered when all have answered.
    Keyring {
        /// What to do.
        op: KeyOp,
        /// What the members said, or why nobody was asked.
        reply: oneshot::Sender<Result<Box<KeyringReport>, RequestError>>,
    },
    /// The counters of the node.
    Stats {
        /// A copy of them.
        reply: oneshot::Sender<Box<Stats>>,
    },
    /// Publish other metadata of the node.
    SetMeta {
        /// All of it.
        meta: Pairs,
        /// Done, or why not.
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    /// Where this agent and the members that it heard are.
    Coordinates {
        /// A copy of them.
        reply: oneshot::Sender<Coordinates>,
    },
}

/// Where members are, as this agent heard it from each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coordinates(BTreeMap<NodeId, Coordinate>);

impl Coordinates {
    /// Those of an agent and of others.
    pub fn new(
        local: NodeId,
        own: Coordinate,
        others: impl IntoIterator<Item = (NodeId, Coordinate)>,
    ) -> Self {
        Self(others.into_iter().chain([(local, own)]).collect())
    }

    /// All that the node knows.
    pub(crate) fn of_node(node: &Node) -> Self {
        Self::new(node.local().record.id, node.coordinate(), node.coordinates())
    }

    /// Where a member is, if it was heard.
    pub fn of(&self, id: NodeId) -> Option<&Coordinate> {
        self.0.get(&id)
    }
}

/// Why a command did not work. Nothing has changed unless the variant says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The node refused it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The join did not work.
    #[error("{0}")]
    Join(#[from] JoinError),
    /// More happened at once than could be told, and the outcome is among what is lost.
    #[error("too much happened at once, the outcome is not known: look, and do it again")]
    OutcomeLost,
    /// The agent is shutting down.
    #[error("the agent is shutting down")]
    Stopped,
}

/// A shared handle on a running agent. Clones are cheap.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    /// What does not change.
    pub info: Arc<AgentInfo>,
    view: Arc<ArcSwap<View>>,
    index: watch::Receiver<u64>,
    requests: mpsc::Sender<Request>,
    events: Arc<EventLog>,
}

/// The driver's end of a handle.
#[derive(Debug)]
pub struct HandleParts {
    /// Where new views go.
    pub view: Arc<ArcSwap<View>>,
    /// Wakes blocking queries; set after the view was stored.
    pub index: watch::Sender<u64>,
    /// Commands to be carried out.
    pub requests: mpsc::Receiver<Request>,
}

impl AgentHandle {
    /// A handle and the driver's end of it. At most 256 commands wait.
    pub fn new(info: AgentInfo, first: View) -> (Self, HandleParts) {
        let (index_tx, index) = watch::channel(first.index);
        let (tx, requests) = mpsc::channel(256);
        let view = Arc::new(ArcSwap::from_pointee(first));
        let (info, events) = (Arc::new(info), Arc::default());
        let handle = Self { info, view: Arc::clone(&view), index, requests: tx, events };
        (handle, HandleParts { view, index: index_tx, requests })
    }

    /// What is known now. Never waits.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Waits until the index is above `index`, at most `wait`; the view then.
    pub async fn changed_since(&self, index: u64, wait: Duration) -> Arc<View> {
        let mut rx = self.index.clone();
        // Either outcome (moved, time is up, agent gone) is answered with what is known now.
        let _ = timeout(wait, rx.wait_for(|&i| i > index)).await;
        self.view()
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        self.requests.send(make(tx)).await.ok()?;
        rx.await.ok()
    }

    /// Contacts `addr` and merges with its cluster; how many members it told of.
    ///
    /// # Errors
    /// [`RequestError::Join`] with the cause, [`RequestError::Command`], or
    /// [`RequestError::Stopped`].
    pub async fn join(&self, addr: SocketAddr) -> Result<usize, RequestError> {
        self.ask(|reply| Request::Join { addr, reply }).await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Leaves the cluster; the agent ends soon after. How many members confirmed.
    ///
    /// # Errors
    /// [`RequestError::Command`] if it is leaving already, or [`RequestError::Stopped`].
    pub async fn leave(&self) -> Result<usize, RequestError> {
        self.ask(|reply| Request::Leave { reply }).await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Declares a failed member as left.
    ///
    /// # Errors
    /// [`RequestError::Command`]: unknown name, or this agent itself.
    pub async fn force_leave(&self, name: Name, prune: bool) -> Result<(), RequestError> {
        self.ask(|reply| Request::ForceLeave { name, prune, reply })
            .await
            .unwrap_or(Err(RequestError::Stopped))
    }

    /// The last events that were for this agent.
    pub const fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// Tells all members something, once: those whom the filters take find it in their
    /// [`AgentHandle::events`], as does this agent.
    ///
    /// # Errors
    /// [`RequestError::Command`]: no name, too large, too many on their way, or it is leaving.
    pub async fn fire(
        &self,
        name: String,
        payload: Vec<u8>,
        filters: Filters,
    ) -> Result<FiredEvent, RequestError> {
        let event = Box::new((name, payload, filters));
        self.ask(|reply| Request::Fire { event, reply }).await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Asks all members something and waits for their answers, at most `timeout` (between 0.1 and
    /// 60 s; by itself as long as gossip takes, with a reserve).
    ///
    /// # Errors
    /// As [`AgentHandle::fire`].
    pub async fn query(
        &self,
        name: String,
        payload: Vec<u8>,
        timeout: Option<Duration>,
    ) -> Result<QueryOutcome, RequestError> {
        let query = Box::new((name, payload, timeout));
        let asked = self.ask(|reply| Request::Query { query, reply }).await;
        asked.unwrap_or(Err(RequestError::Stopped))
    }

    /// Publishes other metadata of the node, in place of what it had.
    ///
    /// # Errors
    /// [`RequestError::Command`] if it is leaving, or [`RequestError::Stopped`].
    pub async fn set_meta(&self, meta: Pairs) -> Result<(), RequestError> {
        self.ask(|reply| Request::SetMeta { meta, reply })
            .await
            .unwrap_or(Err(RequestError::Stopped))
    }

    /// Where the members are, unless the agent is gone.
    pub async fn coordinates(&self) -> Option<Coordinates> {
        self.ask(|reply| Request::Coordinates { reply }).await
    }

    /// Looks at the keyring of all live members, or changes it. Every operation may be repeated.
    ///
    /// # Errors
    /// [`RequestError::Command`]: not encrypted, or another one is under way;
    /// [`RequestError::Stopped`]. What single members said is in the report.
    pub async fn keyring(&self, op: KeyOp) -> Result<Box<KeyringReport>, RequestError> {
        self.ask(|reply| Request::Keyring { op, reply }).await.unwrap_or(Err(RequestError::Stopped))
    }

    /// The node's counters, unless the agent is gone.
    pub async fn stats(&self) -> Option<Box<Stats>> {
        self.ask(|reply| Request::Stats { reply }).await
    }
}
