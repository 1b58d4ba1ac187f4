//! Sources: who may send webhooks, how each proves itself, and what its requests mean.
//!
//! One engine ([`verify`]) checks every scheme over the raw bytes, before anything is parsed. What a scheme signs, with
//! what and where, is data ([`rule`], [`presets`]); what a secret may look like is in [`secret`].

pub mod definition;
pub mod facts;
pub mod jwt;
pub mod presets;
pub mod registry;
pub mod rule;
pub mod secret;
pub mod verify;
