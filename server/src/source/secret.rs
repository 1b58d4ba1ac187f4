//! What a source's secret looks like, and the key it is.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secrets::sha256;
use crate::source::rule::{Algorithm, KeyForm};

/// Most bytes of a secret's text.
pub const SECRET_BYTES_MAX: usize = 1_024;

/// Fewer bytes than these are guessed: those who send decide, so they are only what nobody means.
pub const SECRET_BYTES_MIN: usize = 8;

/// A secret that is ready to verify with. It shows nothing of itself.
#[derive(Clone)]
pub struct Key {
    pub(super) form: KeyForm,
    pub(super) bytes: Vec<u8>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.form == other.form && self.is(&other.bytes)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads the text of a secret, in the first of these forms that it has.
    ///
    /// # Errors
    /// What is wrong with it. The text itself is not in the message.
    pub fn parse(text: &str, forms: &[KeyForm]) -> Result<Key, String> {
        if text.len() > SECRET_BYTES_MAX {
            return Err(format!("is longer than {SECRET_BYTES_MAX} bytes"));
        }
        if text.is_empty() {
            return Err("is empty".into());
        }
        if text.trim() != text || text.contains(['\r', '\n', '\0']) {
            return Err(
                "begins or ends with a space, or holds a line break: it was copied with too much".into()
            );
        }
        let mut wrong = String::new();
        for form in forms {
            match bytes(text, *form) {
                Ok(bytes) => return Ok(Key { form: *form, bytes }),
                Err(why) => wrong = why,
            }
        }
        Err(wrong)
    }

    /// Its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What it is.
    #[must_use]
    pub fn form(&self) -> KeyForm {
        self.form
    }

    /// Whether `given` is the secret itself. Its hash is compared, so that not even its length takes time.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(&sha256(&self.bytes), &sha256(given)).is_ok()
    }

    /// The code over `parts`.
    #[must_use]
    pub fn code(&self, algorithm: Algorithm, parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, &self.bytes));
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().to_vec()
    }

    /// Whether `given` is a signature over `parts` of which this is the public key.
    #[must_use]
    pub fn has_signed(&self, parts: &[&[u8]], given: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(&signature::ED25519, &self.bytes)
            .verify(&parts.concat(), given)
            .is_ok()
    }
}

fn bytes(text: &str, form: KeyForm) -> Result<Vec<u8>, String> {
    match form {
        KeyForm::Text if text.len() < SECRET_BYTES_MIN => {
            Err(format!("has fewer than {SECRET_BYTES_MIN} bytes, which anybody can guess"))
        }
        KeyForm::Text => Ok(text.into()),
        KeyForm::Pair => match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && password.len() >= SECRET_BYTES_MIN => {
                Ok(text.into())
            }
            Some(_) => {
                Err(format!("needs a user before the colon and at least {SECRET_BYTES_MIN} bytes behind it"))
            }
            None => Err("is not user:password".into()),
        },
        KeyForm::Standard => {
            // Some senders show theirs with the version that it signs.
            let text = text.strip_prefix("v1,").unwrap_or(text);
            let wrong = "is not whsec_ and 24 to 64 bytes in base64";
            let text = text.strip_prefix("whsec_").ok_or(wrong)?;
            let bytes = STANDARD.decode(text).map_err(|_| wrong)?;
            if (24..=64).contains(&bytes.len()) { Ok(bytes) } else { Err(wrong.into()) }
        }
        KeyForm::Public => {
            let wrong = "is no public key of Ed25519: 32 bytes in hex, or in base64, perhaps behind whpk_";
            let text = text.strip_prefix("whpk_").unwrap_or(text);
            let bytes = if text.len() == 64 { hex::decode(text).ok() } else { STANDARD.decode(text).ok() };
            bytes.filter(|bytes| bytes.len() == 32).ok_or_else(|| wrong.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    /// By what part of the slower one two kinds of guess differ in the time they take: the means of the faster half of each. Of
    /// that the noise of a machine is a small part, and a comparison that stops early is most.
    fn difference(is_equal: impl Fn(&[u8]) -> bool, guesses: [&[u8]; 2]) -> f64 {
        const ROUNDS: usize = 20_000;
        let mut took = [Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)];
        // Both lie in one place: what the processor makes of another is no difference between them.
        let mut given = guesses[0].to_vec();
        for round in 0..2 * ROUNDS {
            // Which comes first changes too: what else the machine does shall meet both.
            let kind = (round ^ (round >> 1)) & 1;
            given.copy_from_slice(guesses[kind]);
            let began = Instant::now();
            black_box(is_equal(black_box(&given)));
            took[kind].push(began.elapsed().as_nanos() as f64);
        }
        let [one, other] = took.map(|mut took| {
            took.sort_by(f64::total_cmp);
            took.truncate(ROUNDS / 2);
            took.iter().sum::<f64>() / took.len() as f64
        });
        (one - other).abs() / one.max(other)
    }

    #[test]
    fn a_guess_takes_as_long_whether_its_beginning_is_right_or_its_end() {
        let secret = "s".repeat(SECRET_BYTES_MAX);
        let key = Key::parse(&secret, &[KeyForm::Text]).unwrap();
        let mut guesses = [secret.clone().into_bytes(), secret.clone().into_bytes()];
        guesses[0][0] ^= 1;
        guesses[1][SECRET_BYTES_MAX - 1] ^= 1;
        let guesses = guesses.each_ref().map(Vec::as_slice);

        // What stops at the first difference is told apart: the means to see it are there.
        let naive = |given: &[u8]| given.iter().zip(secret.as_bytes()).all(|(one, other)| one == other);
        let seen = difference(naive, guesses);
        assert!(seen > 0.9, "{seen}");
        // One quiet time of five is enough: noise adds differences, and never hides one that is always there.
        let tries: Vec<f64> = (0..5).map(|_| difference(|given| key.is(given), guesses)).collect();
        assert!(tries.iter().any(|part| *part < 0.01), "{tries:?}");
    }
}
