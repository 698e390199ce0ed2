//! The page's text: head, styles, the data as JSON, and the script that draws it.
//!
//! Whatever comes from outside goes through [`escape`] or, in the data, through [`inert`]; the
//! script only ever puts it into text nodes or onto the canvas.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Kept, MAX_SCENARIO, Texts, clip, lanes};
use crate::{
    scenario::Scenario,
    trace::{Event, Kind},
};

const STYLE: &str = include_str!("page.css");
const BODY: &str = include_str!("page.html");
const SCRIPTS: [&str; 4] = [
    include_str!("model.js"),
    include_str!("draw.js"),
    include_str!("messages.js"),
    include_str!("page.js"),
];

/// Everything that a page is a function of.
pub(super) struct Content<'a> {
    pub name: &'a str,
    pub text: Option<&'a str>,
    pub scenario: Option<&'a Scenario>,
    /// Events before anything was left out.
    pub total: usize,
    /// By `seq`.
    pub events: &'a [&'a Event],
    pub kept: &'a Kept,
    /// Lanes are for nodes 1 to this.
    pub highest: u32,
    /// The time of the last event.
    pub end: u64,
    pub lanes: &'a lanes::Lanes,
}

/// What the script reads. Event `i` is the `i`-th of each column.
#[derive(Serialize)]
struct Data<'a> {
    name: String,
    scenario: String,
    seed: Option<String>,
    nodes: u32,
    servers: u32,
    end: u64,
    total: usize,
    complete_after: Option<u64>,
    views_left_out: usize,
    lanes_left_out: u64,
    violations: usize,
    lives: &'a [lanes::Span],
    bands: &'a [lanes::Band],
    texts: Vec<String>,
    events: Columns,
}

/// Times, numbers and causes as differences: half the size.
#[derive(Default, Serialize)]
struct Columns {
    t: Vec<u64>,
    seq: Vec<u64>,
    cause: Vec<u64>,
    node: Vec<u32>,
    to: Vec<u32>,
    kind: Vec<usize>,
    message: Vec<usize>,
    bytes: Vec<u32>,
    detail: Vec<usize>,
}

fn columns<'a>(c: &Content<'a>, texts: &mut Texts<'a>) -> Columns {
    let mut out = Columns::default();
    let (mut t, mut seq) = (0, 0);
    for e in c.kept.places.iter().map(|i| c.events[*i]) {
        // Times of one trace never go back; in a foreign one they are held.
        out.t.push(e.t.saturating_sub(t));
        t = t.max(e.t);
        out.seq.push(e.seq - seq);
        seq = e.seq;
        out.cause.push(if e.cause > 0 { e.seq.saturating_sub(e.cause) } else { 0 });
        out.node.push(e.node);
        out.to.push(e.to.unwrap_or(0));
        out.kind.push(texts.number(&e.event));
        out.message.push(texts.number(&e.message));
        out.bytes.push(e.bytes);
        out.detail.push(texts.number(&e.detail));
    }
    out
}

fn data(c: &Content<'_>) -> Result<String, serde_json::Error> {
    let mut texts = Texts::default();
    texts.number("");
    let events = columns(c, &mut texts);
    let violation = |e: &&&Event| e.event == Kind::Violation.name();
    let data = Data {
        name: clip(c.name, super::MAX_TEXT),
        scenario: clip(c.text.unwrap_or_default(), MAX_SCENARIO),
        // As text: a script's numbers have 53 bits.
        seed: c.scenario.map(|s| s.cluster.seed.to_string()),
        nodes: c.highest,
        servers: c.scenario.map_or(0, |s| s.cluster.servers),
        end: c.end,
        total: c.total,
        complete_after: c.kept.complete_after,
        views_left_out: c.kept.views_left_out,
        lanes_left_out: c.lanes.left_out,
        violations: c.events.iter().filter(violation).count(),
        lives: &c.lanes.spans,
        bands: &c.lanes.bands,
        texts: texts.texts,
        events,
    };
    serde_json::to_string(&data)
}

/// Text for markup and attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// JSON that cannot end the element which holds it, nor open a comment in it: in JSON these
/// characters only stand in strings.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The page.
pub(super) fn write(c: &Content<'_>) -> String {
    // Nothing in the data can fail to serialize; if it did, the page would say so.
    let json = match data(c) {
        Ok(json) => inert(&json),
        Err(e) => return format!("<!doctype html><title>error</title>{}", escape(&e.to_string())),
    };
    let title = escape(&clip(c.name, super::MAX_TEXT));
    let mut s = String::with_capacity(json.len() + 64 * 1024);
    s.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    s.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // The page asks nobody for anything, and the browser holds it to that.
    s.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    s.push_str("style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n");
    // Writing to a string does not fail.
    let _ = writeln!(s, "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>");
    s.push_str(BODY);
    let _ = writeln!(s, "<script type=\"application/json\" id=\"data\">{json}</script>");
    s.push_str("<script>\n'use strict';\n(() => {\n");
    for script in SCRIPTS {
        s.push_str(script);
    }
    s.push_str("})();\n</script>\n</body>\n</html>\n");
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between `open` and the next quote, wherever `open` stands.
    fn quoted<'a>(text: &'a str, open: &str) -> Vec<&'a str> {
        text.split(open).skip(1).filter_map(|rest| rest.split(['\'', '"']).next()).collect()
    }

    #[test]
    fn scripts_find_their_elements_and_colours() {
        let code = SCRIPTS.concat();
        for id in quoted(&code, "$('").into_iter().chain(quoted(&code, "getElementById('")) {
            assert!(id == "data" || BODY.contains(&format!("id=\"{id}\"")), "{id}");
        }
        for action in quoted(BODY, "data-do=\"") {
            assert!(code.contains(&format!("\n  {action}: ")), "{action}");
        }
        let (_, names) = code.split_once("for (const name of [").unwrap();
        let names = quoted(names.split(']').next().unwrap(), " '");
        assert!(names.len() > 20);
        for name in names {
            // Once for light, once for dark.
            assert_eq!(STYLE.matches(&format!("--{name}: ")).count(), 2, "{name}");
        }
    }

    #[test]
    fn scripts_know_the_words_of_the_trace() {
        use Kind::*;
        let code = SCRIPTS.concat();
        let kinds = [
            Step,
            Start,
            StartRefused,
            Stop,
            Send,
            Drop,
            Receive,
            Open,
            Accept,
            Connect,
            Write,
            Data,
            Finish,
            Broken,
            Persist,
            Persisted,
            Alive,
            Updated,
            Suspected,
            SuspicionRefuted,
            Failed,
            Left,
            Reaped,
            Refuted,
            JoinFinished,
            LeaveFinished,
            NameConflict,
            Paused,
            Lost,
            Met,
            Violation,
        ];
        for kind in kinds {
            let name = kind.name();
            let forms = [format!("'{name}'"), format!(" {name}: "), format!("'{name}': ")];
            assert!(forms.iter().any(|f| code.contains(f)), "{name}");
        }
    }

    #[test]
    fn markup_becomes_text() {
        assert_eq!(escape("<a b='c\"&"), "&lt;a b=&#39;c&quot;&amp;");
        let json = serde_json::to_string("</script><!--&").unwrap();
        assert!(!inert(&json).contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<String>(&inert(&json)).unwrap(), "</script><!--&");
    }
}
