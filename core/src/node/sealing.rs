//! Sealing, seen from the node: the keyring and its changes, and how both ends of a stream agree
//! on keys. The cryptography is `wire`'s.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Node, keyring, probe::Kind, random::Random, strangers, vouch};
use crate::{
    config::Config,
    output::{CommandError, JoinError, PersistToken, StreamAction, StreamId},
    planted::Bug,
    stats::Counter,
    time::Instant,
    wire::{self, KeyId, KeyOp, Message, Salt, StreamSeal},
};

/// A key counts as in use for so long after it sealed what a sender said last. Every member pings
/// one other each second, one with the worst awareness every nine, so somebody hears it meanwhile.
const KEY_HEARD: Duration = Duration::from_secs(10);
/// Members that are told at once that another key is in use here.
const KEY_TOLD: usize = 128;

/// What a node knows of keys and of those who may lie.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Security {
    pub(super) keys: keyring::Keys,
    pub(super) vouched: vouch::Vouched,
    pub(super) strangers: strangers::Strangers,
}

/// What protects a node's datagrams.
pub(super) fn envelope(config: &Config, rng: &mut Random) -> wire::Envelope {
    let sealer = |ring| wire::Sealer::new(ring, rng.salt(), config.limits.members);
    let envelope = wire::Envelope::new(config.label.clone(), config.keys.clone().map(sealer));
    #[cfg(any(test, feature = "planted-bugs"))]
    let envelope = envelope.overlooking(overlooked(config));
    envelope
}

/// Which fault of a datagram a test has us overlook: see [`crate::planted`].
#[cfg(any(test, feature = "planted-bugs"))]
fn overlooked(config: &Config) -> Option<wire::HeadError> {
    match config.tuning.bug {
        Some(Bug::LabelUnchecked) => Some(wire::HeadError::Label),
        Some(Bug::ChecksumUnchecked) => Some(wire::HeadError::Checksum),
        Some(Bug::ClearTaken) => Some(wire::HeadError::Key),
        _ => None,
    }
}

impl Node {
    // ---- the keyring ----

    /// Changes the keyring here; the token to wait for, if anything changed.
    pub(super) fn change_keys(
        &mut self,
        now: Instant,
        op: &KeyOp,
    ) -> Result<Option<PersistToken>, CommandError> {
        let unchecked = self.broken(Bug::KeyRemovedInUse);
        let sealer = self.envelope.sealer_mut().ok_or(CommandError::NotSealed)?;
        let mut ring = sealer.ring().clone();
        let mut removed = None;
        match op {
            KeyOp::List => {}
            KeyOp::Install(key) => ring.install(key.clone())?,
            KeyOp::Use(key) => ring.use_key(key)?,
            KeyOp::Remove(key) => {
                ring.remove(key)?;
                if sealer.heard_within(key.id(), now, KEY_HEARD) && !unchecked {
                    return Err(wire::KeyError::InUse.into());
                }
                removed = Some(key.id());
            }
        }
        if ring == *sealer.ring() {
            return Ok(None);
        }
        let other_primary = ring.primary() != sealer.ring().primary();
        sealer.set_ring(ring);
        if other_primary {
            // Nobody need wait for our next probe to see that the old key is out of use here.
            for id in self.table.random_live(&mut self.rng, KEY_TOLD, |_| true) {
                self.start_probe(now, id, Kind::Contact);
            }
        }
        if let Some(key) = removed {
            self.renew_streams(now, key);
        }
        Ok(Some(self.persist()))
    }

    /// What was derived from a key that is gone goes with it: watch streams are opened anew.
    fn renew_streams(&mut self, now: Instant, key: KeyId) {
        let sealed_so = |c: &super::streams::Conn| c.own.is_some_and(|own| own.0 == key);
        let old: Vec<StreamId> =
            self.conns.iter().filter(|(_, c)| sealed_so(c)).map(|(id, _)| *id).collect();
        for id in old {
            if self.conns.get(&id).is_some_and(|c| c.role.is_watch()) {
                self.renew_watch(now, id);
            } else {
                self.fail(now, id, JoinError::Key);
            }
        }
    }

    /// The keys, if this node seals.
    pub fn keyring(&self) -> Option<&wire::Keyring> {
        self.envelope.sealer().map(wire::Sealer::ring)
    }

    // ---- streams ----

    /// Our part of a sealed stream's keys.
    pub(super) fn say_sealed_head(&mut self, id: StreamId, key: KeyId) -> Option<Salt> {
        let stands = self.broken(Bug::SaltStands);
        let c = self.conns.get_mut(&id)?;
        let salt = if stands { Salt::default() } else { self.rng.salt() };
        (c.own, c.head_sent) = (Some((key, salt)), true);
        let bytes = wire::sealed_stream_head(&self.cfg.label, key, &salt);
        self.stats.add(Counter::StreamBytesOut, bytes.len() as u64);
        self.stream_out.push_back(StreamAction::Write { id, bytes });
        Some(salt)
    }

    /// Both heads are there: do both sides seal, and with a key that both have? The opener's is
    /// taken. If not, the other side is told so, in clear.
    pub(super) fn agree_on_seal(&mut self, now: Instant, id: StreamId) -> bool {
        let Some(c) = self.conns.get_mut(&id) else { return false };
        c.met_head = true;
        let meant = c.reader.meant();
        let own = c.own;
        let ring = self.envelope.sealer().map(wire::Sealer::ring);
        let key = match (ring, meant) {
            (None, None) => return true,
            (Some(ring), Some((key, _))) => ring.get(key).cloned(),
            _ => None,
        };
        let (Some(key), Some((key_id, theirs))) = (key, meant) else {
            self.refuse_seal(now, id);
            return false;
        };
        if id.is_accepted() {
            let Some(ours) = self.say_sealed_head(id, key_id) else { return false };
            let (their, our) = StreamSeal::pair(&key, &theirs, &ours);
            self.lock(id, our, their);
            return true;
        }
        match own {
            Some((wanted, ours)) if wanted == key_id => {
                let (our, their) = StreamSeal::pair(&key, &ours, &theirs);
                self.lock(id, our, their);
                self.greet(id);
                true
            }
            _ => {
                self.refuse_seal(now, id);
                false
            }
        }
    }

    fn lock(&mut self, id: StreamId, our: StreamSeal, their: StreamSeal) {
        if let Some(c) = self.conns.get_mut(&id) {
            c.seal = Some(our);
            c.reader.unlock(their);
        }
    }

    fn refuse_seal(&mut self, now: Instant, id: StreamId) {
        self.stats.count(Counter::DropKey);
        if id.is_accepted() {
            let mut bytes = wire::stream_head(&self.cfg.label);
            wire::append_frame(&Message::Reject(wire::Reject::Key), &mut bytes);
            self.stream_out.push_back(StreamAction::Write { id, bytes });
            self.close(id);
        } else {
            self.fail(now, id, JoinError::Key);
        }
    }
}
