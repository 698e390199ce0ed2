//! A node's own clocks: monotonic (drift, freeze, new origin at boot) and wall (offset, step).
//!
//! Guarantee: the monotonic clock never goes back, whatever is set when, and [`Clock::when`]
//! is the first instant at which it shows a given value. Integers only.

/// Parts in a million.
const MILLION: i128 = 1_000_000;
/// What a wall clock without an offset shows when the world begins: far from 0 and from the end.
const WALL_AT_START: u64 = 2_000_000_000_000_000_000;

/// Both clocks of one host. Times are nanoseconds; `t` is virtual time of the world.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Where the running piece began, in world time.
    base: u64,
    /// What the monotonic clock showed there.
    shown: u64,
    /// Parts per million too fast.
    drift_ppm: i32,
    frozen: bool,
    /// Wall clock minus (world time and drift), in nanoseconds.
    wall_offset: i64,
}

impl Clock {
    /// A clock that shows `shown` at `t`.
    pub const fn new(t: u64, shown: u64) -> Self {
        Self { base: t, shown, drift_ppm: 0, frozen: false, wall_offset: 0 }
    }

    /// The monotonic clock at `t`.
    pub fn monotonic(&self, t: u64) -> u64 {
        if self.frozen {
            return self.shown;
        }
        let passed = i128::from(t.saturating_sub(self.base));
        if self.drift_ppm == 0 {
            return self.shown.saturating_add(passed as u64);
        }
        let scaled = passed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        self.shown.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// The first world time at which the monotonic clock shows `shown` or more; none while frozen
    /// and never before the running piece began.
    pub fn when(&self, shown: u64) -> Option<u64> {
        let ahead = i128::from(shown.saturating_sub(self.shown));
        if ahead == 0 {
            return Some(self.base);
        }
        if self.frozen {
            return None;
        }
        if self.drift_ppm == 0 {
            return Some(self.base.saturating_add(ahead as u64));
        }
        let rate = MILLION + i128::from(self.drift_ppm);
        let t = (ahead * MILLION + rate - 1) / rate;
        Some(self.base.saturating_add(u64::try_from(t).unwrap_or(u64::MAX)))
    }

    /// The wall clock at `t`, in nanoseconds since its epoch, which was long ago.
    pub fn wall(&self, t: u64) -> u64 {
        WALL_AT_START.saturating_add(t).saturating_add_signed(self.wall_offset)
    }

    /// The first world time at which the wall clock shows `shown` or more, unless it is set.
    pub fn wall_when(&self, shown: u64) -> u64 {
        let offset = self.wall_offset.saturating_neg();
        shown.saturating_sub(WALL_AT_START).saturating_add_signed(offset)
    }

    /// Runs at another rate from `t` on.
    pub fn set_drift(&mut self, t: u64, ppm: i32) {
        self.rebase(t);
        self.drift_ppm = ppm;
    }

    /// Stands still from `t` on, or runs again.
    pub fn set_frozen(&mut self, t: u64, frozen: bool) {
        self.rebase(t);
        self.frozen = frozen;
    }

    /// The host boots at `t`: the monotonic clock begins anew, at `shown`.
    pub fn boot(&mut self, t: u64, shown: u64) {
        self.base = t;
        self.shown = shown;
        self.frozen = false;
    }

    /// The wall clock is off by this from now on.
    pub fn set_offset(&mut self, offset: i64) {
        self.wall_offset = offset;
    }

    /// The wall clock jumps.
    pub fn step(&mut self, by: i64) {
        self.wall_offset = self.wall_offset.saturating_add(by);
    }

    fn rebase(&mut self, t: u64) {
        self.shown = self.monotonic(t);
        self.base = t;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn drift_offset_and_freeze_do_what_they_say() {
        let mut c = Clock::new(0, 100);
        c.set_drift(0, 10_000);
        assert_eq!(c.monotonic(100 * SECOND), 101 * SECOND + 100);
        c.set_frozen(100 * SECOND, true);
        assert_eq!(c.monotonic(900 * SECOND), 101 * SECOND + 100);
        assert_eq!(c.when(102 * SECOND), None);
        c.set_frozen(900 * SECOND, false);
        assert_eq!(c.monotonic(1000 * SECOND), 202 * SECOND + 100);
        let before = c.monotonic(1000 * SECOND);
        c.step(-5_000_000_000);
        assert_eq!(c.wall(1000 * SECOND), WALL_AT_START + 995 * SECOND);
        assert_eq!(c.wall_when(c.wall(1000 * SECOND)), 1000 * SECOND);
        assert_eq!(c.monotonic(1000 * SECOND), before);
    }

    proptest! {
        #[test]
        fn never_back_and_when_is_the_first_instant(
            changes in proptest::collection::vec(
                (0u64..SECOND, -500_000i32..500_000, any::<bool>()),
                0..9,
            ),
            ahead in 0u64..10 * SECOND,
        ) {
            let mut c = Clock::new(0, 17);
            let (mut t, mut last) = (0, 17);
            for (dt, ppm, frozen) in changes {
                t += dt;
                prop_assert!(c.monotonic(t) >= last);
                last = c.monotonic(t);
                c.set_drift(t, ppm);
                c.set_frozen(t, frozen);
                prop_assert_eq!(c.monotonic(t), last);
            }
            c.set_frozen(t, false);
            let goal = last + ahead;
            let when = c.when(goal).unwrap();
            prop_assert!(c.monotonic(when) >= goal);
            prop_assert!(when == t || c.monotonic(when - 1) < goal);
        }
    }
}
