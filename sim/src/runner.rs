//! Runs scenarios so that nothing ends the run: a panic is a failure like any other (S10).

use std::{
    any::Any,
    cell::Cell,
    io::{self, Write},
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
};

use crate::{
    invariants::Invariant,
    program::Program,
    scenario::Scenario,
    trace::{Event, Kind, Sink},
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

/// Runs a scenario and keeps its trace; of one that panics, all up to there and the panic last.
///
/// # Errors
/// As [`run`].
pub fn traced(scenario: Scenario, program: Program) -> Result<Outcome, LoadError> {
    let options = |sink| Options { sink, program: program.clone(), ..Options::default() };
    kept(|sink| run(scenario.clone(), options(sink)))
}

fn kept(run: impl Fn(Sink) -> Result<Outcome, LoadError>) -> Result<Outcome, LoadError> {
    let mut outcome = run(Sink::Memory(Vec::new()))?;
    let panic = outcome.failures.first().filter(|f| f.check == Invariant::S10.name());
    let Some(panic) = panic.filter(|_| outcome.trace.is_empty()) else { return Ok(outcome) };
    // What was kept went down with the run. What is written meanwhile is not lost.
    let lines = Written::default();
    run(Sink::Lines(Box::new(lines.clone()), None))?;
    let mut events = lines.events();
    let last = events.last().map_or((0, 0), |e| (e.t, e.seq));
    events.push(Event {
        t: last.0,
        seq: last.1 + 1,
        cause: last.1,
        node: 0,
        event: Kind::Violation.name().to_owned(),
        to: None,
        message: String::new(),
        bytes: 0,
        detail: format!("{}: {}", panic.check, panic.message),
    });
    outcome.trace = events;
    Ok(outcome)
}

/// Lines that outlive their writer.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole lines.
    fn events(&self) -> Vec<Event> {
        let bytes = self.bytes();
        bytes.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `run` gives; if it panics, an outcome that says so.
pub(crate) fn guarded(
    run: impl FnOnce() -> Result<Outcome, LoadError>,
) -> Result<Outcome, LoadError> {
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
    let place = PANICKED_AT.take();
    let at = place.as_deref().unwrap_or("an unknown place");
    let failure = Failure {
        check: Invariant::S10.name().to_owned(),
        t: 0,
        node: 0,
        message: format!("{text}, at {at}"),
        cause: 0,
        place: place.clone(),
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
        let place = o.failures[0].place.as_deref().unwrap();
        assert!(message.ends_with(place), "{place}");
    }

    /// A world that takes all of a scenario, and then panics.
    fn breaks(sink: Sink) -> Result<Outcome, LoadError> {
        guarded(|| {
            let scenario =
                Scenario::parse("cluster 2\nat 0s join all via n1\nat 5s heal\n").unwrap();
            let mut world = world::World::new(scenario, Options { sink, ..Options::default() })?;
            world.run_until(3_000_000_000);
            panic!("three seconds");
        })
    }

    #[test]
    fn the_trace_of_a_panic_ends_with_it() {
        let trace = kept(breaks).unwrap().trace;
        let (last, before) = trace.split_last().unwrap();
        assert!(before.len() > 50, "{}", before.len());
        assert!(before.iter().all(|e| e.t <= 3_000_000_000 && e.event != "violation"));
        assert_eq!((last.event.as_str(), last.cause), ("violation", before.len() as u64));
        assert!(last.detail.starts_with("S10-panic: three seconds, at sim/src/"), "{last:?}");
    }

    #[test]
    fn a_run_that_ends_keeps_its_own_trace() {
        let scenario = Scenario::parse("cluster 2\nat 0s join all via n1\nat 5s heal\n").unwrap();
        let kept = traced(scenario.clone(), Program::default()).unwrap();
        let plain = run(scenario, Options::default()).unwrap();
        assert_eq!((kept.hash, kept.trace.len() as u64), (plain.hash, plain.events));
        assert!(kept.trace.iter().all(|e| e.event != "violation"));
    }
}
