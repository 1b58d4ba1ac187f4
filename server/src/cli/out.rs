//! Standard output for data, standard error for everything else.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints data, and ends its last line.
///
/// # Errors
/// If nobody reads it.
pub(super) fn data(bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let bytes = bytes.as_ref();
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    if !bytes.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Tells the user something.
pub(super) fn message(text: impl Display) {
    // Where nobody listens, there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The text with everything made visible that would move the cursor or turn the line around: what remote
/// servers said is printed, not obeyed.
pub(super) fn visible(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_terminal_is_shown_instead() {
        assert_eq!(visible("größer: \"ok\""), "größer: \"ok\"");
        assert_eq!(visible("a\nb\u{1b}[2J\u{202e}c"), "a\\nb\\u{1b}[2J\\u{202e}c");
    }
}
