//! What a source says, without its secrets: as it is kept, and what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::facts::header_name;
use crate::source::jwt::Tokens;
use crate::source::presets::{self, Preset};
use crate::source::rule::{Algorithm, Encoding, Form, KeyForm, Part, Proof, Rule, Signed, Time, TimePlace};

/// The schemes that are told apart by what their source says, beside those of [`presets`].
pub const OWN_SCHEMES: [&str; 5] = ["ed25519", "header", "hmac", "jwt", "none"];

/// The tolerance of a scheme with a time that says no other.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// What of a webhook an expression may say.
pub const MAPPED: [&str; 8] =
    ["event", "task_id", "external_id", "attempt", "result", "error", "progress", "delivery_id"];

/// What those expressions may ask for.
pub const VARIABLES: [&str; 3] = ["body", "headers", "query"];

/// What a source says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// How its requests prove themselves; `None`: not at all, and nobody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// What the names of its events mean: `{"job.done": "task_completed"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_names: BTreeMap<String, String>,
    /// Where in a request something is found, by expressions: see [`MAPPED`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub maps: BTreeMap<String, String>,
    /// What a webhook that was taken in is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Answer>,
    /// How long its webhooks are kept, in milliseconds; negative: for ever; `None`: as the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<i64>,
}

/// How requests prove themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// A preset's name, or one of [`OWN_SCHEMES`].
    pub scheme: String,
    /// How far from now a request may have been signed, in milliseconds; `None`: as the scheme says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_ms: Option<u64>,
    /// The header with the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `sha1`, `sha256` or `sha512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// `hex` or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// What stands before the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What is signed: text with `{body}`, `{timestamp}`, `{url}` and `{header:NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// The header that says when it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// With `jwt`: the public keys of who signs its tokens (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// With `jwt`: whom its tokens are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// With `jwt`: who gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// With `meta`: the SHA-256, in hex, of the token by which its question is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<String>,
    /// The address that the sender knows, where it is not the one that follows from `public_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What a webhook that was taken in is answered, in the place of the usual JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// 200 to 299.
    pub status: u16,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Its media type; `None`: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A part of `verify` that is wrong: which, and why.
pub type Wrong = (&'static str, String);

impl Verify {
    /// The preset that its scheme is.
    #[must_use]
    pub fn preset(&self) -> Option<&'static Preset> {
        presets::preset(&self.scheme)
    }

    /// Whether its scheme says that nothing is to be proved.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.scheme == "none"
    }

    /// Whether its requests are proved by a secret that it holds.
    #[must_use]
    pub fn needs_secrets(&self) -> bool {
        !["none", "jwt"].contains(&self.scheme.as_str())
    }

    /// The tokens that prove its requests, where its scheme is `jwt`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn tokens(&self) -> Result<Option<Tokens>, Wrong> {
        if self.scheme != "jwt" {
            return Ok(None);
        }
        let jwks =
            self.jwks.as_ref().ok_or(("jwks", "says which public keys sign: {\"keys\": […]}".to_string()))?;
        // One key may sign for many: without it, tokens meant for others would do.
        let audience = self.audience.as_deref().filter(|audience| !audience.is_empty());
        let audience =
            audience.ok_or(("audience", "says whom the tokens are for: their `aud`".to_string()))?;
        Tokens::of(jwks, audience, self.issuer.as_deref()).map(Some).map_err(|wrong| ("jwks", wrong))
    }

    /// What its secrets may look like.
    #[must_use]
    pub fn key_forms(&self) -> &'static [KeyForm] {
        match (self.preset(), self.scheme.as_str()) {
            (Some(preset), _) => preset.keys,
            (None, "ed25519") => &[KeyForm::Public],
            (None, _) => &[KeyForm::Text],
        }
    }

    /// The fields that its scheme takes, beside `scheme` and `secrets`.
    #[must_use]
    pub fn fields(scheme: &str) -> &'static [&'static str] {
        match scheme {
            "none" => &[],
            "jwt" => &["jwks", "audience", "issuer", "tolerance"],
            "header" => &["header", "prefix"],
            "hmac" => &[
                "header",
                "algorithm",
                "encoding",
                "prefix",
                "signed",
                "timestamp_header",
                "tolerance",
                "url",
            ],
            "ed25519" => &["header", "encoding", "prefix", "signed", "timestamp_header", "tolerance", "url"],
            "twilio" | "square" => &["tolerance", "url"],
            "meta" => &["tolerance", "verify_token"],
            _ => &["tolerance"],
        }
    }

    /// How its requests prove themselves.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn rules(&self) -> Result<Vec<Rule>, Wrong> {
        if let Some(preset) = self.preset() {
            return Ok(preset.rules.clone());
        }
        if !self.needs_secrets() {
            return Ok(Vec::new());
        }
        let missing = || ("header", format!("says which header holds what {} needs", self.scheme));
        let header =
            header_name(self.header.as_deref().ok_or_else(missing)?).map_err(|why| ("header", why))?;
        let form = Form::Behind(self.prefix.clone().unwrap_or_default());
        let encoding = match self.encoding.as_deref() {
            None | Some("hex") => Encoding::Hex,
            Some("base64") => Encoding::Base64,
            Some(_) => return Err(("encoding", "must be hex or base64".into())),
        };
        let proof = match self.scheme.as_str() {
            "header" => Proof::Token,
            "hmac" => {
                let algorithm = match self.algorithm.as_deref() {
                    Some("sha1") => Algorithm::Sha1,
                    None | Some("sha256") => Algorithm::Sha256,
                    Some("sha512") => Algorithm::Sha512,
                    Some(_) => return Err(("algorithm", "must be sha1, sha256 or sha512".into())),
                };
                Proof::Hmac(algorithm, encoding, self.signed("{body}")?)
            }
            "ed25519" => Proof::Ed25519(encoding, self.signed("{timestamp}{body}")?),
            _ => {
                let names = PRESETS_AND_OWN.join(", ");
                return Err(("scheme", format!("must be one of {names}")));
            }
        };
        Ok(vec![Rule { headers: vec![header], form, proof }])
    }

    fn signed(&self, default: &str) -> Result<Signed, Wrong> {
        let time = match &self.timestamp_header {
            None => None,
            Some(name) => {
                let name = header_name(name).map_err(|why| ("timestamp_header", why))?;
                Some(Time { place: TimePlace::Header(name), tolerance: Some(TOLERANCE) })
            }
        };
        let template = match (&self.signed, &time) {
            (Some(template), _) => template.as_str(),
            (None, Some(_)) => default,
            (None, None) => "{body}",
        };
        let parts = parts(template).map_err(|why| ("signed", why))?;
        if !parts.contains(&Part::Body) {
            return Err((
                "signed",
                "must hold {body}: else anything could be sent with an old signature".into(),
            ));
        }
        if parts.contains(&Part::Time) && time.is_none() {
            return Err((
                "signed",
                "holds {timestamp}, so timestamp_header must say which header has it".into(),
            ));
        }
        if time.is_some() && !parts.contains(&Part::Time) {
            return Err(("signed", "must hold {timestamp}: else anybody could write a newer one".into()));
        }
        Ok(Signed { parts, time })
    }
}

/// Every scheme there is, for messages.
static PRESETS_AND_OWN: std::sync::LazyLock<Vec<&'static str>> = std::sync::LazyLock::new(schemes);

/// Every scheme there is, by name.
#[must_use]
pub fn schemes() -> Vec<&'static str> {
    let presets = presets::PRESETS.iter().map(|preset| preset.name);
    let mut names: Vec<&str> = presets.chain(OWN_SCHEMES).collect();
    names.sort_unstable();
    names
}

/// Reads a template.
fn parts(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, behind) = rest.split_at(start);
        let (name, after) = behind[1..].split_once('}').ok_or("has a { without its }")?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_string()));
        }
        parts.push(match name {
            "body" => Part::Body,
            "timestamp" => Part::Time,
            "url" => Part::Url,
            _ => match name.strip_prefix("header:") {
                Some(header) => Part::Header(header_name(header)?),
                None => {
                    return Err(format!(
                        "holds {{{name}}}; known are {{body}}, {{timestamp}}, {{url}} and {{header:NAME}}"
                    ));
                }
            },
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_string()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_read_from_a_template() {
        let verify = |signed: &str, timestamp: Option<&str>| Verify {
            scheme: "hmac".into(),
            header: Some("X-Signature".into()),
            signed: Some(signed.into()),
            timestamp_header: timestamp.map(Into::into),
            ..Verify::default()
        };
        let wrong = |verify: Verify| verify.rules().unwrap_err().1;
        let rules = verify("v1:{timestamp}:{header:X-Id}.{body}", Some("X-Time")).rules().unwrap();
        let Proof::Hmac(Algorithm::Sha256, Encoding::Hex, signed) = &rules[0].proof else {
            panic!("{rules:?}")
        };
        let text = |text: &str| Part::Text(text.into());
        let id = Part::Header("x-id".into());
        assert_eq!(signed.parts, [text("v1:"), Part::Time, text(":"), id, text("."), Part::Body]);
        assert_eq!(rules[0].headers, ["x-signature"]);
        assert!(wrong(verify("{timestamp}", Some("x-time"))).contains("must hold {body}"));
        assert!(wrong(verify("{body}{timestamp}", None)).contains("timestamp_header"));
        assert!(wrong(verify("{body}", Some("x-time"))).contains("newer one"));
        assert!(wrong(verify("{body", None)).contains("without its }"));
        assert!(wrong(verify("{Body}", None)).contains("holds {Body}"));
        assert!(wrong(verify("{header:a b}{body}", None)).contains("header"));
        assert!(wrong(Verify { header: None, ..verify("{body}", None) }).contains("which header"));
        assert!(wrong(Verify { algorithm: Some("md5".into()), ..verify("{body}", None) }).contains("sha512"));
        assert!(wrong(Verify { encoding: Some("hex ".into()), ..verify("{body}", None) }).contains("base64"));
        let unknown = wrong(Verify { scheme: "githup".into(), ..verify("{body}", None) });
        assert!(unknown.contains("github, gitlab, header, hmac"), "{unknown}");
    }

    #[test]
    fn every_definition_survives_storage() {
        let definition = Definition {
            maps: BTreeMap::new(),
            verify: Some(Verify { scheme: "hmac".into(), tolerance_ms: Some(5), ..Verify::default() }),
            event_names: [("a".to_string(), "task_completed".to_string())].into(),
            response: Some(Answer { status: 204, body: String::new(), content_type: None }),
            retention_ms: Some(-1),
        };
        for definition in [definition, Definition::default()] {
            let text = serde_json::to_string(&definition).unwrap();
            assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), definition);
        }
        assert_eq!(serde_json::from_str::<Definition>("{}").unwrap(), Definition::default());
    }
}
