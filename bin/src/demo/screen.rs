//! A table that is drawn over itself on a terminal, and printed anew at each change elsewhere.

use std::io::{self, IsTerminal, Write};

/// Standard output.
pub(super) struct Screen {
    is_terminal: bool,
    last: String,
}

impl Screen {
    /// The screen, with nothing of ours on it.
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), last: String::new() }
    }

    /// Prints text below everything.
    pub(super) fn say(&mut self, text: &str) {
        self.last.clear();
        put(text);
    }

    /// Shows a table in the place of the last one.
    pub(super) fn table(&mut self, table: &str) {
        let text = frame(self.is_terminal, &self.last, table);
        if !text.is_empty() {
            put(&text);
        }
        self.last = table.to_owned();
    }
}

/// What to write to get from one table to the next.
fn frame(is_terminal: bool, last: &str, next: &str) -> String {
    if last == next {
        String::new()
    } else if is_terminal && !last.is_empty() {
        // Up to the first line of the old one, and clear from there.
        format!("\x1b[{}A\r\x1b[J{next}", last.lines().count())
    } else {
        next.to_owned()
    }
}

/// A reader that went away must not end the demo with a panic.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_drawn_over_on_a_terminal_only() {
        assert_eq!(frame(true, "", "a\n"), "a\n");
        assert_eq!(frame(true, "a\nb\n", "c\n"), "\u{1b}[2A\r\u{1b}[Jc\n");
        assert_eq!(frame(false, "a\nb\n", "c\n"), "c\n");
        assert_eq!(frame(true, "c\n", "c\n"), "");
    }
}
