//! Events and queries in a run: what applications fire, forge and answer, and what a scenario
//! expects of it. Every application answers every query, at once.

use std::collections::BTreeMap;

use quorate_core::{
    Event, EventId, EventName, Node, NodeId, Payload, UserEvent,
    wire::{self, Message},
};

use super::{
    World,
    drive::label,
    host::{Input, Order, address},
};
use crate::{
    checks::{Wrong, wrong},
    invariants::EventKey,
    scenario::{NodeSet, Topic, Viewers},
    trace::Kind,
};

/// What applications said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// By name: when, and which.
    events: BTreeMap<String, Vec<(u64, EventKey)>>,
    /// By name: where, in which life of the process, and which.
    queries: BTreeMap<String, Vec<(usize, u32, EventId)>>,
    /// Queries that are over: answers and how many were expected.
    done: BTreeMap<EventId, (usize, usize)>,
    forged: u64,
}

impl World {
    /// An application at `h` fired an event or asked a query.
    pub(super) fn fired(&mut self, h: usize, what: &Order, key: EventKey) {
        let (time, id) = key;
        let (kind, name) = match what {
            Order::Event(name) => (Kind::UserEvent, name),
            Order::Query(name) => (Kind::Query, name),
            _ => return,
        };
        self.dirty = true;
        self.has_news();
        self.cause = self
            .note(h, kind, None, (0, time), || (String::new(), format!("{name} {id} at {time}")));
        if kind == Kind::UserEvent {
            self.checker.events.fires(key);
            self.said.events.entry(name.to_string()).or_default().push((self.now, key));
        } else {
            let asked = (h, self.hosts[h].life, id);
            self.said.queries.entry(name.to_string()).or_default().push(asked);
        }
    }

    /// The node at `h` told of an event, query or answer. `false`: of something else.
    pub(super) fn told_of_user(&mut self, h: usize, event: &Event) -> bool {
        match event {
            Event::User { event } => {
                self.note(h, Kind::Told, None, (0, event.time), || {
                    (String::new(), format!("{} {}", &*event.name, event.id))
                });
                let checked = self.checker.events.tells(h as u32, (event.time, event.id));
                self.check(h, checked);
            }
            Event::QueryReceived { query } => {
                let (name, id) = (query.name.to_string(), query.id);
                self.note(h, Kind::Asked, None, (0, query.time), || {
                    (String::new(), format!("{name} {id}"))
                });
                let cause = self.cause;
                self.waits(h, Input::Command { what: Order::Answer(id), cause });
            }
            Event::QueryAnswer { id, from, .. } => {
                let (id, from) = (*id, self.owner(*from));
                self.note(h, Kind::Answered, from, (0, 0), || (String::new(), id.to_string()));
            }
            Event::QueryDone { id, acks, answers, expected } => {
                let (answers, expected) = (*answers, *expected);
                self.said.done.insert(*id, (answers, expected));
                self.say(h, Kind::QueryDone, || {
                    format!("{acks} acks and {answers} answers of {expected}")
                });
            }
            _ => return false,
        }
        self.dirty = true;
        true
    }

    fn owner(&self, id: NodeId) -> Option<u32> {
        self.identity_of(id).and_then(|i| self.identities.get(i as usize)).map(|x| x.1)
    }

    /// The clock of the events at `h`, and how much of them is there (S12, S8).
    pub(super) fn checks_events(&mut self, h: usize, node: &Node) {
        if node.event_time() == 0 {
            return;
        }
        let (remembered, queued) = (node.recent_events().len(), node.queued_events());
        let checked = self.checker.events.shows(h as u32, node.event_time(), remembered, queued);
        self.check(h, checked);
    }

    /// A datagram with an event from so much later than the clock of `h` shows.
    pub(super) fn forge_event(&mut self, h: usize, ahead: u64) {
        let Some(clock) = self.hosts[h].node.as_ref().map(|n| n.event_time()) else { return };
        self.said.forged += 1;
        let time = clock.saturating_add(ahead);
        let id = EventId::from_bytes((u128::MAX - u128::from(self.said.forged)).to_be_bytes());
        let name = EventName::new("forged").unwrap_or_default();
        let origin = NodeId::from_bytes([0xff; 16]);
        let event = UserEvent { time, id, origin, name, payload: Payload::default() };
        self.checker.events.fires(event.key());
        let mut bytes = self.packets.buffer();
        let mut envelope = wire::Envelope::new(label(), None);
        envelope.begin(&mut bytes);
        wire::append_message(&Message::UserEvent(event), &mut bytes);
        envelope.finish(&mut bytes);
        let to = self.hosts[h].addr;
        self.arrives_in(1_000, address(1, 200), to, bytes);
    }

    /// Were all events of this name told at all viewers whose process was there before?
    pub(super) fn is_told(
        &self,
        name: &Topic,
        viewers: &Viewers,
        first: usize,
    ) -> Result<(), Wrong> {
        let all = self.said.events.get(name.as_str()).ok_or_else(|| unsaid(name))?;
        let mut asked = false;
        for h in self.viewers(viewers, first) {
            for (_, key) in all.iter().filter(|(at, _)| self.hosts[h].started_at <= *at) {
                asked = true;
                if !self.checker.events.was_told(h as u32, key) {
                    return wrong(h, format!("n{h} was not told {name} of time {}", key.0));
                }
            }
        }
        if asked { Ok(()) } else { Err(Wrong::Nobody) }
    }

    /// Did all who were asked answer each query of this name, whose process is still there?
    pub(super) fn is_answered(&self, name: &Topic) -> Result<(), Wrong> {
        let all = self.said.queries.get(name.as_str()).ok_or_else(|| unsaid(name))?;
        let mut asked = false;
        for &(h, _, id) in all.iter().filter(|(h, life, _)| self.hosts[*h].life == *life) {
            asked = true;
            match self.said.done.get(&id) {
                Some((answers, expected)) if answers >= expected => {}
                Some((n, of)) => return wrong(h, format!("{n} of {of} answered n{h}'s {name}")),
                None => return wrong(h, format!("n{h}'s {name} waits for answers")),
            }
        }
        if asked { Ok(()) } else { Err(Wrong::Nobody) }
    }

    /// Orders something at each of the nodes.
    pub(super) fn order_each(&mut self, on: &NodeSet, order: impl Fn() -> Order) {
        self.each(on, |w, h| w.order(h, order()));
    }
}

fn unsaid(name: &Topic) -> Wrong {
    Wrong::Unsaid(name.to_string())
}
