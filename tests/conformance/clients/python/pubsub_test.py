"""Pub/Sub, through google-cloud-pubsub.

"Reference" is the Pub/Sub RPC reference (google.pubsub.v1); other pointers name pages of the Pub/Sub documentation.
"""

import os
import threading
import time
from concurrent.futures import TimeoutError as Late

import grpc
import pytest
from conftest import PROJECT, eventually, unique
from google.api_core import exceptions as errors
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1 import PublisherClient as PlainPublisher
from google.pubsub_v1 import SchemaServiceClient
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.types import PubsubMessage


def data(received):
    return sorted(item.message.data for item in received)


def seconds(number):
    return duration_pb2.Duration(seconds=number)


# Topics


def test_a_topic_reads_back_with_its_labels(publisher):
    """Reference, Publisher.CreateTopic and GetTopic: the same resource."""
    name = publisher.topic_path(PROJECT, unique("topic"))
    created = publisher.create_topic(request={"name": name, "labels": {"team": "video"}})
    found = publisher.get_topic(topic=name)
    assert (created.name, dict(found.labels)) == (name, {"team": "video"})


def test_a_topic_that_exists_is_not_created_again(publisher, topic):
    """Reference, Publisher.CreateTopic: ALREADY_EXISTS."""
    with pytest.raises(errors.AlreadyExists):
        publisher.create_topic(name=topic)


def test_a_missing_topic_is_not_found(publisher):
    """Reference: GetTopic, DeleteTopic, Publish and ListTopicSubscriptions of a missing topic are NOT_FOUND."""
    missing = publisher.topic_path(PROJECT, unique("missing"))
    for call in (
        lambda: publisher.get_topic(topic=missing),
        lambda: publisher.delete_topic(topic=missing),
        lambda: publisher.publish(missing, b"x").result(30),
        lambda: list(publisher.list_topic_subscriptions(topic=missing)),
    ):
        with pytest.raises(errors.NotFound):
            call()


@pytest.mark.parametrize("name", ["ab", "1abc", "goog-topic", "spa ce", "x" * 256])
def test_a_topic_name_that_breaks_the_rules_is_invalid(publisher, name):
    """Create a topic, Guidelines to name a topic: 3 to 255 characters, a letter first, not "goog"."""
    with pytest.raises(errors.InvalidArgument):
        publisher.create_topic(name=f"projects/{PROJECT}/topics/{name}")


def test_topics_are_listed_page_by_page(publisher):
    """Reference, Publisher.ListTopics: page_size at most, next_page_token until the last page."""
    project = unique("project")
    names = [publisher.create_topic(name=f"projects/{project}/topics/topic-{n}").name for n in range(5)]
    pager = publisher.list_topics(request={"project": f"projects/{project}", "page_size": 2})
    pages = [[found.name for found in page.topics] for page in pager.pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(sum(pages, [])) == names


def test_labels_of_a_topic_can_be_updated(publisher, topic):
    """Reference, Publisher.UpdateTopic: the fields of the mask are changed."""
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    updated = publisher.update_topic(topic={"name": topic, "labels": {"stage": "two"}}, update_mask=mask)
    assert dict(updated.labels) == {"stage": "two"}
    assert dict(publisher.get_topic(topic=topic).labels) == {"stage": "two"}


def test_a_deleted_topic_is_gone_and_its_subscriptions_show_that(publisher, subscriber, topic, subscribe, pull):
    """Reference, Publisher.DeleteTopic: subscriptions stay, with topic `_deleted-topic_` and their messages."""
    subscription = subscribe()
    publisher.publish(topic, b"before").result(30)
    publisher.delete_topic(topic=topic)
    with pytest.raises(errors.NotFound):
        publisher.get_topic(topic=topic)
    assert subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    assert data(pull(subscription)) == [b"before"]


def test_a_recreated_topic_is_a_new_topic(publisher, subscriber, topic, subscribe, pull):
    """Reference, Publisher.DeleteTopic: a new topic of the same name has no old configuration or subscriptions."""
    subscription = subscribe()
    publisher.delete_topic(topic=topic)
    publisher.create_topic(name=topic)
    publisher.publish(topic, b"after").result(30)
    assert list(publisher.list_topic_subscriptions(topic=topic)) == []
    assert pull(subscription, timeout=0.3) == []


def test_a_topic_lists_its_subscriptions(publisher, topic, subscribe):
    """Reference, Publisher.ListTopicSubscriptions: names, in pages."""
    names = sorted(subscribe() for _ in range(3))
    pager = publisher.list_topic_subscriptions(request={"topic": topic, "page_size": 2})
    pages = [list(page.subscriptions) for page in pager.pages]
    assert [len(page) for page in pages] == [2, 1]
    assert sorted(sum(pages, [])) == names


# Subscriptions


def test_a_subscription_reads_back_with_its_defaults(subscriber, topic, subscribe):
    """Reference, Subscription: by default, ack deadline 10 s, retention 7 days, expiration after 31 days."""
    found = subscriber.get_subscription(subscription=subscribe())
    assert (found.topic, found.ack_deadline_seconds) == (topic, 10)
    assert found.message_retention_duration.days == 7
    assert found.expiration_policy.ttl.days == 31


def test_a_subscription_reads_back_its_settings(publisher, subscriber, topic, subscribe):
    """Reference, Subscription: every setting is returned unchanged."""
    dead = publisher.create_topic(name=publisher.topic_path(PROJECT, unique("dead"))).name
    name = subscribe(
        ack_deadline_seconds=60,
        labels={"role": "worker"},
        filter='attributes.kind = "gpu"',
        message_retention_duration=seconds(3600),
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 7},
        retry_policy={"minimum_backoff": seconds(1), "maximum_backoff": seconds(20)},
    )
    found = subscriber.get_subscription(subscription=name)
    assert (found.ack_deadline_seconds, dict(found.labels)) == (60, {"role": "worker"})
    assert found.filter == 'attributes.kind = "gpu"'
    assert found.message_retention_duration.total_seconds() == 3600
    assert (found.dead_letter_policy.dead_letter_topic, found.dead_letter_policy.max_delivery_attempts) == (dead, 7)
    assert found.retry_policy.minimum_backoff.total_seconds() == 1
    assert found.retry_policy.maximum_backoff.total_seconds() == 20


def test_a_subscription_that_exists_is_not_created_again(subscriber, topic, subscribe):
    """Reference, Subscriber.CreateSubscription: ALREADY_EXISTS."""
    name = subscribe()
    with pytest.raises(errors.AlreadyExists):
        subscriber.create_subscription(name=name, topic=topic)


def test_a_subscription_of_a_missing_topic_is_not_found(subscribe, publisher):
    """Reference, Subscriber.CreateSubscription: NOT_FOUND when the topic does not exist."""
    with pytest.raises(errors.NotFound):
        subscribe(of=publisher.topic_path(PROJECT, unique("missing")))


def test_a_missing_subscription_is_not_found(subscriber):
    """Reference: every method on a missing subscription is NOT_FOUND."""
    missing = subscriber.subscription_path(PROJECT, unique("missing"))
    for call in (
        lambda: subscriber.get_subscription(subscription=missing),
        lambda: subscriber.delete_subscription(subscription=missing),
        lambda: subscriber.pull(subscription=missing, max_messages=1),
        lambda: subscriber.acknowledge(subscription=missing, ack_ids=["x"]),
        lambda: subscriber.modify_ack_deadline(subscription=missing, ack_ids=["x"], ack_deadline_seconds=10),
    ):
        with pytest.raises(errors.NotFound):
            call()


@pytest.mark.parametrize(
    "settings",
    [
        {"ack_deadline_seconds": 9},
        {"ack_deadline_seconds": 601},
        {"message_retention_duration": seconds(599)},
        {"message_retention_duration": seconds(31 * 86400 + 1)},
        {"retry_policy": {"minimum_backoff": seconds(601)}},
        {"filter": "attributes.kind == 1"},
        {"filter": 'attributes.k = "' + "x" * 257 + '"'},
    ],
    ids=["short-deadline", "long-deadline", "short-retention", "long-retention", "backoff", "filter", "long-filter"],
)
def test_a_setting_out_of_range_is_invalid(subscribe, settings):
    """Reference, Subscription and RetryPolicy; Filter messages: the documented ranges, INVALID_ARGUMENT outside."""
    with pytest.raises(errors.InvalidArgument):
        subscribe(**settings)


@pytest.mark.parametrize("attempts", [4, 101])
def test_a_dead_letter_policy_allows_5_to_100_attempts(subscribe, topic, attempts):
    """Reference, DeadLetterPolicy.max_delivery_attempts: between 5 and 100; the code is that of Google's emulator."""
    with pytest.raises(errors.OutOfRange):
        subscribe(dead_letter_policy={"dead_letter_topic": topic, "max_delivery_attempts": attempts})


def test_a_dead_letter_topic_exists(publisher, subscriber, topic, subscribe):
    """Reference, DeadLetterPolicy.dead_letter_topic: the operation fails if the topic does not exist."""
    missing = {"dead_letter_topic": publisher.topic_path(PROJECT, unique("missing"))}
    with pytest.raises(errors.NotFound):
        subscribe(dead_letter_policy=missing)
    changed = {"name": subscribe(), "dead_letter_policy": missing}
    with pytest.raises(errors.NotFound):
        subscriber.update_subscription(subscription=changed, update_mask={"paths": ["dead_letter_policy"]})


def test_a_retry_policy_without_values_has_the_documented_ones(subscribe, subscriber):
    """Reference, RetryPolicy: minimum_backoff is 10 s by default, maximum_backoff 600 s."""
    found = subscriber.get_subscription(subscription=subscribe(retry_policy={}))
    policy = found.retry_policy
    assert (policy.minimum_backoff.total_seconds(), policy.maximum_backoff.total_seconds()) == (10, 600)


def test_an_arbitrary_page_token_is_invalid(publisher, subscriber):
    """Reference, page_token: the value of an earlier answer; otherwise INVALID_ARGUMENT."""
    for lists in (publisher.list_topics, subscriber.list_subscriptions):
        with pytest.raises(errors.InvalidArgument):
            lists(request={"project": f"projects/{PROJECT}", "page_token": "nonsense"})


def test_an_update_changes_only_the_fields_of_its_mask(subscriber, subscribe):
    """Reference, Subscriber.UpdateSubscription: only the fields in update_mask."""
    name = subscribe(labels={"keep": "me"}, ack_deadline_seconds=20)
    changed = {"name": name, "ack_deadline_seconds": 30, "labels": {"not": "named"}}
    mask = field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"])
    updated = subscriber.update_subscription(subscription=changed, update_mask=mask)
    assert (updated.ack_deadline_seconds, dict(updated.labels)) == (30, {"keep": "me"})
    assert subscriber.get_subscription(subscription=name) == updated


def test_a_filter_cannot_be_changed(subscriber, subscribe):
    """Filter messages: once a subscription is created its filter cannot be changed."""
    changed = {"name": subscribe(), "filter": "attributes:kind"}
    with pytest.raises(errors.InvalidArgument):
        subscriber.update_subscription(subscription=changed, update_mask={"paths": ["filter"]})


def test_subscriptions_are_listed_page_by_page(publisher, subscriber):
    """Reference, Subscriber.ListSubscriptions: page_size at most, next_page_token until the last page."""
    project = unique("project")
    topic = publisher.create_topic(name=f"projects/{project}/topics/topic").name
    names = [f"projects/{project}/subscriptions/sub-{n}" for n in range(5)]
    for name in names:
        subscriber.create_subscription(name=name, topic=topic)
    pager = subscriber.list_subscriptions(request={"project": f"projects/{project}", "page_size": 3})
    pages = [[found.name for found in page.subscriptions] for page in pager.pages]
    assert [len(page) for page in pages] == [3, 2]
    assert sorted(sum(pages, [])) == names


def test_a_deleted_subscription_drops_its_messages(publisher, subscriber, topic, subscribe, pull):
    """Reference, Subscriber.DeleteSubscription: pending messages are dropped; a new one starts empty."""
    name = subscribe()
    publisher.publish(topic, b"gone").result(30)
    subscriber.delete_subscription(subscription=name)
    subscriber.create_subscription(name=name, topic=topic)
    assert pull(name, timeout=0.3) == []


# Publishing


def test_a_published_message_arrives_with_its_attributes(publisher, topic, subscribe, pull):
    """Reference, PubsubMessage: data and attributes as sent, id and publish time from the server."""
    subscription = subscribe()
    before = time.time()
    message_id = publisher.publish(topic, b"\x00\xff data", kind="gpu", empty="", text="größe").result(30)
    (received,) = pull(subscription)
    message = received.message
    assert (message.data, message.message_id) == (b"\x00\xff data", message_id)
    assert dict(message.attributes) == {"kind": "gpu", "empty": "", "text": "größe"}
    assert before - 1 <= message.publish_time.timestamp() <= time.time() + 1
    assert message.ordering_key == ""


def test_a_message_with_only_attributes_is_valid(publisher, topic, subscribe, pull):
    """Reference, PubsubMessage: non-empty data or at least one attribute."""
    subscription = subscribe()
    publisher.publish(topic, b"", kind="note").result(30)
    (received,) = pull(subscription)
    assert (received.message.data, dict(received.message.attributes)) == (b"", {"kind": "note"})


def test_messages_published_together_all_arrive_and_have_unique_ids(topic, subscribe, pull, subscriber):
    """Publish messages, batching: one request, an id for each message in its order."""
    subscription = subscribe()
    batching = pubsub_v1.PublisherClient(pubsub_v1.types.BatchSettings(max_messages=100, max_latency=0.05))
    futures = [batching.publish(topic, str(n).encode()) for n in range(250)]
    ids = {future.result(30): str(n).encode() for n, future in enumerate(futures)}
    assert len(ids) == 250
    seen = {}
    while len(seen) < 250:
        received = pull(subscription, max_messages=100)
        assert received
        seen |= {item.message.message_id: item.message.data for item in received}
        subscriber.acknowledge(subscription=subscription, ack_ids=[item.ack_id for item in received])
    assert seen == ids


def test_an_ordering_key_is_delivered(topic, subscribe, pull):
    """Order messages: the key is delivered also by subscriptions without ordering."""
    subscription = subscribe()
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    ordering = pubsub_v1.PublisherClient(publisher_options=options)
    ordering.publish(topic, b"x", ordering_key="batch-1").result(30)
    assert pull(subscription)[0].message.ordering_key == "batch-1"


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"data": b"x" * 10_000_001},
        {"data": b"x", "attributes": {f"k{n}": "v" for n in range(101)}},
        {"data": b"x", "attributes": {"k" * 257: "v"}},
        {"data": b"x", "attributes": {"k": "v" * 1025}},
        {"data": b"x", "attributes": {"": "v"}},
        {"data": b"x", "attributes": {"google-thing": "v"}},
    ],
    ids=["empty", "too-large", "101-attributes", "long-key", "long-value", "empty-key", "goog-key"],
)
def test_a_message_beyond_the_limits_is_invalid(publisher, topic, message):
    """Quotas, Resource limits: message 10 MB, 100 attributes, key 256, value 1024 bytes; not empty, not `goog...`."""
    # The plain client, since the other one rejects some of these itself.
    plain = PlainPublisher(transport=publisher.transport)
    with pytest.raises(errors.InvalidArgument):
        plain.publish(topic=topic, messages=[PubsubMessage(message)])


def test_one_invalid_message_fails_the_whole_request(publisher, topic, subscribe, pull):
    """Reference, Publisher.Publish: a request succeeds or fails as one."""
    subscription = subscribe()
    plain = PlainPublisher(transport=publisher.transport)
    with pytest.raises(errors.InvalidArgument):
        plain.publish(topic=topic, messages=[PubsubMessage(data=b"good"), PubsubMessage()])
    assert pull(subscription, timeout=0.3) == []


def test_a_subscription_gets_no_messages_from_before_its_creation(publisher, topic, subscribe, pull):
    """Create a subscription: only messages published after the subscription is created are available."""
    publisher.publish(topic, b"before").result(30)
    subscription = subscribe()
    publisher.publish(topic, b"after").result(30)
    assert data(pull(subscription)) == [b"after"]


def test_every_subscription_gets_its_own_copy(publisher, topic, subscribe, pull, subscriber):
    """What is Pub/Sub, fan out: an ack in one subscription does not affect the other."""
    one, two = subscribe(), subscribe()
    message_id = publisher.publish(topic, b"x").result(30)
    (first,) = pull(one)
    subscriber.acknowledge(subscription=one, ack_ids=[first.ack_id])
    (second,) = pull(two)
    assert first.message.message_id == second.message.message_id == message_id


# Unary pull


def test_a_pull_gives_at_most_max_messages(publisher, topic, subscribe, pull):
    """Reference, PullRequest.max_messages: the server may return fewer, never more."""
    subscription = subscribe()
    for future in [publisher.publish(topic, str(n).encode()) for n in range(5)]:
        future.result(30)
    assert len(pull(subscription, max_messages=3)) <= 3


def test_a_pull_waits_for_a_message(publisher, subscriber, topic, subscribe):
    """Reference, Subscriber.Pull: without return_immediately, it waits until at least one message is available."""
    subscription = subscribe()
    threading.Timer(0.5, lambda: publisher.publish(topic, b"late")).start()
    received = subscriber.pull(subscription=subscription, max_messages=1, timeout=15).received_messages
    assert data(received) == [b"late"]


def test_an_acknowledged_message_is_not_redelivered(publisher, subscriber, topic, subscribe, pull):
    """Reference, Subscriber.Acknowledge: the message is removed; another ack is not an error."""
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    (received,) = pull(subscription)
    for _ in range(2):
        subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
    # A deadline of zero would redeliver it immediately if it still existed.
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    assert pull(subscription, timeout=0.5) == []


@pytest.mark.parametrize("call", ["acknowledge", "modify_ack_deadline"])
def test_unknown_ack_ids_are_invalid(publisher, subscriber, topic, subscribe, pull, call):
    """Google's emulator: INVALID_ARGUMENT for no id, and for an empty or malformed id or one of another subscription;
    a request is applied completely or not at all. An id that was valid once is accepted without effect."""
    subscription, other = subscribe(), subscribe()
    publisher.publish(topic, b"x").result(30)
    (held,), (foreign,) = pull(subscription), pull(other)
    deadline = {"ack_deadline_seconds": 0} if call == "modify_ack_deadline" else {}
    settle = lambda ids: getattr(subscriber, call)(request={"subscription": subscription, "ack_ids": ids, **deadline})
    for ids in ([], [""], ["nonsense"], ["1-2-3"], [held.ack_id, "nonsense"], [foreign.ack_id]):
        with pytest.raises(errors.InvalidArgument):
            settle(ids)
    assert pull(subscription, timeout=0) == []
    settle([held.ack_id])
    settle([held.ack_id])


def test_a_leased_message_is_delivered_to_no_one_else(publisher, topic, subscribe, pull):
    """Subscriber overview: a delivered message is not delivered to another subscriber while its deadline lasts."""
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    assert len(pull(subscription)) == 1
    assert pull(subscription, timeout=1) == []


def test_a_deadline_of_zero_redelivers_a_message_immediately(publisher, subscriber, topic, subscribe, pull):
    """Reference, ModifyAckDeadlineRequest: zero makes the message available for another delivery (a nack)."""
    subscription = subscribe(ack_deadline_seconds=600)
    publisher.publish(topic, b"x").result(30)
    (first,) = pull(subscription)
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    (again,) = pull(subscription)
    assert again.message.message_id == first.message.message_id
    assert again.ack_id != first.ack_id


def test_a_modified_deadline_counts_from_the_call(publisher, subscriber, topic, subscribe, pull):
    """Reference, ModifyAckDeadlineRequest.ack_deadline_seconds: the new deadline counts from the request."""
    subscription = subscribe(ack_deadline_seconds=600)
    publisher.publish(topic, b"x").result(30)
    (first,) = pull(subscription)
    started = time.monotonic()
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=2)
    assert len(pull(subscription)) == 1
    assert time.monotonic() - started >= 1.99


def test_a_deadline_out_of_range_is_invalid(publisher, subscriber, topic, subscribe, pull):
    """Reference, ModifyAckDeadlineRequest: at most 600 seconds."""
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    (received,) = pull(subscription)
    for wrong in (601, -1):
        with pytest.raises(errors.InvalidArgument):
            subscriber.modify_ack_deadline(
                subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=wrong
            )


def test_an_unsettled_message_returns_after_the_subscriptions_deadline(publisher, topic, subscribe, pull):
    """Lease management: after ack_deadline_seconds (here the shortest, 10 s) without an answer it is redelivered."""
    subscription = subscribe(ack_deadline_seconds=10)
    publisher.publish(topic, b"x").result(30)
    # Measured before the lease starts, which ends 10 s later, however late its answer is read.
    started = time.monotonic()
    (first,) = pull(subscription)
    (again,) = pull(subscription, timeout=20)
    assert again.message.message_id == first.message.message_id
    assert time.monotonic() - started > 9.5


# Attempts, dead letters, backoff


def test_attempts_are_not_counted_without_a_dead_letter_policy(publisher, subscriber, topic, subscribe, pull):
    """Reference, ReceivedMessage.delivery_attempt: 0 if no DeadLetterPolicy is set."""
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    for _ in range(2):
        (received,) = pull(subscription)
        assert received.delivery_attempt == 0
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)


def test_a_dead_letter_is_forwarded_after_the_last_attempt(publisher, subscriber, topic, subscribe, pull):
    """Dead-letter topics: 5 attempts, then forwarded with the CloudPubSubDeadLetterSource attributes and removed."""
    dead = publisher.create_topic(name=publisher.topic_path(PROJECT, unique("dead"))).name
    letters = subscribe(of=dead)
    subscription = subscribe(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    publisher.publish(topic, b"poison", kind="gpu").result(30)
    attempts = []
    for _ in range(5):
        (received,) = pull(subscription)
        attempts.append(received.delivery_attempt)
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    assert attempts == [1, 2, 3, 4, 5]
    (letter,) = pull(letters)
    attributes = dict(letter.message.attributes)
    assert letter.message.data == b"poison"
    published = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert published.startswith(time.strftime("%Y-", time.gmtime()))
    assert attributes == {
        "kind": "gpu",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": subscription.rsplit("/", 1)[1],
        "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
    }
    assert pull(subscription, timeout=0.5) == []


def test_a_nacked_message_waits_for_a_growing_backoff(publisher, subscriber, topic, subscribe, pull):
    """Retry policy, exponential backoff: each delay is at least the minimum; each message has its own."""
    policy = {"minimum_backoff": seconds(1), "maximum_backoff": seconds(4)}
    subscription = subscribe(retry_policy=policy)
    publisher.publish(topic, b"x").result(30)
    (received,) = pull(subscription)
    for other in (b"other", b"another"):
        handed_back = time.monotonic()
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)
        publisher.publish(topic, other).result(30)
        seen = []
        while not seen or seen[-1].message.data != b"x":
            seen += pull(subscription, max_messages=1)
        assert time.monotonic() - handed_back >= 0.95
        assert data(seen) == [other, b"x"]
        received = seen[-1]


# Filters


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('attributes.kind = "gpu"', ["gpu"]),
        ('attributes.kind != "gpu"', ["cpu", "none"]),
        ('NOT attributes.kind = "gpu"', ["cpu", "none"]),
        ("attributes:kind", ["cpu", "gpu"]),
        ("NOT attributes:kind", ["none"]),
        ('hasPrefix(attributes.kind, "g")', ["gpu"]),
        ('attributes.kind = "gpu" OR attributes.kind = "cpu"', ["cpu", "gpu"]),
        ('attributes:kind AND NOT hasPrefix(attributes.kind, "c")', ["gpu"]),
        ('attributes:size AND (attributes.kind = "cpu" OR attributes.kind = "gpu")', ["gpu"]),
        ('attributes."kind" = "cpu"', ["cpu"]),
    ],
)
def test_a_filter_passes_matching_messages(publisher, topic, subscribe, pull, expression, expected):
    """Filter messages, Syntax: `=`, `!=` (true for absent attributes), `:`, hasPrefix, NOT, AND, OR, parentheses."""
    subscription = subscribe(filter=expression)
    publisher.publish(topic, b"gpu", kind="gpu", size="1").result(30)
    publisher.publish(topic, b"cpu", kind="cpu").result(30)
    publisher.publish(topic, b"none", other="x").result(30)
    assert data(pull(subscription)) == [text.encode() for text in expected]


# Streaming pull, through the client's own subscribe()


class Stream:
    """A `subscribe()` that records its messages."""

    def __init__(self, subscriber, subscription, handle, **flow):
        self.seen = []
        self.handle = handle
        control = pubsub_v1.types.FlowControl(**flow)
        self.future = subscriber.subscribe(subscription, callback=self.record, flow_control=control)

    def record(self, message):
        self.seen.append(message)
        self.handle(message)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.future.cancel()
        try:
            self.future.result(10)
        except (Late, errors.GoogleAPICallError):
            pass


def test_a_stream_delivers_each_acknowledged_message_once(publisher, subscriber, topic, subscribe, pull):
    """Pull subscriptions, StreamingPull: everything arrives, and acknowledged messages are not redelivered."""
    subscription = subscribe()
    for future in [publisher.publish(topic, str(n).encode()) for n in range(100)]:
        future.result(30)
    with Stream(subscriber, subscription, lambda message: message.ack()) as stream:
        eventually(lambda: len(stream.seen) >= 100)
        time.sleep(0.5)
        assert len({message.message_id for message in stream.seen}) == len(stream.seen) == 100
    assert pull(subscription, timeout=0.3) == []


def test_a_stream_holds_no_more_than_its_flow_control_allows(publisher, subscriber, topic, subscribe, pull):
    """Flow control: StreamingPullRequest.max_outstanding_messages unsettled messages; others get the rest."""
    subscription = subscribe()
    for future in [publisher.publish(topic, str(n).encode()) for n in range(3)]:
        future.result(30)
    held = []
    with Stream(subscriber, subscription, held.append, max_messages=1) as stream:
        eventually(lambda: held)
        time.sleep(0.5)
        assert len(stream.seen) == 1
        # A unary pull gets the messages that the stream may not have yet.
        assert len(pull(subscription, max_messages=10)) == 2
        held[0].ack()


def test_a_stream_continues_when_messages_are_settled(publisher, subscriber, topic, subscribe):
    """Flow control: with one message at a time, all still arrive, one after the other."""
    subscription = subscribe()
    for future in [publisher.publish(topic, str(n).encode()) for n in range(10)]:
        future.result(30)
    in_progress, counts = [], []

    def work(message):
        in_progress.append(message)
        counts.append(len(in_progress))
        time.sleep(0.01)
        in_progress.remove(message)
        message.ack()

    with Stream(subscriber, subscription, work, max_messages=1) as stream:
        eventually(lambda: len({message.message_id for message in stream.seen}) == 10)
    assert max(counts) == 1


def test_a_nacked_message_is_redelivered_on_the_stream(publisher, subscriber, topic, subscribe):
    """Handle message failures: a nack makes the message available again; without a policy, it has no attempt count."""
    subscription = subscribe(ack_deadline_seconds=600)
    publisher.publish(topic, b"x").result(30)
    nacked = []

    def refuse_once(message):
        if nacked:
            message.ack()
        else:
            nacked.append(message)
            message.nack()

    with Stream(subscriber, subscription, refuse_once) as stream:
        eventually(lambda: len(stream.seen) == 2)
        assert {message.message_id for message in stream.seen} == {nacked[0].message_id}
        assert [message.delivery_attempt for message in stream.seen] == [None, None]


def test_a_stream_reports_delivery_attempts_with_a_dead_letter_policy(publisher, subscriber, topic, subscribe):
    """Dead-letter topics, Track delivery attempts: 1, 2, 3 on the stream."""
    dead = publisher.create_topic(name=publisher.topic_path(PROJECT, unique("dead"))).name
    subscription = subscribe(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 10})
    publisher.publish(topic, b"x").result(30)
    settle = lambda message: message.ack() if message.delivery_attempt == 3 else message.nack()  # noqa: E731
    with Stream(subscriber, subscription, settle) as stream:
        eventually(lambda: len(stream.seen) == 3)
        assert [message.delivery_attempt for message in stream.seen] == [1, 2, 3]


def test_a_held_message_stays_leased_past_its_deadline(publisher, subscriber, topic, subscribe, pull):
    """Lease management: the client extends leases, and the server honours that past the subscription's 10 s."""
    subscription = subscribe(ack_deadline_seconds=10)
    publisher.publish(topic, b"x").result(30)
    held = []
    with Stream(subscriber, subscription, held.append) as stream:
        eventually(lambda: held)
        assert pull(subscription, timeout=13) == []
        assert len(stream.seen) == 1
        held[0].ack()


def test_two_streams_share_the_work(publisher, subscriber, topic, subscribe):
    """Subscriber overview, load balancing: each message goes to one subscriber of a subscription."""
    subscription = subscribe()
    ack = lambda message: (time.sleep(0.02), message.ack())  # noqa: E731
    with Stream(subscriber, subscription, ack, max_messages=2) as one:
        with pubsub_v1.SubscriberClient() as other, Stream(other, subscription, ack, max_messages=2) as two:
            time.sleep(0.3)
            ids = {publisher.publish(topic, str(n).encode()).result(30) for n in range(60)}
            eventually(lambda: len(one.seen) + len(two.seen) >= 60)
            seen = [message.message_id for message in one.seen + two.seen]
            assert (set(seen), len(seen)) == (ids, 60)
            assert one.seen and two.seen


def test_a_stream_of_a_missing_subscription_ends_with_not_found(subscriber):
    """Reference, StreamingPull: NOT_FOUND is final for the client."""
    missing = subscriber.subscription_path(PROJECT, unique("missing"))
    future = subscriber.subscribe(missing, callback=lambda message: None)
    with pytest.raises(errors.NotFound):
        future.result(20)


def test_deleting_a_subscription_ends_its_streams(subscriber, subscribe):
    """Reference, DeleteSubscription: later pulls, so also open streams, are NOT_FOUND."""
    subscription = subscribe()
    future = subscriber.subscribe(subscription, callback=lambda message: None)
    time.sleep(0.5)
    subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(errors.NotFound):
        future.result(20)


def first_of_stream(subscriber, *requests):
    """Returns the first response of a stream with these requests, which stays open until then."""
    answered = threading.Event()

    def open_until_answered():
        yield from requests
        answered.wait(30)

    try:
        return next(iter(subscriber.streaming_pull(requests=open_until_answered(), timeout=30)))
    finally:
        answered.set()


@pytest.mark.parametrize(
    "changed",
    [
        {"stream_ack_deadline_seconds": 0},
        {"stream_ack_deadline_seconds": 9},
        {"stream_ack_deadline_seconds": 601},
        {"ack_ids": ["nonsense"]},
        {"modify_deadline_ack_ids": ["nonsense"], "modify_deadline_seconds": [10]},
        {"modify_deadline_seconds": [10]},
    ],
)
def test_a_stream_starts_with_a_complete_request(publisher, subscriber, topic, subscribe, changed):
    """Reference, StreamingPullRequest: 10 to 600 s in the first request; the codes are those of Google's emulator."""
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    first = {"subscription": subscription, "stream_ack_deadline_seconds": 10}
    with pytest.raises(errors.InvalidArgument):
        first_of_stream(subscriber, {**first, **changed})
    assert first_of_stream(subscriber, first).received_messages[0].message.data == b"x"


@pytest.mark.parametrize("further", ["subscription", "max_outstanding_messages", "max_outstanding_bytes"])
def test_a_stream_cannot_change_its_subscription(subscriber, subscribe, further):
    """Reference, StreamingPullRequest: only the first request may have these; INVALID_ARGUMENT in a later one."""
    subscription = subscribe()
    again = {further: subscription if further == "subscription" else 10}
    with pytest.raises(errors.InvalidArgument):
        first_of_stream(subscriber, {"subscription": subscription, "stream_ack_deadline_seconds": 10}, again)


# Unsupported features are refused by name, never silently accepted. The rule is ours, the code is gRPC's.


def test_unsupported_methods_are_refused_by_name(publisher, subscriber, topic, subscribe):
    """gRPC status codes: UNIMPLEMENTED for unsupported operations; our error names the method."""
    subscription = subscribe()
    snapshot = f"projects/{PROJECT}/snapshots/{unique('snapshot')}"
    calls = {
        "Seek": lambda: subscriber.seek(request={"subscription": subscription, "snapshot": snapshot}),
        "CreateSnapshot": lambda: subscriber.create_snapshot(name=snapshot, subscription=subscription),
        "ListSnapshots": lambda: list(subscriber.list_snapshots(project=f"projects/{PROJECT}")),
        "DeleteSnapshot": lambda: subscriber.delete_snapshot(snapshot=snapshot),
        "DetachSubscription": lambda: publisher.detach_subscription(request={"subscription": subscription}),
    }
    for name, call in calls.items():
        with pytest.raises(errors.MethodNotImplemented, match=name):
            call()


def test_unsupported_settings_are_refused_by_name(subscribe):
    """As above, for settings: a subscription that would silently lack a setting is not created."""
    for name in ("enable_exactly_once_delivery", "enable_message_ordering", "retain_acked_messages"):
        with pytest.raises(errors.MethodNotImplemented, match=name):
            subscribe(**{name: True})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kms_key_name", "projects/p/locations/eu/keyRings/r/cryptoKeys/k"),
        ("message_storage_policy", {"allowed_persistence_regions": ["europe-west1"]}),
        ("schema_settings", {"schema": "projects/p/schemas/s"}),
        ("tags", {"123/environment": "test"}),
    ],
)
def test_an_unsupported_setting_of_a_topic_is_refused_by_name(publisher, field, value):
    """As above, for topics: a topic that would lack its key or its region is not created."""
    name = publisher.topic_path(PROJECT, unique("topic"))
    with pytest.raises(errors.MethodNotImplemented, match=field):
        publisher.create_topic(request={"name": name, field: value})
    with pytest.raises(errors.NotFound):
        publisher.get_topic(topic=name)


def test_a_push_configuration_is_refused_unless_it_means_pull(subscriber, subscribe):
    """As above; an empty PushConfig is accepted: it means pull."""
    subscription = subscribe(push_config={})
    subscriber.modify_push_config(request={"subscription": subscription, "push_config": {}})
    push = {"push_endpoint": "https://example.com/push"}
    with pytest.raises(errors.MethodNotImplemented, match="push_config"):
        subscriber.modify_push_config(request={"subscription": subscription, "push_config": push})
    with pytest.raises(errors.MethodNotImplemented, match="push_config"):
        subscribe(push_config=push)


def test_schemas_are_refused_by_name():
    """As above, for the schema service, which the clients reach at the same address."""
    channel = grpc.insecure_channel(os.environ["PUBSUB_EMULATOR_HOST"])
    schemas = SchemaServiceClient(transport=SchemaServiceGrpcTransport(channel=channel))
    with pytest.raises(errors.MethodNotImplemented, match="CreateSchema"):
        schemas.create_schema(parent=f"projects/{PROJECT}", schema={"definition": "{}"}, schema_id=unique("schema"))
