//! The public shapes of sources.

use std::collections::BTreeMap;

use serde::Serialize;
use taskhook_core::id::type_id;
use utoipa::ToSchema;

use crate::http::duration::show;
use crate::source::definition::{Definition, Verify};
use crate::store::read::SourceView;
use crate::store::row::sources::kept_for;

/// A sender of webhooks, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceBody {
    /// Its name.
    pub name: String,
    /// Where it sends its webhooks.
    pub url: String,
    /// How its requests prove themselves; null: not at all, and nobody has said so.
    pub verify: Option<VerifyBody>,
    /// What its requests mean.
    pub map: MapBody,
    /// What a webhook that was taken in is answered; null: the usual JSON.
    pub response: Option<ResponseBody>,
    /// How long its webhooks are kept after their receipt; null: as the server says.
    pub retention: Option<String>,
    /// When it was made; null: it was always there.
    pub created_at: Option<String>,
}

/// How requests prove themselves.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerifyBody {
    /// A preset's name, or `hmac`, `ed25519`, `header`, `none`.
    pub scheme: String,
    /// How far from now a request may have been signed; null: as the scheme says.
    pub tolerance: Option<String>,
    /// The header with the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The hash of the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// How the proof is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// What stands before the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// The header that says when it was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// The public keys of who signs its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// Whom its tokens are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Who gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The address that the sender knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its secrets, without what they are.
    pub secrets: Vec<SecretBody>,
}

/// A secret, without what it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretBody {
    /// By which it is told from the others; events name it as `secret`.
    #[schema(value_type = String, example = "sec_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Since when it is one.
    pub added_at: String,
    /// Until when it proves requests; null: until it is taken away.
    pub until: Option<String>,
    /// When it proved a request last, to within a minute; null: never.
    pub last_used_at: Option<String>,
}

/// What the requests of a source mean.
#[derive(Debug, Serialize, ToSchema)]
pub struct MapBody {
    /// The names of its events that mean one of Taskhook's own, or an expression that says which of them it is.
    pub event: EventMap,
    /// Where in a request the task is named, and so on: expressions over `body`, `headers` and `query`.
    #[serde(flatten)]
    pub others: BTreeMap<String, String>,
}

/// What the events of a source mean.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EventMap {
    /// By their names.
    Names(BTreeMap<String, String>),
    /// By an expression.
    Expression(String),
}

/// What a webhook that was taken in is answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResponseBody {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Its media type; null: plain text.
    pub content_type: Option<String>,
}

/// What a request to a source would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestBody {
    /// Whether it proves that it comes from its source.
    pub verified: bool,
    /// Why it does not, or what is wrong with its body.
    pub reason: Option<String>,
    /// The secret that proves it.
    pub secret: Option<String>,
    /// The name of its event.
    #[serde(rename = "type")]
    pub name: Option<String>,
    /// What that means: one of the six events about tasks, or null: it is recorded.
    #[schema(value_type = Option<String>, example = "task_completed")]
    pub event: Option<&'static str>,
    /// The task it names.
    pub task: Option<String>,
    /// The remote's own id of the task that it names in the place of a task's.
    pub external_id: Option<String>,
    /// The attempt it names.
    pub attempt: Option<u32>,
    /// Its delivery id: a repeat is answered as a duplicate.
    pub delivery_id: Option<String>,
}

/// The id of a secret.
#[must_use]
pub fn secret_id(id: &[u8; 16]) -> String {
    type_id("sec", id)
}

impl SourceBody {
    /// A source as it is shown; `public_url` is that of the server.
    #[must_use]
    pub fn of(view: &SourceView, public_url: &str) -> SourceBody {
        let source = &view.source;
        // What cannot be read says nothing; the log says so.
        let definition: Definition = serde_json::from_str(&source.definition).unwrap_or_default();
        let secrets = source.secrets.iter().map(|secret| SecretBody {
            id: secret_id(&secret.id),
            added_at: secret.added_at.to_string(),
            until: secret.until.map(|at| at.to_string()),
            last_used_at: view.uses.get(&secret.id).map(ToString::to_string),
        });
        SourceBody {
            url: format!("{public_url}/webhook/{}", view.name),
            verify: definition.verify.map(|verify| verify_body(verify, secrets.collect())),
            map: map_body(definition.event_names, definition.maps),
            response: definition.response.map(|answer| ResponseBody {
                status: answer.status,
                body: answer.body,
                content_type: answer.content_type,
            }),
            retention: definition
                .retention_ms
                .map(|millis| kept_for(millis).map_or_else(|| "never".into(), show)),
            created_at: (source.created_at.0 > 0).then(|| source.created_at.to_string()),
            name: view.name.clone(),
        }
    }
}

fn map_body(names: BTreeMap<String, String>, mut maps: BTreeMap<String, String>) -> MapBody {
    let event = maps.remove("event").map_or(EventMap::Names(names), EventMap::Expression);
    MapBody { event, others: maps }
}

fn verify_body(verify: Verify, secrets: Vec<SecretBody>) -> VerifyBody {
    VerifyBody {
        tolerance: verify.tolerance_ms.map(|millis| show(std::time::Duration::from_millis(millis))),
        scheme: verify.scheme,
        header: verify.header,
        algorithm: verify.algorithm,
        encoding: verify.encoding,
        prefix: verify.prefix,
        signed: verify.signed,
        timestamp_header: verify.timestamp_header,
        jwks: verify.jwks,
        audience: verify.audience,
        issuer: verify.issuer,
        url: verify.url,
        secrets,
    }
}
