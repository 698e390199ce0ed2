//! Runs scenarios so that nothing ends the run: a panic is a failure like any other (S10).

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use crate::{
    invariants::Invariant,
    scenario::Scenario,
    world::{self, Failure, LoadError, Options, Outcome},
};

thread_local! {
    /// Where this thread panicked last.
    static PANICKED_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// The payload of a panic does not say where it was; the hook is told.
fn listen() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICKED_AT.set(info.location().map(ToString::to_string));
            before(info);
        }));
    });
}

/// Runs a scenario; a panic in core or world becomes a failure of S10, with its place in the code.
///
/// # Errors
/// [`LoadError`] if the scenario asks for what is not there.
pub fn run(scenario: Scenario, options: Options) -> Result<Outcome, LoadError> {
    guarded(|| world::run(scenario, options))
}

fn guarded(run: impl FnOnce() -> Result<Outcome, LoadError>) -> Result<Outcome, LoadError> {
    listen();
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => Ok(panicked(payload.as_ref())),
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Outcome {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic without a message");
    let at = PANICKED_AT.take().unwrap_or_else(|| "an unknown place".to_owned());
    let failure = Failure {
        check: Invariant::S10.name().to_owned(),
        t: 0,
        node: 0,
        message: format!("{text}, at {at}"),
        cause: 0,
    };
    Outcome {
        hash: 0,
        occurrences: 0,
        events: 0,
        end: 0,
        failures: vec![failure],
        goals: Default::default(),
        measures: Default::default(),
        recorded: Vec::new(),
        trace: Vec::new(),
        trace_error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure() {
        let o = guarded(|| panic!("index {}", 7)).unwrap();
        assert_eq!(o.failures[0].check, "S10-panic");
        let message = &o.failures[0].message;
        assert!(message.starts_with("index 7, at sim/src/runner.rs:"), "{message}");
    }
}
