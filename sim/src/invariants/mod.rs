//! The invariants of the protocol as named checkers, fed with what each node shows. Safety (S) is
//! checked after every input, [`liveness`] (L) twice a second where its bounds hold.
//!
//! The checker keeps its own account of every member's own history and of every node's view of
//! every other, and compares. It never asks the protocol what it should have done.
//!
//! Guarantee: each `fed` fact is checked against all that was fed before; cost per event is
//! constant, per listing linear.

pub mod liveness;
mod outputs;
mod overheard;
mod quorum;
#[cfg(test)]
mod tests;
mod user;

use std::{collections::BTreeMap, fmt};

pub use outputs::{OUTPUTS_MAX, held, outputs, own_claims, sealed};
pub use overheard::Overheard;
use quorate_core::{Limits, NodeId, State, Version};
pub use quorum::Quorums;
pub use user::{EventKey, Events};

/// Names one invariant of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A stored version never goes down until it is pruned.
    S1,
    /// Left or failed at a version becomes alive only above it, also across pruning.
    S2,
    /// Nobody but the subject creates a higher version.
    S3,
    /// One content per id and version.
    S4,
    /// A node never publishes itself as suspect or failed.
    S5,
    /// A refutation exceeds its accusation and never wraps.
    S6,
    /// Events alternate, and replaying them gives the member list.
    S7,
    /// All caps hold.
    S8,
    /// Replayed, forged or damaged packets change nothing (sealed).
    S9,
    /// Arbitrary bytes never panic.
    S10,
    /// No two quorums share a voter, and no promise is forgotten.
    S11,
    /// An event is told once, and the events' clock never goes back.
    S12,
    /// A join is seen by all in time.
    L1,
    /// A death is known to all in time.
    L2,
    /// Who was cut off or started again is alive to all in time.
    L3,
    /// Nobody who runs and can be reached stays failed, whatever happens to others.
    L4,
    /// All have the same list in time.
    L5,
    /// A graceful leave is not reported as a failure.
    L6,
}

impl Invariant {
    /// Its name in failures, file names and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S1 => "S1-version-goes-down",
            Self::S2 => "S2-resurrection",
            Self::S3 => "S3-foreign-version",
            Self::S4 => "S4-two-contents",
            Self::S5 => "S5-self-accusation",
            Self::S6 => "S6-weak-refutation",
            Self::S7 => "S7-events",
            Self::S8 => "S8-cap",
            Self::S9 => "S9-replay",
            Self::S10 => "S10-panic",
            Self::S11 => "S11-quorum",
            Self::S12 => "S12-events-told",
            Self::L1 => "L1-join",
            Self::L2 => "L2-detection",
            Self::L3 => "L3-merge",
            Self::L4 => "L4-stays-failed",
            Self::L5 => "L5-digest",
            Self::L6 => "L6-leave",
        }
    }
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What was seen, for people.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.message)
    }
}

fn broken<T>(invariant: Invariant, message: String) -> Result<T, Violation> {
    Err(Violation { invariant, message })
}

/// What a node says of a member: who, which version, which content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The member, as an index that the caller gives out.
    pub subject: u32,
    /// Its version.
    pub version: Version,
    /// A hash of its record.
    pub content: u64,
}

/// What an event told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// New or back.
    Alive,
    /// Published a change.
    Updated,
    /// Accused.
    Suspected,
    /// Spoke up.
    SuspicionRefuted,
    /// Failed.
    Failed,
    /// Left.
    Left,
    /// Forgotten.
    Reaped,
    /// Only heard of, and dropped.
    Unconfirmed,
}

/// A version in 8 bytes. Versions above 2^32 generations look alike: forged claims lead there only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Short(u32, u32);

impl From<Version> for Short {
    fn from(v: Version) -> Self {
        u32::try_from(v.generation).map_or(Self(u32::MAX, 0), |g| Self(g, v.incarnation))
    }
}

/// A node's view of one member: 12 bytes, since there are as many as pairs of nodes.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    version: Short,
    /// By events: live, failed or left; none: not a member.
    told: Option<State>,
    /// Counts the listings, to find who is missing in the newest.
    listed: u8,
}

/// One process's account.
#[derive(Clone, Debug, Default)]
struct Observer {
    itself: u32,
    views: Vec<View>,
    /// Versions at which members failed or left here, also after they were forgotten.
    dead: BTreeMap<u32, (Version, State)>,
    /// Events were lost: what they told is unknown until the next listing.
    lossy: bool,
    round: u8,
}

impl Observer {
    fn view(&mut self, subject: u32) -> &mut View {
        let i = subject as usize;
        if self.views.len() <= i {
            if i >= self.views.capacity() {
                self.views.reserve_exact((i + 1 - self.views.len()).max(i / 8 + 8));
            }
            self.views.resize(i + 1, View::default());
        }
        &mut self.views[i]
    }

    fn checks_death(&mut self, seen: Seen) -> Result<(), Violation> {
        let Some((at, state)) = self.dead.get(&seen.subject).copied() else { return Ok(()) };
        let above = if state == State::Left {
            seen.version.generation > at.generation
        } else {
            seen.version > at
        };
        if above {
            self.dead.remove(&seen.subject);
            return Ok(());
        }
        broken(Invariant::S2, format!("alive at {} although it was {state} at {at}", seen.version))
    }

    fn checks_version(&mut self, seen: Seen) -> Result<(), Violation> {
        let view = self.view(seen.subject);
        let version = Short::from(seen.version);
        if version < view.version {
            let Short(generation, incarnation) = view.version;
            return broken(
                Invariant::S1,
                format!(
                    "the stored version goes from {generation}.{incarnation} to {}",
                    seen.version
                ),
            );
        }
        view.version = version;
        Ok(())
    }

    fn buries(&mut self, seen: Seen, state: State) {
        let entry = self.dead.entry(seen.subject).or_insert((seen.version, state));
        if seen.version >= entry.0 || state == State::Left {
            *entry = (seen.version.max(entry.0), state);
        }
    }
}

/// A member's own history.
#[derive(Clone, Debug, Default)]
struct Subject {
    /// What it published, oldest first. The oldest are forgotten.
    published: Vec<(Version, u64)>,
    /// Its disk was put back: it may begin anew where it was then.
    restored: bool,
    /// A refutation that waits for the disk will be of this generation.
    owed: Option<u64>,
    /// The highest version that somebody who has the key told of it.
    forged: Option<Version>,
}

impl Subject {
    /// More are not kept: a sim of days would grow without bound.
    const KEPT: usize = 256;

    fn highest(&self) -> Option<Version> {
        self.published.last().map(|p| p.0)
    }
}

/// All accounts of a run.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    subjects: Vec<Subject>,
    observers: Vec<Observer>,
    /// S11.
    pub quorums: Quorums,
    /// S12.
    pub events: Events,
    /// Lists come rarely: members that were never told may already be held failed or left.
    rare_lists: bool,
    /// Members for which room is made.
    room: usize,
}

impl Checker {
    /// With room for so many members. If `rare_lists`, it is not shown every list: S7 cannot know
    /// of hearsay about the dead.
    pub fn of(room: usize, rare_lists: bool) -> Self {
        Self { rare_lists, room, ..Self::default() }
    }

    /// A process of member `itself` starts at place `observer` and knows nothing.
    pub fn starts(&mut self, observer: u32, itself: u32) {
        let i = observer as usize;
        if self.observers.len() <= i {
            self.observers.resize_with(i + 1, Observer::default);
        }
        let views = Vec::with_capacity(self.room);
        self.observers[i] = Observer { itself, views, ..Observer::default() };
        self.events.starts(observer);
    }

    /// The process at `observer` has this record of itself now.
    ///
    /// # Errors
    /// S1 if its own version goes down (also across restarts), S4.
    pub fn publishes(&mut self, own: Seen) -> Result<(), Violation> {
        let subject = self.subject(own.subject);
        if let Some((version, content)) = subject.published.last().copied() {
            subject.restored &= own.version <= version;
            if subject.restored {
                return Ok(());
            }
            if own.version < version {
                return broken(
                    Invariant::S1,
                    format!("its own version goes from {version} to {}", own.version),
                );
            }
            if own.version == version {
                return if content == own.content {
                    Ok(())
                } else {
                    broken(Invariant::S4, format!("two own records at {version}"))
                };
            }
        }
        if subject.published.len() >= Subject::KEPT {
            subject.published.drain(..Subject::KEPT / 2);
        }
        subject.published.push((own.version, own.content));
        subject.owed = subject.owed.filter(|owed| own.version.generation < *owed);
        Ok(())
    }

    /// A new process must begin above all that it ever published.
    ///
    /// # Errors
    /// S1.
    pub fn begins(&mut self, own: Seen) -> Result<(), Violation> {
        match self.subject(own.subject).highest() {
            Some(v) if own.version <= v && !self.subject(own.subject).restored => broken(
                Invariant::S1,
                format!("started at {}, although {v} was published before", own.version),
            ),
            _ => self.publishes(own),
        }
    }

    /// A fault put an older disk under a member.
    pub fn restored(&mut self, subject: u32, id: NodeId) {
        self.subject(subject).restored = true;
        self.quorums.restored(id);
    }

    /// Somebody who has the key tells of `subject` at this version: no node made that up.
    pub fn forged(&mut self, subject: u32, version: Version) {
        let known = &mut self.subject(subject).forged;
        *known = (*known).max(Some(version));
    }

    fn subject(&mut self, i: u32) -> &mut Subject {
        let i = i as usize;
        if self.subjects.len() <= i {
            self.subjects.resize_with(i + 1, Subject::default);
        }
        &mut self.subjects[i]
    }

    /// The version is one that the subject itself published, with that content.
    fn checks_origin(&mut self, seen: Seen) -> Result<(), Violation> {
        let subject = self.subject(seen.subject);
        match subject.highest().max(subject.forged) {
            Some(v) if seen.version <= v => {}
            highest => {
                let own = highest.map_or_else(|| "none".to_owned(), |v| v.to_string());
                return broken(
                    Invariant::S3,
                    format!("version {} is known, its own highest is {own}", seen.version),
                );
            }
        }
        let at = subject.published.binary_search_by_key(&seen.version, |p| p.0);
        match at.ok().map(|i| subject.published[i].1) {
            Some(content) if content != seen.content => {
                broken(Invariant::S4, format!("another record at {}", seen.version))
            }
            _ => Ok(()),
        }
    }

    /// The process at `observer` told of a member.
    ///
    /// # Errors
    /// S1, S2, S3, S4, S7.
    pub fn tells(&mut self, observer: u32, told: Told, seen: Seen) -> Result<(), Violation> {
        self.checks_origin(seen)?;
        let Some(o) = self.observers.get_mut(observer as usize) else { return Ok(()) };
        if o.itself == seen.subject {
            return Ok(());
        }
        if matches!(told, Told::Alive | Told::Updated | Told::SuspicionRefuted) {
            o.checks_death(seen)?;
        }
        o.checks_version(seen)?;
        let lossy = o.lossy;
        let view = o.view(seen.subject);
        let silent = self.rare_lists && view.told.is_none();
        let (allowed, next) = match (told, view.told) {
            (Told::Alive, None | Some(State::Failed | State::Left)) => (true, Some(State::Alive)),
            (Told::Updated | Told::Suspected | Told::SuspicionRefuted, now) => {
                (now == Some(State::Alive), Some(State::Alive))
            }
            (Told::Failed, now) => (now == Some(State::Alive), Some(State::Failed)),
            // An operator may turn failed into left.
            (Told::Left, now) => {
                (silent || matches!(now, Some(State::Alive | State::Failed)), Some(State::Left))
            }
            (Told::Unconfirmed, now) => (now == Some(State::Alive), None),
            // What was heard of the dead may be forgotten before anybody looks.
            (Told::Reaped, now) => (now != Some(State::Alive), None),
            (Told::Alive, now) => (false, now),
        };
        if !allowed && !lossy {
            let before = view.told.map_or("unknown", word);
            return broken(Invariant::S7, format!("{told:?} of a member that was told {before}"));
        }
        view.told = next;
        match told {
            Told::Failed => o.buries(seen, State::Failed),
            Told::Left => o.buries(seen, State::Left),
            Told::Reaped | Told::Unconfirmed => o.view(seen.subject).version = Short::default(),
            _ => {}
        }
        Ok(())
    }

    /// The process at `observer` said that it could not tell everything.
    pub fn loses_events(&mut self, observer: u32) {
        if let Some(o) = self.observers.get_mut(observer as usize) {
            o.lossy = true;
        }
    }

    /// The process at `observer` had no room for all tombstones: of those that it does not list it
    /// may not know that they died.
    pub fn drops_tombstones(&mut self, observer: u32) {
        if let Some(o) = self.observers.get_mut(observer as usize) {
            let listed = |m: u32| o.views.get(m as usize).is_some_and(|v| v.told.is_some());
            o.dead.retain(|&m, _| listed(m));
        }
    }

    /// `subject` refuted an accusation and is at `version` now, or will be once that generation is
    /// on disk.
    ///
    /// # Errors
    /// S6.
    pub fn refutes(&mut self, subject: u32, version: Version) -> Result<(), Violation> {
        let subject = self.subject(subject);
        match subject.highest() {
            Some(v) if version.generation > v.generation => {
                subject.owed = Some(version.generation);
                Ok(())
            }
            Some(v) if version <= v && !subject.restored => broken(
                Invariant::S6,
                format!("refuted with {version}, which does not exceed its own {v}"),
            ),
            _ => Ok(()),
        }
    }

    /// The newest write of `subject` is on disk and it went on from there.
    ///
    /// # Errors
    /// S6 if a refutation that waited for this generation is still not out.
    pub fn written(&mut self, subject: u32, generation: u64) -> Result<(), Violation> {
        match self.subject(subject).owed {
            Some(owed) if generation >= owed => broken(
                Invariant::S6,
                format!("generation {owed} is on disk and the refutation is not out"),
            ),
            _ => Ok(()),
        }
    }

    /// The whole member list of the process at `observer`.
    ///
    /// # Errors
    /// S1, S2, S3, S4, S7, S8.
    pub fn lists(
        &mut self,
        observer: u32,
        limits: &Limits,
        members: impl Iterator<Item = (Seen, State)>,
    ) -> Result<(), Violation> {
        let Some(o) = self.observers.get_mut(observer as usize) else { return Ok(()) };
        o.round = o.round.wrapping_add(1).max(1);
        let (round, lossy) = (o.round, std::mem::take(&mut o.lossy));
        let mut count = 0;
        for (seen, state) in members {
            count += 1;
            self.checks_origin(seen)?;
            let Some(o) = self.observers.get_mut(observer as usize) else { return Ok(()) };
            if state.is_live() {
                o.checks_death(seen)?;
            } else {
                o.buries(seen, state);
            }
            let before = o.view(seen.subject).version;
            o.checks_version(seen)?;
            let view = o.view(seen.subject);
            view.listed = round;
            let held = if state.is_live() { State::Alive } else { state };
            // A newcomer learns of the dead without being told that they died.
            // Nor is it told that somebody who left came back and failed, unseen.
            let later = Short::from(seen.version).0 > before.0;
            let again = view.told == Some(State::Left) && state == State::Failed && later;
            let hearsay = !state.is_live() && (view.told.is_none() || again);
            if view.told != Some(held) && !lossy && !hearsay {
                let told = view.told.map_or("unknown", word);
                return broken(
                    Invariant::S7,
                    format!("listed as {state} although the events say {told}"),
                );
            }
            view.told = Some(held);
        }
        if count > limits.members {
            return broken(Invariant::S8, format!("{count} members of {} listed", limits.members));
        }
        self.checks_missing(observer, round, lossy)
    }

    fn checks_missing(&mut self, observer: u32, round: u8, lossy: bool) -> Result<(), Violation> {
        let Some(o) = self.observers.get_mut(observer as usize) else { return Ok(()) };
        for view in &mut o.views {
            if view.told.is_none() || view.listed == round {
                continue;
            }
            if !lossy {
                let told = view.told.map_or("unknown", word);
                return broken(Invariant::S7, format!("not listed, although told {told}"));
            }
            view.told = None;
        }
        Ok(())
    }

    /// The generation of `subject` that `observer` knows, and whether it is failed or left there.
    pub fn known(&self, observer: u32, subject: u32) -> Option<(u64, bool)> {
        let view = self.observers.get(observer as usize)?.views.get(subject as usize)?;
        let gone = matches!(view.told, Some(State::Failed | State::Left));
        view.told.map(|_| (u64::from(view.version.0), gone))
    }

    /// What is told of `subject` by the events at `observer`.
    pub fn told(&self, observer: u32, subject: u32) -> Option<State> {
        self.observers.get(observer as usize)?.views.get(subject as usize)?.told
    }
}

const fn word(s: State) -> &'static str {
    match s {
        State::Alive | State::Suspect => "alive",
        State::Failed => "failed",
        State::Left => "left",
    }
}
