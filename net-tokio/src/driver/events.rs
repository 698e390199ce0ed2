//! One line of log per membership change, at the moment it is known. Tools read these lines.

use quorate_core::{Event, NodeId, Record};

/// `member alive: NAME ADDR`
pub(super) fn alive(record: &Record) {
    tracing::info!("member alive: {} {}", record.name, record.addr);
}

/// `member left: NAME`
pub(super) fn left(record: &Record) {
    tracing::info!("member left: {}", record.name);
}

/// Logs an event. What concerns this agent itself is logged by who knows its own state.
pub(super) fn log(event: &Event, local: NodeId) {
    match event {
        Event::Alive { record } if record.id != local => alive(record),
        Event::Left { record } if record.id != local => left(record),
        Event::Alive { .. } | Event::Left { .. } => {}
        Event::Updated { record } => {
            tracing::info!("member updated: {} {}", record.name, record.addr);
        }
        Event::Suspected { record, by, evidence } => {
            tracing::info!("member suspected: {}", record.name);
            tracing::debug!("{} is suspected by {by}: {evidence:?}", record.name);
        }
        Event::SuspicionRefuted { record } => {
            tracing::info!("suspicion refuted: {}", record.name);
        }
        Event::Failed { record } => tracing::info!("member failed: {}", record.name),
        Event::Reaped { record } => tracing::info!("member reaped: {}", record.name),
        Event::Refuted { by, version } => {
            tracing::warn!("refuted an accusation by {by}: now at version {version}");
        }
        Event::NameConflict { other, holder } => tracing::error!(
            "the name '{}' is used twice: {} ({}) has it, {} ({}) uses it too; give one of them \
             another name with -node",
            holder.name,
            holder.addr,
            holder.id,
            other.addr,
            other.id
        ),
        Event::Paused { gap_ms } => tracing::warn!(
            "this process was away for {gap_ms} ms (stopped, or starved of CPU): deadlines shifted"
        ),
        Event::Lost { count } => {
            tracing::warn!("{count} membership events are missing here; the member list is right");
        }
        Event::JoinFinished { addr, result, .. } => match result {
            Ok(members) => tracing::debug!("join of {addr}: {members} members"),
            Err(e) => tracing::debug!("join of {addr}: {e}"),
        },
        Event::LeaveFinished { confirmed } => {
            tracing::info!("left the cluster, {confirmed} members confirmed");
        }
    }
}
