//! Secrets at rest: sealed with a master key that is not in the store.
//!
//! Each is bound to the place where it stands, so that a sealed secret that is moved to another row does not open. The
//! master key is given in the environment, or is in a file beside the store that the first start makes: whoever has a
//! copy of the store alone has no secret.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secrets::{fingerprint, random};

/// The variable that a master key may be given in.
pub const VARIABLE: &str = "TASKHOOK_MASTER_KEY";

/// The first byte of what is sealed: which way.
const VERSION: u8 = 1;

const ID_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

/// The key that opens everything. It shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

/// Where the master key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// The environment has said it.
    Given(MasterKey),
    /// It is in this file.
    File(PathBuf),
}

/// Why there is no master key to open a store with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is gone.
    #[error(
        "the secrets of this store are sealed, and its master key {} is not there: put the file back, or name it with \
         `master_key_file`, or give the key in {VARIABLE}", .0.display()
    )]
    Missing(PathBuf),
    /// It cannot be read, or made.
    #[error("the master key {} cannot be {what}: {error}", path.display())]
    File {
        /// Its file.
        path: PathBuf,
        /// `read` or `made`.
        what: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is no key.
    #[error("{} holds no master key: it must be 32 bytes in base64", .0.display())]
    Malformed(PathBuf),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// Why something sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// It was sealed with another key.
    #[error(
        "the master key is not the one that this store was sealed with: give the right one, in its file or in {VARIABLE}"
    )]
    OtherKey,
    /// It was changed, or moved from another place.
    #[error("it was changed since it was sealed, or belongs to another place of the store")]
    Damaged,
}

impl MasterKey {
    /// Reads a key: 32 bytes in base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<MasterKey> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(MasterKey)
    }

    /// A new one.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn fresh() -> Result<MasterKey, KeyError> {
        random().map(MasterKey).map_err(|_| KeyError::NoRandom)
    }

    /// The key in `place`. In a file that is not there it is made, if nothing is sealed yet.
    ///
    /// # Errors
    /// One variant for each thing that can be done about it.
    pub fn load(place: &KeyPlace, is_needed: bool) -> Result<MasterKey, KeyError> {
        let path = match place {
            KeyPlace::Given(key) => return Ok(key.clone()),
            KeyPlace::File(path) => path,
        };
        let refused = |what| move |error| KeyError::File { path: path.clone(), what, error };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                warn_if_open(path);
                MasterKey::parse(&text).ok_or_else(|| KeyError::Malformed(path.clone()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound && is_needed => {
                Err(KeyError::Missing(path.clone()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = MasterKey::fresh()?;
                make(path, &key).map_err(refused("made"))?;
                Ok(key)
            }
            Err(error) => Err(refused("read")(error)),
        }
    }
}

/// Writes a new key file, durable before anything is sealed with it.
fn make(path: &Path, key: &MasterKey) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", STANDARD.encode(key.0))?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn warn_if_open(path: &Path) {
    let mode = std::fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if mode & 0o077 != 0 {
        let file = path.display();
        tracing::warn!(%file, "others than its owner may read the master key: chmod 600 it");
    }
}

/// Seals and opens secrets.
pub struct Vault {
    id: [u8; ID_BYTES],
    key: LessSafeKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(***)")
    }
}

impl Vault {
    /// With this key.
    ///
    /// # Panics
    /// Never: the key has the length that the cipher wants.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a key of 32 bytes is always taken")]
    pub fn new(key: &MasterKey) -> Vault {
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &key.0).expect("32 bytes");
        Vault { id: fingerprint(&[b"master key", &key.0]), key: LessSafeKey::new(unbound) }
    }

    /// Seals a secret for a place: `source/github/sec_…`.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&random().map_err(|_| KeyError::NoRandom)?[..NONCE_BYTES]);
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| KeyError::NoRandom)?;
        Ok([&[VERSION], self.id.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, Closed> {
        let (version, rest) = sealed.split_first().ok_or(Closed::Damaged)?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or(Closed::Damaged)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Closed::Damaged)?;
        if *version != VERSION {
            return Err(Closed::Damaged);
        }
        if *id != self.id {
            return Err(Closed::OtherKey);
        }
        let mut bytes = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened =
            self.key.open_in_place(nonce, Aad::from(place), &mut bytes).map_err(|_| Closed::Damaged)?;
        Ok(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_in_its_place_with_its_key_and_nowhere_else() {
        let vault = Vault::new(&MasterKey([7; 32]));
        let sealed = vault.seal("source/a", b"canary").unwrap();
        assert_eq!(vault.open("source/a", &sealed).unwrap(), b"canary");
        assert_eq!(vault.open("source/b", &sealed), Err(Closed::Damaged));
        let other = Vault::new(&MasterKey([8; 32]));
        assert_eq!(other.open("source/a", &sealed), Err(Closed::OtherKey));
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open("source/a", &bent).is_err(), "bit {bit}");
        }
        for bytes in 0..sealed.len() {
            assert!(vault.open("source/a", &sealed[..bytes]).is_err(), "{bytes} bytes");
        }
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(vault.seal("source/a", b"canary").unwrap(), sealed, "never twice the same");
        assert_eq!(format!("{vault:?} {:?}", MasterKey([7; 32])), "Vault(***) MasterKey(***)");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_missed_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db-key");
        let place = KeyPlace::File(path.clone());
        assert!(matches!(MasterKey::load(&place, true), Err(KeyError::Missing(_))));
        let made = MasterKey::load(&place, false).unwrap();
        assert_eq!(MasterKey::load(&place, true).unwrap(), made);
        assert_eq!(MasterKey::load(&place, false).unwrap(), made);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "AAAA").unwrap();
        let refused = MasterKey::load(&place, true).unwrap_err().to_string();
        assert!(refused.ends_with("holds no master key: it must be 32 bytes in base64"), "{refused}");
        assert_eq!(MasterKey::load(&KeyPlace::Given(made.clone()), true).unwrap(), made);
        assert!(MasterKey::load(&KeyPlace::File("/nowhere/at/all".into()), false).is_err());
    }
}
