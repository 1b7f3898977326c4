//! Every hand-off on thousands of schedules, random ones and such as delay a thread at few places.
use alluvium_handoff::{
    a_blocked_lane_is_taken_from_later, a_close_reaches_both_ends, every_mail_arrives_in_order,
    no_wake_is_lost,
};
use shuttle::{check_pct, check_random};

const SCHEDULES: usize = 5_000;

fn check(hand_off: fn()) {
    check_random(hand_off, SCHEDULES);
    check_pct(hand_off, SCHEDULES, 3);
}

#[test]
fn every_mail_arrives_in_order_on_any_schedule() {
    check(every_mail_arrives_in_order);
}

#[test]
fn a_blocked_lane_is_taken_from_later_on_any_schedule() {
    check(a_blocked_lane_is_taken_from_later);
}

#[test]
fn a_close_reaches_both_ends_on_any_schedule() {
    check(a_close_reaches_both_ends);
}

#[test]
fn no_wake_is_lost_on_any_schedule() {
    check(no_wake_is_lost);
}
