//! The data directory: who the agent is and the last generation it may have used, kept so that a
//! crash at any moment leaves either the old state or the new one.
//!
//! Files: `node-id` (a UUID as text, as Consul keeps it), two slots `state.0` and `state.1`,
//! `serf/local.keyring` (the keys, if the agent is encrypted), and `lock`, held by the running
//! agent. A save writes the slot that does not hold the newest state:
//! a temporary file, fsync, rename, fsync of the directory. A load takes the valid slot with the
//! highest sequence number.
//!
//! Invariant: when a save returns, both slots carry the id, the generation and the part in the
//! bootstrap agreement that were saved (a change of any is written to both). So a damaged slot
//! costs at most what was not yet acknowledged, hence not yet seen by others: one generation.
//! The load goes up by [`DAMAGE_STEP`] all the same, so that no single fault, nor a guess about
//! which slot it hit, brings a generation back. Other fields (peers, `left`) may then be one save
//! old.

mod format;
mod keyring;
mod writer;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use quorate_core::{Durable, Memory, NodeId, wire::Keyring};

pub use format::SlotFault;
pub use keyring::{KEYRING, KeyringFault};
pub use writer::Writer;

/// Generations added when a slot could not be read.
pub const DAMAGE_STEP: u64 = 2;

const SLOTS: [&str; 2] = ["state.0", "state.1"];
const NODE_ID: &str = "node-id";
const LOCK: &str = "lock";

/// Why the data directory cannot be used. Nothing in it was changed, except that a failed save
/// may leave a `*.tmp` file, which the next one replaces.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// A file could not be read or written.
    #[error("data directory: cannot {action} {}: {source}; {}", path.display(), io_advice(source))]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent runs on it.
    #[error(
        "the data directory {} is in use by another agent (it holds {LOCK}); stop that one, or \
         choose another directory with -data-dir", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file `node-id` is not a UUID.
    #[error(
        "{} holds no UUID; put the right one in, or give it with -node-id", path.display()
    )]
    NodeId {
        /// The file.
        path: PathBuf,
    },
    /// `node-id` and the slots are of two different nodes.
    #[error(
        "{} says {file}, but the state beside it belongs to {state}; if the state is right, give \
         -node-id={state}; if not, remove {} and {} in the same directory",
        path.display(), SLOTS[0], SLOTS[1]
    )]
    Mismatch {
        /// The file `node-id`.
        path: PathBuf,
        /// The id in it.
        file: NodeId,
        /// The id in the slots.
        state: NodeId,
    },
    /// No slot is readable though there was one.
    #[error(
        "the state in {} is damaged ({}); put back a copy of state.0 or state.1, or remove both \
         to start over (the agent then learns its generation from the cluster it joins)",
        path.display(), faults.join(", ")
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Each slot's name and fault.
        faults: Vec<String>,
    },
    /// Written by a later version of this program.
    #[error(
        "{} has format {found}, this version reads {}; run the version that wrote it",
        path.display(), format::VERSION
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The keyring file is not one.
    #[error(
        "{} is no keyring ({fault}); put back a copy of it, or remove it and give the key that the \
         cluster uses now with -encrypt", path.display()
    )]
    Keyring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: KeyringFault,
    },
    /// The state is larger than a slot may be.
    #[error("a state of {0} bytes does not fit a slot of {max}", max = format::MAX_PAYLOAD)]
    TooLarge(usize),
    /// The thread that writes did not come back.
    #[error("the thread that saves the state ended: {0}")]
    Thread(String),
    /// The system gives no random bytes for a new id.
    #[error("the system gives no random bytes for a node id: {0}")]
    Random(getrandom::Error),
}

fn io_advice(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or choose another one with -data-dir"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "-data-dir must be a directory"
        }
        _ => "choose another one with -data-dir if it stays so",
    }
}

/// What a slot on disk holds, as far as saves need it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    sequence: u64,
    id: NodeId,
    generation: u64,
    bootstrap: Memory,
}

impl Held {
    fn new(sequence: u64, state: &Durable) -> Self {
        let bootstrap = state.bootstrap.clone();
        Self { sequence, id: state.id, generation: state.generation, bootstrap }
    }
}

/// An open, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    slots: [Option<Held>; 2],
    /// The keyring as it is on disk.
    keys: Option<Keyring>,
    /// Locked as long as this lives; the lock goes with the process, however that ends.
    _lock: File,
}

impl DataDir {
    /// Opens (and makes) the directory, locks it, and reads what is there. `node_id` overrides
    /// the id on disk; the generation goes on from what was stored.
    ///
    /// # Errors
    /// [`PersistError`]; nothing was changed.
    pub fn open(path: &Path, node_id: Option<NodeId>) -> Result<(Self, Durable), PersistError> {
        std::fs::create_dir_all(path).map_err(|e| io_error("create", path, e))?;
        let lock = lock(path)?;
        let mut dir = Self { path: path.to_owned(), slots: [None, None], keys: None, _lock: lock };
        dir.keys = dir.load_keys()?;
        let stored = dir.load_slots()?;
        let file_id = dir.read_node_id(node_id)?;
        let id = dir.settle_id(node_id, file_id, stored.as_ref())?;
        let mut durable = stored.unwrap_or_else(|| Durable::new(id));
        if durable.id != id {
            durable.id = id;
        }
        if file_id != Some(id) {
            // The slots first: `settle_id` can finish a change that stops between the two.
            if dir.slots.iter().any(Option::is_some) {
                dir.save(&durable)?;
            }
            dir.write_file(NODE_ID, format!("{id}\n").as_bytes())?;
        }
        Ok((dir, durable))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `state` on stable storage.
    ///
    /// # Errors
    /// [`PersistError::Io`], [`PersistError::TooLarge`]: the state saved before is still there.
    pub fn save(&mut self, state: &Durable) -> Result<(), PersistError> {
        let newest = self.newest();
        let first = newest.map_or(0, |slot| 1 - slot);
        self.write_slot(first, state)?;
        let vital = |h: &Held| (h.id, h.generation) == (state.id, state.generation);
        let agrees = |h: &Held| vital(h) && h.bootstrap == state.bootstrap;
        if !self.slots[1 - first].as_ref().is_some_and(agrees) {
            self.write_slot(1 - first, state)?;
        }
        Ok(())
    }

    fn newest(&self) -> Option<usize> {
        (0..2)
            .filter(|&i| self.slots[i].is_some())
            .max_by_key(|&i| self.slots[i].as_ref().map(|h| h.sequence))
    }

    fn write_slot(&mut self, slot: usize, state: &Durable) -> Result<(), PersistError> {
        let last = self.newest().and_then(|i| self.slots[i].as_ref()).map_or(0, |h| h.sequence);
        let sequence = last.saturating_add(1);
        let bytes = format::encode(sequence, state)?;
        self.write_file(SLOTS[slot], &bytes)?;
        self.slots[slot] = Some(Held::new(sequence, state));
        Ok(())
    }

    /// Replaces a file as a whole, on stable storage when this returns.
    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), PersistError> {
        replace_file(&self.path, name, bytes, false)
    }

    /// Reads both slots; the newest state, its generation raised if a slot is damaged.
    fn load_slots(&mut self) -> Result<Option<Durable>, PersistError> {
        let mut best: Option<(u64, Durable)> = None;
        let mut faults = Vec::new();
        for (i, name) in SLOTS.iter().enumerate() {
            let path = self.path.join(name);
            let Some(bytes) = read_file(&path, format::MAX_BYTES)? else { continue };
            match format::decode(&bytes) {
                Ok((sequence, state)) => {
                    self.slots[i] = Some(Held::new(sequence, &state));
                    if best.as_ref().is_none_or(|(s, _)| sequence > *s) {
                        best = Some((sequence, state));
                    }
                }
                Err(SlotFault::Newer(found)) => return Err(PersistError::Newer { path, found }),
                Err(fault) => {
                    tracing::warn!("{} is damaged: {fault}", path.display());
                    faults.push(format!("{name}: {fault}"));
                }
            }
        }
        match best {
            None if faults.is_empty() => Ok(None),
            None => Err(PersistError::Damaged { path: self.path.clone(), faults }),
            Some((_, mut state)) => {
                if !faults.is_empty() {
                    state.generation = state.generation.saturating_add(DAMAGE_STEP);
                    tracing::warn!(
                        "{}: using the other copy; the generation goes up by {DAMAGE_STEP} to be \
                         above any that was used",
                        self.path.display()
                    );
                }
                Ok(Some(state))
            }
        }
    }

    /// The id in the file `node-id`. What is not a UUID is an error unless `given` replaces it.
    fn read_node_id(&self, given: Option<NodeId>) -> Result<Option<NodeId>, PersistError> {
        let path = self.path.join(NODE_ID);
        let Some(bytes) = read_file(&path, 256)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        match text.trim().parse() {
            Ok(id) => Ok(Some(id)),
            Err(_) if given.is_some() => Ok(None),
            Err(_) => Err(PersistError::NodeId { path }),
        }
    }

    /// Which id this agent has: the one given, else the one on disk, else a new one.
    fn settle_id(
        &self,
        given: Option<NodeId>,
        file: Option<NodeId>,
        stored: Option<&Durable>,
    ) -> Result<NodeId, PersistError> {
        if let Some(id) = given {
            return Ok(id);
        }
        match (file, stored.map(|s| s.id)) {
            (Some(file), Some(state)) if file != state => {
                // A change of id writes the slots first: if the file has the id of the older
                // slot, that change was cut short, and is finished now.
                if self.slots.iter().flatten().any(|h| h.id == file) {
                    return Ok(state);
                }
                Err(PersistError::Mismatch { path: self.path.join(NODE_ID), file, state })
            }
            (Some(id), _) | (None, Some(id)) => Ok(id),
            (None, None) => random_id(),
        }
    }
}

/// Replaces a file as a whole, on stable storage when this returns. `secret`: for its owner only.
fn replace_file(dir: &Path, name: &str, bytes: &[u8], secret: bool) -> Result<(), PersistError> {
    let path = dir.join(name);
    let tmp = dir.join(format!("{name}.tmp"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if secret {
        // What an earlier crash left behind may have other rights.
        match std::fs::remove_file(&tmp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &tmp, e));
            }
            _ => {}
        }
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut f = options.open(&tmp).map_err(|e| io_error("create", &tmp, e))?;
    f.write_all(bytes).map_err(|e| io_error("write", &tmp, e))?;
    f.sync_all().map_err(|e| io_error("sync", &tmp, e))?;
    drop(f);
    std::fs::rename(&tmp, &path).map_err(|e| io_error("replace", &path, e))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io_error("sync", dir, e))
}

/// A new random id.
///
/// # Errors
/// [`PersistError::Random`] if the system has none to give.
pub fn random_id() -> Result<NodeId, PersistError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(PersistError::Random)?;
    Ok(NodeId::from_random(bytes))
}

fn lock(dir: &Path) -> Result<File, PersistError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| io_error("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PersistError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(io_error("lock", &path, e)),
    }
}

/// At most `max` bytes and one more (so that an oversized file shows); `None` if there is none.
fn read_file(path: &Path, max: usize) -> Result<Option<Vec<u8>>, PersistError> {
    let file = match File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", path, e)),
    };
    let mut out = Vec::new();
    let max = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(max).read_to_end(&mut out).map_err(|e| io_error("read", path, e))?;
    Ok(Some(out))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> PersistError {
    PersistError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
