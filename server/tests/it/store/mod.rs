//! One suite for every store: SQLite, the memory store, and the memory store on its unlucky days.
//!
//! A case is a function of a [`World`](world::World), the smallest lane there can be. It speaks the engine's
//! language, and looks at what became of it through [`Inspect`](inspect::Inspect), which every store answers
//! in the same words. `suite!` makes each case a test of each store.

mod access;
mod backend;
mod bulks;
mod changes;
mod correlation;
mod hold;
mod inspect;
mod kept;
mod laws;
mod names;
mod once;
mod pages;
mod queues;
mod ready;
mod retention;
mod schedules;
mod script;
mod sequences;
mod sources;
mod sqlite;
mod sweeping;
mod transactions;
mod unique;
mod webhooks;
mod world;

/// Every case as a test of every store.
macro_rules! suite {
    ($($module:ident: $($case:ident),+;)+) => {
        mod on_sqlite {
            use super::{backend::Sqlite, world::World};
            $($(#[test] fn $case() { super::$module::$case(&mut World::<Sqlite>::new()); })+)+
        }
        mod on_memory {
            use super::{backend::Memory, world::World};
            $($(#[test] fn $case() { super::$module::$case(&mut World::<Memory>::new()); })+)+
        }
        mod on_contended_memory {
            use super::{backend::Contended, world::World};
            $($(#[test] fn $case() { super::$module::$case(&mut World::<Contended>::new()); })+)+
        }
    };
}

suite! {
    access:
        keys_survive,
        every_change_that_is_asked_for_is_told_once,
        what_was_told_goes_by_its_age;
    bulks:
        what_a_bulk_says_survives,
        every_task_there_was_hears_of_it_once,
        a_look_goes_over_so_many_tasks,
        a_filter_means_the_same_in_every_store,
        a_rate_of_a_bulk_is_kept_over_restarts,
        due_bulks_come_earliest_first_and_a_few_at_a_time,
        of_those_that_ended_the_newest_are_kept,
        a_bulk_begins_once_under_its_key;
    changes:
        every_field_of_a_creation_survives,
        every_change_survives,
        notes_are_bounded_and_ends_are_not;
    correlation:
        what_a_remote_calls_a_task_survives,
        a_webhook_may_come_before_its_task_is_known,
        those_of_one_transaction_know_of_each_other,
        an_id_is_that_of_one_open_task,
        an_id_goes_with_its_task_or_with_what_waits_for_it;
    hold:
        that_it_is_held_survives,
        a_hold_that_is_not_committed_is_none,
        whoever_waited_for_its_key_is_found,
        a_lost_exchange_waits_until_it_is_resumed;
    kept:
        what_does_not_fit_survives_and_is_taken_once,
        a_follow_up_left_aside_stays_aside,
        kept_follow_ups_come_in_order_and_pages;
    names:
        a_refusal_leaves_no_name,
        a_parked_webhook_shares_its_name_with_the_task,
        a_parked_webhook_is_about_no_dispatch,
        a_webhook_that_is_not_parked_leaves_no_name,
        names_of_a_kind_are_their_own;
    once:
        a_request_happens_once_under_its_key,
        a_key_may_be_used_again_after_its_time;
    pages:
        a_page_begins_behind_its_cursor,
        everybody_behind_a_wide_task_hears_of_it,
        more_parked_webhooks_than_a_page_apply_in_order;
    queues:
        what_a_queue_says_survives,
        the_secret_of_a_queue_survives,
        places_are_counted_over_restarts,
        a_rate_is_kept_over_restarts,
        a_key_that_has_room_again_is_found_among_many,
        a_key_whose_place_is_free_and_that_is_at_its_rate_is_not_forgotten,
        a_line_that_its_host_opens_leaves_no_line_of_its_key_closed,
        a_queue_keeps_its_tasks_as_long_as_it_says,
        limits_hold_whatever_happens;
    ready:
        first_things_come_first,
        hosts_at_their_limit_are_left_out,
        a_host_has_its_limit_over_all_priorities,
        no_more_than_the_node_can_send,
        a_candidate_that_is_gone_holds_nobody_up,
        a_starting_node_looks_at_what_others_left,
        priority_holds_over_many_hosts,
        what_one_visit_leaves_the_next_one_takes;
    retention:
        what_has_ended_goes_with_all_that_is_its_own,
        a_key_never_comes_back,
        steps_are_bounded,
        a_task_stays_until_everybody_is_told_of_its_end,
        what_a_dependent_knows_outlives_its_parent,
        a_task_stays_until_its_remote_is_told_of_its_cancel,
        a_reply_about_a_pruned_task_gives_its_place_back,
        webhooks_go_by_their_age_and_not_while_they_wait,
        webhooks_go_by_the_age_that_their_source_says,
        deliveries_are_remembered_longer_than_their_webhooks,
        answers_go_after_their_time,
        nothing_goes_that_is_kept_for_ever;
    schedules:
        what_a_schedule_says_survives,
        each_instant_is_decided_once_over_restarts_and_clocks,
        three_days_without_a_server,
        a_clock_set_back_by_a_year_is_believed_when_it_is_said_to_be,
        all_earlier_tasks_make_room_however_many,
        instants_without_a_task_leave_no_name,
        a_webhook_may_come_before_its_instant,
        due_schedules_come_earliest_first,
        schedules_of_one_transaction_see_each_other;
    sources:
        a_source_is_kept_as_it_was_given,
        a_task_names_a_source_that_exists,
        a_parked_webhook_is_still_its_sources;
    transactions:
        a_dropped_transaction_leaves_nothing,
        time_never_goes_back,
        due_tasks_come_earliest_first,
        exchanges_in_flight_are_found,
        every_request_comes_back_as_it_was_given;
    unique:
        a_key_is_held_until_its_task_has_ended,
        a_key_is_held_for_a_time,
        those_of_one_transaction_see_each_other,
        a_dependent_is_reopened_with_its_key_or_not_at_all,
        a_key_goes_with_its_task;
    webhooks:
        a_delivery_counts_once,
        a_refused_webhook_claims_nothing,
        rejected_ones_are_bounded_and_the_newest_stay;
}
