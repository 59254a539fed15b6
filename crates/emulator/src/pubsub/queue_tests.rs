//! The backlog with leases, nacks and deadlines.

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);
const ANY: Capacity = Capacity { messages: usize::MAX, bytes: usize::MAX };
const PLAIN: Policy = Policy { backoff: None, max_attempts: None };

struct Fixture {
    queue: Queue<&'static str>,
    start: Instant,
}

impl Fixture {
    fn new(policy: Policy) -> Self {
        Self { queue: Queue::new(policy, 1), start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn publish(&mut self, id: MessageId) {
        self.publish_sized(id, 10);
    }

    fn publish_sized(&mut self, id: MessageId, size: usize) {
        let expires = self.at(1_000);
        self.queue.publish(Queued { id, message: "m", size, attempts: 0, expires });
    }

    fn lease(&mut self, seconds: u64) -> Vec<Delivery<&'static str>> {
        self.queue.lease(self.at(seconds), None, ANY, DEADLINE)
    }

    fn lease_one(&mut self, seconds: u64) -> Delivery<&'static str> {
        let mut leased = self.lease(seconds);
        assert_eq!(leased.len(), 1);
        leased.remove(0)
    }

    fn on_stream(&mut self, stream: StreamId) -> Vec<MessageId> {
        let leased = self.queue.lease(self.at(0), Some(stream), ANY, DEADLINE);
        leased.iter().map(|delivery| delivery.id).collect()
    }
}

#[test]
fn a_leased_message_is_not_delivered_again_until_its_deadline() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    assert_eq!(fixture.lease_one(0).attempt, 1);
    assert!(fixture.lease(5).is_empty());
    assert_eq!(fixture.queue.next_timer(), Some(fixture.at(10)));
    assert!(!fixture.queue.expire(fixture.at(9)));
    assert!(fixture.queue.expire(fixture.at(10)));
    assert_eq!(fixture.lease_one(10).attempt, 2);
}

#[test]
fn an_acknowledged_message_is_gone() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    let delivery = fixture.lease_one(0);
    assert!(fixture.queue.acknowledge(delivery.ack_id));
    assert!(!fixture.queue.acknowledge(delivery.ack_id));
    assert!(!fixture.queue.expire(fixture.at(100)));
    assert_eq!((fixture.queue.bytes(), fixture.queue.next_timer()), (0, None));
}

#[test]
fn a_late_acknowledgement_counts_until_another_subscriber_holds_the_message() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    fixture.publish(2);
    let leased = fixture.lease(0);
    fixture.queue.expire(fixture.at(10));
    assert!(fixture.queue.acknowledge(leased[0].ack_id));
    assert_eq!(fixture.lease_one(11).id, 2);
    assert!(!fixture.queue.acknowledge(leased[1].ack_id));
}

#[test]
fn an_extension_moves_the_deadline_and_cannot_renew_an_ended_lease() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    let delivery = fixture.lease_one(0);
    fixture.queue.extend(delivery.ack_id, fixture.at(8), DEADLINE);
    assert!(!fixture.queue.expire(fixture.at(17)));
    assert!(fixture.queue.expire(fixture.at(18)));
    fixture.queue.extend(delivery.ack_id, fixture.at(19), DEADLINE);
    assert_eq!(fixture.lease_one(19).attempt, 2);
}

#[test]
fn a_message_handed_back_goes_to_the_end_of_the_queue() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    let delivery = fixture.lease_one(0);
    fixture.publish(2);
    assert!(fixture.queue.hand_back(delivery.ack_id, fixture.at(1)));
    assert!(!fixture.queue.hand_back(delivery.ack_id, fixture.at(1)));
    assert_eq!(fixture.lease(1).iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn backoff_doubles_up_to_its_maximum() {
    let backoff = Some((Duration::from_secs(10), Duration::from_secs(30)));
    let mut fixture = Fixture::new(Policy { backoff, max_attempts: None });
    fixture.publish(1);
    let mut now = 0;
    for delay in [10, 20, 30, 30] {
        let delivery = fixture.lease_one(now);
        fixture.queue.hand_back(delivery.ack_id, fixture.at(now));
        assert_eq!(fixture.queue.next_timer(), Some(fixture.at(now + delay)));
        assert!(!fixture.queue.expire(fixture.at(now + delay - 1)));
        now += delay;
        assert!(fixture.queue.expire(fixture.at(now)));
    }
}

#[test]
fn the_last_attempt_ends_in_forwarding() {
    let mut fixture = Fixture::new(Policy { backoff: None, max_attempts: Some(2) });
    fixture.publish(1);
    let first = fixture.lease_one(0);
    fixture.queue.hand_back(first.ack_id, fixture.at(0));
    assert!(fixture.queue.take_exhausted().is_empty());
    let last = fixture.lease_one(0);
    fixture.queue.expire(fixture.at(10));
    assert!(!fixture.queue.acknowledge(last.ack_id), "it is being forwarded");
    let exhausted = fixture.queue.take_exhausted();
    assert_eq!(exhausted.iter().map(|(id, _, attempts)| (*id, *attempts)).collect::<Vec<_>>(), [(1, 2)]);
    assert!(fixture.lease(11).is_empty());
    fixture.queue.redeliver_after(1, fixture.at(11), DEADLINE);
    assert!(fixture.queue.expire(fixture.at(21)));
    assert_eq!(fixture.lease_one(21).attempt, 3);
    fixture.queue.remove(1);
    assert_eq!(fixture.queue.bytes(), 0);
}

#[test]
fn a_stored_message_without_attempts_left_is_forwarded() {
    let mut fixture = Fixture::new(Policy { backoff: None, max_attempts: Some(5) });
    let expires = fixture.at(1_000);
    fixture.queue.publish(Queued { id: 1, message: "m", size: 1, attempts: 4, expires });
    fixture.queue.publish(Queued { id: 2, message: "m", size: 1, attempts: 5, expires });
    assert_eq!(fixture.lease_one(0).id, 1);
    assert_eq!(fixture.queue.take_exhausted().len(), 1);
}

#[test]
fn a_stream_never_holds_more_than_its_limit() {
    let mut fixture = Fixture::new(PLAIN);
    for id in 1..=5 {
        fixture.publish(id);
    }
    let stream = fixture.queue.open_stream(Capacity { messages: 2, bytes: usize::MAX });
    let leased = fixture.queue.lease(fixture.at(0), Some(stream), ANY, DEADLINE);
    assert_eq!(leased.len(), 2);
    assert!(fixture.on_stream(stream).is_empty());
    fixture.queue.acknowledge(leased[0].ack_id);
    assert_eq!(fixture.on_stream(stream), [3]);
    fixture.queue.hand_back(leased[1].ack_id, fixture.at(0));
    assert_eq!(fixture.on_stream(stream), [4]);
}

#[test]
fn a_stream_is_limited_in_bytes_but_takes_one_large_message() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish_sized(1, 500);
    fixture.publish_sized(2, 60);
    fixture.publish_sized(3, 60);
    let stream = fixture.queue.open_stream(Capacity { messages: 10, bytes: 100 });
    assert_eq!(fixture.on_stream(stream), [1]);
    fixture.queue.remove(1);
    assert_eq!(fixture.on_stream(stream), [2]);
    fixture.queue.remove(2);
    assert_eq!(fixture.on_stream(stream), [3]);
}

#[test]
fn a_burst_is_spread_over_the_streams() {
    let mut fixture = Fixture::new(PLAIN);
    for id in 1..=10 {
        fixture.publish(id);
    }
    let first = fixture.queue.open_stream(ANY);
    fixture.queue.open_stream(ANY);
    assert_eq!(fixture.on_stream(first), [1, 2, 3, 4, 5]);
}

#[test]
fn a_stream_whose_lease_expired_is_served_last_until_its_client_responds() {
    const ONE: Capacity = Capacity { messages: 1, ..ANY };
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    let (hanging, responsive) = (fixture.queue.open_stream(ONE), fixture.queue.open_stream(ONE));
    assert_eq!(fixture.on_stream(hanging), [1]);
    fixture.queue.expire(fixture.at(10));
    assert!(fixture.on_stream(hanging).is_empty(), "another has capacity");
    assert_eq!(fixture.on_stream(responsive), [1]);
    fixture.publish(2);
    assert_eq!(fixture.on_stream(hanging), [2], "no other has capacity");
    fixture.queue.expire(fixture.at(20));
    fixture.queue.close_stream(responsive);
    assert_eq!(fixture.on_stream(hanging).len(), 1, "the only stream is served, even if unresponsive");
    fixture.queue.open_stream(ONE);
    fixture.queue.expire(fixture.at(30));
    assert!(fixture.on_stream(hanging).is_empty());
    fixture.queue.record_activity(hanging);
    assert_eq!(fixture.on_stream(hanging).len(), 1);
}

#[test]
fn messages_of_a_closed_stream_stay_leased() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    let stream = fixture.queue.open_stream(ANY);
    let leased = fixture.queue.lease(fixture.at(0), Some(stream), ANY, DEADLINE);
    fixture.queue.close_stream(stream);
    assert!(fixture.lease(1).is_empty());
    assert!(fixture.queue.acknowledge(leased[0].ack_id));
}

#[test]
fn a_message_past_its_retention_is_removed_unless_held() {
    let mut fixture = Fixture::new(PLAIN);
    fixture.publish(1);
    fixture.queue.lease(fixture.at(0), None, ANY, Duration::from_secs(5_000));
    fixture.publish(2);
    assert!(fixture.queue.remove_expired(fixture.at(999)).is_empty());
    assert_eq!(fixture.queue.remove_expired(fixture.at(1_000)), [2]);
    assert!(fixture.lease(1_001).is_empty());
}

#[test]
fn ack_ids_round_trip_through_text() {
    let id = AckId { message: 0xabc, lease: 77 };
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!("nonsense".parse::<AckId>(), Err(()));
}
