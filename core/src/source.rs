//! One source: a sender of webhooks, how it proves itself, and how its secrets come and go.
//!
//! What a source says is checked, read and used at the edge, before a webhook is an input; decisions carry it through as
//! it is. Its secrets come here sealed, so that nothing that is decided, stored or replayed holds one in the open.

use std::sync::Arc;
use std::time::Duration;

use crate::Context;
use crate::decision::{Decision, Outcome, Refused};
use crate::id::SourceKey;
use crate::limits;
use crate::subjects::Subjects;
use crate::time::Timestamp;

/// One source, as far as decisions look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its key.
    pub key: SourceKey,
    /// What it says, as the edge writes it. There is no secret in it.
    pub definition: Arc<str>,
    /// Those that a request may be proved with, the newest last.
    pub secrets: Vec<Secret>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A secret of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// By which it is told from the others.
    pub id: [u8; 16],
    /// The secret itself, sealed.
    pub sealed: Arc<[u8]>,
    /// Since when it is one.
    pub added_at: Timestamp,
    /// Until when a request may be proved with it; `None`: until it is taken away.
    pub until: Option<Timestamp>,
}

/// A secret that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenSecret {
    /// Its id: that of one that the source has already, or a new one.
    pub id: [u8; 16],
    /// The secret itself, sealed.
    pub sealed: Arc<[u8]>,
}

/// A user's command to one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceCommand {
    /// That it be there, and say this.
    Define {
        /// What it says.
        definition: Arc<str>,
        /// Its secrets; `None`: those that it has.
        secrets: Option<Vec<GivenSecret>>,
    },
    /// That it have one more secret, and the others for this long still.
    Rotate {
        /// The new one.
        secret: GivenSecret,
        /// How long the others go on.
        keep: Duration,
    },
    /// That it be no more.
    Delete,
}

/// A fact about one source, in the past tense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceChange {
    /// It says this from now on, and has these secrets.
    Defined {
        /// What it says.
        definition: Arc<str>,
        /// Its secrets.
        secrets: Vec<Secret>,
    },
    /// It has these secrets.
    Rotated {
        /// Its secrets.
        secrets: Vec<Secret>,
    },
    /// It is no more. What it has sent stays.
    Deleted,
}

impl Source {
    /// The source `default`, which is always there and says nothing at first.
    #[must_use]
    pub fn default_at(created_at: Timestamp) -> Source {
        Source { key: SourceKey::DEFAULT, definition: "{}".into(), secrets: Vec::new(), created_at }
    }

    /// Takes in a fact about the source under `key`. The only way in which a source changes.
    #[must_use]
    pub fn evolve(
        source: Option<Source>,
        key: SourceKey,
        at: Timestamp,
        change: &SourceChange,
    ) -> Option<Source> {
        let created_at = source.as_ref().map_or(at, |source| source.created_at);
        match change {
            SourceChange::Defined { definition, secrets } => {
                Some(Source { key, definition: definition.clone(), secrets: secrets.clone(), created_at })
            }
            SourceChange::Rotated { secrets } => {
                source.map(|source| Source { secrets: secrets.clone(), ..source })
            }
            SourceChange::Deleted => None,
        }
    }

    /// Its secrets that a request may still be proved with.
    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().filter(move |secret| secret.until.is_none_or(|until| now < until))
    }
}

/// A command through the API.
pub fn command(cx: &Context, subjects: &Subjects, key: SourceKey, command: &SourceCommand) -> Decision {
    let now = cx.now;
    let (outcome, change) = match (command, subjects.source(key)) {
        (SourceCommand::Define { definition, secrets }, source) => {
            if source.is_none() && subjects.sources_count() >= limits::SOURCES_MAX {
                return refused(Refused::TooMany { what: "sources", max: limits::SOURCES_MAX });
            }
            let had: Vec<Secret> = source.iter().flat_map(|source| source.live(now)).cloned().collect();
            let secrets = match secrets {
                None => had,
                Some(given) => given.iter().map(|given| taken(given, &had, now)).collect(),
            };
            let defined = SourceChange::Defined { definition: definition.clone(), secrets };
            (Outcome::Defined { new: source.is_none() }, defined)
        }
        (_, None) => return refused(Refused::NoSuchSource { position: 0 }),
        (SourceCommand::Rotate { secret, keep }, Some(source)) => {
            let ends = now + *keep;
            let mut secrets: Vec<Secret> = source
                .live(now)
                .map(|old| Secret {
                    until: Some(old.until.map_or(ends, |until| until.min(ends))),
                    ..old.clone()
                })
                .filter(|old| old.id != secret.id && old.until.is_some_and(|until| now < until))
                .collect();
            if secrets.len() >= limits::SECRETS_PER_SOURCE_MAX {
                let max = limits::SECRETS_PER_SOURCE_MAX;
                return refused(Refused::TooMany { what: "secrets of one source", max });
            }
            secrets.push(taken(secret, &[], now));
            (Outcome::Applied, SourceChange::Rotated { secrets })
        }
        (SourceCommand::Delete, Some(_)) => (Outcome::Applied, SourceChange::Deleted),
    };
    let mut decision = Decision::answer(outcome);
    decision.sources.push((key, change));
    decision
}

/// A secret that is given: one that the source has already stays as old as it is, and has no end any more.
fn taken(given: &GivenSecret, had: &[Secret], now: Timestamp) -> Secret {
    let known = had.iter().find(|secret| secret.id == given.id);
    Secret {
        id: given.id,
        sealed: given.sealed.clone(),
        added_at: known.map_or(now, |secret| secret.added_at),
        until: None,
    }
}

fn refused(why: Refused) -> Decision {
    Decision::answer(Outcome::Refused(why))
}
