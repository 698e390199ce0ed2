//! Standard output. Whoever reads it may go away (`| head`): then the program ends quietly, with
//! the exit code that a shell shows for a process that a closed pipe has killed.

use std::{
    io::{self, BufWriter, Write},
    process,
};

use super::Error;

/// 128 and the number of SIGPIPE.
const NOBODY_READS: i32 = 141;

/// Writes text; anything but a closed pipe is told on standard error.
pub(super) fn put(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(e) = seen(out.write_all(text.as_bytes()).and_then(|()| out.flush())) {
        eprintln!("sim: {e}");
        process::exit(2);
    }
}

/// Prints lines.
pub(super) fn print_lines(mut lines: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    seen(lines.try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush()))
}

fn seen(written: io::Result<()>) -> Result<(), Error> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => process::exit(NOBODY_READS),
        result => result.map_err(|e| format!("cannot write to standard output: {e}")),
    }
}
