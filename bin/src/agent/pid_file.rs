//! The file with the process id (`-pid-file`), removed when the agent ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// A written file; dropping it removes it.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("pid_file {} cannot be written: {cause}", path.display())]
pub(super) struct PidFileError {
    path: PathBuf,
    cause: io::Error,
}

impl PidFile {
    /// Writes the process id; a file that is there is replaced.
    ///
    /// # Errors
    /// [`PidFileError`] with the path and the system's cause.
    pub(super) fn create(path: &Path) -> Result<Self, PidFileError> {
        let failed = |cause| PidFileError { path: path.to_owned(), cause };
        fs::write(path, process::id().to_string()).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another agent may have taken the path over: its id must stay.
        if fs::read_to_string(&self.0).is_ok_and(|id| id == process::id().to_string()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_in_use_and_never_somebody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), process::id().to_string());
        drop(file);
        assert!(!path.exists());
        let file = PidFile::create(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(file);
        assert!(path.exists());
        let e = PidFile::create(&dir.path().join("none/pid")).unwrap_err().to_string();
        assert!(e.contains("none/pid"), "{e}");
    }
}
