//! The last events that were for this agent, and waiting for the next one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate_core::{EventId, UserEvent};
use tokio::sync::watch;

use super::Filters;

/// Events kept (Consul's number).
const KEPT: usize = 256;

/// An event as `event/list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiredEvent {
    /// Its id.
    pub id: EventId,
    /// What it is called.
    pub name: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// Whom it is for.
    pub filters: Filters,
    /// The form of the event; 1.
    pub version: u8,
    /// Its Lamport time.
    pub time: u64,
}

/// How to wait for what comes next.
#[derive(Debug)]
pub struct Blocking(watch::Receiver<u64>);

impl Blocking {
    /// Returns when an event has come since this was made or waited for last; never, if the agent
    /// has ended.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The last 256 events, in the order in which they came.
#[derive(Debug)]
pub struct EventLog {
    events: Mutex<VecDeque<Arc<FiredEvent>>>,
    count: watch::Sender<u64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { events: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl EventLog {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<FiredEvent>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, e: FiredEvent) {
        let mut events = self.lock();
        if events.len() >= KEPT {
            events.pop_front();
        }
        events.push_back(Arc::new(e));
        drop(events);
        self.count.send_modify(|n| *n += 1);
    }

    /// Is it missing here, and not because it was dropped for newer ones?
    pub(super) fn lacks(&self, e: &UserEvent) -> bool {
        let events = self.lock();
        let key = (e.time, e.id);
        let oldest = events.iter().map(|x| (x.time, x.id)).min();
        let newer = events.len() < KEPT || oldest.is_some_and(|oldest| key > oldest);
        newer && !events.iter().any(|x| (x.time, x.id) == key)
    }

    /// The events of this name, or all; oldest first.
    pub fn list(&self, name: Option<&str>) -> Vec<Arc<FiredEvent>> {
        let wanted = |e: &&Arc<FiredEvent>| name.is_none_or(|n| e.name == n);
        self.lock().iter().filter(wanted).cloned().collect()
    }

    /// To wait for the events that come from now on.
    pub fn subscribe(&self) -> Blocking {
        Blocking(self.count.subscribe())
    }

    /// The index of a list, as Consul has it: the halves of the last id, one laid over the other;
    /// 1 for none. It does not rise: it only differs.
    pub fn index(list: &[Arc<FiredEvent>]) -> u64 {
        let Some(last) = list.last() else { return 1 };
        let bits = u128::from_be_bytes(*last.id.as_bytes());
        let half = |x: u128| u64::try_from(x & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        (half(bits >> 64) ^ half(bits)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u8, time: u64, name: &str) -> FiredEvent {
        let (id, name) = (EventId::from_bytes([n; 16]), name.to_owned());
        FiredEvent { id, name, payload: vec![], filters: Filters::default(), version: 1, time }
    }

    #[test]
    fn the_last_ones_are_kept_and_listed_by_name() {
        let log = EventLog::default();
        assert_eq!(EventLog::index(&log.list(None)), 1);
        for i in 0..300 {
            log.push(event(1, i, if i % 2 == 0 { "even" } else { "odd" }));
        }
        let all = log.list(None);
        assert_eq!((all.len(), all[0].time, all[255].time), (256, 44, 299));
        assert_eq!(log.list(Some("odd")).len(), 128);
        assert_eq!(log.list(Some("none")).len(), 0);
    }

    #[test]
    fn the_index_is_consul_s() {
        let mut e = event(0, 1, "x");
        let id = 0xb54fe110_7af5_cafc_d1fb_afc8ba432b1c_u128;
        e.id = EventId::from_bytes(id.to_be_bytes());
        assert_eq!(e.id.to_string(), "b54fe110-7af5-cafc-d1fb-afc8ba432b1c");
        assert_eq!(EventLog::index(&[Arc::new(e)]), 0xb54f_e110_7af5_cafc ^ 0xd1fb_afc8_ba43_2b1c);
    }
}
