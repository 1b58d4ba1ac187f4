//! The server's own secrets in its store: made once, sealed, rotated.

use std::sync::Arc;

use anyhow::Context as _;
use taskhook_core::access::SealedSecrets;
use taskhook_core::queue::QueueSecret;
use taskhook_core::{QueueKey, Timestamp};

use crate::secrets::{Secrets, Signer, random};
use crate::source::rule::KeyForm;
use crate::source::secret::Key;
use crate::store::sqlite::{SqliteStore, StoredSecret};
use crate::vault::Vault;

const CALLBACK: &str = "callback";

/// With which dispatches are signed.
pub const DISPATCH: &str = "dispatch";

/// The one before: until when it signs, and the secret.
pub const DISPATCH_BEFORE: &str = "dispatch_before";

/// What the secret of a queue looks like: as Standard Webhooks libraries take it, which verify with nothing else.
const QUEUE_FORMS: [KeyForm; 1] = [KeyForm::Standard];

/// All of them, but for those of queues.
///
/// # Errors
/// If the store or the system says so, or if one does not open with this key.
pub fn own_secrets(store: &SqliteStore, vault: &Arc<Vault>) -> anyhow::Result<Secrets> {
    let callback = own(store, vault, CALLBACK)?;
    let dispatch = own(store, vault, DISPATCH)?;
    let before = store.secret(DISPATCH_BEFORE)?;
    let signer = signer(vault, &dispatch, before.as_ref())?;
    Ok(Secrets::new(&callback, signer).with_vault(vault.clone()))
}

/// What signs dispatches with `secret`, and with the one before it as long as that signs.
///
/// # Errors
/// If that does not open.
pub fn signer(vault: &Vault, secret: &[u8], before: Option<&StoredSecret>) -> anyhow::Result<Signer> {
    let signer = Signer::new(secret);
    let Some(stored) = before else { return Ok(signer) };
    let (until, before) = open_before(vault, stored)?;
    Ok(signer.with_before(&before, until))
}

/// The secret before, and until when it signs.
///
/// # Errors
/// If it does not open.
pub fn open_before(vault: &Vault, stored: &StoredSecret) -> anyhow::Result<(Timestamp, Vec<u8>)> {
    let before = open_own(vault, DISPATCH_BEFORE, stored)?;
    let (until, before) =
        before.split_first_chunk::<8>().context("the secret dispatch_before is too short")?;
    Ok((Timestamp(i64::from_be_bytes(*until)), before.to_vec()))
}

/// A new secret for dispatches; `before` signs too until `until`. Gives it, and what is to be kept.
///
/// # Errors
/// If the system gives no random bytes.
pub fn rotation(vault: &Vault, before: &[u8], until: Timestamp) -> anyhow::Result<(Vec<u8>, SealedSecrets)> {
    let fresh = fresh()?;
    let before = [&until.0.to_be_bytes()[..], before].concat();
    let sealed = |name: &str, plain: &[u8]| -> anyhow::Result<(Arc<str>, Arc<[u8]>)> {
        Ok((name.into(), vault.seal(&place(name), plain)?.into()))
    };
    let kept = vec![sealed(DISPATCH, &fresh)?, sealed(DISPATCH_BEFORE, &before)?];
    Ok((fresh, kept))
}

/// Opens one of them.
///
/// # Errors
/// Why it does not open.
pub fn open_own(vault: &Vault, name: &str, stored: &StoredSecret) -> anyhow::Result<Vec<u8>> {
    if !stored.is_sealed {
        return Ok(stored.value.clone());
    }
    vault.open(&place(name), &stored.value).with_context(|| format!("the secret {name} does not open"))
}

/// Seals the secret of a queue.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn seal_queue_secret(vault: &Vault, queue: &str, text: &str) -> Result<Vec<u8>, String> {
    Key::parse(text, &QUEUE_FORMS)?;
    vault.seal(&queue_place(queue), text.as_bytes()).map_err(|_| "cannot be sealed: no random bytes".into())
}

/// Whether the secret of a queue is this very text.
#[must_use]
pub fn is_queue_secret(vault: &Vault, queue: &str, secret: &QueueSecret, text: &str) -> bool {
    let key = |text: &str| Key::parse(text, &QUEUE_FORMS).ok();
    let now = vault.open(&queue_place(queue), &secret.sealed).ok();
    let now = now.and_then(|now| key(&String::from_utf8(now).ok()?));
    now.is_some() && now == key(text)
}

/// What signs the dispatches of a queue with a secret of its own.
fn queue_signer(vault: &Vault, queue: &str, secret: &QueueSecret) -> anyhow::Result<Signer> {
    let key = |sealed: &[u8]| -> anyhow::Result<Vec<u8>> {
        let does_not = || format!("the secret of the queue {queue} does not open");
        let text = String::from_utf8(vault.open(&queue_place(queue), sealed).with_context(does_not)?)?;
        let key =
            Key::parse(&text, &QUEUE_FORMS).map_err(|why| anyhow::anyhow!("{}: it {why}", does_not()))?;
        Ok(key.into_bytes())
    };
    let signer = Signer::new(&key(&secret.sealed)?);
    match &secret.before {
        Some((before, until)) => Ok(signer.with_before(&key(before)?, *until)),
        None => Ok(signer),
    }
}

/// Lets the dispatches of a queue be signed as it says.
///
/// # Errors
/// If its secret does not open.
pub fn sign_queue(
    secrets: &Secrets,
    vault: &Vault,
    (key, name): (QueueKey, &str),
    secret: Option<&QueueSecret>,
) -> anyhow::Result<()> {
    let signer = secret.map(|secret| queue_signer(vault, name, secret)).transpose()?;
    secrets.sign_queue_with(key, signer);
    Ok(())
}

/// One of them. It is made where there is none yet, and sealed where a store of before has it plain.
fn own(store: &SqliteStore, vault: &Vault, name: &str) -> anyhow::Result<Vec<u8>> {
    let plain = match store.secret(name)? {
        Some(stored) if stored.is_sealed => return open_own(vault, name, &stored),
        Some(stored) => stored.value,
        None => fresh()?,
    };
    store.keep_secret(name, &vault.seal(&place(name), &plain)?)?;
    Ok(plain)
}

fn fresh() -> anyhow::Result<Vec<u8>> {
    let bytes = random().map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes.to_vec())
}

fn place(name: &str) -> String {
    format!("secret/{name}")
}

fn queue_place(queue: &str) -> String {
    format!("queue/{queue}")
}
