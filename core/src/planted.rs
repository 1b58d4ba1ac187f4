//! Bugs that are planted on purpose, each one line under `cfg(planted = "name")`, so that it can be shown that the
//! simulator notices them. `docs/guide/guarantees.md` has the table; `cargo xtask sim --planted` builds each of them.
//!
//! No other build has any: the program refuses to start with one.

/// Each name, and whether this build has the bug.
macro_rules! bugs {
    ($($name:literal),* $(,)?) => { &[$(($name, cfg!(planted = $name))),*] };
}

/// The bugs that this build has: none, but in a build that was made for the simulator.
pub const PLANTED: &[(&str, bool)] = bugs![
    "accepted_is_done",
    "age_is_overlooked",
    "answer_before_commit",
    "broken_connection_ends_running",
    "burst_is_one_more",
    "cancel_is_not_told",
    "checkpoint_is_not_synced",
    "claim_is_forgotten",
    "claims_are_committed_first",
    "concurrency_is_one_more",
    "deadline_comes_unasked",
    "deadline_is_forgotten_on_retry",
    "duplicate_counts",
    "early_word_is_the_last",
    "effects_without_commit",
    "end_keeps_its_place",
    "failed_checkpoint_is_overlooked",
    "failed_commit_is_answered",
    "failure_lets_dependents_start",
    "fan_in_starts_early",
    "filled_host_hides_a_line",
    "grace_is_forgotten",
    "heartbeat_is_overlooked",
    "held_server_sends",
    "hope_is_lost_with_the_last_place",
    "kept_in_memory_alone",
    "key_concurrency_is_one_more",
    "last_round_is_dropped",
    "late_response_counts_for_the_next_attempt",
    "late_success_is_never_refused",
    "locked_is_dropped",
    "log_is_believed_at_the_start",
    "lost_exchange_is_not_resent",
    "missed_instants_are_left_out",
    "no_last_word",
    "not_found_once_is_enough",
    "one_attempt_more",
    "one_resend_more",
    "over_is_sent_again",
    "overlap_is_overlooked",
    "pause_is_overlooked",
    "poll_is_forgotten_after_downtime",
    "poll_of_an_older_attempt_counts",
    "poll_takes_no_place",
    "postponement_uses_an_attempt_up",
    "probe_is_forgotten",
    "recovery_is_told_to_nobody",
    "repeated_request_happens_again",
    "report_before_the_first_attempt",
    "report_changes_an_end",
    "resend_with_a_new_number",
    "retry_of_a_success",
    "running_extends_the_timeout",
    "schedules_fire_while_held",
    "sign_of_life_is_not_counted",
    "skip_is_not_passed_on",
    "skipped_stays_skipped",
    "stale_failure_counts",
    "start_before_its_time",
    "start_of_a_schedule_is_overlooked",
    "success_before_retry_counts",
    "sweep_waits_for_no_follow_up",
    "synchronous_is_normal",
    "timeout_is_forgotten_once_running",
    "unique_key_is_overlooked",
    "unknown_is_committed",
    "unknown_is_not_committed",
    "unpark_by_own_id_is_forgotten",
    "unpark_is_forgotten",
    "wake_is_late",
    "word_of_an_older_generation",
];

/// What the build was asked for. Named here so that cargo builds anew when it changes.
const ASKED_FOR: Option<&str> = option_env!("TASKHOOK_PLANTED");

/// The first bug that this build has.
#[must_use]
pub fn active() -> Option<&'static str> {
    let planted = PLANTED.iter().find(|(_, is_planted)| *is_planted).map(|(name, _)| *name);
    planted.or(ASKED_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bug_is_planted_here() {
        assert_eq!(active(), None);
        assert!(PLANTED.len() >= 25, "the simulator is shown enough of them");
    }
}
