//! The sources of this node, at hand for every webhook: what each says, and its secrets, opened.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use taskhook_core::{SourceKey, Timestamp};

use crate::expression::Expression;
use crate::source::definition::{Answer, Definition, VARIABLES};
use crate::source::facts;
use crate::source::jwt::Tokens;
use crate::source::presets::{Handshake, Preset};
use crate::source::rule::{Algorithm, KeyForm, Proof, Rule};
use crate::source::secret::Key;
use crate::source::verify::{Denied, Seen, verify};
use crate::store::read::{ReadError, Reader, SourceView};
use crate::vault::Vault;

/// A source as webhooks meet it.
#[derive(Debug)]
pub struct Live {
    /// Its key.
    pub key: SourceKey,
    /// Its name.
    pub name: String,
    /// What it says.
    pub definition: Definition,
    /// Where in a request something is found, where the source says so.
    pub maps: BTreeMap<String, Expression>,
    rules: Vec<Rule>,
    tokens: Option<Tokens>,
    secrets: Vec<LiveSecret>,
    /// Why nothing can be proved to it.
    broken: Option<String>,
}

/// A secret, opened.
#[derive(Debug)]
struct LiveSecret {
    id: [u8; 16],
    key: Key,
    until: Option<Timestamp>,
}

/// The sources by name.
#[derive(Debug)]
pub struct Registry {
    vault: Arc<Vault>,
    callbacks: Arc<Live>,
    sources: RwLock<HashMap<String, Arc<Live>>>,
    /// One at a time: what was read first may not be put in last.
    refreshing: tokio::sync::Mutex<()>,
}

/// Most rows of a page when all are read.
const PAGE: usize = 100;

impl Registry {
    /// With every source there is.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(reader: &Reader, vault: Arc<Vault>) -> Result<Registry, ReadError> {
        let callbacks = Arc::new(Live::saying_nothing(SourceKey::DEFAULT, "default".into()));
        let registry = Registry {
            vault,
            callbacks,
            sources: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
        };
        let mut after = None;
        loop {
            let page = reader.sources(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|view| view.name.clone());
            for view in page {
                registry.put(view);
            }
            if is_last {
                return Ok(registry);
            }
        }
    }

    /// What seals and opens their secrets.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// What callback URLs stand for: nothing is proved to it, since its tokens are the proof.
    #[must_use]
    pub fn callbacks(&self) -> Arc<Live> {
        self.callbacks.clone()
    }

    /// The source of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Live>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Takes over how the source of this name is now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn refresh(&self, reader: &Reader, name: &str) -> Result<Option<SourceView>, ReadError> {
        let _turn = self.refreshing.lock().await;
        let view = reader.source(name).await?;
        match &view {
            Some(view) => self.put(view.clone()),
            None => drop(self.sources.write().unwrap_or_else(PoisonError::into_inner).remove(name)),
        }
        Ok(view)
    }

    fn put(&self, view: SourceView) {
        let live = Live::of(&view, &self.vault);
        if let Some(why) = &live.broken {
            tracing::error!(source = view.name, why, "no webhook of this source can be verified");
        }
        self.sources.write().unwrap_or_else(PoisonError::into_inner).insert(view.name, Arc::new(live));
    }
}

/// Where in the store the secret of a source stands: it opens nowhere else.
#[must_use]
pub fn place(source: &str, secret: &[u8; 16]) -> String {
    format!("source/{source}/{}", hex::encode(secret))
}

impl Live {
    /// A source that asks for no proof and says nothing of its own.
    #[must_use]
    pub fn saying_nothing(key: SourceKey, name: String) -> Live {
        let definition = Definition::default();
        Live {
            key,
            name,
            definition,
            maps: BTreeMap::new(),
            rules: Vec::new(),
            tokens: None,
            secrets: Vec::new(),
            broken: None,
        }
    }

    fn of(view: &SourceView, vault: &Vault) -> Live {
        let mut live = Live::saying_nothing(view.source.key, view.name.clone());
        live.broken = live.fill(view, vault).err();
        live
    }

    fn fill(&mut self, view: &SourceView, vault: &Vault) -> Result<(), String> {
        self.definition = serde_json::from_str(&view.source.definition)
            .map_err(|error| format!("what it says cannot be read by this version: {error}"))?;
        for (name, text) in &self.definition.maps {
            let parsed =
                Expression::parse(text, &VARIABLES).map_err(|why| format!("its map.{name} {why}"))?;
            self.maps.insert(name.clone(), parsed);
        }
        let Some(verify) = &self.definition.verify else { return Ok(()) };
        let wrong = |(field, why)| format!("its verify.{field} {why}");
        self.rules = verify.rules().map_err(wrong)?;
        self.tokens = verify.tokens().map_err(wrong)?;
        for secret in &view.source.secrets {
            let opened = vault
                .open(&place(&view.name, &secret.id), &secret.sealed)
                .map_err(|why| format!("a secret of it does not open: {why}"))?;
            let text = String::from_utf8(opened).map_err(|_| "a secret of it is no text".to_string())?;
            let key = Key::parse(&text, verify.key_forms()).map_err(|why| format!("a secret of it {why}"))?;
            self.secrets.push(LiveSecret { id: secret.id, key, until: secret.until });
        }
        Ok(())
    }

    /// The sender that it is known as.
    #[must_use]
    pub fn preset(&self) -> Option<&'static Preset> {
        self.definition.verify.as_ref()?.preset()
    }

    /// Checks a request. Gives the secret that proved it, where one had to.
    ///
    /// # Errors
    /// Why it proves nothing, for those who own the source.
    pub fn verify(&self, seen: &Seen<'_>) -> Result<Option<[u8; 16]>, Denied> {
        if let Some(why) = &self.broken {
            return Err(Denied(why.clone()));
        }
        let Some(said) = self.definition.verify.as_ref().filter(|verify| !verify.is_none()) else {
            return Ok(None);
        };
        let tolerance = said.tolerance_ms.map(Duration::from_millis);
        if let Some(tokens) = &self.tokens {
            return tokens.verify(seen.headers, tolerance).map(|()| None);
        }
        let is_live = |secret: &&LiveSecret| secret.until.is_none_or(|until| seen.at < until);
        let (ids, keys): (Vec<_>, Vec<_>) =
            self.secrets.iter().filter(is_live).map(|secret| (secret.id, secret.key.clone())).unzip();
        let seen = Seen { url: said.url.as_deref().unwrap_or(seen.url), ..*seen };
        verify(&self.rules, &keys, tolerance, &seen).map(|position| ids.get(position).copied())
    }

    /// The code of `text` under one of its secrets.
    #[must_use]
    pub fn code(&self, secret: [u8; 16], text: &[u8]) -> Option<Vec<u8>> {
        let secret = self.secrets.iter().find(|known| known.id == secret)?;
        Some(secret.key.code(Algorithm::Sha256, &[text]))
    }

    /// What a webhook that was taken in is answered; `None`: the usual.
    #[must_use]
    pub fn response(&self) -> Option<Cow<'_, Answer>> {
        if let Some(said) = &self.definition.response {
            return Some(Cow::Borrowed(said));
        }
        let status = self.preset()?.status?;
        Some(Cow::Owned(Answer { status, body: String::new(), content_type: None }))
    }

    /// The headers of a request, with the token that its query may have in their place: CloudEvents' webhooks know both
    /// ways.
    #[must_use]
    pub fn with_access_token<'a>(&self, headers: &'a HeaderMap, query: &str) -> Cow<'a, HeaderMap> {
        let knows = [Some(Handshake::CloudEvents), Some(Handshake::EventGrid)];
        if !self.preset().is_some_and(|preset| knows.contains(&preset.handshake))
            || headers.contains_key(AUTHORIZATION)
        {
            return Cow::Borrowed(headers);
        }
        let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "access_token");
        let value = token.and_then(|(_, token)| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let Some(value) = value else { return Cow::Borrowed(headers) };
        let mut headers = headers.clone();
        headers.insert(AUTHORIZATION, value);
        Cow::Owned(headers)
    }

    /// What its secrets are that still prove requests.
    #[must_use]
    pub fn secret_forms(&self, now: Timestamp) -> Vec<KeyForm> {
        let live = self.secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
        live.map(|secret| secret.key.form()).collect()
    }

    /// The id of its secret that is this very text.
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<[u8; 16]> {
        let forms = self.definition.verify.as_ref()?.key_forms();
        let key = Key::parse(text, forms).ok()?;
        self.secrets.iter().find(|secret| secret.key == key).map(|secret| secret.id)
    }

    /// The headers of its requests that hold a secret itself, and are not kept.
    #[must_use]
    pub fn secret_headers(&self) -> Vec<&str> {
        let is_secret = |rule: &&Rule| matches!(rule.proof, Proof::Token | Proof::Basic);
        let of_rules = self.rules.iter().filter(is_secret).flat_map(|rule| &rule.headers).map(String::as_str);
        of_rules.chain(self.tokens.is_some().then_some("authorization")).collect()
    }

    /// The delivery id of a request, as its sender says it.
    #[must_use]
    pub fn delivery_id(&self, seen: &Seen<'_>) -> Option<String> {
        let preset = self.preset()?;
        let by_body = || preset.known_by_body.then(|| hex::encode(crate::secrets::sha256(seen.body)));
        facts::find(preset.delivery_id, seen).or_else(by_body)
    }

    /// The kind of a request's event, as its sender says it.
    #[must_use]
    pub fn kind(&self, seen: &Seen<'_>) -> Option<String> {
        facts::find(self.preset()?.kind, seen)
    }
}
