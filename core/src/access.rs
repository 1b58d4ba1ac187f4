//! Who may do what: API keys, and the server's own secrets as far as somebody changes them.
//!
//! A key is known here by its hash, and a secret comes sealed: nothing that is decided, stored or replayed holds one in
//! the open. Keys are few and are looked at all at once, so that "the last one" has one meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Context;
use crate::decision::{Decision, Outcome, Refused};
use crate::id::{is_callers_id, type_id};
use crate::limits;
use crate::subjects::Subjects;
use crate::time::Timestamp;

/// What a key may do. Each role may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read everything but keys and the audit log.
    Read,
    /// Also tasks: create, cancel, retry, trigger, pause, resume, replay; report on any task.
    Write,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, from the least on.
    pub const ALL: [Role; 3] = [Role::Read, Role::Write, Role::Admin];

    /// The contract's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }
}

/// The id of an API key. It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId(pub [u8; 16]);

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&type_id("key", &self.0))
    }
}

/// An API key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What people call it. No two have the same name.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// How the key begins, to tell it from others.
    pub hint: Arc<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is of no use; `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether a key may be called so: as other things are, but not as if it were an id.
    #[must_use]
    pub fn may_be_called(name: &str) -> bool {
        is_callers_id(name, limits::NAME_BYTES_MAX) && !name.starts_with("key_")
    }

    /// Whether it is the one of this name or id.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        *self.name == *name || self.id.to_string() == name
    }

    /// Whether it may still be used.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// Secrets of the server: their names, and each one sealed.
pub type SealedSecrets = Vec<(Arc<str>, Arc<[u8]>)>;

/// What is asked of who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessCommand {
    /// That there be this key; the time of its making is filled in.
    CreateKey {
        /// The key.
        key: ApiKey,
        /// Whoever says so has the store itself: they may make any key first.
        at_the_store: bool,
    },
    /// That this key be no more.
    RevokeKey {
        /// Its id.
        key: ApiKeyId,
        /// Whoever says so has the store itself: they may leave nobody who administers the server.
        at_the_store: bool,
    },
    /// That these be kept.
    KeepSecrets(SealedSecrets),
}

/// A fact about who may do what, in the past tense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessChange {
    /// There is this key.
    KeyCreated(ApiKey),
    /// This key is no more.
    KeyRevoked {
        /// Its id.
        key: ApiKeyId,
        /// What it was called.
        name: Arc<str>,
    },
    /// These are kept.
    SecretsKept(SealedSecrets),
}

/// The keys after a change.
pub fn evolve(keys: &mut BTreeMap<ApiKeyId, ApiKey>, change: &AccessChange) {
    match change {
        AccessChange::KeyCreated(key) => drop(keys.insert(key.id, key.clone())),
        AccessChange::KeyRevoked { key, .. } => drop(keys.remove(key)),
        AccessChange::SecretsKept(_) => {}
    }
}

/// A command.
pub fn command(cx: &Context, subjects: &Subjects, command: &AccessCommand) -> Decision {
    let refused = |why| Decision::answer(Outcome::Refused(why));
    let change = match command {
        AccessCommand::CreateKey { key: new, at_the_store } => {
            let keys = subjects.api_keys();
            if keys.len() >= limits::API_KEYS_MAX {
                return refused(Refused::TooMany { what: "API keys", max: limits::API_KEYS_MAX });
            }
            if keys.values().any(|key| key.name == new.name) {
                return refused(Refused::KeyNameTaken);
            }
            // It closes the server, and nobody could make another.
            if keys.is_empty() && new.role != Role::Admin && !at_the_store {
                return refused(Refused::AdminKeyFirst);
            }
            AccessChange::KeyCreated(ApiKey { created_at: cx.now, ..new.clone() })
        }
        AccessCommand::RevokeKey { key, at_the_store } => {
            let keys = subjects.api_keys();
            let Some(ApiKey { name, .. }) = keys.get(key) else { return refused(Refused::NoSuchKey) };
            // Without any key, whoever reaches an address that was guarded could do everything.
            let left = keys.values().filter(|other| other.id != *key && other.is_live(cx.now));
            if !at_the_store && !left.into_iter().any(|other| other.role == Role::Admin) {
                return refused(Refused::LastAdminKey);
            }
            AccessChange::KeyRevoked { key: *key, name: name.clone() }
        }
        AccessCommand::KeepSecrets(secrets) => AccessChange::SecretsKept(secrets.clone()),
    };
    let mut decision = Decision::answer(Outcome::Applied);
    decision.access.push(change);
    decision
}
