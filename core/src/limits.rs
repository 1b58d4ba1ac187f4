//! Every bound of the product, in one place, with the relations that must hold between them.
//!
//! A bound is part of the behaviour: what is beyond it is refused with a reason, or done in the next step.

use std::time::Duration;

/// Largest body of one webhook, and largest result of a task, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// What is read and dropped beyond [`BODY_BYTES_MAX`], so that a 413 reaches a client that is still sending.
pub const BODY_BYTES_DRAINED_MAX: usize = 4 << 20;
/// Objects and lists within each other in what is taken in: less than the 128 that many readers take, since
/// every answer wraps a payload or a result a few times more.
pub const JSON_DEPTH_MAX: usize = 100;
/// Largest body of one batch creation, in bytes.
pub const BATCH_BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes of request bodies that a server holds at the same time; beyond it senders are told to come back.
pub const BODIES_BYTES_MAX: usize = 64 << 20;
/// Bytes of large answers that a server holds at the same time for clients that have not taken them yet.
pub const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// Tasks in one batch creation.
pub const BATCH_TASKS_MAX: usize = 1_000;
/// Dependencies in one batch creation.
pub const BATCH_DEPENDENCIES_MAX: usize = 10_000;
/// How much of a dispatch's response is kept on the attempt, in bytes.
pub const RESPONSE_BYTES_KEPT: usize = 64 << 10;
/// Dependencies that one task may name.
pub const DEPENDENCIES_MAX: usize = 1_000;
/// Labels on one task; bytes of a label's name and of its value.
pub const LABELS_MAX: usize = 32;
/// Bytes of a label's name, and of its value.
pub const LABEL_BYTES_MAX: usize = 128;
/// Bytes of an id chosen by the caller.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of a remote's own id of a task.
pub const EXTERNAL_ID_BYTES_MAX: usize = 256;
/// Bytes of a name (of a kind of work, of a queue …).
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// Request headers that one task may set.
pub const HEADERS_MAX: usize = 32;
/// Bytes of all request headers of one task.
pub const HEADER_BYTES_MAX: usize = 8 << 10;
/// Bytes of a failure's or progress report's message. Longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 1_024;
/// Bytes of a failure's code. Longer ones are cut.
pub const CODE_BYTES_MAX: usize = 64;
/// Bytes of a cron expression.
pub const CRON_BYTES_MAX: usize = 256;
/// Shortest interval of a schedule, and what every interval is a multiple of.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// An instant that is decided within this time is decided in time.
pub const ON_TIME_WITHIN: Duration = Duration::from_secs(60);
/// How far back instants count that were not decided in time, where a schedule does not say otherwise.
pub const CATCH_UP_DEFAULT: Duration = Duration::from_secs(3_600);
/// Instants that a schedule makes up for at a time.
pub const CAUGHT_UP_MAX: usize = 100;
/// Instants without a task are counted up to this many at a time.
pub const INSTANTS_COUNTED_MAX: u64 = 10_000;
/// Newest instants of a schedule of which is kept what became of them.
pub const FATES_KEPT: usize = 10;
/// Instants that one backfill may ask for.
pub const BACKFILL_INSTANTS_MAX: u64 = 10_000;
/// Tasks that one look at a bulk goes over.
pub const BULK_LOOKS: usize = 2_048;
/// Tasks that match which one look at a bulk takes on.
pub const BULK_PAGE: usize = 32;
/// Bulks looked at in one transaction, so that they never crowd out others.
pub const BULKS_PER_BATCH: usize = 4;
/// Bulks that may run at the same time.
pub const BULKS_RUNNING_MAX: usize = 16;
/// Bulks that are kept after their end; older ones make room.
pub const BULKS_KEPT_MAX: usize = 1_000;
/// How often a bulk is looked at that waits for what it has begun.
pub const BULK_LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Tasks that one look at a schedule makes.
pub const TASKS_PER_LOOK: usize = 32;
/// Bytes of request bodies of the tasks that one look at a schedule makes, or the body of one.
pub const BYTES_PER_LOOK: usize = 1 << 19;
/// Schedules looked at in one transaction.
pub const SCHEDULES_PER_BATCH: usize = 16;
/// Tasks of a schedule that have not ended which one look at it knows: the newest.
pub const OPEN_TASKS_KNOWN: usize = 8;
/// A clock that is set back by more than this was wrong before: instants decided for a time that has not come are
/// decided again.
pub const SET_BACK_MIN: Duration = Duration::from_secs(24 * 3_600);
/// Attempts that a retry policy may ask for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest pause between two attempts, also for `Retry-After`.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Longest duration a caller may give (about ten years), so that no instant overflows.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// From the beginning of an attempt to its end, where neither task nor queue say otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3_600);
/// The HTTP exchange of a dispatch, where the task does not say otherwise.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// The same where every 2xx waits for a webhook: the answer is only a receipt.
pub const REQUEST_TIMEOUT_WITH_CALLBACK: Duration = Duration::from_secs(30);
/// Largest limit on attempts that a queue may set: open ones, ones begun in a window, a burst.
pub const QUEUE_LIMIT_MAX: u32 = 1_000_000;
/// Queues that may exist.
pub const QUEUES_MAX: usize = 10_000;
/// Sources that may exist. Each node has all of them at hand.
pub const SOURCES_MAX: usize = 1_000;

/// Secrets of one source that a request may be proved with, at a time.
pub const SECRETS_PER_SOURCE_MAX: usize = 8;

/// API keys that there may be. Each node has all of them at hand.
pub const API_KEYS_MAX: usize = 1_000;

/// How long the old secret of a queue, or of the server, signs beside a new one where nothing else is said.
pub const OLD_SECRET_SIGNS_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Schedules that there may be.
pub const SCHEDULES_MAX: usize = 10_000;
/// Bytes of a concurrency key.
pub const CONCURRENCY_KEY_BYTES_MAX: usize = 128;
/// Bytes of a unique key.
pub const UNIQUE_KEY_BYTES_MAX: usize = 128;

/// Inputs decided in one transaction.
pub const BATCH_INPUTS_MAX: usize = 512;
/// Bytes of bodies and payloads decided in one transaction.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Inputs decided in one round; follow-ups beyond it are kept.
pub const ROUND_INPUTS_MAX: usize = 1_024;
/// Rounds of follow-ups inside one transaction. What is left is kept and goes on right after the commit.
pub const ROUNDS_MAX: usize = 6;
/// Follow-ups of one decision. Anything wider takes a page and puts itself back.
pub const FOLLOW_UPS_MAX: usize = 64;
/// Dependents in one page of a fan-out: with the page's own successor they are [`FOLLOW_UPS_MAX`].
pub const FAN_OUT_PAGE: usize = FOLLOW_UPS_MAX - 1;
/// Tasks that one visit of a queue may start.
pub const CANDIDATES_MAX: usize = 128;
/// Tasks behind their deadline that one visit of a queue ends: each tells its dependents.
pub const LATE_PER_VISIT: usize = FOLLOW_UPS_MAX / 2;
/// Lines that one visit of a queue looks at.
pub const LINES_PER_VISIT: usize = 128;
/// Keys at their limit that one visit finds to have room again.
pub const FREED_KEYS_PER_VISIT: usize = FOLLOW_UPS_MAX;
/// Lines that are opened at a time when a host has places again.
pub const HOST_PAGE: usize = FOLLOW_UPS_MAX - 1;
/// Queues asked at a time when this node has places again.
pub const QUEUES_ASKED_MAX: usize = 16;
/// Exchanges with one host that fail in a row before its tasks wait.
pub const BREAKER_FAILURES: u32 = 20;
/// While they wait, one is sent this often, to see whether the host is back.
pub const BREAKER_PROBE: Duration = Duration::from_secs(30);
/// Hosts of which a node remembers that they fail, or left a poll without an answer. Of more, half are forgotten: those that are
/// not out of order first, and of them those that did so longest ago. It is some 6 MB.
pub const HOSTS_REMEMBERED_MAX: usize = 65_536;
/// Parked webhooks for one task that does not exist yet; beyond it the sender is told to come back.
pub const PARKED_PER_TASK_MAX: usize = 64;
/// Parked webhooks applied by one follow-up: each is the cause of what it changes.
pub const PARKED_PAGE: usize = 1;
/// Refused webhooks that are kept; older ones make room.
pub const REJECTED_KEPT_MAX: usize = 1_000;
/// How long a webhook waits for its task.
pub const PARKED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Bytes of an answer that is kept for repeats of its request; a larger one is made again.
pub const ANSWER_BYTES_KEPT: usize = 8 << 20;
/// How long a request's idempotency key is remembered.
pub const IDEMPOTENCY_KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long delivery ids are remembered, whatever the retention of webhooks.
pub const DELIVERIES_REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Rows that one step of a sweep takes away, with what hangs on the last of them.
pub const PRUNED_ROWS_MAX: usize = 512;
/// Bytes of bodies that one step of a sweep takes away, with the body of the last row.
pub const PRUNED_BYTES_MAX: usize = 1 << 20;
/// Rows that one step of a sweep looks at.
pub const SWEPT_ROWS_MAX: usize = 2_048;
/// Batches between two steps of a sweep while the writer has no rest.
pub const BATCHES_PER_SWEEP_STEP: u32 = 8;
/// Longest time between the beginnings of two sweeps.
pub const SWEEP_EVERY_MAX: Duration = Duration::from_secs(3_600);
/// Shortest time between the beginnings of two sweeps.
pub const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);
/// Inputs waiting for the writer, in each of its two channels.
pub const CHANNEL_INPUTS_MAX: usize = 8_192;
/// Bytes of inputs waiting for the writer.
pub const CHANNEL_BYTES_MAX: usize = 64 << 20;
/// History entries of one task that change no state (progress, ignored webhooks); later ones are not kept.
pub const NOTES_PER_TASK_MAX: u32 = 1_000;

/// Sends of one attempt beyond the first, after crashes.
pub const RESENDS_MAX: u8 = 3;
/// How often an open exchange is looked at, in case its process died. Also how far ahead a starting node
/// looks for exchanges that it lost.
pub const LOST_AFTER: Duration = Duration::from_secs(15);
/// The pause before a resend is tried again when there is no permit for it.
pub const RESEND_PAUSE: Duration = Duration::from_secs(1);
/// How long after an attempt has begun its status URL is asked first, where nothing shorter is said.
pub const POLL_AFTER: Duration = Duration::from_secs(60);
/// Shortest pause between two polls.
pub const POLL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause between two polls.
pub const POLL_PAUSE_MAX: Duration = Duration::from_secs(300);
/// A poll has its answer within this time, or none.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(30);
/// A poll that could not be sent is tried again within this time, each at its own moment.
pub const POLL_AGAIN: Duration = Duration::from_secs(10);
/// How long a time-out waits for the answer to the last question.
pub const LAST_POLL_WITHIN: Duration = Duration::from_secs(60);
/// Times the remote has to say in a row that it has no such task.
pub const NOT_FOUND_MAX: u8 = 2;
/// Times in a row that nothing was heard of a remote that was asked, before its task says so.
pub const UNANSWERED_MIN: u32 = 2;
/// Times that ran out while no node was up are judged so long after its start: senders who retry get their chance.
pub const GRACE: Duration = Duration::from_secs(30);
/// Shortest pause that a `Retry-After` may ask for, so that `Retry-After: 0` is no busy loop.
pub const POSTPONE_MIN: Duration = Duration::from_secs(1);

/// How often the target may ask for a task to be sent later before asking so uses up an attempt: each time is an
/// attempt with its own entries in the history.
pub const POSTPONEMENTS_MAX: u32 = 1_000;

/// Open exchanges of one node.
pub const EXCHANGES_MAX: u32 = 1_024;
/// Open exchanges of one node with one target host.
pub const EXCHANGES_PER_HOST_MAX: u32 = 64;
/// One in so many of these places may be taken by polls, and one in any case: remotes that are slow to say how they are hold
/// up no dispatch. Of the places of a node the first poll with each host may take as many again.
pub const POLLS_SHARE: u32 = 4;
/// Bytes of request bodies in open exchanges.
pub const EXCHANGE_BYTES_MAX: u64 = 64 << 20;

const _: () = assert!(FAN_OUT_PAGE >= 1 && ROUNDS_MAX >= 3, "a dependent starts in the commit of its cause");
const _: () = assert!(POLL_TIMEOUT.as_secs() < LAST_POLL_WITHIN.as_secs(), "the last poll may take its time");
const _: () = assert!(BULK_PAGE <= FOLLOW_UPS_MAX, "a page of a bulk is one decision");
const _: () = assert!(BULKS_PER_BATCH * BULK_PAGE <= ROUND_INPUTS_MAX / 4, "bulks leave a round to others");
const _: () = assert!(BATCH_INPUTS_MAX <= ROUND_INPUTS_MAX, "a batch is the first round");
const _: () = assert!(BODY_BYTES_MAX <= BATCH_BYTES_MAX, "every single input fits a transaction");
const _: () = assert!(BATCH_BODY_BYTES_MAX <= BATCH_BYTES_MAX, "every single input fits a transaction");
const _: () = assert!(ANSWER_BYTES_KEPT <= BATCH_BYTES_MAX, "every single input fits a transaction");
const _: () = assert!(BATCH_BYTES_MAX <= CHANNEL_BYTES_MAX, "every single input has room");
const _: () = assert!(BATCH_BODY_BYTES_MAX <= BODIES_BYTES_MAX, "every body has room");
const _: () = assert!(EXCHANGES_PER_HOST_MAX <= EXCHANGES_MAX, "one host never needs more than all");
const _: () = assert!(BODY_BYTES_MAX as u64 <= EXCHANGE_BYTES_MAX, "every payload can be sent");
const _: () = assert!(RESPONSE_BYTES_KEPT <= BODY_BYTES_MAX, "what is kept was read");
const _: () = assert!(BATCH_INPUTS_MAX <= CHANNEL_INPUTS_MAX, "a full channel fills a batch");
const _: () =
    assert!(SCHEDULES_PER_BATCH * BYTES_PER_LOOK <= BATCH_BYTES_MAX, "schedules write no more than a batch");
const _: () = assert!(TASKS_PER_LOOK <= FOLLOW_UPS_MAX, "each task is one look at its queue");
const _: () = assert!(PRUNED_ROWS_MAX <= BATCH_INPUTS_MAX, "a step of a sweep is no more than a batch");
const _: () = assert!(
    PRUNED_BYTES_MAX + BODY_BYTES_MAX <= BATCH_BYTES_MAX,
    "a step of a sweep is no more than a batch"
);
