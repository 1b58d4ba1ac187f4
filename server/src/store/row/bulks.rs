//! The stored shapes of bulks. Durations are microseconds, and so are times.

use serde::{Deserialize, Serialize};
use taskhook_core::bulk::{Filter, Settings, State};
use taskhook_core::{Command, QueueKey, Rate, Timestamp};

use super::{micros, span, state_number, state_of};

numbered!(bulk_state_number, bulk_state_of, State, {
    1 => State::Running, 2 => State::Done, 3 => State::Cancelled, 4 => State::Failed,
});

/// What a bulk does, and to which tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkSettingsRow {
    /// 1: cancel, 2: retry, 3: retry whatever the dependencies, 4: trigger.
    command: u8,
    /// Limit, per, burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<(u32, i64, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_after: Option<i64>,
}

impl BulkSettingsRow {
    /// The stored form.
    #[must_use]
    pub fn of(settings: &Settings) -> BulkSettingsRow {
        let filter = &settings.filter;
        BulkSettingsRow {
            command: match settings.command {
                Command::Cancel => 1,
                Command::Retry { ignore_dependencies: false } => 2,
                Command::Retry { ignore_dependencies: true } => 3,
                Command::Trigger => 4,
            },
            rate: settings.rate.map(|rate| (rate.limit, micros(rate.per), rate.burst)),
            states: filter.states.iter().map(|state| state_number(*state)).collect(),
            queue: filter.queue.map(|queue| queue.0),
            name: filter.name.clone(),
            labels: filter.labels.clone(),
            created_after: filter.created_after.map(|at| at.0),
        }
    }

    /// What it says; `None` where this version does not know a word of it.
    #[must_use]
    pub fn settings(self) -> Option<Settings> {
        Some(Settings {
            command: match self.command {
                1 => Command::Cancel,
                2 => Command::Retry { ignore_dependencies: false },
                3 => Command::Retry { ignore_dependencies: true },
                4 => Command::Trigger,
                _ => return None,
            },
            filter: Filter {
                states: self.states.into_iter().map(state_of).collect::<Option<_>>()?,
                queue: self.queue.map(QueueKey),
                name: self.name,
                labels: self.labels,
                created_after: self.created_after.map(Timestamp),
            },
            rate: self.rate.map(|(limit, per, burst)| Rate { limit, per: span(per), burst }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_every_bulk_says_survives_storage() {
        let filter = Filter {
            states: taskhook_core::State::ALL.to_vec(),
            queue: Some(QueueKey(7)),
            name: Some("resize".into()),
            labels: vec![("a".into(), "b".into()), ("c".into(), String::new())],
            created_after: Some(Timestamp(-1)),
        };
        let rate = Some(Rate { limit: 3, per: Duration::from_millis(1), burst: u32::MAX });
        for command in [
            Command::Cancel,
            Command::Retry { ignore_dependencies: false },
            Command::Retry { ignore_dependencies: true },
            Command::Trigger,
        ] {
            for (filter, rate) in [(filter.clone(), rate), (Filter::default(), None)] {
                let settings = Settings { command, filter, rate };
                let text = serde_json::to_string(&BulkSettingsRow::of(&settings)).unwrap();
                let read: BulkSettingsRow = serde_json::from_str(&text).unwrap();
                assert_eq!(read.settings(), Some(settings));
            }
        }
        for state in State::ALL {
            assert_eq!(bulk_state_of(bulk_state_number(state)), Some(state));
        }
        assert_eq!(bulk_state_number(State::Running), 1, "the index bulk_ended names this number");
    }
}
