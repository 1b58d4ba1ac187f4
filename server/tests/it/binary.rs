//! The real binary: a process that is killed, stopped and started again, and programs that talk to it.

mod bulk;
mod crash;
mod damage;
mod disk;
mod doors;
mod hold;
mod payloads;
mod places;
pub(crate) mod process;
pub(crate) mod python;
mod queues;
mod races;
mod recovery;
mod retention;
mod schedules;
mod senders;
mod slow;
mod stop;
mod sync;
mod tutorial;
mod unique;
