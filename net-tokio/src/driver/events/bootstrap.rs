//! What the log says about the bootstrap quorum: where it stands, who is missing, what to do.

use quorate_core::{BootstrapConflict, BootstrapState, BootstrapStatus, Name, Record};
use tracing::Level;

/// One line for a change of the status; none for a client that knows of no quorum.
pub(super) fn line(s: &BootstrapStatus) -> Option<(Level, String)> {
    let text = match s.state {
        BootstrapState::Client => return None,
        BootstrapState::Joining => {
            "no -bootstrap-expect here: waiting for a quorum of other servers".to_owned()
        }
        BootstrapState::Waiting if s.missing > 0 => format!(
            "waiting for {} more server{} of {}: have {}",
            s.missing,
            if s.missing == 1 { "" } else { "s" },
            s.expect,
            list(&s.contact)
        ),
        BootstrapState::Waiting => {
            let is = if s.contact.len() == 1 { "server is" } else { "servers are" };
            format!("{} {is} in contact: {}", s.contact.len(), list(&s.contact))
        }
        BootstrapState::Agreeing if s.awaited.is_empty() => "agreeing on the quorum".to_owned(),
        BootstrapState::Agreeing => {
            format!("agreeing on the quorum; no contact with {}", s.awaited_names().join(", "))
        }
        BootstrapState::Forgetful => {
            "taking no part in the agreement: the data directory is older than what the other \
             servers saw of this one"
                .to_owned()
        }
        BootstrapState::Final => quorum(s)?,
    };
    Some((Level::INFO, format!("bootstrap: {text}")))
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

fn quorum(s: &BootstrapStatus) -> Option<String> {
    let q = s.quorum.as_ref()?;
    let voters: Vec<String> = q.voters.iter().map(|v| v.addr.to_string()).collect();
    let (cluster, count) = (q.cluster, voters.len());
    let plural = if count == 1 { "" } else { "s" };
    let part = if s.voter { "one of them" } else { "not one of them" };
    let voters = voters.join(", ");
    Some(format!("quorum {cluster} of {count} voter{plural}: {voters}; this agent is {part}"))
}

/// One line for a server that does not fit, with the way out.
pub(super) fn conflict(server: &Record, why: BootstrapConflict) -> String {
    let (name, addr) = (&server.name, server.addr);
    match why {
        BootstrapConflict::Expect { ours, theirs } => format!(
            "bootstrap: {name} ({addr}) was started with -bootstrap-expect {theirs}, this server \
             with {ours}: neither counts the other; restart one of them with the same number"
        ),
        BootstrapConflict::Cluster { ours, theirs } => format!(
            "bootstrap: {name} ({addr}) belongs to the quorum {theirs}, this server to {ours}: \
             both stay as they are; let the servers of one of them leave, remove their data \
             directories, and start them again to join the other"
        ),
        BootstrapConflict::Forgotten => format!(
            "bootstrap: the data directory of {name} is older than what the other servers saw of \
             it (restored from a backup, or lost with the node id kept): it is no voter; stop \
             it, remove its data directory, and start it with a new node id"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: BootstrapState) -> BootstrapStatus {
        let contact = ["agent-one", "agent-two"].map(|n| Name::new(n).unwrap()).to_vec();
        BootstrapStatus { state, expect: 3, contact, missing: 1, ..BootstrapStatus::default() }
    }

    #[test]
    fn an_operator_reads_who_is_missing() {
        let says = |s: &BootstrapStatus| line(s).unwrap().1;
        assert_eq!(
            says(&status(BootstrapState::Waiting)),
            "bootstrap: waiting for 1 more server of 3: have agent-one, agent-two"
        );
        let enough = BootstrapStatus { missing: 0, ..status(BootstrapState::Waiting) };
        assert_eq!(says(&enough), "bootstrap: 2 servers are in contact: agent-one, agent-two");
        let contact = enough.contact[..1].to_vec();
        let lone = BootstrapStatus { contact, ..enough };
        assert_eq!(says(&lone), "bootstrap: 1 server is in contact: agent-one");
        let mut s = status(BootstrapState::Agreeing);
        let id = quorate_core::NodeId::from_bytes([3; 16]);
        s.awaited = vec![(id, Some(Name::new("agent-three").unwrap())), (id, None)];
        assert!(says(&s).contains("no contact with agent-three, 03030303-"), "{}", says(&s));
        assert_eq!(line(&status(BootstrapState::Client)), None);
        assert!(says(&status(BootstrapState::Joining)).contains("waiting for a quorum"));
    }
}
