//! Waiting for something to become true, with a deadline; never a blind sleep.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Polls `look` until it gives a value; how long that took beside it.
///
/// # Panics
/// After `within`, with `what` and the last reason that `look` gave.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return (value, start.elapsed()),
            Err(why) if start.elapsed() > within => {
                panic!("{what}: not within {within:?}; at last: {why}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Polls until `holds`; how long that took.
///
/// # Panics
/// After `within`, with `what`.
pub fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    until(what, within, || holds().then_some(()).ok_or_else(|| "it does not hold".into())).1
}
