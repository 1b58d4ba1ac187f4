//! The integration tests of Taskhook, in one binary.
#![allow(clippy::unwrap_used, reason = "a test that panics has said what is wrong")]
#![allow(unreachable_pub, reason = "the modules of one binary share what they have")]

mod binary;
mod cli;
mod cron;
mod demo;
mod dispatch;
mod docs;
mod http;
mod lane;
mod store;
mod support;
