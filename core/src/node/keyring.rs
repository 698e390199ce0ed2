//! The keyring of a whole cluster: an agent that is asked to change it asks all live members, over
//! sealed streams, and tells what each of them said.
//!
//! Rules: before a key is used, all live members said that they have it, and before one is removed,
//! that none of them seals with it; if one does not say so, nobody is asked to do it. A member
//! answers once its new keyring is on disk. Everything may be repeated: what is so stays so.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use super::{LocalState, Node, Timer, streams::Role};
use crate::{
    bounded::BoundedVec,
    identity::NodeId,
    output::{CommandError, CommandOutcome, Event, JoinError, PersistToken, StreamId},
    planted::Bug,
    record::State,
    rotation::{KeyFailure, KeyringId, KeyringReport},
    stats::Counter,
    time::Instant,
    wire::{Key, KeyError, KeyOp, KeyReply, Message, Reject},
};

/// Members asked at once.
const AT_ONCE: usize = 16;
/// A member answers within this, or is asked once more.
const ANSWER: Duration = Duration::from_secs(5);
/// Members that still heard the key to be removed are asked again this often...
const AGAIN: Duration = Duration::from_millis(300);
/// ... for so long: what was on its way under the old key has arrived by then.
const AGAIN_FOR: Duration = Duration::from_secs(3);

type Answer = Result<Vec<Key>, KeyFailure>;

/// An operation that was asked of this node.
#[derive(Debug)]
pub(super) struct Rotation {
    id: KeyringId,
    op: KeyOp,
    /// First all are asked what they have.
    checking: bool,
    pub(super) waiting: VecDeque<NodeId>,
    pub(super) asked: BTreeSet<NodeId>,
    pub(super) answers: BTreeMap<NodeId, Answer>,
    /// Asked once more: a stream can break, and nothing is done twice.
    twice: BTreeSet<NodeId>,
    /// Nobody is asked again after this.
    until: Instant,
}

/// Who waits for the keyring to be on disk.
#[derive(Debug)]
enum Waiter {
    /// A member that asked for the change.
    Stream(StreamId),
    /// The operation of this node.
    Own,
}

/// Keyring operations under way.
#[derive(Debug, Default)]
pub(super) struct Keys {
    count: u64,
    pub(super) running: Option<Rotation>,
    unsaved: Vec<(PersistToken, Waiter)>,
}

impl Node {
    fn own_keys(&self) -> Vec<Key> {
        self.keyring().map(|r| r.keys().cloned().collect()).unwrap_or_default()
    }

    fn reply(&self) -> KeyReply {
        KeyReply::Keys(BoundedVec::truncated(self.own_keys()))
    }

    /// Changes the keyring of this node only.
    pub(super) fn change_own_keys(
        &mut self,
        now: Instant,
        op: KeyOp,
    ) -> Result<CommandOutcome, CommandError> {
        self.change_keys(now, &op).map(|_| CommandOutcome::Done)
    }

    /// As `change_keys`; to remove what is not there is done already.
    fn do_op(&mut self, now: Instant, op: &KeyOp) -> Result<Option<PersistToken>, KeyError> {
        match self.change_keys(now, op) {
            Ok(token) => Ok(token),
            Err(CommandError::Key(KeyError::Unknown)) if matches!(op, KeyOp::Remove(_)) => Ok(None),
            Err(CommandError::Key(e)) => Err(e),
            // Whoever gets here has a keyring.
            Err(_) => Err(KeyError::Unknown),
        }
    }

    // ---- the side that asks ----

    /// Begins an operation on all live members.
    pub(super) fn begin_keyring(
        &mut self,
        now: Instant,
        op: KeyOp,
    ) -> Result<KeyringId, CommandError> {
        if self.keyring().is_none() {
            return Err(CommandError::NotSealed);
        }
        if self.security.keys.running.is_some() || self.state != LocalState::Running {
            return Err(CommandError::KeyringBusy);
        }
        self.security.keys.count += 1;
        let id = KeyringId(self.security.keys.count);
        let checking = matches!(op, KeyOp::Use(_)) && !self.broken(Bug::KeyUsedUnchecked)
            || matches!(op, KeyOp::Remove(_)) && !self.broken(Bug::KeyRemovedInUse);
        self.security.keys.running = Some(Rotation {
            id,
            op,
            checking,
            waiting: VecDeque::new(),
            asked: BTreeSet::new(),
            answers: BTreeMap::new(),
            twice: BTreeSet::new(),
            until: now + AGAIN_FOR,
        });
        self.go_on_with_keys(now);
        Ok(id)
    }

    /// What is asked of the next member.
    pub(super) fn key_request(&self) -> Option<Message> {
        let r = self.security.keys.running.as_ref()?;
        Some(Message::KeyRequest(if r.checking { KeyOp::List } else { r.op.clone() }))
    }

    /// Asks whom there is to ask; the end of a round leads to the next one.
    pub(super) fn go_on_with_keys(&mut self, now: Instant) {
        while let Some(r) = &mut self.security.keys.running {
            if self.state != LocalState::Running {
                return self.end_keyring(false, |_| Some(KeyFailure::Leaving));
            }
            // Whoever came meanwhile is asked, too.
            let met = |id: &NodeId| {
                r.answers.contains_key(id) || r.asked.contains(id) || r.waiting.contains(id)
            };
            if r.waiting.is_empty() && r.asked.is_empty() {
                let all = self.table.live().map(|e| e.id()).chain([self.me.id]);
                let fresh: Vec<NodeId> = all.filter(|id| !met(id)).collect();
                r.waiting.extend(fresh);
            }
            if r.waiting.is_empty() && r.asked.is_empty() {
                if self.round_is_over(now) {
                    return;
                }
                continue;
            }
            if r.asked.len() >= AT_ONCE {
                return;
            }
            let Some(id) = r.waiting.pop_front() else { return };
            self.ask_for_keys(now, id);
        }
    }

    fn ask_for_keys(&mut self, now: Instant, id: NodeId) {
        let Some(Message::KeyRequest(op)) = self.key_request() else { return };
        if id != self.me.id {
            let to = self.table.get(id).map(|e| e.record.addr);
            let open = |to| self.open(now, to, Role::AskingKeys { member: id }, ANSWER);
            match to.and_then(open) {
                Some(_) => self.note_asked(id),
                None => self.note_answer(id, Err(KeyFailure::Silent(JoinError::Unavailable))),
            }
            return;
        }
        match self.do_op(now, &op) {
            Ok(Some(token)) => {
                self.security.keys.unsaved.push((token, Waiter::Own));
                self.note_asked(id);
            }
            Ok(None) => self.note_answer(id, Ok(self.own_keys())),
            Err(e) => self.note_answer(id, Err(e.into())),
        }
    }

    fn note_asked(&mut self, id: NodeId) {
        if let Some(r) = &mut self.security.keys.running {
            r.asked.insert(id);
        }
    }

    fn note_answer(&mut self, id: NodeId, answer: Answer) {
        if let Some(r) = &mut self.security.keys.running {
            r.asked.remove(&id);
            r.answers.insert(id, answer);
        }
    }

    /// A member has answered.
    fn on_key_reply(&mut self, now: Instant, member: NodeId, reply: KeyReply) {
        let answer = match reply {
            KeyReply::Keys(keys) => Ok(keys.into_inner()),
            KeyReply::Refused(e) => Err(e.into()),
        };
        self.note_answer(member, answer);
        self.go_on_with_keys(now);
    }

    /// The stream to a member ended before it had answered.
    pub(super) fn keys_unanswered(&mut self, now: Instant, member: NodeId, why: Option<JoinError>) {
        let Some(r) = &mut self.security.keys.running else { return };
        if !r.asked.remove(&member) {
            return;
        }
        if r.twice.insert(member) {
            r.waiting.push_back(member);
        } else {
            let why = why.unwrap_or(JoinError::Closed);
            r.answers.insert(member, Err(KeyFailure::Silent(why)));
        }
        self.go_on_with_keys(now);
    }

    /// All have answered, or will not. `true`: there is nothing more to do now.
    fn round_is_over(&mut self, now: Instant) -> bool {
        let (table, me) = (&self.table, self.me.id);
        let Some(r) = &mut self.security.keys.running else { return true };
        // Whoever left meanwhile is not waited for. Who failed may come back without the key.
        let gone = |id: NodeId| table.get(id).is_none_or(|e| e.state() == State::Left);
        r.answers.retain(|id, a| a.is_ok() || *id == me || !gone(*id));
        if r.checking {
            for answer in r.answers.values_mut() {
                let why = answer.as_ref().ok().and_then(|keys| objection(&r.op, keys));
                why.into_iter().for_each(|why| *answer = Err(why));
            }
            if r.answers.values().any(Result::is_err) {
                self.end_keyring(true, |_| None);
                return true;
            }
            r.checking = false;
            r.answers.clear();
            r.twice.clear();
            r.until = now + AGAIN_FOR;
            return false;
        }
        let in_use = |a: &Answer| *a == Err(KeyFailure::Refused(KeyError::InUse));
        if now < r.until && r.answers.values().any(in_use) {
            r.answers.retain(|_, a| !in_use(a));
            self.timers.set(Timer::Keyring, now + AGAIN);
            return true;
        }
        self.end_keyring(false, |_| None);
        true
    }

    /// Tells the outcome. `missing`: what is said of members without an answer.
    fn end_keyring(&mut self, called_off: bool, missing: impl Fn(NodeId) -> Option<KeyFailure>) {
        let Some(mut r) = self.security.keys.running.take() else { return };
        self.timers.stop(Timer::Keyring);
        self.security.keys.unsaved.retain(|(_, w)| matches!(w, Waiter::Stream(_)));
        let left = r.asked.iter().chain(&r.waiting);
        let unanswered: Vec<_> = left.filter_map(|id| Some((*id, missing(*id)?))).collect();
        r.answers.extend(unanswered.into_iter().map(|(id, why)| (id, Err(why))));
        let mut report =
            KeyringReport { members: r.answers.len(), called_off, ..KeyringReport::default() };
        for (id, answer) in r.answers {
            let name = match self.table.get(id) {
                Some(e) => e.record.name.clone(),
                None => self.me.name.clone(),
            };
            match answer {
                Ok(keys) => report.count(&keys),
                Err(why) => report.failures.push((name, id, why)),
            }
        }
        report.failures.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        self.event(Event::KeyringFinished { id: r.id, report: Box::new(report) });
    }

    // ---- the side that is asked ----

    /// Somebody who has our key wants to do something with the keyring.
    pub(super) fn on_keys_hello(&mut self, id: StreamId, target: NodeId) {
        let refusal = if self.keyring().is_none() {
            // Nothing is told in clear.
            self.stats.count(Counter::DropKey);
            Reject::Key
        } else if target != self.me.id {
            Reject::Unavailable
        } else {
            if let Some(c) = self.conns.get_mut(&id) {
                c.role = Role::ServeKeys;
            }
            return;
        };
        self.say(id, &[Message::Reject(refusal)]);
        self.close(id);
    }

    fn on_key_request(&mut self, now: Instant, id: StreamId, op: &KeyOp) {
        let reply = match self.do_op(now, op) {
            Ok(Some(token)) => {
                self.security.keys.unsaved.push((token, Waiter::Stream(id)));
                return;
            }
            Ok(None) => self.reply(),
            Err(e) => KeyReply::Refused(e),
        };
        self.say(id, &[Message::KeyReply(reply)]);
        self.close(id);
    }

    // ---- both ----

    /// A message on a stream that is about keyrings.
    pub(super) fn on_keys_message(&mut self, now: Instant, id: StreamId, m: Message) {
        match (self.conns.get(&id).map(|c| &c.role), m) {
            (Some(Role::ServeKeys), Message::KeyRequest(op)) => self.on_key_request(now, id, &op),
            (Some(&Role::AskingKeys { member }), Message::KeyReply(reply)) => {
                self.close(id);
                self.on_key_reply(now, member, reply);
            }
            (Some(Role::AskingKeys { .. }), Message::Reject(r)) => self.on_reject(now, id, r),
            _ => {
                self.stats.count(Counter::DropMalformed);
                self.fail(now, id, JoinError::NotQuorate);
            }
        }
    }

    /// What was changed before this token is on disk: it may be told.
    pub(super) fn keys_persisted(&mut self, now: Instant, token: PersistToken) {
        let saved: Vec<_> =
            self.security.keys.unsaved.extract_if(.., |(t, _)| *t <= token).collect();
        for (_, waiter) in saved {
            match waiter {
                Waiter::Stream(id) => {
                    let reply = Message::KeyReply(self.reply());
                    self.say(id, &[reply]);
                    self.close(id);
                }
                Waiter::Own => {
                    self.note_answer(self.me.id, Ok(self.own_keys()));
                    self.go_on_with_keys(now);
                }
            }
        }
    }
}

/// What in a member's keyring speaks against the operation.
fn objection(op: &KeyOp, keys: &[Key]) -> Option<KeyFailure> {
    match op {
        KeyOp::Use(key) if !keys.contains(key) => Some(KeyFailure::Lacks),
        KeyOp::Remove(key) if keys.first() == Some(key) => Some(KeyFailure::Primary),
        _ => None,
    }
}
