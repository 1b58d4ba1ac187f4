//! What a schedule is to say: from JSON to a draft, with every fault named.

use taskhook_core::schedule::{Missed, Overlap, Rule, Settings};
use taskhook_core::{Asked, BadRecurrence, Timestamp, limits};

use crate::engine::submission::ScheduleDraft;
use crate::http::asked::ScheduleRequest;
use crate::http::draft;
use crate::http::fields::Fields;
use crate::http::problem::FieldError;
use crate::json::Members;

/// Reads what a schedule is to say.
pub(super) fn read(members: Members<'_>, now: Timestamp) -> Result<ScheduleDraft, Vec<FieldError>> {
    let mut fields = Fields::of::<ScheduleRequest>(members, "");
    let timezone = fields.take::<String>("timezone", "a string").unwrap_or_else(|| "UTC".into());
    let (start_at, end_at) = (fields.instant("start_at"), fields.instant("end_at"));
    let rule = rule(&mut fields);
    let task = task(&mut fields, now);
    let overlap = overlap(&mut fields).unwrap_or_default();
    let missed = missed(&mut fields);
    let catch_up = fields.duration("catch_up").unwrap_or(limits::CATCH_UP_DEFAULT);
    let jitter = fields.duration("jitter").unwrap_or_default();
    let paused = fields.take::<bool>("paused", "true or false").unwrap_or(false);
    if start_at.zip(end_at).is_some_and(|(start, end)| end < start) {
        fields.wrong("end_at", "out_of_range", "is before start_at");
    }
    let settings = rule.zip(task).map(|(rule, task)| {
        let settings = Settings {
            rule,
            timezone,
            // The schedule says when.
            asked: Asked { run_at: Timestamp(0), ..task.asked },
            spec: task.spec,
            overlap,
            catch_up,
            missed,
            jitter,
            start_at,
            end_at,
        };
        (settings, (task.host, task.other_hosts), task.queue, task.source)
    });
    let settings = settings.map(|(mut settings, (host, other_hosts), queue, source)| {
        match settings.recurrence(now) {
            // The spelling of the database is what everybody else shows.
            Ok(recurrence) => settings.timezone = recurrence.timezone().into(),
            Err(BadRecurrence::Cron(wrong)) => fields.wrong("cron", "not_a_cron_expression", wrong),
            Err(BadRecurrence::Timezone(wrong)) => fields.wrong("timezone", "no_such_timezone", wrong),
            Err(BadRecurrence::Every(wrong)) => fields.wrong("every", "out_of_range", wrong),
        }
        ScheduleDraft { settings, host, other_hosts, queue, source, paused }
    });
    let errors = fields.finish();
    settings.filter(|_| errors.is_empty()).ok_or(errors)
}

fn rule(fields: &mut Fields<'_>) -> Option<Rule> {
    let given = (fields.has("cron"), fields.has("every"));
    let cron = fields.take::<String>("cron", "a string").map(Rule::Cron);
    let every = fields.duration("every").map(Rule::Every);
    match given {
        (true, true) => fields.wrong("every", "conflict", "give either cron or every"),
        (false, false) => {
            fields.wrong(
                "cron",
                "missing",
                "says when it is due, such as \"30 2 * * *\"; or give every, such as \"15m\"",
            );
        }
        _ => {}
    }
    cron.or(every)
}

fn task(fields: &mut Fields<'_>, now: Timestamp) -> Option<crate::engine::submission::Draft> {
    let Some(raw) = fields.raw("task") else {
        fields.wrong("task", "missing", "says what is done, such as {\"url\": \"https://…\"}");
        return None;
    };
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        fields.wrong("task", "wrong_type", "must be an object with the fields of a task");
        return None;
    };
    match draft::template(raw.get(), members, "/task", now) {
        Ok(draft) => Some(draft),
        Err(errors) => {
            fields.errors.extend(errors);
            None
        }
    }
}

/// What happens while an earlier task has not ended.
pub(super) fn overlap(fields: &mut Fields<'_>) -> Option<Overlap> {
    match fields.take::<String>("overlap", "a string")?.as_str() {
        "skip" => Some(Overlap::Skip),
        "allow" => Some(Overlap::Allow),
        "buffer_one" => Some(Overlap::BufferOne),
        "cancel_previous" => Some(Overlap::CancelPrevious),
        _ => {
            fields.wrong("overlap", "unknown_value", "must be skip, allow, buffer_one or cancel_previous");
            None
        }
    }
}

fn missed(fields: &mut Fields<'_>) -> Missed {
    match fields.take::<String>("missed", "a string").as_deref() {
        None | Some("latest") => Missed::Latest,
        Some("all") => Missed::All,
        Some("skip") => Missed::Skip,
        Some(_) => {
            fields.wrong("missed", "unknown_value", "must be latest, all or skip");
            Missed::Latest
        }
    }
}
