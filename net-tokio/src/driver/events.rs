//! One line of log per membership change, at the moment it is known. Tools read the lines
//! `member alive|suspected|failed|left|reaped: NAME`.

mod bootstrap;

use quorate_core::{Event, KeyringReport, Node, NodeId, Record};
use tracing::Level;

/// `member alive: NAME ADDR`
pub(super) fn alive(record: &Record) {
    emit(Level::INFO, &alive_line(record));
}

/// `member left: NAME`
pub(super) fn left(record: &Record) {
    emit(Level::INFO, &left_line(record));
}

/// Logs an event. What concerns this agent itself is logged by who knows its own state.
pub(super) fn log(event: &Event, node: &Node) {
    let line = match event {
        Event::Refuted { by, version } => {
            let by = who(node, *by);
            let line = format!("refuted an accusation by {by}: now at version {version}");
            Some((Level::WARN, line))
        }
        _ => describe(event, node.local().record.id),
    };
    if let Some((level, line)) = line {
        emit(level, &line);
    }
    if let Event::Suspected { record, by, evidence } = event {
        tracing::debug!("{} is suspected by {}: {evidence:?}", record.name, who(node, *by));
    }
}

/// A member's name; the id of who is not on the list.
fn who(node: &Node, id: NodeId) -> String {
    let known = node.members().find(|m| m.record.id == id);
    known.map_or_else(|| id.to_string(), |m| m.record.name.to_string())
}

fn emit(level: Level, line: &str) {
    match level {
        Level::ERROR => tracing::error!("{line}"),
        Level::WARN => tracing::warn!("{line}"),
        Level::INFO => tracing::info!("{line}"),
        _ => tracing::debug!("{line}"),
    }
}

fn alive_line(record: &Record) -> String {
    format!("member alive: {} {}", record.name, record.addr)
}

fn left_line(record: &Record) -> String {
    format!("member left: {}", record.name)
}

fn describe(event: &Event, local: NodeId) -> Option<(Level, String)> {
    let info = |line| Some((Level::INFO, line));
    match event {
        Event::Alive { record } | Event::Left { record } if record.id == local => None,
        Event::Alive { record } => info(alive_line(record)),
        Event::Left { record } => info(left_line(record)),
        Event::Updated { record } => {
            info(format!("member updated: {} {}", record.name, record.addr))
        }
        Event::Suspected { record, .. } => info(format!("member suspected: {}", record.name)),
        Event::SuspicionRefuted { record } => info(format!("suspicion refuted: {}", record.name)),
        Event::Failed { record } => info(format!("member failed: {}", record.name)),
        Event::Reaped { record } => info(format!("member reaped: {}", record.name)),
        Event::NameConflict { other, holder } => {
            let line = format!(
                "the name '{}' is used twice: {} ({}) has it, {} ({}) uses it too; give one of \
                 them another name with -node",
                holder.name, holder.addr, holder.id, other.addr, other.id
            );
            Some((Level::ERROR, line))
        }
        Event::Unconfirmed { record } => info(format!(
            "member dropped: {} {} was only heard of, and answered nobody",
            record.name, record.addr
        )),
        Event::NameLost { .. } | Event::Degraded { .. } => trouble(event),
        Event::Paused { gap_ms } => {
            let line = format!(
                "this process was away for {gap_ms} ms (stopped, or starved of CPU): deadlines \
                 are shifted"
            );
            Some((Level::WARN, line))
        }
        Event::Lost { count } => {
            let line = format!("{count} membership events are missing here; the list is right");
            Some((Level::WARN, line))
        }
        Event::JoinFinished { addr, result, .. } => {
            let line = match result {
                Ok(members) => format!("join of {addr}: {members} members"),
                Err(e) => format!("join of {addr}: {e}"),
            };
            Some((Level::DEBUG, line))
        }
        Event::KeyringFinished { report, .. } => Some(keyring_line(report)),
        Event::LeaveFinished { confirmed } => {
            Some((Level::DEBUG, format!("the leave is known: {confirmed} members confirmed")))
        }
        // What applications say is logged where it is heard, and `log` knows who accused.
        Event::Refuted { .. }
        | Event::User { .. }
        | Event::QueryReceived { .. }
        | Event::QueryAnswer { .. }
        | Event::QueryDone { .. } => None,
        Event::Bootstrap { status } => bootstrap::line(status),
        Event::BootstrapConflict { server, conflict } => {
            Some((Level::ERROR, bootstrap::conflict(server, *conflict)))
        }
    }
}

fn keyring_line(report: &KeyringReport) -> (Level, String) {
    let level = if report.is_complete() { Level::DEBUG } else { Level::WARN };
    (level, format!("keyring operation: {report}"))
}

/// What an operator should do something about.
fn trouble(event: &Event) -> Option<(Level, String)> {
    match event {
        Event::NameLost { holder } => {
            let line = format!(
                "this agent leaves: the name '{}' belongs to {} (node id {}), which has held it \
                 for longer; give this agent another name with -node and start it again",
                holder.name, holder.addr, holder.id
            );
            Some((Level::ERROR, line))
        }
        Event::Degraded { record, degraded: true } => {
            let line = format!(
                "member degraded: {} {} answers through other members or over TCP only; is UDP \
                 blocked between the two hosts?",
                record.name, record.addr
            );
            Some((Level::WARN, line))
        }
        Event::Degraded { record, degraded: false } => {
            let line = format!("member answers by itself again: {} {}", record.name, record.addr);
            Some((Level::INFO, line))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Evidence, Name};
    use std::sync::Arc;

    #[test]
    fn each_change_has_its_line_and_our_own_has_none() {
        let id = NodeId::from_bytes([2; 16]);
        let record = Arc::new(Record::of_client(
            id,
            Name::new("n2").unwrap(),
            ([127, 0, 0, 2], 8301).into(),
        ));
        let r = || Arc::clone(&record);
        let by = NodeId::from_bytes([1; 16]);
        for (event, line) in [
            (Event::Alive { record: r() }, "member alive: n2 127.0.0.2:8301"),
            (
                Event::Suspected { record: r(), by, evidence: Evidence::Silent },
                "member suspected: n2",
            ),
            (Event::SuspicionRefuted { record: r() }, "suspicion refuted: n2"),
            (Event::Failed { record: r() }, "member failed: n2"),
            (Event::Left { record: r() }, "member left: n2"),
            (Event::Reaped { record: r() }, "member reaped: n2"),
        ] {
            assert_eq!(describe(&event, by), Some((Level::INFO, line.to_owned())));
        }
        assert_eq!(describe(&Event::Alive { record: r() }, id), None);
        assert_eq!(describe(&Event::Left { record: r() }, id), None);
        let conflict = Event::NameConflict { other: r(), holder: r() };
        assert_eq!(describe(&conflict, by).map(|(level, _)| level), Some(Level::ERROR));
        let (level, line) = describe(&Event::NameLost { holder: r() }, by).unwrap();
        assert_eq!(level, Level::ERROR);
        assert!(line.contains("127.0.0.2:8301") && line.contains("-node"), "{line}");
        let (level, line) = describe(&Event::Degraded { record: r(), degraded: true }, by).unwrap();
        assert_eq!(level, Level::WARN);
        assert!(line.starts_with("member degraded: n2 127.0.0.2:8301"), "{line}");
    }
}
