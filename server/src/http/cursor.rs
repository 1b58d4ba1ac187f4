//! Cursors of lists: where a page begins, opaque to callers. There is one spelling of each.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A cursor for the row at `position`.
#[must_use]
pub fn row(position: i64) -> String {
    URL_SAFE_NO_PAD.encode(position.to_be_bytes())
}

/// The row that a cursor is for; `None`: it is no cursor of rows.
#[must_use]
pub fn read_row(text: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// A cursor for the thing with this name.
#[must_use]
pub fn name(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The name that a cursor is for; `None`: it is no cursor of names.
#[must_use]
pub fn read_name(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
