//! The API keys of this node, at hand for every request.
//!
//! A key is 256 random bits, so a plain hash of it tells nothing, and looking the hash up gives no time to measure.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use taskhook_core::Timestamp;
use taskhook_core::access::{ApiKey, ApiKeyId, Role};
use uuid::Uuid;

use crate::secrets::{random, sha256};
use crate::store::read::{ReadError, Reader};

/// How every API key begins, so that one that has leaked is found.
pub const PREFIX: &str = "thk_";

/// So much of a key is shown: too little to guess the rest, enough to tell it from others.
const HINT_BYTES: usize = 8;

/// The API keys, by their hashes.
#[derive(Debug)]
pub struct Keys {
    keys: RwLock<HashMap<[u8; 32], Arc<ApiKey>>>,
    is_loopback: bool,
    /// Nobody has to say who they are: there are no keys, and only this machine reaches the server.
    open: Arc<AtomicBool>,
    /// One at a time: what was read first may not be put in last.
    refreshing: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Every key there is, for a server that only this machine reaches, or that others reach too.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(reader: &Reader, is_loopback: bool) -> Result<Keys, ReadError> {
        let keys = Keys {
            keys: RwLock::default(),
            is_loopback,
            open: Arc::default(),
            refreshing: tokio::sync::Mutex::default(),
        };
        keys.refresh(reader).await?;
        Ok(keys)
    }

    /// Takes over how they are now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn refresh(&self, reader: &Reader) -> Result<(), ReadError> {
        let _turn = self.refreshing.lock().await;
        let keys = match reader.api_keys().await {
            Ok(keys) => keys,
            Err(error) => {
                // There may be one since.
                self.open.store(false, Ordering::Release);
                return Err(error);
            }
        };
        let by_hash: HashMap<_, _> = keys.into_values().map(|key| (key.hash, Arc::new(key))).collect();
        // Closed before a key is of use, so that no moment is more open than the one before.
        self.open.store(self.is_loopback && by_hash.is_empty(), Ordering::Release);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = by_hash;
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether nobody has to say who they are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The same, as it is at each moment.
    #[must_use]
    pub fn open(&self) -> Arc<AtomicBool> {
        self.open.clone()
    }

    /// What is known of this key, if it may be used.
    #[must_use]
    pub fn find(&self, text: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        let key = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&hash(text)).cloned();
        key.filter(|key| key.is_live(now))
    }

    /// The key of this name or id.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<ApiKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.values().find(|key| key.is_called(name)).cloned()
    }
}

/// Makes a key: its text, which is never seen again, and what is kept of it. Without a name it is called by its id.
///
/// # Errors
/// If the system gives no random bytes.
pub fn new_key(
    name: Option<&str>,
    role: Role,
    expires_at: Option<Timestamp>,
) -> Result<(String, ApiKey), Unspecified> {
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random()?));
    let id = ApiKeyId(Uuid::now_v7().into_bytes());
    let key = ApiKey {
        id,
        name: name.map_or_else(|| id.to_string(), Into::into).into(),
        role,
        hash: hash(&text),
        hint: text[..HINT_BYTES].into(),
        created_at: Timestamp(0),
        expires_at,
    };
    Ok((text, key))
}

fn hash(text: &str) -> [u8; 32] {
    sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_random_and_only_its_hash_is_kept() {
        let (text, key) = new_key(Some("ci"), Role::Write, None).unwrap();
        assert_eq!(text.len(), PREFIX.len() + 43);
        assert!(text.starts_with(&*key.hint) && key.hint.len() == 8);
        assert_eq!(key.hash, sha256(text.as_bytes()));
        assert!(!format!("{key:?}").contains(&text));
        let (other, unnamed) = new_key(None, Role::Read, None).unwrap();
        assert_ne!(text, other);
        assert_eq!(*unnamed.name, unnamed.id.to_string());
    }
}
