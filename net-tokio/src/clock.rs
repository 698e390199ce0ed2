//! The driver's clock: monotonic, in the node's own unit. Behind a trait so that a simulated
//! runtime's clock can stand in.

use std::future::Future;

use quorate_core::Instant;

/// A monotonic clock and a way to wait for it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Now. Never goes back.
    fn now(&self) -> Instant;

    /// Waits until `now() >= at`; at once if that is so already.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send;
}

/// tokio's clock, counted from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that starts at zero now.
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        let ns = self.origin.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, at: Instant) {
        let wait = std::time::Duration::from_nanos(at.as_nanos());
        match self.origin.checked_add(wait) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn sleeps_at_least_as_long_as_told() {
        let clock = TokioClock::new();
        let start = clock.now();
        clock.sleep_until(start + Duration::from_millis(20)).await;
        assert!(clock.now() >= start + Duration::from_millis(20));
        // In the past: at once.
        clock.sleep_until(start).await;
    }
}
