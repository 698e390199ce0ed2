//! A node's monotonic clock on top of virtual time: it drifts, and timers follow it.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use net_tokio::clock::Clock;
use quorate_core::Instant;
use tokio::{sync::Notify, time::sleep};

use crate::clock::Clock as Model;

/// Virtual time on the host that runs at the moment, nanoseconds.
pub(super) fn world_ns() -> u64 {
    let t = ::turmoil::sim_elapsed().unwrap_or_default();
    u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)
}

/// Shared by a node's processes and the controller, which changes its rate.
#[derive(Clone, Debug)]
pub(super) struct SimClock {
    model: Arc<Mutex<Model>>,
    changed: Arc<Notify>,
}

impl SimClock {
    /// A clock that shows `shown` at the start.
    pub(super) fn new(shown: u64) -> Self {
        Self { model: Arc::new(Mutex::new(Model::new(0, shown))), changed: Arc::default() }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From virtual time `t` on, so many parts per million too fast.
    pub(super) fn set_drift(&self, t: u64, ppm: i32) {
        self.model().set_drift(t, ppm);
        self.changed.notify_waiters();
    }

    /// The host boots at `t`: the clock begins anew.
    pub(super) fn boot(&self, t: u64, shown: u64) {
        self.model().boot(t, shown);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.model().monotonic(world_ns()))
    }

    async fn sleep_until(&self, at: Instant) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.now() >= at {
                return;
            }
            let when = self.model().when(at.as_nanos()).unwrap_or(u64::MAX);
            let wait = Duration::from_nanos(when.saturating_sub(world_ns()));
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep(wait) => {}
            }
        }
    }
}
