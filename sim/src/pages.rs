//! Large pages. A run of 1,000 nodes touches some hundred megabytes in no order, and a fifth of its
//! time is spent looking pages up. glibc can ask the kernel for large ones, but reads whether to
//! do so from its environment when a process starts.

/// Starts this program again with large pages, unless the environment says something of its own
/// about glibc's tunables. Comes back where that is not possible.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn use_large() {
    use std::{env, os::unix::process::CommandExt as _, process::Command};

    const TUNABLES: &str = "GLIBC_TUNABLES";
    if env::var_os(TUNABLES).is_none()
        && let Ok(program) = env::current_exe()
    {
        // On success this does not return; an error leaves everything as it is.
        drop(
            Command::new(program)
                .args(env::args_os().skip(1))
                .env(TUNABLES, "glibc.malloc.hugetlb=1")
                .exec(),
        );
    }
}

/// Elsewhere pages are what they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn use_large() {}
