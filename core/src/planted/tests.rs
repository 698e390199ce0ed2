//! How the unit tests of this crate plant a bug: each node that a test makes has the one that is
//! chosen for the test's thread.

use core::cell::Cell;

use super::Bug;

std::thread_local! {
    static CHOSEN: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// The rule that is broken in this thread.
pub(crate) fn chosen() -> Option<Bug> {
    CHOSEN.get()
}

/// Does this test fail with this bug?
pub(crate) fn caught(bug: Bug, test: fn()) -> bool {
    CHOSEN.set(Some(bug));
    let result = std::panic::catch_unwind(test);
    CHOSEN.set(None);
    result.is_err()
}
