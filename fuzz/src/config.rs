//! The settings: any text is settings, or every fault has its place in it.

use taskhook::config::{Config, Place};

/// Takes any text as `taskhook.toml`.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(faults) = Config::parse("taskhook.toml", text) else { return };
    assert!(!faults.0.is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for fault in &faults.0 {
        assert!(!fault.text.is_empty());
        if let Place::File(path, line, column) = &fault.place {
            assert_eq!(path, "taskhook.toml");
            assert!((1..=lines.len()).contains(line), "line {line} of {}", lines.len());
            let longest = lines[line - 1].chars().count() + 1;
            assert!((1..=longest).contains(column), "column {column} of {longest}: {}", fault.text);
        }
    }
}
