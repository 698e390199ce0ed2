//! What one input of a node led to: caps of its outputs, what it says of itself, and what sealed
//! datagrams may do. Each check looks at one input only.

use quorate_core::{Label, Limits, NodeId, State, wire};

use super::{Invariant, Violation, broken};

/// One input may lead to so many datagrams at most: the queue may be full, then some.
pub const OUTPUTS_MAX: usize = 64;

/// Checks what one input led to.
///
/// # Errors
/// S8.
pub fn outputs(limits: &Limits, datagrams: usize, largest: usize) -> Result<(), Violation> {
    if largest > limits.datagram_bytes {
        return broken(
            Invariant::S8,
            format!("a datagram of {largest} bytes, {} are allowed", limits.datagram_bytes),
        );
    }
    if datagrams > limits.transmits + OUTPUTS_MAX {
        return broken(Invariant::S8, format!("{datagrams} datagrams after one input"));
    }
    Ok(())
}

/// Checks what a node holds: no stream that its kernel has closed, and no more than its caps.
///
/// # Errors
/// S8.
pub fn held(limits: &Limits, streams: usize, open: usize, claims: usize) -> Result<(), Violation> {
    if streams > open {
        return broken(Invariant::S8, format!("{streams} streams held, {open} are open"));
    }
    if streams > limits.streams {
        return broken(Invariant::S8, format!("{streams} streams of {} held", limits.streams));
    }
    if claims > limits.queued_claims {
        return broken(Invariant::S8, format!("{claims} claims of {} wait", limits.queued_claims));
    }
    Ok(())
}

/// Checks what a sealed datagram, or a sealed stream that is played back, did to its receiver: only
/// what a member wrote, and that once, may change anything or be answered.
///
/// # Errors
/// S9.
pub fn sealed(genuine: bool, unchanged: bool) -> Result<(), Violation> {
    if !genuine && !unchanged {
        return broken(Invariant::S9, "what was forged or came before had an effect".into());
    }
    Ok(())
}

/// Checks a datagram that the member `own` sends: what a node says of itself is no accusation.
///
/// # Errors
/// S5; S8 if its own cluster cannot read it.
pub fn own_claims(
    label: &Label,
    ring: Option<&wire::Keyring>,
    own: NodeId,
    datagram: &[u8],
) -> Result<(), Violation> {
    let opened = match ring {
        None => wire::open_datagram(label, datagram).ok().map(<[u8]>::to_vec),
        Some(_) => wire::peek_datagram(ring, datagram),
    };
    let Some(body) = opened else {
        return broken(Invariant::S8, "a datagram that its own members cannot read".into());
    };
    wire::messages(&body).flatten().flatten().try_for_each(|m| own_message(own, &m))
}

/// Checks one message that the member `own` sends.
///
/// # Errors
/// S5; S8 if it holds a claim that cannot be read.
pub(super) fn own_message(own: NodeId, m: &wire::Message) -> Result<(), Violation> {
    let said = |id: NodeId, state: State| {
        if id == own && matches!(state, State::Suspect | State::Failed) {
            let message = "it tells others that it is suspect or failed itself".to_owned();
            return broken(Invariant::S5, message);
        }
        Ok(())
    };
    match m {
        wire::Message::Claim(c) => said(c.id(), c.state()),
        wire::Message::Claims(all) => {
            all.bodies().try_for_each(|body| match body.and_then(wire::Packed::decode) {
                Ok(c) => said(c.id(), c.state()),
                Err(e) => broken(Invariant::S8, format!("a claim that nobody can read: {e}")),
            })
        }
        wire::Message::Summaries(all) => all.items.iter().try_for_each(|i| said(i.id, i.state)),
        _ => Ok(()),
    }
}
