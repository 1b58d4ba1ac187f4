//! The public shapes of bulks.

use serde::Serialize;
use taskhook_core::Command;
use utoipa::ToSchema;

use crate::http::duration::show;
use crate::http::wire::RateBody;
use crate::store::read::{BulkView, Matches};

/// A command to every task that a filter lets through, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkBody {
    /// Its id.
    pub id: String,
    /// What is done: `cancel`, `retry`, `trigger`.
    #[schema(value_type = String)]
    pub action: &'static str,
    /// Tasks are retried even if their dependencies are unmet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_dependencies: Option<bool>,
    /// Which tasks.
    pub filter: BulkFilterBody,
    /// How many of them in a span of time; null: as many as there is time for.
    pub rate: Option<RateBody>,
    /// `running`; `done`: it has looked at every task; `cancelled`: a user has stopped it; `failed`: it was stopped by a
    /// defect of Taskhook.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Tasks that matched so far: the filter lets them through, and the action can be applied to them.
    pub matched: u64,
    /// Those of them that were changed.
    pub applied: u64,
    /// Those of them that could not be changed: another change came first, their dependencies are unmet, or another task
    /// holds their unique key.
    pub refused: u64,
    /// When it began: no task is touched that was created later.
    pub began_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
}

/// Which tasks. Every condition that is given must hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkFilterBody {
    /// In one of these states.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub state: Vec<&'static str>,
    /// Of this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Of this kind of work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With these labels, each `key:value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<String>,
    /// Created after this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<String>,
}

/// How many tasks a bulk would find.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunBody {
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// Tasks that match.
    pub matched: u64,
    /// Whether all tasks were looked at; false: there was no time for more, and `matched` is the least there are.
    pub complete: bool,
}

impl BulkBody {
    /// A bulk as it is shown.
    #[must_use]
    pub fn of(view: BulkView) -> BulkBody {
        let BulkView { id, bulk, queue } = view;
        let settings = &bulk.settings;
        let filter = &settings.filter;
        let (action, ignore_dependencies) = match settings.command {
            Command::Cancel => ("cancel", None),
            Command::Retry { ignore_dependencies } => ("retry", Some(ignore_dependencies)),
            Command::Trigger => ("trigger", None),
        };
        BulkBody {
            id,
            action,
            ignore_dependencies,
            filter: BulkFilterBody {
                state: filter.states.iter().map(|state| state.name()).collect(),
                queue,
                name: filter.name.clone(),
                label: filter.labels.iter().map(|(name, value)| format!("{name}:{value}")).collect(),
                created_after: filter.created_after.map(|at| at.to_string()),
            },
            rate: settings.rate.map(|rate| RateBody {
                limit: rate.limit,
                per: show(rate.per),
                burst: rate.burst,
            }),
            state: bulk.state.name(),
            matched: bulk.counts.matched,
            applied: bulk.counts.applied,
            refused: bulk.counts.refused,
            began_at: bulk.began_at.to_string(),
            ended_at: bulk.ended_at.map(|at| at.to_string()),
        }
    }
}

impl DryRunBody {
    /// A count as it is shown.
    #[must_use]
    pub fn of(found: Matches) -> DryRunBody {
        DryRunBody { dry_run: true, matched: found.matched, complete: found.complete }
    }
}
