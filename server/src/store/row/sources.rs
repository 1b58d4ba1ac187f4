//! The stored shapes of sources. Times are microseconds.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use taskhook_core::Timestamp;
use taskhook_core::source::Secret;

/// A secret of a source: sealed, whatever happens to the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecretRow {
    id: String,
    sealed: String,
    added_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

impl SecretRow {
    /// The stored form.
    #[must_use]
    pub fn of(secret: &Secret) -> SecretRow {
        SecretRow {
            id: hex::encode(secret.id),
            sealed: STANDARD.encode(&secret.sealed),
            added_at: secret.added_at.0,
            until: secret.until.map(|at| at.0),
        }
    }

    /// What it says; `None` where it cannot be read.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
        Some(Secret {
            id: hex::decode(&self.id).ok()?.try_into().ok()?,
            sealed: STANDARD.decode(&self.sealed).ok()?.into(),
            added_at: Timestamp(self.added_at),
            until: self.until.map(Timestamp),
        })
    }
}

/// What of a definition a sweep goes by.
#[derive(Deserialize)]
struct Kept {
    retention_ms: Option<i64>,
}

/// How long a source says that its webhooks are kept: its definition's `retention_ms`, negative for ever; `None`: it
/// leaves that open.
#[must_use]
pub fn retention(definition: &str) -> Option<Option<Duration>> {
    let kept: Kept = serde_json::from_str(definition).ok()?;
    kept.retention_ms.map(kept_for)
}

/// A stored `retention_ms`; `None`: for ever.
#[must_use]
pub fn kept_for(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_survives_storage() {
        for until in [None, Some(Timestamp(-1))] {
            let sealed: Vec<u8> = (0..=255).collect();
            let secret = Secret { id: [9; 16], sealed: sealed.into(), added_at: Timestamp(7), until };
            let text = serde_json::to_string(&SecretRow::of(&secret)).unwrap();
            assert_eq!(serde_json::from_str::<SecretRow>(&text).unwrap().secret(), Some(secret));
        }
    }
}
