//! The folder of failures that were found once: small scenarios that are replayed for ever.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    keyed::{Keyed, Purpose},
    scenario::Scenario,
};

/// Where scenarios live, seen from the package.
pub const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// All scenario files under `folder`, sorted by path.
///
/// # Errors
/// What reading a folder gives.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "scn") {
                out.push(path);
            }
        }
    }
    out.sort();
    Ok(out)
}

/// `S2-resurrection-1a2b3c4d.scn`
pub fn file_name(check: &str, scenario: &Scenario) -> String {
    let mut hash = 0;
    for chunk in scenario.to_string().as_bytes().chunks(8) {
        let word = chunk.iter().fold(0, |w, b| w << 8 | u64::from(*b));
        hash = Keyed::new(hash).bits(Purpose::Draw, word, chunk.len() as u64);
    }
    let usable = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let check: String = check.chars().take(60).map(usable).collect();
    format!("{check}-{:08x}.scn", hash >> 32)
}

/// Makes the folder and sees that files can be written into it: whoever is going to keep what a
/// long work finds learns now that it could not be kept.
///
/// # Errors
/// What creating the folder or writing a file gives.
pub fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".sim-{}", std::process::id()));
    fs::write(&probe, "")?;
    fs::remove_file(&probe)
}

/// Writes a scenario with a comment that says what it broke; gives its path.
///
/// # Errors
/// What creating the folder or writing the file gives.
pub fn keep(folder: &Path, check: &str, message: &str, scenario: &Scenario) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut scenario = scenario.clone();
    let path = folder.join(file_name(check, &scenario));
    scenario.about = vec![format!("Broke {check}: {}", message.replace('\n', " "))];
    fs::write(&path, scenario.to_string())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_check_and_content() {
        let a = Scenario::parse("cluster 3 seed 1\nat 1s heal\n").unwrap();
        let b = Scenario::parse("cluster 3 seed 2\nat 1s heal\n").unwrap();
        assert_eq!(file_name("S2-x", &a), file_name("S2-x", &a));
        assert_ne!(file_name("S2-x", &a), file_name("S2-x", &b));
        assert!(file_name("within converged/..", &a).starts_with("within-converged----"));
    }
}
