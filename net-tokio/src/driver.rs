//! The one task that owns the node.
//!
//! A wake goes: read until the socket would block (in bounded batches), only then sample the
//! time and fire timers, then drain what the node has to say (disk, datagrams, streams, events)
//! until there is nothing, then publish the view. Nothing in here waits while the node is in the
//! middle of something, and nothing else ever touches the node.
//!
//! Invariant: timers fire only after everything that had arrived was handed in (up to
//! `BATCHES`): firing them with answers unread would accuse members that work.

mod events;
mod publish;
mod streams;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quorate_core::{
    Command, CommandOutcome, Durable, Event, Instant, JoinError, JoinId, KeyringId, KeyringReport,
    LocalState, Node, Persist, PersistToken, StreamAction, StreamEvent, StreamId,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};

use crate::{
    agent::Stopped,
    clock::Clock,
    counters::{IoCounters, count},
    handle::{Coordinates, Request, RequestError},
    persist::Writer,
    transport::{Net, Udp},
    user::{EventLog, Talk},
};
pub use publish::Publisher;
use streams::{Input, Streams};

/// Datagrams, stream inputs and requests of one batch.
const BATCH: usize = 64;
/// Batches that are read before timers fire all the same.
const BATCHES: usize = 8;
/// Bytes of the largest datagram there is.
const DATAGRAM_BYTES: usize = 65_536;
/// After a leave: so long the answer to who asked for it can still go out.
const LEAVE_LINGER: Duration = Duration::from_millis(200);
/// At the end: so long for the last save, and for streams that are closing.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// So many failing receives in a row mean that the socket itself is broken.
const RECEIVE_ERRORS_MAX: u32 = 1000;

/// Where the node's state is kept.
#[derive(Debug)]
pub enum Disk {
    /// Nowhere: a save is done at once.
    None,
    /// In memory that outlives the driver, for simulated hosts: a save is done at once.
    Memory(Arc<Mutex<Durable>>),
    /// In a data directory.
    Writer(Writer),
}

/// What a driver works with.
#[derive(Debug)]
pub struct Parts<N: Net, C> {
    /// The node, drained or not.
    pub node: Node,
    /// The clock that the node was made with.
    pub clock: C,
    /// Opens streams.
    pub net: N,
    /// The gossip port, for datagrams.
    pub udp: N::Udp,
    /// The gossip port, for streams.
    pub listener: N::Listener,
    /// Accepted streams at once.
    pub accepted_max: usize,
    /// Where the state goes.
    pub disk: Disk,
    /// Where views go.
    pub publisher: Publisher,
    /// Where commands come from.
    pub requests: mpsc::Receiver<Request>,
    /// What the driver counts.
    pub io: Arc<IoCounters>,
    /// Where user events go.
    pub events: Arc<EventLog>,
}

/// An answer that somebody waits for.
type Reply = oneshot::Sender<Result<usize, RequestError>>;

type KeyringReply = oneshot::Sender<Result<Box<KeyringReport>, RequestError>>;

/// The owner of the node.
#[derive(Debug)]
pub struct Driver<N: Net, C> {
    node: Node,
    clock: C,
    udp: N::Udp,
    streams: Streams<N>,
    disk: Disk,
    publisher: Publisher,
    requests: mpsc::Receiver<Request>,
    io: Arc<IoCounters>,
    joins: Vec<(JoinId, Reply)>,
    keyrings: Vec<(KeyringId, KeyringReply)>,
    leaves: Vec<Reply>,
    talk: Talk,
    /// What this agent is told to be, to log its own ups and downs once.
    announced: LocalState,
    /// Why the name was lost, if it was.
    evicted: Option<Stopped>,
    /// When and as what the driver ends.
    ending: Option<(Instant, Stopped)>,
    incoming: Vec<u8>,
    /// Receives that failed since the last one that worked.
    receive_errors: u32,
    outgoing: Vec<u8>,
    /// A datagram in `outgoing` that the socket had no room for.
    held: Option<(SocketAddr, usize)>,
}

impl<N: Net, C: Clock> Driver<N, C> {
    /// Takes over. Must be called within a tokio runtime.
    pub fn new(parts: Parts<N, C>) -> Self {
        let streams =
            Streams::start(parts.net, parts.listener, parts.accepted_max, Arc::clone(&parts.io));
        Self {
            node: parts.node,
            clock: parts.clock,
            udp: parts.udp,
            streams,
            disk: parts.disk,
            publisher: parts.publisher,
            requests: parts.requests,
            io: parts.io,
            joins: Vec::new(),
            keyrings: Vec::new(),
            leaves: Vec::new(),
            talk: Talk::new(parts.events),
            announced: LocalState::Starting,
            evicted: None,
            ending: None,
            incoming: vec![0; DATAGRAM_BYTES],
            receive_errors: 0,
            outgoing: Vec::new(),
            held: None,
        }
    }

    /// Runs until the node has left or `stop` fires (or is dropped); then all that it started
    /// has ended, and the last state is on disk if the disk works.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Stopped {
        let stopped = loop {
            let mut more = self.read();
            if self.is_due() {
                // The reactor and the streams' tasks may know of more that has arrived.
                yield_now().await;
                more = self.read();
            }
            let now = self.clock.now();
            if self.node.poll_timeout().is_some_and(|at| at <= now) {
                self.node.handle_timeout(now);
            }
            self.drain(now);
            self.publisher.publish(&self.node);
            self.announce();
            if let Some((at, stopped)) = &self.ending
                && *at <= now
            {
                break stopped.clone();
            }
            if more {
                yield_now().await;
                if stop.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                    break Stopped::Shutdown;
                }
            } else if self.wait(&mut stop).await.is_break() {
                break Stopped::Shutdown;
            }
        };
        self.finish().await;
        stopped
    }

    fn is_due(&self) -> bool {
        self.node.poll_timeout().is_some_and(|at| at <= self.clock.now())
    }

    /// Sleeps until something is to be done; hands in what ended the sleep.
    async fn wait(&mut self, stop: &mut oneshot::Receiver<()>) -> std::ops::ControlFlow<()> {
        let timer = self.node.poll_timeout();
        let end = self.ending.as_ref().map(|(at, _)| *at);
        let deadline = timer.into_iter().chain(end).min();
        tokio::select! {
            biased;
            _ = stop => return std::ops::ControlFlow::Break(()),
            Ok(()) = self.udp.readable() => {}
            (id, input) = self.streams.next() => self.on_stream(id, input),
            Some(request) = self.requests.recv() => self.on_request(request),
            token = saved(&mut self.disk) => {
                let now = self.clock.now();
                self.node.handle_persisted(now, token);
            }
            Ok(()) = self.udp.writable(), if self.held.is_some() => {}
            () = self.clock.sleep_until(deadline.unwrap_or(Instant::FAR_FUTURE)) => {}
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Hands in what waits, in bounded batches. `true`: there may be more.
    fn read(&mut self) -> bool {
        (0..BATCHES).all(|_| self.read_batch())
    }

    /// One batch of each source; `true` if one of them was full.
    fn read_batch(&mut self) -> bool {
        let mut full = self.read_datagrams();
        // What the node wants of a stream now counts before its next input.
        let now = self.clock.now();
        self.drain_streams(now);
        let mut n = 0;
        while n < BATCH
            && let Some((id, input)) = self.streams.try_next()
        {
            self.on_stream(id, input);
            n += 1;
        }
        full |= n == BATCH;
        n = 0;
        while n < BATCH
            && let Ok(request) = self.requests.try_recv()
        {
            self.on_request(request);
            n += 1;
        }
        full | (n == BATCH)
    }

    fn read_datagrams(&mut self) -> bool {
        let now = self.clock.now();
        for _ in 0..BATCH {
            match self.udp.try_recv_from(&mut self.incoming) {
                Ok((n, from)) => {
                    self.receive_errors = 0;
                    self.node.handle_datagram(now, from, &self.incoming[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(e) => {
                    count(&self.io.io_receive_errors);
                    self.receive_errors = self.receive_errors.saturating_add(1);
                    if self.receive_errors >= RECEIVE_ERRORS_MAX {
                        let reason = format!("the gossip socket does not receive any more: {e}");
                        self.ending = Some((now, Stopped::Fatal { reason }));
                        return false;
                    }
                }
            }
        }
        true
    }

    fn on_stream(&mut self, id: StreamId, input: Input) {
        let now = self.clock.now();
        let event = match &input {
            Input::Accepted { from } => StreamEvent::Accepted { from: *from },
            Input::Connected => StreamEvent::Connected,
            Input::Data(bytes) => StreamEvent::Data(bytes),
            Input::Finished => StreamEvent::Finished,
            Input::Failed(e) => StreamEvent::Failed(*e),
        };
        self.node.handle_stream(now, id, event);
        self.drain_streams(now);
    }

    fn on_request(&mut self, request: Request) {
        let now = self.clock.now();
        // A receiver that is gone does not want the answer any more.
        match request {
            Request::Join { addr, reply } => match self.node.command(now, Command::Join { addr }) {
                Ok(CommandOutcome::Joining(id)) => self.joins.push((id, reply)),
                Ok(_) => drop(reply.send(Ok(0))),
                Err(e) => drop(reply.send(Err(e.into()))),
            },
            Request::Leave { reply } => match self.node.command(now, Command::Leave) {
                Ok(_) => self.leaves.push(reply),
                Err(e) => drop(reply.send(Err(e.into()))),
            },
            Request::ForceLeave { name, prune, reply } => {
                let done = self.node.command(now, Command::ForceLeave { name, prune });
                drop(reply.send(done.map(|_| ()).map_err(RequestError::from)));
            }
            Request::Fire { event, reply } => Talk::fire(&mut self.node, now, *event, reply),
            Request::Query { query, reply } => {
                self.talk.ask(&mut self.node, now, *query, reply);
            }
            Request::SetMeta { meta, reply } => {
                let done = self.node.command(now, Command::SetMeta(meta));
                drop(reply.send(done.map(|_| ()).map_err(RequestError::from)));
            }
            Request::Coordinates { reply } => {
                drop(reply.send(Coordinates::of_node(&self.node)));
            }
            Request::Keyring { op, reply } => {
                match self.node.command(now, Command::Keyring(op)) {
                    Ok(CommandOutcome::Keyring(id)) => self.keyrings.push((id, reply)),
                    // The others are the outcomes of other commands.
                    Ok(_) => drop(reply.send(Err(RequestError::Stopped))),
                    Err(e) => drop(reply.send(Err(e.into()))),
                }
            }
            Request::Stats { reply } => drop(reply.send(Box::new(self.node.stats().clone()))),
        }
        self.drain_streams(now);
    }

    /// Takes all that the node has to say. Each output may make others, so until there is none.
    fn drain(&mut self, now: Instant) {
        loop {
            let mut idle = true;
            while let Some(p) = self.node.poll_persist() {
                idle = false;
                self.save(now, p);
            }
            idle &= !self.transmit(now);
            idle &= !self.drain_streams(now);
            while let Some(event) = self.node.poll_event() {
                idle = false;
                self.on_event(now, event);
            }
            if idle {
                return;
            }
        }
    }

    fn save(&mut self, now: Instant, p: Persist) {
        match &self.disk {
            Disk::None => self.node.handle_persisted(now, p.token),
            Disk::Memory(state) => {
                *state.lock().unwrap_or_else(PoisonError::into_inner) = p.state;
                self.node.handle_persisted(now, p.token);
            }
            Disk::Writer(writer) => writer.submit(p),
        }
    }

    /// Sends datagrams until there are none or the socket has no room; did any go?
    /// One that found no room is held, the node's queue (bounded, counted) holds the rest.
    fn transmit(&mut self, now: Instant) -> bool {
        let mut any = false;
        loop {
            let (to, len) = match self.held.take() {
                Some(held) => held,
                None => {
                    self.outgoing.clear();
                    match self.node.poll_transmit(now, &mut self.outgoing) {
                        Some(t) => (t.to, t.len),
                        None => return any,
                    }
                }
            };
            any = true;
            let bytes = self.outgoing.get(..len).unwrap_or(&self.outgoing);
            match self.udp.try_send_to(bytes, to) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    count(&self.io.io_send_blocked);
                    self.held = Some((to, len));
                    return false;
                }
                Err(e) => {
                    count(&self.io.io_send_errors);
                    tracing::debug!("sending a datagram to {to}: {e}");
                }
            }
        }
    }

    fn drain_streams(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(action) = self.node.poll_stream() {
            any = true;
            match action {
                StreamAction::Open { id, to } => self.streams.open(id, to),
                StreamAction::Write { id, bytes } => {
                    if let Err(e) = self.streams.write(id, bytes) {
                        self.node.handle_stream(now, id, StreamEvent::Failed(e));
                    }
                }
                StreamAction::Close { id } => self.streams.close(id),
                StreamAction::Abort { id } => self.streams.abort(id),
            }
        }
        any
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        events::log(&event, &self.node);
        match event {
            Event::JoinFinished { id, result, .. } => {
                if let Some(i) = self.joins.iter().position(|(j, _)| *j == id) {
                    let (_, reply) = self.joins.swap_remove(i);
                    let _ = reply.send(result.map_err(RequestError::from));
                }
            }
            Event::KeyringFinished { id, report } => {
                if let Some(i) = self.keyrings.iter().position(|(k, _)| *k == id) {
                    let (_, reply) = self.keyrings.swap_remove(i);
                    let _ = reply.send(Ok(report));
                }
            }
            Event::LeaveFinished { confirmed } => {
                for reply in self.leaves.drain(..) {
                    let _ = reply.send(Ok(confirmed));
                }
                let stopped = self.evicted.take().unwrap_or(Stopped::Left { confirmed });
                self.ending.get_or_insert((now + LEAVE_LINGER, stopped));
            }
            Event::NameLost { holder } => {
                // The node leaves by itself; this is what its end is told as.
                self.evicted = Some(Stopped::Evicted {
                    name: holder.name.clone(),
                    holder: holder.id,
                    addr: holder.addr,
                });
            }
            Event::Lost { .. } => {
                // Their end may be among what is lost: better a wrong answer than none.
                for (_, reply) in self.joins.drain(..) {
                    let _ = reply.send(Err(JoinError::TimedOut.into()));
                }
                self.talk.on_event(&mut self.node, now, event);
                for (_, reply) in self.keyrings.drain(..) {
                    let _ = reply.send(Err(RequestError::OutcomeLost));
                }
            }
            event => self.talk.on_event(&mut self.node, now, event),
        }
    }

    /// This agent's own ups and downs are no events of the node: told once each.
    fn announce(&mut self) {
        let local = self.node.local();
        if local.state == self.announced {
            return;
        }
        match local.state {
            LocalState::Running => events::alive(&local.record),
            LocalState::Left => events::left(&local.record),
            LocalState::Starting | LocalState::Leaving => {}
        }
        self.announced = local.state;
    }

    async fn finish(self) {
        let Self { disk, streams, requests, udp, .. } = self;
        drop((requests, udp));
        let disk = async {
            if let Disk::Writer(writer) = disk {
                writer.finish(FINISH_TIMEOUT).await;
            }
        };
        tokio::join!(disk, streams.finish(FINISH_TIMEOUT));
    }
}

async fn saved(disk: &mut Disk) -> PersistToken {
    match disk {
        Disk::None | Disk::Memory(_) => std::future::pending().await,
        Disk::Writer(writer) => writer.saved().await,
    }
}
