//! Runs scenarios so that nothing ends the run: a panic is a failure like any other (S10).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    invariants::Invariant,
    scenario::Scenario,
    world::{self, Failure, LoadError, Options, Outcome},
};

/// Runs a scenario; a panic in core or world becomes a failure of S10.
///
/// # Errors
/// [`LoadError`] if the scenario asks for what is not there.
pub fn run(scenario: Scenario, options: Options) -> Result<Outcome, LoadError> {
    match catch_unwind(AssertUnwindSafe(|| world::run(scenario, options))) {
        Ok(result) => result,
        Err(payload) => Ok(panicked(payload.as_ref())),
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Outcome {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let failure = Failure {
        check: Invariant::S10.name().to_owned(),
        t: 0,
        node: 0,
        message: text.unwrap_or("a panic without a message").to_owned(),
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
        let caught = catch_unwind(|| panic!("index {}", 7)).unwrap_err();
        let o = panicked(caught.as_ref());
        assert_eq!(o.failures[0].check, "S10-panic");
        assert_eq!(o.failures[0].message, "index 7");
    }
}
