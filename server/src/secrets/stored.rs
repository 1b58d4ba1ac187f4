//! The server's own secrets in its store: made once, sealed, rotated.

use anyhow::Context as _;
use taskhook_core::Timestamp;

use crate::secrets::{Secrets, random};
use crate::store::sqlite::SqliteStore;
use crate::vault::Vault;

const CALLBACK: &str = "callback";
const DISPATCH: &str = "dispatch";
/// Until when it signs, and the secret.
const DISPATCH_BEFORE: &str = "dispatch_before";

/// Both of them, and the one before that may still sign.
///
/// # Errors
/// If the store or the system says so, or if one does not open with this key.
pub fn own_secrets(store: &SqliteStore, vault: &Vault) -> anyhow::Result<Secrets> {
    let secrets = Secrets::new(&own(store, vault, CALLBACK)?, &own(store, vault, DISPATCH)?);
    let Some(stored) = store.secret(DISPATCH_BEFORE)? else { return Ok(secrets) };
    let before = open_own(vault, DISPATCH_BEFORE, &stored.value)?;
    let (until, before) =
        before.split_first_chunk::<8>().context("the secret dispatch_before is too short")?;
    Ok(secrets.with_before(before, Timestamp(i64::from_be_bytes(*until))))
}

/// Makes a new secret for dispatches; the one that there is signs too until `until`. Gives the new one.
///
/// # Errors
/// As [`own_secrets`].
pub fn rotate_dispatch(store: &SqliteStore, vault: &Vault, until: Timestamp) -> anyhow::Result<Vec<u8>> {
    let before = own(store, vault, DISPATCH)?;
    // In this order: whatever happens in between, the old one is there.
    keep(store, vault, DISPATCH_BEFORE, &[&until.0.to_be_bytes()[..], &before].concat())?;
    let fresh = fresh()?;
    keep(store, vault, DISPATCH, &fresh)?;
    Ok(fresh)
}

/// Opens one of them.
///
/// # Errors
/// Why it does not open.
pub fn open_own(vault: &Vault, name: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
    vault.open(&place(name), sealed).with_context(|| format!("the secret {name} does not open"))
}

/// One of them. It is made where there is none yet, and sealed where a store of before has it plain.
fn own(store: &SqliteStore, vault: &Vault, name: &str) -> anyhow::Result<Vec<u8>> {
    let plain = match store.secret(name)? {
        Some(stored) if stored.is_sealed => return open_own(vault, name, &stored.value),
        Some(stored) => stored.value,
        None => fresh()?,
    };
    keep(store, vault, name, &plain)?;
    Ok(plain)
}

fn fresh() -> anyhow::Result<Vec<u8>> {
    let bytes = random().map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes.to_vec())
}

fn keep(store: &SqliteStore, vault: &Vault, name: &str, plain: &[u8]) -> anyhow::Result<()> {
    Ok(store.keep_secret(name, &vault.seal(&place(name), plain)?)?)
}

fn place(name: &str) -> String {
    format!("secret/{name}")
}
