//! Tokens that a sender signs for each request (RFC 7519), with public keys that its source knows (RFC 7517).
//!
//! Such a token says who sends, and nothing about the body: what travels beside it is as safe as the connection.

use std::time::Duration;

use axum::http::HeaderMap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use crate::source::facts::header;
use crate::source::verify::Denied;

/// How far clocks may be apart, where nothing else is said.
const LEEWAY: Duration = Duration::from_secs(60);

/// The tokens that prove a source's requests.
pub struct Tokens {
    keys: Vec<Public>,
    audience: String,
    issuer: Option<String>,
}

struct Public {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("keys", &self.keys.len()).field("audience", &self.audience).finish()
    }
}

impl Tokens {
    /// Those that one of `jwks` has signed for `audience`, if given by `issuer`.
    ///
    /// # Errors
    /// What is wrong with the keys.
    pub fn of(jwks: &Value, audience: &str, issuer: Option<&str>) -> Result<Tokens, String> {
        let set: JwkSet = serde_json::from_value(jwks.clone()).map_err(|error| {
            format!("is no JSON Web Key Set such as {{\"keys\": [{{\"kty\": \"RSA\", …}}]}}: {error}")
        })?;
        if set.keys.is_empty() {
            return Err("holds no key".into());
        }
        let keys = set.keys.iter().enumerate().map(|(position, jwk)| {
            public(jwk)
                .map_err(|wrong| format!("holds a key that cannot be used, number {position}: {wrong}"))
        });
        Ok(Tokens {
            keys: keys.collect::<Result<_, _>>()?,
            audience: audience.into(),
            issuer: issuer.map(Into::into),
        })
    }

    /// Checks the token in the header `authorization`.
    ///
    /// # Errors
    /// Why it proves nothing, for those who own the source.
    pub fn verify(&self, headers: &HeaderMap, leeway: Option<Duration>) -> Result<(), Denied> {
        let denied = |why: String| Err(Denied(why));
        let Some(token) = header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "))
        else {
            return denied("it has no header authorization with a bearer token".into());
        };
        let said = match decode_header(token) {
            Ok(said) => said,
            Err(error) => return denied(format!("its bearer token is no JWT: {error}")),
        };
        let mut why = "no key of the source has the id that its token names".to_string();
        for public in
            self.keys.iter().filter(|key| said.kid.is_none() || key.id.is_none() || key.id == said.kid)
        {
            // What the token says of its algorithm is believed only as far as the key is for it.
            if !public.algorithms.contains(&said.alg) {
                why = format!("its token is signed by {:?}, which the key is not for", said.alg);
                continue;
            }
            let mut validation = Validation::new(said.alg);
            validation.leeway = leeway.unwrap_or(LEEWAY).as_secs();
            validation.validate_nbf = true;
            validation.set_audience(&[&self.audience]);
            validation.set_required_spec_claims(&["exp", "aud"]);
            if let Some(issuer) = &self.issuer {
                validation.set_issuer(&[issuer]);
                validation.set_required_spec_claims(&["exp", "aud", "iss"]);
            }
            match decode::<Value>(token, &public.key, &validation) {
                Ok(_) => return Ok(()),
                Err(error) => why = format!("its token does not verify: {error}"),
            }
        }
        denied(why)
    }
}

/// A public key, and what it is for. One that both sides would have to know is none.
fn public(jwk: &Jwk) -> Result<Public, String> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let algorithms: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(_) => &[EdDSA],
        AlgorithmParameters::OctetKey(_) => return Err("it is a shared secret, no public key".into()),
        _ => return Err("its curve is not P-256, P-384 or Ed25519".into()),
    };
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    Ok(Public { id: jwk.common.key_id.clone(), algorithms, key })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use axum::http::HeaderValue;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn base64(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn jwks(seed: u8) -> Value {
        let x = base64(pair(seed).public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "alg": "EdDSA", "x": x}]})
    }

    fn token(seed: u8, head: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64(head.to_string()), base64(claims.to_string()));
        let signature = pair(seed).sign(signed.as_bytes());
        format!("{signed}.{}", base64(signature.as_ref()))
    }

    fn now() -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    }

    fn check(tokens: &Tokens, token: &str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        tokens.verify(&headers, None).map_err(|denied| denied.0)
    }

    #[test]
    fn a_token_proves_itself_by_its_key_its_time_and_whom_it_is_for() {
        let tokens = Tokens::of(&jwks(7), "https://hooks.example", Some("https://issuer.example")).unwrap();
        let head = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"});
        let claims = |change: Value| {
            let mut claims =
                json!({"aud": "https://hooks.example", "iss": "https://issuer.example", "exp": now() + 600});
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            claims
        };
        let fine = token(7, &head, &claims(json!({})));
        assert_eq!(check(&tokens, &fine), Ok(()));
        assert_eq!(
            check(&tokens, &token(7, &json!({"alg": "EdDSA"}), &claims(json!({})))),
            Ok(()),
            "no key is named"
        );
        assert_eq!(
            check(&tokens, &token(7, &head, &claims(json!({"exp": now() - 30})))),
            Ok(()),
            "within the leeway"
        );
        for (token, why) in [
            (token(8, &head, &claims(json!({}))), "InvalidSignature"),
            (token(7, &head, &claims(json!({"exp": now() - 120}))), "ExpiredSignature"),
            (token(7, &head, &claims(json!({"nbf": now() + 120}))), "ImmatureSignature"),
            (token(7, &head, &claims(json!({"aud": "https://other.example"}))), "InvalidAudience"),
            (token(7, &head, &claims(json!({"iss": "https://other.example"}))), "InvalidIssuer"),
            (token(7, &head, &claims(json!({"exp": null}))), "exp"),
            (token(7, &head, &json!({"exp": now() + 600, "iss": "https://issuer.example"})), "aud"),
            (
                token(7, &json!({"alg": "EdDSA", "kid": "k2"}), &claims(json!({}))),
                "the id that its token names",
            ),
            (token(7, &json!({"alg": "none"}), &claims(json!({}))), "no JWT"),
            (token(7, &json!({"alg": "HS256", "kid": "k1"}), &claims(json!({}))), "which the key is not for"),
            (token(7, &json!({"alg": "RS256", "kid": "k1"}), &claims(json!({}))), "which the key is not for"),
            ("a.b.c".into(), "no JWT"),
            (String::new(), "bearer token"),
        ] {
            let denied = check(&tokens, &token).unwrap_err();
            assert!(denied.contains(why), "{why}: {denied}");
        }
        for position in 0..fine.len() {
            let mut bent = fine.clone().into_bytes();
            bent[position] = if bent[position] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert!(bent == fine || check(&tokens, &bent).is_err(), "{position}");
        }
    }

    #[test]
    fn keys_that_prove_nothing_are_refused() {
        let wrong = |jwks: Value| Tokens::of(&jwks, "a", None).unwrap_err();
        assert!(wrong(json!({})).contains("no JSON Web Key Set"));
        assert!(wrong(json!({"keys": []})).contains("no key"));
        assert!(wrong(json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]})).contains("shared secret"));
        assert!(wrong(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "!"}]})).contains("number 0"));
        assert!(wrong(json!({"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]})).contains("number 0"));
    }
}
