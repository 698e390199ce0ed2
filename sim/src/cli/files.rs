//! Files that a command writes: what can be known of them is said before the work begins.

use std::{fs, path::Path};

use super::Error;

/// Refuses an output that is one of the inputs, by whatever path: it would be gone.
pub(super) fn spare<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Error> {
    for input in inputs {
        if are_one(output, input) {
            let (output, input) = (output.display(), input.display());
            return Err(format!("{output}: this would overwrite what is read from {input}"));
        }
    }
    Ok(())
}

/// Is it one file? A terminal or a pipe may be both ends: nothing of it is overwritten.
fn are_one(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (fs::canonicalize(a), fs::canonicalize(b)) else { return false };
    let (Ok(x), Ok(y)) = (fs::metadata(&a), fs::metadata(&b)) else { return false };
    x.is_file() && (a == b || are_linked(&x, &y))
}

/// Two names of one file?
#[cfg(unix)]
fn are_linked(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// There is no way to know.
#[cfg(not(unix))]
const fn are_linked(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_known_by_all_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "").expect("it is written");
        fs::write(at("b"), "").expect("it is written");
        fs::create_dir(at("below")).expect("it is made");
        fs::hard_link(at("a"), at("linked")).expect("it is linked");
        let same = |x: &str, y: &str| are_one(&at(x), &at(y));
        assert!(same("a", "a") && same("a", "below/../a"));
        assert!(!same("a", "b") && !same("a", "new") && !same("new", "new"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a"), at("symbolic")).expect("it is linked");
            assert!(same("a", "linked") && same("symbolic", "linked"));
            let null = Path::new("/dev/null");
            assert!(!are_one(null, null));
        }
    }
}
