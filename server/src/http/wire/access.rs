//! The public shapes of API keys and of the audit log.

use serde::{Deserialize, Serialize};
use taskhook_core::access::ApiKey;
use taskhook_core::id::type_id;
use utoipa::ToSchema;

use crate::store::read::AuditView;

/// An API key. What it is itself nobody can say any more.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyBody {
    /// Its id.
    #[schema(example = "key_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// What it is called; its id, where it was given no name.
    pub name: String,
    /// What it may do: `read`, `write` or `admin`.
    pub role: String,
    /// How it begins.
    #[schema(example = "thk_Zm9v")]
    pub hint: String,
    /// When it was made.
    pub created_at: String,
    /// From when on it is of no use; null: it does not expire.
    pub expires_at: Option<String>,
}

/// A new API key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewKeyBody {
    #[serde(flatten)]
    pub own: KeyBody,
    /// The key itself. It is shown this once.
    #[schema(example = "thk_…")]
    pub key: String,
    /// It is the first one: the server was open, and is no more.
    pub closes_the_server: bool,
}

/// A secret of the server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretBody {
    /// What it is for.
    #[schema(example = "dispatch")]
    pub name: String,
    /// The secret, as Standard Webhooks libraries take it.
    #[schema(example = "whsec_…")]
    pub secret: String,
    /// Until when the old one signs too; null: it does not.
    pub old_signs_until: Option<String>,
}

/// A change that was made through the API.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditBody {
    /// When.
    pub at: String,
    /// What was done.
    #[schema(example = "task.cancel")]
    pub action: String,
    /// To what, by its name or id: the first one, where it was done to several. Empty for the server itself.
    pub subject: String,
    /// To how many.
    pub count: i64,
    /// With which API key; null: nobody had to say who they are.
    pub key: Option<AuditKeyBody>,
    /// The address that the request came from, or `command line`.
    pub address: String,
    /// The `request-id` of its answer.
    pub request_id: String,
}

/// The API key of an entry of the audit log, which may be gone.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditKeyBody {
    /// Its id.
    pub id: String,
    /// What it was called.
    pub name: String,
}

impl KeyBody {
    /// What is shown of a key.
    #[must_use]
    pub fn of(key: &ApiKey) -> KeyBody {
        KeyBody {
            id: key.id.to_string(),
            name: key.name.to_string(),
            role: key.role.name().into(),
            hint: key.hint.to_string(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
        }
    }
}

impl AuditBody {
    /// What is shown of an entry.
    #[must_use]
    pub fn of(view: AuditView) -> AuditBody {
        let name = view.key_name;
        AuditBody {
            at: view.at.to_string(),
            action: view.action,
            subject: view.subject,
            count: view.count,
            key: view.api_key.map(|id| AuditKeyBody { id: id.to_string(), name: name.unwrap_or_default() }),
            address: view.address,
            request_id: type_id("req", &view.request),
        }
    }
}
