//! Keys and what is computed with them: tokens in callback URLs, ids of attempts, hashes.
//!
//! Everything here is stateless: a token or an id proves itself by its code, so nothing is looked up before it
//! is known to be ours.

pub mod credentials;
pub mod stored;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use taskhook_core::id::{parse_type_id, type_id};
use taskhook_core::{QueueKey, TaskKey, Timestamp};

use crate::vault::{Closed, Vault};

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// The first half of the SHA-256 of `parts`, each with its length before it: enough to tell any two apart.
#[must_use]
pub fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    first(context.finish().as_ref())
}

/// Whether `given` is the text of which `hash` is the SHA-256 in hex.
#[must_use]
pub fn same(given: &str, hash: &str) -> bool {
    let ours = hex::encode(sha256(given.as_bytes()));
    aws_lc_rs::constant_time::verify_slices_are_equal(ours.as_bytes(), hash.as_bytes()).is_ok()
}

/// 32 bytes from the operating system.
///
/// # Errors
/// If the system has none to give.
pub fn random() -> Result<[u8; 32], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// The secrets of one store. Those that sign may be changed while they are used.
#[derive(Debug)]
pub struct Secrets {
    callback: hmac::Key,
    dispatch: RwLock<Signer>,
    /// Of queues that have a secret of their own.
    queues: RwLock<HashMap<QueueKey, Signer>>,
    /// What opens the credentials of tasks; `None`: none is sealed.
    vault: Option<Arc<Vault>>,
}

/// With what dispatches are signed.
#[derive(Debug, Clone)]
pub struct Signer {
    key: hmac::Key,
    /// The one before, with which they are signed too until this instant.
    before: Option<(hmac::Key, Timestamp)>,
}

impl Signer {
    /// With this secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Signer {
        Signer { key: hmac::Key::new(hmac::HMAC_SHA256, secret), before: None }
    }

    /// The same, with an earlier secret too until `until`.
    #[must_use]
    pub fn with_before(self, before: &[u8], until: Timestamp) -> Signer {
        Signer { before: Some((hmac::Key::new(hmac::HMAC_SHA256, before), until)), ..self }
    }

    /// The `webhook-signature` of a dispatch (Standard Webhooks 1.0.0, symmetric, `v1`): one, or two while a rotation
    /// goes on, of which receivers take either. `timestamp` is in seconds since 1970.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let sign = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        let now = Timestamp::from_secs(timestamp);
        let before = self.before.as_ref().filter(|(_, until)| now < *until).map(|(key, _)| sign(key));
        [Some(sign(&self.key)), before].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl Secrets {
    /// From the stored keys of callback tokens and of dispatch signatures.
    #[must_use]
    pub fn new(callback: &[u8], dispatch: Signer) -> Secrets {
        Secrets {
            callback: hmac::Key::new(hmac::HMAC_SHA256, callback),
            dispatch: RwLock::new(dispatch),
            queues: RwLock::default(),
            vault: None,
        }
    }

    /// The same, opening credentials that this vault has sealed.
    #[must_use]
    pub fn with_vault(self, vault: Arc<Vault>) -> Secrets {
        Secrets { vault: Some(vault), ..self }
    }

    /// The value of a task's header as it is sent.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn open_header(&self, url: &str, name: &str, value: &str) -> Result<Vec<u8>, Closed> {
        credentials::open(self.vault.as_deref(), url, name, value)
    }

    /// Dispatches are signed so from now on, but for those of queues that have a secret of their own.
    pub fn sign_with(&self, signer: Signer) {
        *self.dispatch.write().unwrap_or_else(PoisonError::into_inner) = signer;
    }

    /// Dispatches of this queue are signed so from now on; `None`: as all the others.
    pub fn sign_queue_with(&self, queue: QueueKey, signer: Option<Signer>) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        match signer {
            Some(signer) => queues.insert(queue, signer),
            None => queues.remove(&queue),
        };
    }

    /// With what the dispatches of a queue are signed.
    #[must_use]
    pub fn signer(&self, queue: QueueKey) -> Signer {
        let own = self.queues.read().unwrap_or_else(PoisonError::into_inner).get(&queue).cloned();
        own.unwrap_or_else(|| self.dispatch.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The token in the callback URL of one attempt: task, attempt, and a 128-bit code over both.
    #[must_use]
    pub fn callback_token(&self, task: TaskKey, attempt: u32) -> String {
        let mut token = Vec::with_capacity(28);
        token.extend(task.0.to_be_bytes());
        token.extend(attempt.to_be_bytes());
        token.extend(self.code(b"callback", task, attempt));
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The task and the attempt of a token; `None` if it is not one of ours.
    #[must_use]
    pub fn read_callback_token(&self, token: &str) -> Option<(TaskKey, u32)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (task, rest) = bytes.split_first_chunk::<8>()?;
        let (attempt, code) = rest.split_first_chunk::<4>()?;
        let (task, attempt) = (TaskKey(i64::from_be_bytes(*task)), u32::from_be_bytes(*attempt));
        let ours = self.code(b"callback", task, attempt);
        aws_lc_rs::constant_time::verify_slices_are_equal(&ours, code).ok()?;
        Some((task, attempt))
    }

    /// The `webhook-id` of one attempt, the same on every resend.
    #[must_use]
    pub fn attempt_id(&self, task: TaskKey, attempt: u32) -> String {
        type_id("att", &self.bound(b"attempt", task, attempt))
    }

    /// Whether `text` is the `webhook-id` of an attempt that we sent: workers echo headers.
    #[must_use]
    pub fn is_attempt_id(&self, text: &str) -> bool {
        let Some(bytes) = parse_type_id("att", text) else { return false };
        let number = u128::from_be_bytes(bytes);
        let (task, attempt) = (number >> 64, (number >> 32) & u128::from(u32::MAX));
        let (Ok(task), Ok(attempt)) = (i64::try_from(task), u32::try_from(attempt)) else { return false };
        self.bound(b"attempt", TaskKey(task), attempt) == bytes
    }

    /// The `idempotency-key` of a task: the same for all attempts until it is retried explicitly.
    #[must_use]
    pub fn idempotency_key(&self, task: TaskKey, generation: u32) -> String {
        type_id("key", &self.bound(b"generation", task, generation))
    }

    /// Task, number and a 32-bit code over both: unmistakable, and told apart from another store's.
    fn bound(&self, what: &[u8], task: TaskKey, number: u32) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&task.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&number.to_be_bytes());
        bytes[12..].copy_from_slice(&self.code(what, task, number)[..4]);
        bytes
    }

    fn code(&self, what: &[u8], task: TaskKey, number: u32) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.callback);
        context.update(what);
        context.update(&task.0.to_be_bytes());
        context.update(&number.to_be_bytes());
        first(context.sign().as_ref())
    }
}

/// A dispatch secret in the form that Standard Webhooks libraries take.
#[must_use]
pub fn dispatch_secret_text(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

fn first<const N: usize>(hash: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash[..N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_attempt_and_nothing_else_does() {
        let secrets = Secrets::new(b"one", Signer::new(b"two"));
        let token = secrets.callback_token(TaskKey(7), 3);
        assert_eq!(secrets.read_callback_token(&token), Some((TaskKey(7), 3)));
        assert_eq!(Secrets::new(b"other", Signer::new(b"two")).read_callback_token(&token), None);
        for position in 0..token.len() {
            let mut bent = token.clone().into_bytes();
            bent[position] = if bent[position] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert_eq!(secrets.read_callback_token(&bent), None, "{bent}");
        }
        for wrong in ["", "AAAA", "!", &token[1..], &format!("{token}AA")] {
            assert_eq!(secrets.read_callback_token(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn our_own_ids_are_recognised() {
        let secrets = Secrets::new(b"one", Signer::new(b"two"));
        let id = secrets.attempt_id(TaskKey(7), 3);
        assert!(secrets.is_attempt_id(&id), "{id}");
        assert!(!Secrets::new(b"other", Signer::new(b"two")).is_attempt_id(&id));
        assert!(!secrets.is_attempt_id("att_00000000000000000000000000"));
        assert!(!secrets.is_attempt_id("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"));
        assert_ne!(secrets.idempotency_key(TaskKey(7), 0), secrets.idempotency_key(TaskKey(7), 1));
    }

    /// The vector of the Standard Webhooks specification and its reference libraries.
    #[test]
    fn signatures_follow_the_published_vector() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(
            Signer::new(&secret).sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(dispatch_secret_text(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    #[test]
    fn while_a_rotation_goes_on_both_secrets_sign() {
        let (old, new) = (Signer::new(b"old"), Signer::new(b"new"));
        let both = new.clone().with_before(b"old", Timestamp::from_secs(1_000));
        let sign = |signer: &Signer, at| signer.sign("msg_1", at, b"{}");
        assert_eq!(sign(&both, 999), format!("{} {}", sign(&new, 999), sign(&old, 999)));
        assert_eq!(sign(&both, 1_000), sign(&new, 1_000));
    }

    #[test]
    fn a_queue_may_have_a_secret_of_its_own() {
        let secrets = Secrets::new(b"one", Signer::new(b"two"));
        let sign = |queue| secrets.signer(QueueKey(queue)).sign("msg_1", 0, b"{}");
        let of_all = sign(1);
        assert_eq!(of_all, Signer::new(b"two").sign("msg_1", 0, b"{}"));
        secrets.sign_queue_with(QueueKey(1), Some(Signer::new(b"three")));
        secrets.sign_with(Signer::new(b"four"));
        assert_eq!(sign(1), Signer::new(b"three").sign("msg_1", 0, b"{}"));
        assert_eq!(sign(2), Signer::new(b"four").sign("msg_1", 0, b"{}"));
        secrets.sign_queue_with(QueueKey(1), None);
        assert_eq!(sign(1), sign(2));
    }
}
