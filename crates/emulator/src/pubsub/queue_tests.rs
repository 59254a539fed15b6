//! The backlog through leases, hand-backs and deadlines.

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);
const ANY: Room = Room { messages: usize::MAX, bytes: usize::MAX };
const PLAIN: Policy = Policy { backoff: None, max_attempts: None };

struct Bench {
    queue: Queue<&'static str>,
    start: Instant,
}

impl Bench {
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
        self.queue.publish(Waiting { id, message: "m", size, attempts: 0, expires });
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
fn a_leased_message_is_not_offered_again_until_its_deadline() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    assert_eq!(bench.lease_one(0).attempt, 1);
    assert!(bench.lease(5).is_empty());
    assert_eq!(bench.queue.next_timer(), Some(bench.at(10)));
    assert!(!bench.queue.expire(bench.at(9)));
    assert!(bench.queue.expire(bench.at(10)));
    assert_eq!(bench.lease_one(10).attempt, 2);
}

#[test]
fn an_acknowledged_message_is_gone() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    let delivery = bench.lease_one(0);
    assert!(bench.queue.acknowledge(delivery.ack_id));
    assert!(!bench.queue.acknowledge(delivery.ack_id));
    assert!(!bench.queue.expire(bench.at(100)));
    assert_eq!((bench.queue.bytes(), bench.queue.next_timer()), (0, None));
}

#[test]
fn a_late_acknowledgement_counts_until_somebody_else_holds_the_message() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    bench.publish(2);
    let leased = bench.lease(0);
    bench.queue.expire(bench.at(10));
    assert!(bench.queue.acknowledge(leased[0].ack_id));
    assert_eq!(bench.lease_one(11).id, 2);
    assert!(!bench.queue.acknowledge(leased[1].ack_id));
}

#[test]
fn an_extension_moves_the_deadline_and_cannot_revive_a_lease() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    let delivery = bench.lease_one(0);
    bench.queue.extend(delivery.ack_id, bench.at(8), DEADLINE);
    assert!(!bench.queue.expire(bench.at(17)));
    assert!(bench.queue.expire(bench.at(18)));
    bench.queue.extend(delivery.ack_id, bench.at(19), DEADLINE);
    assert_eq!(bench.lease_one(19).attempt, 2);
}

#[test]
fn a_message_handed_back_goes_behind_those_that_wait() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    let delivery = bench.lease_one(0);
    bench.publish(2);
    assert!(bench.queue.hand_back(delivery.ack_id, bench.at(1)));
    assert!(!bench.queue.hand_back(delivery.ack_id, bench.at(1)));
    assert_eq!(bench.lease(1).iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn backoff_doubles_up_to_its_maximum() {
    let backoff = Some((Duration::from_secs(10), Duration::from_secs(30)));
    let mut bench = Bench::new(Policy { backoff, max_attempts: None });
    bench.publish(1);
    let mut now = 0;
    for wait in [10, 20, 30, 30] {
        let delivery = bench.lease_one(now);
        bench.queue.hand_back(delivery.ack_id, bench.at(now));
        assert_eq!(bench.queue.next_timer(), Some(bench.at(now + wait)));
        assert!(!bench.queue.expire(bench.at(now + wait - 1)));
        now += wait;
        assert!(bench.queue.expire(bench.at(now)));
    }
}

#[test]
fn the_last_attempt_ends_in_forwarding() {
    let mut bench = Bench::new(Policy { backoff: None, max_attempts: Some(2) });
    bench.publish(1);
    let first = bench.lease_one(0);
    bench.queue.hand_back(first.ack_id, bench.at(0));
    assert!(bench.queue.take_exhausted().is_empty());
    let last = bench.lease_one(0);
    bench.queue.expire(bench.at(10));
    assert!(!bench.queue.acknowledge(last.ack_id), "it is on its way elsewhere");
    let exhausted = bench.queue.take_exhausted();
    assert_eq!(exhausted.iter().map(|(id, _, attempts)| (*id, *attempts)).collect::<Vec<_>>(), [(1, 2)]);
    assert!(bench.lease(11).is_empty());
    bench.queue.keep(1, bench.at(11), DEADLINE);
    assert!(bench.queue.expire(bench.at(21)));
    assert_eq!(bench.lease_one(21).attempt, 3);
    bench.queue.remove(1);
    assert_eq!(bench.queue.bytes(), 0);
}

#[test]
fn a_message_read_back_without_attempts_left_is_forwarded() {
    let mut bench = Bench::new(Policy { backoff: None, max_attempts: Some(5) });
    let expires = bench.at(1_000);
    bench.queue.publish(Waiting { id: 1, message: "m", size: 1, attempts: 4, expires });
    bench.queue.publish(Waiting { id: 2, message: "m", size: 1, attempts: 5, expires });
    assert_eq!(bench.lease_one(0).id, 1);
    assert_eq!(bench.queue.take_exhausted().len(), 1);
}

#[test]
fn a_stream_never_holds_more_than_it_asked_for() {
    let mut bench = Bench::new(PLAIN);
    for id in 1..=5 {
        bench.publish(id);
    }
    let stream = bench.queue.open_stream(Room { messages: 2, bytes: usize::MAX });
    let leased = bench.queue.lease(bench.at(0), Some(stream), ANY, DEADLINE);
    assert_eq!(leased.len(), 2);
    assert!(bench.on_stream(stream).is_empty());
    bench.queue.acknowledge(leased[0].ack_id);
    assert_eq!(bench.on_stream(stream), [3]);
    bench.queue.hand_back(leased[1].ack_id, bench.at(0));
    assert_eq!(bench.on_stream(stream), [4]);
}

#[test]
fn a_stream_is_limited_in_bytes_but_takes_one_large_message() {
    let mut bench = Bench::new(PLAIN);
    bench.publish_sized(1, 500);
    bench.publish_sized(2, 60);
    bench.publish_sized(3, 60);
    let stream = bench.queue.open_stream(Room { messages: 10, bytes: 100 });
    assert_eq!(bench.on_stream(stream), [1]);
    bench.queue.remove(1);
    assert_eq!(bench.on_stream(stream), [2]);
    bench.queue.remove(2);
    assert_eq!(bench.on_stream(stream), [3]);
}

#[test]
fn a_burst_is_spread_over_the_streams() {
    let mut bench = Bench::new(PLAIN);
    for id in 1..=10 {
        bench.publish(id);
    }
    let first = bench.queue.open_stream(ANY);
    bench.queue.open_stream(ANY);
    assert_eq!(bench.on_stream(first), [1, 2, 3, 4, 5]);
}

#[test]
fn a_stream_whose_lease_ran_out_waits_behind_the_others_until_it_is_heard_of() {
    const ONE: Room = Room { messages: 1, ..ANY };
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    let (frozen, living) = (bench.queue.open_stream(ONE), bench.queue.open_stream(ONE));
    assert_eq!(bench.on_stream(frozen), [1]);
    bench.queue.expire(bench.at(10));
    assert!(bench.on_stream(frozen).is_empty(), "another has room");
    assert_eq!(bench.on_stream(living), [1]);
    bench.publish(2);
    assert_eq!(bench.on_stream(frozen), [2], "no other has room");
    bench.queue.expire(bench.at(20));
    bench.queue.close_stream(living);
    assert_eq!(bench.on_stream(frozen).len(), 1, "alone it is served, however silent");
    bench.queue.open_stream(ONE);
    bench.queue.expire(bench.at(30));
    assert!(bench.on_stream(frozen).is_empty());
    bench.queue.heard(frozen);
    assert_eq!(bench.on_stream(frozen).len(), 1);
}

#[test]
fn what_a_closed_stream_held_stays_leased() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    let stream = bench.queue.open_stream(ANY);
    let leased = bench.queue.lease(bench.at(0), Some(stream), ANY, DEADLINE);
    bench.queue.close_stream(stream);
    assert!(bench.lease(1).is_empty());
    assert!(bench.queue.acknowledge(leased[0].ack_id));
}

#[test]
fn a_message_past_its_retention_is_forgotten_unless_held() {
    let mut bench = Bench::new(PLAIN);
    bench.publish(1);
    bench.queue.lease(bench.at(0), None, ANY, Duration::from_secs(5_000));
    bench.publish(2);
    assert!(bench.queue.forget(bench.at(999)).is_empty());
    assert_eq!(bench.queue.forget(bench.at(1_000)), [2]);
    assert!(bench.lease(1_001).is_empty());
}

#[test]
fn ack_ids_survive_text() {
    let id = AckId { message: 0xabc, lease: 77 };
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!("nonsense".parse::<AckId>(), Err(()));
}
