//! The HTTP port, sentence by sentence of the contract: a real server, real workers, nothing in between.

mod batches;
mod bodies;
mod bulk;
mod callbacks;
mod commands;
mod creating;
mod delivery;
mod dependencies;
mod dispatch;
mod events;
mod full;
mod hostile;
mod mapping;
mod metrics;
mod once;
mod openapi;
mod parking;
mod queues;
mod races;
mod reading;
mod recovery;
mod schedules;
mod strangers;
mod unique;
mod waiting;
mod webhooks;
