//! Taskhook: a durable task scheduler driven by webhooks.
//!
//! The library behind the one binary. `core` decides; [`engine`] makes decisions durable; [`store`] keeps
//! them. `ARCHITECTURE.md` draws the line from a webhook to the dispatch that follows from it.

pub mod access;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod engine;
pub mod expression;
pub mod http;
pub mod json;
pub mod report;
pub mod reserved;
pub mod secrets;
pub mod serve;
pub mod source;
pub mod store;
pub mod target;
pub mod telemetry;
pub mod vault;
