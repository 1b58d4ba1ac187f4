//! Tasks that wait for each other, one row for each rule, written as in `transitions.rs`: how they come into
//! being, start, are skipped and are reopened.

mod support;

use support::words::check;

#[test]
fn creation() {
    check("
        new            + new                  = there already a
        new            + new in=10s           = there already a
        new, 200       + new                  = there already a
        new            + new content=x        = refused: id 0 is taken
        new            + batch b & a content=x = refused: id 1 is taken
        new            + batch b & a content=x => a dispatching #1
        new            + batch b & a          = created b, there already a; b created, b queued; look
        look           + new after=b          = refused: task 0 names no task in 0
        c.new          + new after=c,b        = refused: task 0 names no task in 1
        c.new          + batch a & b after=c,d = refused: task 1 names no task in 1
        look           + batch a after=b & b after=a = refused: a circle [0, 1]
        look           + batch a after=a      = refused: a circle [0]
        look           + batch a & b after=d & c after=b & d after=c = refused: a circle [1, 3, 2]
        look           + batch a after=b & b  = created a, created b; b created, b queued, created, blocked; look
        look           + batch a after=b & b  => a blocked, b dispatching #1
        batch a after=b & b + batch a after=b & b = there already a, there already b
        b.new          + batch a after=b,c & c => a blocked, b dispatching #1, c dispatching #1
        b.new, b.404   + batch a after=c & c after=b => a skipped, b failed #1, c skipped
        b.new, b.404   + batch a after=c:not_failed & c after=b => a dispatching #1, b failed #1, c skipped
        b.new, new after=b, b.200, prune b        + new after=b = there already a
        b.new, new after=b, b.200, prune b        + c.new after=b = refused: task 0 names no task in 0
    ");
}

#[test]
fn dependents_start_or_are_skipped() {
    check(
        "
        b.new, new after=b                + b.200        => a dispatching #1, b succeeded #1
        b.new, new after=b                + b.404        => a skipped, b failed #1
        b.new, new after=b                + b.cancel     => a skipped, b cancelled #1
        b.new, new after=b                + b.202        => a blocked, b running #1
        b.new, new after=b:failed         + b.200        => a skipped, b succeeded #1
        b.new, new after=b:failed         + b.404        => a dispatching #1, b failed #1
        b.new, new after=b:failed         + b.cancel     => a skipped, b cancelled #1
        b.new, new after=b:not_failed     + b.200        => a dispatching #1, b succeeded #1
        b.new, new after=b:not_failed     + b.404        => a skipped, b failed #1
        b.new, new after=b:not_failed     + b.cancel     => a skipped, b cancelled #1
        b.new, new after=b:finished       + b.200        => a dispatching #1, b succeeded #1
        b.new, new after=b:finished       + b.404        => a dispatching #1, b failed #1
        b.new, new after=b:finished       + b.cancel     => a dispatching #1, b cancelled #1
        b.new, new after=b in=10s         + b.200        => a scheduled, b succeeded #1
        b.new, new external after=b       + b.200        => a running #1, b succeeded #1
        b.new, c.new, new after=b,c       + b.200        => a blocked, b succeeded #1, c dispatching #1
        b.new, c.new, new after=b,c, b.200 + c.200       => a dispatching #1, b succeeded #1, c succeeded #1
        b.new, c.new, new after=b,c, b.200 + c.404       => a skipped, b succeeded #1, c failed #1
        b.new, c.new, new after=b,c, b.404 + c.200       => a skipped, b failed #1, c succeeded #1
        b.new, new after=b                + cancel       => a cancelled, b dispatching #1
        b.new, new after=b, cancel        + b.200        => a cancelled, b succeeded #1
    ",
    );
}

#[test]
fn skips_go_down_the_graph() {
    check("
        d.new, c.new after=d, b.new after=c, new after=b            + d.404 => a skipped, b skipped, c skipped, d failed #1
        d.new, c.new after=d, b.new after=c, new after=b:not_failed + d.404 => a dispatching #1, b skipped, c skipped, d failed #1
        d.new, c.new after=d, b.new after=c, new after=b:finished   + d.404 => a dispatching #1, b skipped, c skipped, d failed #1
        d.new, c.new after=d, b.new after=c, new after=b:failed     + d.404 => a skipped, b skipped, c skipped, d failed #1
        d.new, c.new after=d, b.new after=d, new after=b,c          + d.404 => a skipped, b skipped, c skipped, d failed #1
    ");
}

#[test]
fn the_word_of_an_end_in_detail() {
    check("
        b.new, new after=b         + b.200 = applied; b responded 200, b succeeded #1 by response; tell dependents of b, look
        b.new, c.new, new after=b,c, b.404 + c.200 => a skipped, b failed #1, c succeeded #1
        b.new external, b.task_completed + new after=b        = created a; created, queued; look
        b.new external, b.task_failed    + new after=b        = created a; created, skipped because of b
        b.new external, b.task_failed    + new after=b:failed = created a; created, queued; look
        b.new external, b.task_failed, c.new external + new after=c,b = created a; created, skipped because of b
        b.new external, b.cancel         + new after=b:finished in=5s = created a; created, scheduled
        b.new external, b.task_failed, c.new after=b + new after=c:not_failed = created a; created, queued; look
    ");
}

#[test]
fn a_retry_reopens_what_was_skipped_because_of_it() {
    check("
        b.new, new after=b, b.404                            + b.retry => a blocked, b dispatching #2
        b.new, new after=b, b.404, b.retry                   + b.200   => a dispatching #1, b succeeded #2
        b.new, new after=b, b.404, b.retry                   + b.404   => a skipped, b failed #2
        b.new, new after=b, b.cancel                         + b.retry => a blocked, b dispatching #2
        c.new, b.new after=c, new after=b, c.404             + c.retry => a blocked, b blocked, c dispatching #2
        c.new, b.new after=c, new after=b, c.404, c.retry, c.200 + b.200 => a dispatching #1, b succeeded #1, c succeeded #2
        b.new, c.new, new after=b,c, b.404, c.404            + b.retry => a skipped, b dispatching #2, c failed #1
        b.new, c.new, new after=b,c, b.404, c.404, b.retry   + c.retry => a blocked, b dispatching #2, c dispatching #2
        b.new, c.new, new after=b,c, b.404, c.404, b.retry   + b.200   => a skipped, b succeeded #2, c failed #1
        b.new, c.new, new after=b,c, b.404, c.404, b.retry, b.200 + c.retry => a blocked, b succeeded #2, c dispatching #2
        b.new, new after=b:failed, b.404                     + b.retry => a dispatching #1, b dispatching #2
        b.new, new after=b, cancel, b.404                    + b.retry => a cancelled, b dispatching #2
        b.new, new after=b, b.404                            + b.retry = applied; b reopened, b queued; look, tell dependents of b to wait
    ");
}

#[test]
fn words_to_dependents_may_overtake_each_other() {
    check("
        b.new, new after=b, locks 001, b.404                             + b.retry => a blocked, b dispatching #2
        b.new, new after=b, locks 001, b.404, b.retry                    + resume  => a blocked, b dispatching #2
        b.new, new after=b, locks 001, b.404, b.retry, b.200             + resume  => a dispatching #1, b succeeded #2
        b.new, new after=b, b.404, locks 001, b.retry                    + look    => a skipped, b dispatching #2
        b.new, new after=b, b.404, locks 001, b.retry                    + b.200   => a dispatching #1, b succeeded #2
        b.new, new after=b, b.404, locks 001, b.retry, b.200             + resume  => a dispatching #1, b succeeded #2
        b.new, new after=b, b.404, locks 001, b.retry                    + b.404   => a skipped, b failed #2
        b.new, new after=b, b.404, locks 001, b.retry, b.404, b.retry    + resume  => a blocked, b dispatching #3
        b.new, new after=b, b.404, locks 001, b.retry, b.404, resume     + b.retry => a blocked, b dispatching #3
        b.new, new after=b, locks 1, b.404                               + b.retry => a blocked, b dispatching #2
        c.new, b.new after=c, new after=b, c.404, locks 001, c.retry, c.200 + b.200 => a dispatching #1, b succeeded #1, c succeeded #2
    ");
}

#[test]
fn a_skipped_task_is_retried_only_if_asked_to_ignore_its_dependencies() {
    check("
        b.new, new after=b, b.404                                + retry          = refused: dependencies unmet
        b.new, new after=b, b.404                                + retry ignoring = applied; reopened, ignoring dependencies, queued; look, tell dependents to wait
        b.new, new after=b, b.404, retry ignoring                + b.retry        => a dispatching #1, b dispatching #2
        b.new, new after=b, b.404, retry ignoring, b.retry       + b.404          => a dispatching #1, b failed #2
        b.new, new after=b, b.404, retry ignoring, 404           + retry          => a dispatching #2, b failed #1
        b.new, new after=b, cancel                               + retry          => a blocked, b dispatching #1
        b.new, new after=b, cancel                               + retry ignoring => a dispatching #1, b dispatching #1
        b.new, new after=b, cancel, b.404                        + retry          = refused: dependencies unmet
        b.new, c.new, new after=b,c, b.404, retry ignoring       + c.200          => a dispatching #1, b failed #1, c succeeded #1
        b.new, new after=b, b.200, cancel                        + retry          => a dispatching #2, b succeeded #1
    ");
}
