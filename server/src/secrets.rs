//! Keys and what is computed with them: tokens in callback URLs, ids of attempts, hashes.
//!
//! Everything here is stateless: a token or an id proves itself by its code, so nothing is looked up before it
//! is known to be ours.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use taskhook_core::TaskKey;
use taskhook_core::id::{parse_type_id, type_id};

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

/// The secrets of one store.
#[derive(Debug, Clone)]
pub struct Secrets {
    callback: hmac::Key,
    dispatch: hmac::Key,
    dispatch_text: String,
}

impl Secrets {
    /// From the stored keys of callback tokens and of dispatch signatures.
    #[must_use]
    pub fn new(callback: &[u8], dispatch: &[u8]) -> Secrets {
        Secrets {
            callback: hmac::Key::new(hmac::HMAC_SHA256, callback),
            dispatch: hmac::Key::new(hmac::HMAC_SHA256, dispatch),
            dispatch_text: dispatch_secret_text(dispatch),
        }
    }

    /// The secret that signs dispatches, as Standard Webhooks libraries take it.
    #[must_use]
    pub fn dispatch_text(&self) -> &str {
        &self.dispatch_text
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

    /// The `webhook-signature` of a dispatch (Standard Webhooks 1.0.0, symmetric, `v1`).
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.dispatch);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
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
        let secrets = Secrets::new(b"one", b"two");
        let token = secrets.callback_token(TaskKey(7), 3);
        assert_eq!(secrets.read_callback_token(&token), Some((TaskKey(7), 3)));
        assert_eq!(Secrets::new(b"other", b"two").read_callback_token(&token), None);
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
        let secrets = Secrets::new(b"one", b"two");
        let id = secrets.attempt_id(TaskKey(7), 3);
        assert!(secrets.is_attempt_id(&id), "{id}");
        assert!(!Secrets::new(b"other", b"two").is_attempt_id(&id));
        assert!(!secrets.is_attempt_id("att_00000000000000000000000000"));
        assert!(!secrets.is_attempt_id("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"));
        assert_ne!(secrets.idempotency_key(TaskKey(7), 0), secrets.idempotency_key(TaskKey(7), 1));
    }

    /// The vector of the Standard Webhooks specification and its reference libraries.
    #[test]
    fn signatures_follow_the_published_vector() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let secrets = Secrets::new(b"one", &secret);
        assert_eq!(
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(secrets.dispatch_text(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
}
