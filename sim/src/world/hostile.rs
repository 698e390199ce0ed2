//! Keyrings of hosts, operators who change them, and packets forged by those who have a key.

use std::sync::Arc;

use quorate_core::{
    Claim, KeyringReport, LARGEST_OWN_STEP, LARGEST_STEP, PersistToken, Statement, Version,
    wire::{self, KeyOp, Keyring, Message},
};

use super::{
    World,
    drive::{datagram_hash, label},
    events::is_running,
    host::{Order, address},
};
use crate::{
    keyed::Purpose,
    program::{key, keyring},
    scenario::{Forged, KeyNo, KeyVerb, Lie, NodeSet, StartOptions},
};

impl World {
    /// Every key that a scenario can name, to look into packets with.
    pub(super) fn all_keys() -> Option<Keyring> {
        keyring(&(1..=KeyNo::MAX).map(KeyNo).collect::<Vec<_>>())
    }

    /// The keyring of a process that starts: what it is told, or its disk has, or all begin with.
    pub(super) fn starts_with_keys(&mut self, h: usize, options: &StartOptions) {
        if self.ring.is_none() {
            return;
        }
        let first = keyring(&self.scenario.first_keys());
        let host = &mut self.hosts[h];
        host.keys_asked.clear();
        if let Some(told) = keyring(&options.keys) {
            host.keys = Some(told);
        } else if options.fresh || host.keys.is_none() {
            host.keys = first;
        }
    }

    /// What was asked for with this token, or before, is on the disk of `h`.
    pub(super) fn keys_written(&mut self, h: usize, token: PersistToken) {
        let host = &mut self.hosts[h];
        let written = host.keys_asked.extract_if(.., |(t, _)| *t <= token);
        if let Some((_, keys)) = written.last() {
            host.keys = Some(keys);
        }
    }

    /// An operator changes the keys: at the named nodes, or at the first one that takes part.
    pub(super) fn key_step(&mut self, verb: KeyVerb, k: KeyNo, on: Option<&NodeSet>) {
        let op = match verb {
            KeyVerb::Install => KeyOp::Install(key(k)),
            KeyVerb::Use => KeyOp::Use(key(k)),
            KeyVerb::Remove => KeyOp::Remove(key(k)),
        };
        let last = self.hosts.len() as u32 - 1;
        let at: Vec<usize> = match on {
            Some(set) => set.numbers(last).into_iter().map(|n| n as usize).collect(),
            None => (1..self.hosts.len()).find(|h| self.takes_part(*h)).into_iter().collect(),
        };
        for h in at {
            if h < self.hosts.len() {
                self.order(h, Order::Keyring(op.clone()));
            }
        }
    }

    /// A keyring operation that was asked of `h` ended.
    pub(super) fn keyring_ended(report: &KeyringReport) -> (&'static str, String) {
        let goal = if report.is_complete() { "keyring-done" } else { "keyring-refused" };
        (goal, report.to_string())
    }

    /// Somebody who has the key lies to all about `accused`, from the address of `h`.
    pub(super) fn forge(&mut self, h: usize, accused: usize, lie: Lie, version: Forged) {
        let (Some(by), Some(own)) = (self.record(h), self.record(accused)) else { return };
        let v = own.version;
        let version = match version {
            Forged::Highest => Version { generation: u64::MAX, incarnation: u32::MAX },
            Forged::Generation => Version {
                generation: v.generation.saturating_add(LARGEST_STEP.generation),
                incarnation: LARGEST_STEP.incarnation,
            },
            Forged::Incarnation => {
                Version { incarnation: v.incarnation.saturating_add(LARGEST_STEP.incarnation), ..v }
            }
            Forged::Far => Version {
                generation: v.generation.saturating_add(LARGEST_OWN_STEP.generation),
                incarnation: 0,
            },
            Forged::Last => Version { incarnation: u32::MAX, ..v },
            Forged::Same => v,
        };
        self.checker.forged(self.hosts[accused].identity, version);
        let from = self.hosts[h].addr;
        let (by, addr) = (by.id, if lie == Lie::Move { from } else { own.addr });
        let record = Arc::new(quorate_core::Record { version, addr, ..(*own).clone() });
        let statement = match lie {
            Lie::Accuse => Statement::Failed { by },
            Lie::Leave => Statement::Left { by, prune: false },
            Lie::Prune => Statement::Left { by, prune: true },
            Lie::Move => Statement::Alive,
        };
        let claim = Claim { record, statement };
        // One boot id per claim: each has counters of its own.
        let subject = u64::from(self.hosts[h].number) << 32 | accused as u64;
        let salt = self.keyed.bytes32(Purpose::Garbage, subject, self.now);
        let boot = salt.first_chunk().copied().unwrap_or_default();
        let ring = self.hosts[h].keys.clone().filter(|_| self.ring.is_some());
        let sealer = ring.map(|r| wire::Sealer::new(r, boot, 1));
        let mut envelope = wire::Envelope::new(label(), sealer);
        for n in 1..self.hosts.len() {
            if n == h || !self.hosts[n].is_up() {
                continue;
            }
            let mut bytes = self.packets.buffer();
            envelope.begin(&mut bytes);
            wire::append_message(&Message::Claim(claim.clone()), &mut bytes);
            envelope.finish(&mut bytes);
            // It is one of a member, as far as anybody can tell.
            self.genuine.insert(datagram_hash(&bytes));
            let to = self.hosts[n].addr;
            self.travel(h, n as u32, from, to, bytes);
        }
    }

    fn record(&self, h: usize) -> Option<Arc<quorate_core::Record>> {
        let host = &self.hosts[h];
        let node = host.node.as_ref().filter(|_| is_running(host))?;
        Some(node.local().record)
    }

    /// Datagrams that a test puts into the network reach their host at that time.
    pub(super) fn plan_injections(&mut self, all: Vec<Injected>) {
        for x in all {
            let (from, to) = (address(x.from, 0), address(x.to, 0));
            self.arrives_in(x.at, from, to, x.bytes);
        }
    }
}

/// A datagram that was on its way, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// When it was sent, or is to arrive: virtual time, nanoseconds.
    pub at: u64,
    /// The number of the host from whose first address it comes.
    pub from: u32,
    /// The number of the host to whose first address it goes.
    pub to: u32,
    /// The datagram.
    pub bytes: Vec<u8>,
}
