//! `corpus`.

use std::{fs, path::Path, path::PathBuf};

use sim::{aim::Aim, corpus};

use super::{
    Error,
    out::print_lines,
    show::{expand, read},
};

/// Writes the seeds of every target below `folder`; what is there already stays.
pub(super) fn write(folder: &Path, files: &[PathBuf], seeds: u64) -> Result<bool, Error> {
    let mut scenarios = Vec::new();
    for path in expand(files)? {
        scenarios.push(read(&path)?);
    }
    for aim in [Aim::Everything, Aim::Bootstrap] {
        scenarios.extend((0..seeds).map(|seed| aim.draw(seed)));
    }
    let all = corpus::collect(scenarios).map_err(|e| e.to_string())?;
    let mut lines = Vec::new();
    for (target, files) in &all {
        let folder = folder.join(target);
        let at = |e| format!("{}: {e}", folder.display());
        fs::create_dir_all(&folder).map_err(at)?;
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).map_err(at)?;
        }
        let bytes: usize = files.values().map(Vec::len).sum();
        lines.push(format!("{target:<10} {:>4} seeds, {:>7} bytes", files.len(), bytes));
    }
    print_lines(lines.into_iter())?;
    Ok(true)
}
