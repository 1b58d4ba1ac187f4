//! Cursors of lists: what is read as one was written as just that one.

use taskhook::http::cursor;

/// Takes any text as a cursor, and any eight bytes as a row.
pub fn check(data: &[u8]) {
    if let Ok(bytes) = data.try_into() {
        let row = i64::from_be_bytes(bytes);
        assert_eq!(cursor::read_row(&cursor::row(row)), Some(row));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(cursor::read_name(&cursor::name(text)).as_deref(), Some(text));
    if let Some(row) = cursor::read_row(text) {
        assert_eq!(cursor::row(row), text);
    }
    if let Some(name) = cursor::read_name(text) {
        assert_eq!(cursor::name(&name), text);
    }
}
