//! The keyring file: a JSON list of keys in base64, the primary one first, as Consul writes
//! `serf/local.keyring`. Readable by its owner only, and replaced as a whole.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quorate_core::wire::{Key, KeyError, Keyring};

use super::{DataDir, PersistError, io_error, read_file, replace_file};

/// Where the keys are, in the data directory.
pub const KEYRING: &str = "serf/local.keyring";
const FOLDER: &str = "serf";
const FILE: &str = "local.keyring";
/// Bytes of the file at most: all keys with room for blanks.
const MAX_BYTES: usize = 4096;

/// Why a file is no keyring. Never shows what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringFault {
    /// Not a JSON list of texts.
    #[error("it is not a JSON list of keys")]
    Json,
    /// No key at all.
    #[error("it has no key")]
    Empty,
    /// A text that is not base64; counted from 1.
    #[error("key {0} is not base64")]
    Base64(usize),
    /// A text that is no key; counted from 1.
    #[error("key {0}: {1}")]
    Key(usize, KeyError),
}

fn parse(bytes: &[u8]) -> Result<Keyring, KeyringFault> {
    let texts: Vec<String> = serde_json::from_slice(bytes).map_err(|_| KeyringFault::Json)?;
    let mut ring: Option<Keyring> = None;
    for (i, text) in texts.iter().enumerate() {
        let n = i + 1;
        let raw = STANDARD.decode(text).map_err(|_| KeyringFault::Base64(n))?;
        let key = Key::new(&raw).map_err(|e| KeyringFault::Key(n, e))?;
        match &mut ring {
            None => ring = Some(Keyring::new(key)),
            Some(r) => r.install(key).map_err(|e| KeyringFault::Key(n, e))?,
        }
    }
    ring.ok_or(KeyringFault::Empty)
}

fn print(ring: &Keyring) -> Vec<u8> {
    let keys: Vec<String> = ring.keys().map(|k| STANDARD.encode(k.reveal())).collect();
    // A list of texts always prints.
    let mut out = serde_json::to_vec_pretty(&keys).unwrap_or_default();
    out.push(b'\n');
    out
}

impl DataDir {
    pub(super) fn load_keys(&self) -> Result<Option<Keyring>, PersistError> {
        let path = self.path.join(KEYRING);
        let Some(bytes) = read_file(&path, MAX_BYTES)? else { return Ok(None) };
        parse(&bytes).map(Some).map_err(|fault| PersistError::Keyring { path, fault })
    }

    /// The keys that are on disk, if an encrypted agent ran here before.
    pub const fn keys(&self) -> Option<&Keyring> {
        self.keys.as_ref()
    }

    /// Puts the keys on stable storage, unless they are there.
    ///
    /// # Errors
    /// [`PersistError::Io`]: the keys saved before are still there.
    pub fn save_keys(&mut self, ring: &Keyring) -> Result<(), PersistError> {
        if self.keys.as_ref() == Some(ring) {
            return Ok(());
        }
        let folder = self.path.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|e| io_error("create", &folder, e))?;
        // Also where it was there: who made it may have died before this.
        std::fs::File::open(&self.path)
            .and_then(|d| d.sync_all())
            .map_err(|e| io_error("sync", &self.path, e))?;
        replace_file(&folder, FILE, &print(ring), true)?;
        self.keys = Some(ring.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        Key::new(&[n; 32]).unwrap()
    }

    #[test]
    fn keys_come_back_in_their_order_and_only_the_owner_reads_them() {
        let place = tempfile::tempdir().unwrap();
        let (mut dir, _) = DataDir::open(place.path(), None).unwrap();
        assert_eq!(dir.keys(), None);
        let mut ring = Keyring::new(key(1));
        ring.install(key(2)).unwrap();
        ring.use_key(&key(2)).unwrap();
        dir.save_keys(&ring).unwrap();
        let path = place.path().join(KEYRING);
        let text = std::fs::read_to_string(&path).unwrap();
        let [one, two] = [1, 2].map(|n| STANDARD.encode([n; 32]));
        assert_eq!(text, format!("[\n  \"{two}\",\n  \"{one}\"\n]\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        drop(dir);
        let (dir, _) = DataDir::open(place.path(), None).unwrap();
        assert_eq!(dir.keys(), Some(&ring));
    }

    #[test]
    fn what_is_no_keyring_is_named_with_the_way_out() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join(FOLDER)).unwrap();
        let short = STANDARD.encode([1; 5]);
        for (text, part) in [
            ("", "not a JSON list"),
            ("{}", "not a JSON list"),
            ("[]", "has no key"),
            ("[\"?\"]", "key 1 is not base64"),
            (&*format!("[\"{short}\"]"), "key 1: it has 5 bytes"),
        ] {
            std::fs::write(place.path().join(KEYRING), text).unwrap();
            let e = DataDir::open(place.path(), None).unwrap_err().to_string();
            assert!(e.contains(part) && e.contains(KEYRING) && e.contains("-encrypt"), "{e}");
            assert!(!e.contains(&short), "{e}");
        }
    }
}
