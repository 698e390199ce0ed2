//! Builds the view that DNS and HTTP read, after a drain that changed something.
//!
//! Invariant: the index rises exactly when something that readers show has changed (status,
//! address, name, role, tags, meta); a mere suspicion or a higher version swaps the view but
//! does not wake blocking queries, nor does the bootstrap quorum (no blocking query shows it).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use quorate_core::{BootstrapStatus, Label, LocalState, Node, NodeId, Record, State};
use tokio::sync::watch;

use crate::view::{Member, Status, View};

/// Where views are made and where they go.
#[derive(Debug)]
pub struct Publisher {
    local_id: NodeId,
    label: Label,
    index: u64,
    /// The node's revision that was published last.
    revision: u64,
    members: BTreeMap<NodeId, Member>,
    bootstrap: BootstrapStatus,
    degraded: BTreeSet<NodeId>,
    outlet: Option<(Arc<ArcSwap<View>>, watch::Sender<u64>)>,
}

impl Publisher {
    /// A publisher and the first view, which shows the node as it is. Views go nowhere until
    /// [`Publisher::connect`].
    pub fn new(node: &Node, label: Label) -> (Self, View) {
        let mut publisher = Self {
            local_id: node.local().record.id,
            label,
            index: 0,
            revision: node.revision(),
            members: BTreeMap::new(),
            bootstrap: BootstrapStatus::default(),
            degraded: BTreeSet::new(),
            outlet: None,
        };
        publisher.update(node);
        let first = publisher.view();
        (publisher, first)
    }

    /// Views go to `view`, their index after them to `index`.
    pub fn connect(&mut self, view: Arc<ArcSwap<View>>, index: watch::Sender<u64>) {
        self.outlet = Some((view, index));
    }

    /// Publishes what has changed since the last time, if anything has.
    pub(crate) fn publish(&mut self, node: &Node) {
        if node.revision() == self.revision {
            return;
        }
        self.revision = node.revision();
        let before = self.index;
        self.update(node);
        if let Some((view, index)) = &self.outlet {
            view.store(Arc::new(self.view()));
            // After the view: who is woken must find it.
            if self.index != before {
                index.send_replace(self.index);
            }
        }
    }

    fn view(&self) -> View {
        let members = self.members.values().cloned().collect();
        View::new(self.index, self.local_id, self.label.clone(), members)
            .with_bootstrap(self.bootstrap.clone())
            .with_degraded(self.degraded.clone())
    }

    fn update(&mut self, node: &Node) {
        self.bootstrap.clone_from(node.bootstrap());
        self.degraded = node.degraded().collect();
        let local = node.local();
        let own = match local.state {
            LocalState::Starting | LocalState::Running => Status::Alive,
            LocalState::Leaving => Status::Leaving,
            LocalState::Left => Status::Left,
        };
        let others = node.members().map(|m| {
            let status = match m.state {
                State::Alive | State::Suspect => Status::Alive,
                State::Failed => Status::Failed,
                State::Left => Status::Left,
            };
            (m.record, status, m.state == State::Suspect)
        });
        self.merge(std::iter::once((local.record, own, false)).chain(others));
    }

    fn merge(&mut self, now: impl Iterator<Item = (Arc<Record>, Status, bool)>) {
        let next = self.index.saturating_add(1);
        let mut old = std::mem::take(&mut self.members);
        let mut changed = false;
        for (record, status, suspect) in now {
            let before = old.remove(&record.id);
            let shows_same =
                before.as_ref().is_some_and(|b| b.status == status && alike(&b.record, &record));
            changed |= !shows_same;
            let create_index = before.as_ref().map_or(next, |b| b.create_index);
            let modify_index = match &before {
                Some(b) if shows_same => b.modify_index,
                _ => next,
            };
            let id = record.id;
            let member = Member { record, status, suspect, create_index, modify_index };
            self.members.insert(id, member);
        }
        // Whoever is left over was forgotten.
        if changed || !old.is_empty() {
            self.index = next;
        }
    }
}

/// Do both show the same to a reader? (The version is not shown.)
fn alike(a: &Record, b: &Record) -> bool {
    a.name == b.name
        && a.addr == b.addr
        && a.role == b.role
        && a.protocol == b.protocol
        && a.tags == b.tags
        && a.meta == b.meta
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Name, Version};

    fn record(n: u8, incarnation: u32) -> Arc<Record> {
        Arc::new(Record {
            version: Version { generation: 1, incarnation },
            ..Record::of_client(
                NodeId::from_bytes([n; 16]),
                Name::new(format!("n{n}")).unwrap(),
                ([127, 0, 0, n], 8301).into(),
            )
        })
    }

    fn publisher() -> Publisher {
        Publisher {
            local_id: NodeId::from_bytes([1; 16]),
            label: Label::new("dc1").unwrap(),
            index: 0,
            revision: 0,
            members: BTreeMap::new(),
            bootstrap: BootstrapStatus::default(),
            degraded: BTreeSet::new(),
            outlet: None,
        }
    }

    fn indexes(p: &Publisher, n: u8) -> (u64, u64) {
        let m = &p.members[&NodeId::from_bytes([n; 16])];
        (m.create_index, m.modify_index)
    }

    #[test]
    fn the_index_follows_what_is_shown() {
        let mut p = publisher();
        let me = || (record(1, 0), Status::Alive, false);
        p.merge([me()].into_iter());
        assert_eq!((p.index, indexes(&p, 1)), (1, (1, 1)));

        p.merge([me(), (record(2, 0), Status::Alive, false)].into_iter());
        assert_eq!((p.index, indexes(&p, 1), indexes(&p, 2)), (2, (1, 1), (2, 2)));

        // A suspicion and a refutation are in the view but do not move the index.
        p.merge([me(), (record(2, 0), Status::Alive, true)].into_iter());
        assert!(p.view().by_name("n2").unwrap().suspect);
        p.merge([me(), (record(2, 1), Status::Alive, false)].into_iter());
        assert_eq!((p.index, indexes(&p, 2)), (2, (2, 2)));

        p.merge([me(), (record(2, 1), Status::Failed, false)].into_iter());
        assert_eq!((p.index, indexes(&p, 2)), (3, (2, 3)));

        p.merge([me()].into_iter());
        assert_eq!(p.index, 4);
        assert_eq!(p.view().members().len(), 1);
        p.merge([me()].into_iter());
        assert_eq!(p.index, 4);
    }
}
