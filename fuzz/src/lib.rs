//! What must hold of everything that reads what strangers write, whatever they write.
//!
//! Each module is one target: a `check` that takes any bytes and panics where something does not hold. The tests run
//! them over the corpus and over mutations of it; `cargo xtask fuzz` lets libFuzzer look for what nobody thought of.

pub mod addresses;
pub mod config;
pub mod cron;
pub mod cursors;
pub mod expressions;
pub mod json;
pub mod signatures;
pub mod urls;

/// A target: its name, which is also that of its corpus, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("addresses", addresses::check),
    ("config", config::check),
    ("cron", cron::check),
    ("cursors", cursors::check),
    ("expressions", expressions::check),
    ("json", json::check),
    ("signatures", signatures::check),
    ("urls", urls::check),
];
