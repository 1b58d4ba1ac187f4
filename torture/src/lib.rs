//! Torture for the real Taskhook: a load, a remote and a proxy on both of its sides, and everything that can happen to a
//! process and its disk; then a checker that holds what is there against what was promised.
//!
//! One seed plans it all. The moments of two runs differ all the same: the machine has its own chance.
//! `docs/guide/torture.md` tells how to run it; `cargo xtask torture` builds what it needs.

pub mod backup;
pub mod check;
pub mod disk;
pub mod http;
pub mod judge;
pub mod ledger;
pub mod link;
pub mod load;
pub mod plan;
pub mod proxy;
pub mod remote;
pub mod sabotage;
pub mod server;
pub mod shim;
pub mod tally;
pub mod world;
