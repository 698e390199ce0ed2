//! `render`: a trace, or the run of a scenario, as lines, as JSON lines, as a page.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
};

use sim::{
    Scenario,
    aim::Aim,
    render, runner, scenario,
    trace::{self, Event},
};

use super::{Error, Once, out::print_lines, show};

/// What is shown.
pub(super) struct Run {
    /// What it is called: a file, or a seed.
    name: String,
    /// The scenario, if it is known.
    text: Option<String>,
    events: Vec<Event>,
}

/// Reads a trace, or runs a scenario, just as `run` and `sweep` do.
pub(super) fn read(file: Option<&Path>, aim: Aim, once: &Once) -> Result<Run, Error> {
    let Some(path) = file else {
        let seed = once.seed.unwrap_or_default();
        let scenario = aim.draw(seed);
        let text = scenario.to_string();
        return run(format!("seed {seed}{}", aim.flag()), text, scenario, once);
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let mut file = BufReader::new(File::open(path).map_err(|e| at(&e))?);
    let is_trace = path.extension().is_some_and(|e| e == "jsonl")
        || begins_a_trace(file.fill_buf().map_err(|e| at(&e))?);
    if is_trace {
        let flags = once.flags();
        if !flags.is_empty() {
            return Err(at(&format!("a trace is shown as it was written, not with{flags}")));
        }
        return Ok(Run { name, text: None, events: events_of(file, path)? });
    }
    // Read once: what comes through a pipe is gone then.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| at(&e))?;
    let text = scenario::decode(&bytes).map_err(|e| at(&e))?;
    let mut scenario = Scenario::parse(text).map_err(|e| at(&e))?;
    let Some(seed) = once.seed else {
        return run(name, text.to_owned(), scenario, once);
    };
    scenario.cluster.seed = seed;
    run(format!("{name}, seed {seed}"), scenario.to_string(), scenario, once)
}

/// The lines of a trace are objects of JSON. No scenario begins like that, whatever its file is
/// called.
fn begins_a_trace(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

fn run(name: String, text: String, scenario: Scenario, once: &Once) -> Result<Run, Error> {
    super::find::silence_panics();
    let outcome =
        runner::traced(scenario, once.under.program()?).map_err(|e| format!("{name}: {e}"))?;
    Ok(Run { name, text: Some(text), events: outcome.trace })
}

fn events_of(file: impl BufRead, path: &Path) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    for (i, line) in file.lines().enumerate() {
        let line = line.map_err(|e| format!("{}: {e}", path.display()))?;
        let event = serde_json::from_str(&line)
            .map_err(|e| format!("{}, line {}: {e}", path.display(), i + 1))?;
        events.push(event);
    }
    Ok(events)
}

/// Prints the events.
pub(super) fn print(run: &Run, causes_of: Option<u64>, node: Option<u32>) -> Result<bool, Error> {
    let events = &run.events;
    let is_about = |e: &Event, n: u32| e.node == n || e.to == Some(n);
    if let Some(n) = node.filter(|n| !events.iter().any(|e| is_about(e, *n))) {
        return Err(format!("{}: there is no node {n} in this trace", run.name));
    }
    let chosen: Vec<&Event> = match causes_of {
        Some(seq) if !events.iter().any(|e| e.seq == seq) => {
            return Err(format!("{}: there is no event {seq} in this trace", run.name));
        }
        Some(seq) => trace::slice(events, seq),
        None => events.iter().collect(),
    };
    let ours = |e: &&Event| node.is_none_or(|n| is_about(e, n) || e.node == 0);
    print_lines(chosen.into_iter().filter(ours).map(trace::render))?;
    Ok(true)
}

/// Writes the events as JSON lines.
pub(super) fn write(run: &Run, out: &Path) -> Result<bool, Error> {
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", out.display());
    let mut file = BufWriter::new(File::create(out).map_err(|e| at(&e))?);
    for event in &run.events {
        serde_json::to_writer(&mut file, event).map_err(|e| at(&e))?;
        file.write_all(b"\n").map_err(|e| at(&e))?;
    }
    file.flush().map_err(|e| at(&e))?;
    println!("{} events: written to {}", run.events.len(), out.display());
    Ok(true)
}

/// Writes a page for the browser.
pub(super) fn page(
    run: &Run,
    scenario: Option<&Path>,
    max_events: usize,
    out: &Path,
) -> Result<bool, Error> {
    // A scenario tells itself; a trace may be shown without one.
    let (name, text) = match scenario {
        Some(p) => {
            let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, Some(show::text(p)?))
        }
        None => (run.name.clone(), run.text.clone()),
    };
    let events = &run.events;
    let page = render::Page { name: &name, scenario: text.as_deref(), events, max_events };
    fs::write(out, render::html(&page)).map_err(|e| format!("{}: {e}", out.display()))?;
    println!("{} events: open {} in a browser", run.events.len(), out.display());
    Ok(true)
}
