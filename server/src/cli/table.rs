//! Tables for people: aligned, without borders, one line for each row.

use std::io;

use comfy_table::{Table, presets};

use crate::cli::out;

/// Prints rows under a header.
///
/// # Errors
/// If nobody reads them.
pub(super) fn rows<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    columns(header.map(String::from), rows.into_iter().map(Vec::from))
}

/// Prints rows of as many columns as were asked for, under a header.
///
/// # Errors
/// If nobody reads them.
pub(super) fn columns(
    header: impl IntoIterator<Item = String>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let mut table = empty();
    table.set_header(header);
    table.add_rows(
        rows.into_iter().map(|row| row.into_iter().map(|cell| out::visible(&cell)).collect::<Vec<_>>()),
    );
    print(table)
}

/// Prints what is known of one thing; what is empty is left out.
///
/// # Errors
/// If nobody reads it.
pub(super) fn pairs(pairs: impl IntoIterator<Item = (impl Into<String>, String)>) -> io::Result<()> {
    let mut table = empty();
    let known = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    table.add_rows(known.map(|(name, value)| [name.into(), out::visible(&value)]));
    print(table)
}

/// At most `chars_max` characters of a text, with a mark where it goes on.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

fn empty() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn print(mut table: Table) -> io::Result<()> {
    table.discover_columns();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    out::data(table.trim_fmt())
}
