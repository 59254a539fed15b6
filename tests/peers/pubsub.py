"""Compares our Pub/Sub server with Google's emulator, call by call: status codes and results.

    python3 tests/peers/pubsub.py --ours ADDRESS --theirs ADDRESS [--only CASE]

Both servers get the same calls with the same names. Ids, times and tokens are numbered in the order of their
appearance, since each server creates its own. A difference must be fixed in our server or listed in KNOWN with its
reason. A listed difference that no longer differs fails, too.
"""

import argparse
import http.client
import json
import queue
import re
import sys
import time
import uuid

import grpc
from google.protobuf import empty_pb2, json_format
from google.pubsub_v1 import types

# Maximum wait for an expected event: an answer, or a message.
CALL_TIMEOUT = 30
# The same over HTTP. The emulator never answers some requests.
HTTP_TIMEOUT = 10
# Wait for events that never occur on the emulator, and occur immediately on ours.
ABSENT_WAIT = 10
# Pause between two pulls of a backlog.
POLL_INTERVAL = 0.05

PUBLISHER = "google.pubsub.v1.Publisher"
SUBSCRIBER = "google.pubsub.v1.Subscriber"
SCHEMAS = "google.pubsub.v1.SchemaService"

EMPTY = "google.protobuf.Empty"
METHODS = {
    "CreateTopic": (PUBLISHER, "Topic", "Topic"),
    "UpdateTopic": (PUBLISHER, "UpdateTopicRequest", "Topic"),
    "GetTopic": (PUBLISHER, "GetTopicRequest", "Topic"),
    "ListTopics": (PUBLISHER, "ListTopicsRequest", "ListTopicsResponse"),
    "ListTopicSubscriptions": (PUBLISHER, "ListTopicSubscriptionsRequest", "ListTopicSubscriptionsResponse"),
    "ListTopicSnapshots": (PUBLISHER, "ListTopicSnapshotsRequest", "ListTopicSnapshotsResponse"),
    "DeleteTopic": (PUBLISHER, "DeleteTopicRequest", EMPTY),
    "DetachSubscription": (PUBLISHER, "DetachSubscriptionRequest", "DetachSubscriptionResponse"),
    "Publish": (PUBLISHER, "PublishRequest", "PublishResponse"),
    "CreateSubscription": (SUBSCRIBER, "Subscription", "Subscription"),
    "GetSubscription": (SUBSCRIBER, "GetSubscriptionRequest", "Subscription"),
    "UpdateSubscription": (SUBSCRIBER, "UpdateSubscriptionRequest", "Subscription"),
    "ListSubscriptions": (SUBSCRIBER, "ListSubscriptionsRequest", "ListSubscriptionsResponse"),
    "DeleteSubscription": (SUBSCRIBER, "DeleteSubscriptionRequest", EMPTY),
    "Pull": (SUBSCRIBER, "PullRequest", "PullResponse"),
    "Acknowledge": (SUBSCRIBER, "AcknowledgeRequest", EMPTY),
    "ModifyAckDeadline": (SUBSCRIBER, "ModifyAckDeadlineRequest", EMPTY),
    "ModifyPushConfig": (SUBSCRIBER, "ModifyPushConfigRequest", EMPTY),
    "Seek": (SUBSCRIBER, "SeekRequest", "SeekResponse"),
    "CreateSnapshot": (SUBSCRIBER, "CreateSnapshotRequest", "Snapshot"),
    "GetSnapshot": (SUBSCRIBER, "GetSnapshotRequest", "Snapshot"),
    "ListSnapshots": (SUBSCRIBER, "ListSnapshotsRequest", "ListSnapshotsResponse"),
    "DeleteSnapshot": (SUBSCRIBER, "DeleteSnapshotRequest", EMPTY),
    "CreateSchema": (SCHEMAS, "CreateSchemaRequest", "Schema"),
    "GetSchema": (SCHEMAS, "GetSchemaRequest", "Schema"),
    "ListSchemas": (SCHEMAS, "ListSchemasRequest", "ListSchemasResponse"),
}


def type_of(name):
    """Returns the protobuf class of a message of this API."""
    if name == EMPTY:
        return empty_pb2.Empty
    return getattr(types, name).pb()


class Normalizer:
    """Numbers the values that each server creates, in the order of their appearance."""

    GENERATED = {
        "messageId": "message",
        "ackId": "ack",
        "publishTime": "time",
        "expireTime": "time",
        "nextPageToken": "token",
        "revisionId": "revision",
        "revisionCreateTime": "time",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "time",
    }

    # The service returns these, by its documentation, but the emulator does not, so they are left out of the
    # comparison.
    NOT_IN_EMULATOR = [("state", "ACTIVE"), ("expirationPolicy", {"ttl": "2678400s"})]

    UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

    def __init__(self):
        self.seen = {}

    def __call__(self, value, key=""):
        if isinstance(value, dict):
            shown = {name: member for name, member in value.items() if (name, member) not in self.NOT_IN_EMULATOR}
            return {name: self(member, name) for name, member in sorted(shown.items())}
        if key == "messageIds":
            return f"({len(set(value))} ids)"
        if isinstance(value, list):
            return [self(member, key) for member in value]
        kind = self.GENERATED.get(key)
        if kind is None or value == "":
            return self.UUID.sub("(uuid)", value) if isinstance(value, str) else value
        if kind == "time":
            return "(time)"
        numbers = self.seen.setdefault(kind, {})
        return f"({kind} {numbers.setdefault(value, len(numbers) + 1)})"


class Side:
    """One of the two servers, and its answers."""

    def __init__(self, address, project):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.address = address
        self.channel = grpc.insecure_channel(address, options=options)
        self.project = project
        self.case = ""
        self.log = {}
        self.normalize = Normalizer()

    def begin(self, case):
        self.case = case
        self.normalize = Normalizer()

    def topic(self, name):
        return f"projects/{self.project}/topics/{self.case}-{name}"

    def subscription(self, name):
        return f"projects/{self.project}/subscriptions/{self.case}-{name}"

    def snapshot(self, name):
        return f"projects/{self.project}/snapshots/{self.case}-{name}"

    def record(self, label, outcome):
        label = f"{self.case}: {label}"
        assert label not in self.log, f"two calls are labelled '{label}'"
        self.log[label] = outcome

    def raw(self, method, request, wait=CALL_TIMEOUT):
        """Makes a call; returns its code and its response."""
        service, request_type, response_type = METHODS[method]
        if isinstance(request, dict):
            request = json_format.ParseDict(request, type_of(request_type)())
        call = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=type_of(response_type).FromString,
        )
        try:
            return "OK", call(request, timeout=wait)
        except grpc.RpcError as error:
            return error.code().name, None

    def call(self, label, method, request, wait=CALL_TIMEOUT):
        """Makes a call and records its outcome; returns its response."""
        code, response = self.raw(method, request, wait)
        shown = None if response is None else self.normalize(json_format.MessageToDict(response))
        self.record(label, {"code": code, "response": shown})
        return response

    def setup(self, method, request):
        """Makes a call that must succeed, without recording it."""
        code, response = self.raw(method, request)
        assert code == "OK", f"{self.address}: {method} {request} answered {code}"
        return response

    def pair(self, name="a", **settings):
        """Creates a topic and its subscription; returns their names."""
        topic, subscription = self.topic(name), self.subscription(name)
        self.setup("CreateTopic", {"name": topic})
        self.setup("CreateSubscription", {"name": subscription, "topic": topic, **settings})
        return topic, subscription

    def publish(self, topic, *texts, **attributes):
        messages = [types.PubsubMessage.pb()(data=text.encode(), attributes=attributes) for text in texts]
        return self.setup("Publish", types.PublishRequest.pb()(topic=topic, messages=messages)).message_ids

    def pull(self, subscription, count=1, wait=CALL_TIMEOUT):
        """Pulls until `count` messages arrived; returns them in the order of their data."""
        received, end = [], time.monotonic() + wait
        while len(received) < count and time.monotonic() < end:
            request = {"subscription": subscription, "maxMessages": count, "returnImmediately": True}
            found = self.setup("Pull", request).received_messages
            received.extend(found)
            if not found:
                time.sleep(POLL_INTERVAL)
        return sorted(received, key=lambda one: one.message.data)

    def record_messages(self, label, received):
        self.record(label, [self.normalize(json_format.MessageToDict(one)) for one in received])

    def rest(self, label, method, path, body=None):
        """Makes a call with JSON over HTTP and records its outcome."""
        connection = http.client.HTTPConnection(self.address, timeout=HTTP_TIMEOUT)
        text = None if body is None else body if isinstance(body, str) else json.dumps(body)
        try:
            connection.request(method, path, text, {"Content-Type": "application/json"} if text is not None else {})
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            self.record(label, "no answer")
            return
        finally:
            connection.close()
        outcome = {"http": answer.status}
        try:
            parsed = json.loads(content)
            if answer.status == 200:
                outcome["response"] = self.normalize(parsed)
            else:
                outcome["status"] = parsed.get("error", {}).get("status")
        except ValueError:
            outcome["response"] = "(no JSON)"
        self.record(label, outcome)


class Stream:
    """A StreamingPull that is read in the calling thread."""

    def __init__(self, side, *requests):
        self.requests = queue.Queue()
        for request in requests:
            self.send(request)
        call = side.channel.stream_stream(
            f"/{SUBSCRIBER}/StreamingPull",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=type_of("StreamingPullResponse").FromString,
        )
        self.call = call(iter(self.requests.get, None), timeout=CALL_TIMEOUT)

    def send(self, request):
        self.requests.put(json_format.ParseDict(request, type_of("StreamingPullRequest")()))

    def close(self):
        self.requests.put(None)
        self.call.cancel()

    def messages(self, count):
        """Reads until `count` messages arrived; returns them, and the code if the stream ended before."""
        received = []
        try:
            while len(received) < count:
                received.extend(next(self.call).received_messages)
        except StopIteration:
            return received, "OK"
        except grpc.RpcError as error:
            return received, error.code().name
        return received, None


CASES = []


def case(function):
    CASES.append(function)
    return function


@case
def topics(side):
    """Topics: names, repetition, labels, deletion."""
    name = side.topic("a")
    side.call("a topic is made", "CreateTopic", {"name": name, "labels": {"fleet": "one"}})
    side.call("a topic that exists is made", "CreateTopic", {"name": name})
    side.call("a topic is read", "GetTopic", {"topic": name})
    side.call("a topic that is missing is read", "GetTopic", {"topic": side.topic("missing")})
    side.call("a topic without a name is read", "GetTopic", {})
    side.call("a topic with a malformed name is read", "GetTopic", {"topic": "topics/a"})
    side.call("a topic that is missing is deleted", "DeleteTopic", {"topic": side.topic("missing")})
    side.call("a topic is deleted", "DeleteTopic", {"topic": name})
    side.call("a deleted topic is read", "GetTopic", {"topic": name})
    side.call("a deleted topic is deleted", "DeleteTopic", {"topic": name})
    retention = {"name": side.topic("kept"), "messageRetentionDuration": "3600s"}
    side.call("a topic with retention is made", "CreateTopic", retention)
    for label, seconds in [("too short a", "60s"), ("too long a", f"{32 * 86400}s")]:
        wrong = {"name": side.topic("wrong"), "messageRetentionDuration": seconds}
        side.call(f"a topic with {label} retention is made", "CreateTopic", wrong)


@case
def topic_ids(side):
    """Ids: 3 to 255 characters of a small set, starting with a letter, not with `goog`."""
    ids = {
        "two letters": "ab",
        "three letters": "abc",
        "255 letters": "x" * 255,
        "256 letters": "x" * 256,
        "a digit first": "1abc",
        "a hyphen first": "-abc",
        "goog first": "google-topic",
        "Goog first": "Google-topic",
        "all signs": "a-b_c.d~e+f%25",
        "a percent alone": "a%bc",
        "a space": "a bc",
        "a slash": "a/bc",
        "a letter that is not ASCII": "größe",
        "nothing": "",
    }
    for label, name in ids.items():
        full = f"projects/{side.project}/topics/{name}"
        side.call(f"an id of {label}", "CreateTopic", {"name": full})
    for label, name in {
        "another collection": f"projects/{side.project}/subscriptions/abcd",
        "no project": f"projects//topics/{side.project}",
        "a project with a colon": f"projects/example.com:peer/topics/{side.project}",
        "a slash in front": f"/projects/{side.project}/topics/abcd",
        "nothing at all": "",
        "something below": f"projects/{side.project}/topics/abc/more",
    }.items():
        side.call(f"a name with {label}", "CreateTopic", {"name": name})


@case
def topic_updates(side):
    """Updates: only the fields of the mask; empty masks and masks with unknown fields."""
    name = side.topic("a")
    side.setup("CreateTopic", {"name": name, "labels": {"a": "1"}})

    def update(label, topic, mask):
        request = {"topic": {"name": name, **topic}}
        if mask is not None:
            request["updateMask"] = mask
        side.call(label, "UpdateTopic", request)

    update("no mask", {"labels": {"c": "3"}}, None)
    update("an empty mask", {"labels": {"c": "3"}}, "")
    update("the name is changed", {}, "name")
    update("an unknown field", {}, "nonsense")
    update("retention is set", {"messageRetentionDuration": "1200s"}, "messageRetentionDuration")
    side.call("it is read after the updates", "GetTopic", {"topic": name})
    update("labels are replaced", {"labels": {"b": "2"}}, "labels")
    update("labels are taken away", {}, "labels")
    both = {"labels": {"d": "4"}, "messageRetentionDuration": "1800s"}
    update("two fields", both, "labels,messageRetentionDuration")
    missing = {"topic": {"name": side.topic("missing"), "labels": {}}, "updateMask": "labels"}
    side.call("a missing topic is updated", "UpdateTopic", missing)
    side.call("no topic is updated", "UpdateTopic", {"updateMask": "labels"})


@case
def listing(side):
    """Lists: order, pages, tokens; of a separate project, so that they contain nothing else."""
    side.project += "-lists"
    project = f"projects/{side.project}"
    side.call("topics of a project without any", "ListTopics", {"project": project})
    for name in ("c", "a", "b", "d", "e"):
        side.setup("CreateTopic", {"name": side.topic(name)})
    side.call("all topics", "ListTopics", {"project": project})
    first = side.call("two topics", "ListTopics", {"project": project, "pageSize": 2})
    token = first.next_page_token if first else ""
    rest = {"project": project, "pageSize": 2, "pageToken": token}
    second = side.call("the next two topics", "ListTopics", rest)
    last = {"project": project, "pageSize": 2, "pageToken": second.next_page_token if second else ""}
    side.call("the last topic", "ListTopics", last)
    side.call("topics after a token of nonsense", "ListTopics", {"project": project, "pageToken": "nonsense"})
    side.call("topics in pages of less than none", "ListTopics", {"project": project, "pageSize": -1})
    side.call("topics of a malformed project", "ListTopics", {"project": side.project})
    side.call("topics of no project", "ListTopics", {})
    for name in ("z", "y", "x"):
        side.setup("CreateSubscription", {"name": side.subscription(name), "topic": side.topic("a")})
    side.call("all subscriptions", "ListSubscriptions", {"project": project})
    page = side.call("two subscriptions", "ListSubscriptions", {"project": project, "pageSize": 2})
    next_page = {"project": project, "pageSize": 2, "pageToken": page.next_page_token if page else ""}
    side.call("the last subscription", "ListSubscriptions", next_page)
    side.call("subscriptions of less than none", "ListSubscriptions", {"project": project, "pageSize": -1})
    nonsense = {"project": project, "pageToken": "nonsense"}
    side.call("subscriptions after a token of nonsense", "ListSubscriptions", nonsense)
    side.call("subscriptions of a topic", "ListTopicSubscriptions", {"topic": side.topic("a")})
    side.call("subscriptions of a topic without any", "ListTopicSubscriptions", {"topic": side.topic("b")})
    side.call("subscriptions of a missing topic", "ListTopicSubscriptions", {"topic": side.topic("missing")})
    one = side.call("one subscription of a topic", "ListTopicSubscriptions", {"topic": side.topic("a"), "pageSize": 1})
    rest = {"topic": side.topic("a"), "pageToken": one.next_page_token if one else ""}
    side.call("the other subscriptions of a topic", "ListTopicSubscriptions", rest)
    side.call("snapshots of a project without any", "ListSnapshots", {"project": project})
    side.call("snapshots of a topic without any", "ListTopicSnapshots", {"topic": side.topic("a")})
    side.project = side.project.removesuffix("-lists")


@case
def subscriptions(side):
    """Subscriptions: defaults, repetition, names, topics that are missing or deleted."""
    topic, name = side.topic("a"), side.subscription("a")
    side.setup("CreateTopic", {"name": topic})
    side.call("a subscription is made", "CreateSubscription", {"name": name, "topic": topic})
    side.call("a subscription that exists is made", "CreateSubscription", {"name": name, "topic": topic})
    side.call("a subscription is read", "GetSubscription", {"subscription": name})
    side.call("a missing subscription is read", "GetSubscription", {"subscription": side.subscription("missing")})
    side.call("a subscription without a name is read", "GetSubscription", {})
    missing = {"name": side.subscription("b"), "topic": side.topic("missing")}
    side.call("a subscription of a missing topic", "CreateSubscription", missing)
    side.call("a subscription of no topic", "CreateSubscription", {"name": side.subscription("b")})
    malformed = {"name": side.subscription("b"), "topic": "nonsense"}
    side.call("a subscription of a malformed topic", "CreateSubscription", malformed)
    for label, wrong in {
        "two letters": f"projects/{side.project}/subscriptions/ab",
        "goog first": f"projects/{side.project}/subscriptions/google",
        "a topic's name": f"projects/{side.project}/topics/abc",
        "nothing": "",
    }.items():
        side.call(f"a subscription's name of {label}", "CreateSubscription", {"name": wrong, "topic": topic})
    side.call("a missing subscription is deleted", "DeleteSubscription", {"subscription": side.subscription("x")})
    side.call("its topic is deleted", "DeleteTopic", {"topic": topic})
    side.call("it is read without its topic", "GetSubscription", {"subscription": name})
    side.call("it is deleted", "DeleteSubscription", {"subscription": name})
    side.call("it is read when it is deleted", "GetSubscription", {"subscription": name})


@case
def settings(side):
    """Settings of subscriptions: ranges and defaults."""
    topic = side.topic("a")
    side.setup("CreateTopic", {"name": topic})
    side.setup("CreateTopic", {"name": side.topic("dead")})
    dead = side.topic("dead")
    for number, (label, asked) in enumerate({
        "a deadline of 10 s": {"ackDeadlineSeconds": 10},
        "a deadline of 600 s": {"ackDeadlineSeconds": 600},
        "a deadline of 9 s": {"ackDeadlineSeconds": 9},
        "a deadline of 601 s": {"ackDeadlineSeconds": 601},
        "a deadline of less than nothing": {"ackDeadlineSeconds": -1},
        "labels": {"labels": {"a": "1"}},
        "retention of 10 minutes": {"messageRetentionDuration": "600s"},
        "retention of 31 days": {"messageRetentionDuration": f"{31 * 86400}s"},
        "retention of 9 minutes": {"messageRetentionDuration": "540s"},
        "retention of 32 days": {"messageRetentionDuration": f"{32 * 86400}s"},
        "retention of less than nothing": {"messageRetentionDuration": "-600s"},
        "an expiration of a day": {"expirationPolicy": {"ttl": "86400s"}},
        "an expiration of an hour": {"expirationPolicy": {"ttl": "3600s"}},
        "no expiration": {"expirationPolicy": {}},
        "a retry policy": {"retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "20s"}},
        "a retry policy without values": {"retryPolicy": {}},
        "a retry policy with the longer wait alone": {"retryPolicy": {"maximumBackoff": "60s"}},
        "a retry policy with the shorter wait alone": {"retryPolicy": {"minimumBackoff": "60s"}},
        "a retry policy of the same waits": {"retryPolicy": {"minimumBackoff": "5s", "maximumBackoff": "5s"}},
        "a retry policy of no wait": {"retryPolicy": {"minimumBackoff": "0s", "maximumBackoff": "0s"}},
        "a retry policy the wrong way round": {"retryPolicy": {"minimumBackoff": "20s", "maximumBackoff": "1s"}},
        "a retry policy of 601 s": {"retryPolicy": {"maximumBackoff": "601s"}},
        "a retry policy of less than nothing": {"retryPolicy": {"minimumBackoff": "-1s"}},
        "a dead letter policy": {"deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 7}},
        "a dead letter policy without attempts": {"deadLetterPolicy": {"deadLetterTopic": dead}},
        "a dead letter policy of 4 attempts": {"deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 4}},
        "a dead letter policy of 5 attempts": {"deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 5}},
        "a dead letter policy of 100 attempts": {
            "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 100}
        },
        "a dead letter policy of 101 attempts": {
            "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 101}
        },
        "a dead letter policy of less than no attempts": {
            "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": -1}
        },
        "a dead letter policy without a topic": {"deadLetterPolicy": {"maxDeliveryAttempts": 5}},
        "a dead letter policy with a malformed topic": {"deadLetterPolicy": {"deadLetterTopic": "nonsense"}},
        "a dead letter policy with a missing topic": {"deadLetterPolicy": {"deadLetterTopic": side.topic("missing")}},
        "ordering": {"enableMessageOrdering": True},
        "exactly-once delivery": {"enableExactlyOnceDelivery": True},
        "retention of acknowledged messages": {"retainAckedMessages": True},
        "a push endpoint": {"pushConfig": {"pushEndpoint": "http://127.0.0.1:1/push"}},
        "an empty push config": {"pushConfig": {}},
        "an export to BigQuery": {"bigqueryConfig": {"table": "p.d.t"}},
        "an export to Cloud Storage": {"cloudStorageConfig": {"bucket": "clips"}},
        "detached": {"detached": True},
    }.items()):
        request = {"name": side.subscription(f"s{number}"), "topic": topic, **asked}
        side.call(label, "CreateSubscription", request)


@case
def subscription_updates(side):
    """Updates of subscriptions: only the fields of the mask."""
    topic, name = side.pair(ackDeadlineSeconds=20, labels={"a": "1"}, filter='attributes.kind = "gpu"')
    side.setup("CreateTopic", {"name": side.topic("dead")})

    def update(label, changed, mask):
        request = {"subscription": {"name": name, **changed}}
        if mask is not None:
            request["updateMask"] = mask
        side.call(label, "UpdateSubscription", request)

    update("the deadline", {"ackDeadlineSeconds": 30, "labels": {"b": "2"}}, "ackDeadlineSeconds")
    update("a deadline out of range", {"ackDeadlineSeconds": 5}, "ackDeadlineSeconds")
    update("the deadline to its default", {}, "ackDeadlineSeconds")
    update("no mask", {"labels": {"c": "3"}}, None)
    update("an empty mask", {"labels": {"c": "3"}}, "")
    update("an unknown field", {}, "nonsense")
    update("the name", {}, "name")
    update("the topic", {"topic": side.topic("dead")}, "topic")
    update("the filter", {"filter": "attributes:other"}, "filter")
    update("ordering", {"enableMessageOrdering": True}, "enableMessageOrdering")
    update("a retry policy", {"retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "2s"}}, "retryPolicy")
    update("a retry policy without values", {"retryPolicy": {}}, "retryPolicy")
    update("no retry policy", {}, "retryPolicy")
    dead = {"deadLetterTopic": side.topic("dead"), "maxDeliveryAttempts": 6}
    update("a dead letter policy", {"deadLetterPolicy": dead}, "deadLetterPolicy")
    update("no dead letter policy", {}, "deadLetterPolicy")
    update("retention", {"messageRetentionDuration": "1200s"}, "messageRetentionDuration")
    update("retention out of range", {"messageRetentionDuration": "1s"}, "messageRetentionDuration")
    side.call("it is read after the updates", "GetSubscription", {"subscription": name})
    update("the expiration", {"expirationPolicy": {"ttl": "172800s"}}, "expirationPolicy")
    update("labels", {"labels": {"b": "2"}}, "labels")
    update("labels to none", {}, "labels")
    both = {"ackDeadlineSeconds": 40, "labels": {"d": "4"}}
    update("two fields", both, "ackDeadlineSeconds,labels")
    missing = {"subscription": {"name": side.subscription("missing")}, "updateMask": "labels"}
    side.call("a missing subscription is updated", "UpdateSubscription", missing)
    side.call("no subscription is updated", "UpdateSubscription", {"updateMask": "labels"})


@case
def publishing(side):
    """Publishing: valid and invalid messages and requests."""
    topic, _ = side.pair()

    def publish(label, *messages, to=topic, wait=CALL_TIMEOUT):
        request = types.PublishRequest.pb()(topic=to, messages=[types.PubsubMessage.pb()(**one) for one in messages])
        side.call(label, "Publish", request, wait)

    publish("a message", {"data": b"x"})
    publish("a message with attributes", {"data": b"x", "attributes": {"kind": "gpu"}})
    publish("attributes alone", {"attributes": {"kind": "gpu"}})
    publish("three messages", {"data": b"a"}, {"data": b"b"}, {"data": b"c"})
    publish("no message")
    publish("an empty message", {})
    publish("an empty message among others", {"data": b"x"}, {})
    publish("an empty attribute", {"data": b"x", "attributes": {"kind": ""}})
    publish("an attribute without a name", {"data": b"x", "attributes": {"": "v"}})
    publish("a name of 256 bytes", {"data": b"x", "attributes": {"k" * 256: "v"}})
    publish("a name of 257 bytes", {"data": b"x", "attributes": {"k" * 257: "v"}})
    publish("a value of 1024 bytes", {"data": b"x", "attributes": {"k": "v" * 1024}})
    publish("a value of 1025 bytes", {"data": b"x", "attributes": {"k": "v" * 1025}})
    publish("100 attributes", {"data": b"x", "attributes": {f"k{n}": "v" for n in range(100)}})
    publish("101 attributes", {"data": b"x", "attributes": {f"k{n}": "v" for n in range(101)}})
    publish("a name that begins with goog", {"data": b"x", "attributes": {"googclient": "v"}})
    publish("an ordering key", {"data": b"x", "ordering_key": "clip"})
    publish("an ordering key of 1024 bytes", {"data": b"x", "ordering_key": "k" * 1024})
    publish("an ordering key of 1025 bytes", {"data": b"x", "ordering_key": "k" * 1025})
    publish("a message with an id of its own", {"data": b"x", "message_id": "7"})
    publish("9 MB", {"data": b"x" * 9_000_000})
    publish("10,000,001 bytes", {"data": b"x" * 10_000_001})
    two = [{"data": b"x" * 6_000_000}] * 2
    publish("two messages of 6 MB", *two, wait=ABSENT_WAIT)
    publish("1,000 messages", *[{"data": b"x"}] * 1_000)
    publish("1,001 messages", *[{"data": b"x"}] * 1_001)
    publish("to a missing topic", {"data": b"x"}, to=side.topic("missing"))
    publish("to a malformed topic", {"data": b"x"}, to="nonsense")
    publish("to no topic", {"data": b"x"}, to="")


@case
def pulling(side):
    """Pulls: content, number of messages, and refusals."""
    topic, subscription = side.pair()
    pull = {"subscription": subscription, "maxMessages": 10, "returnImmediately": True}
    side.call("nothing is there", "Pull", pull)
    side.publish(topic, "one", kind="gpu")
    side.record_messages("a message with its attributes", side.pull(subscription))
    side.call("a leased message is nobody else's", "Pull", pull)
    side.publish(topic, "two", "three", "four")
    side.record_messages("three messages", side.pull(subscription, 3))
    for label, most in {"none": 0, "less than none": -1}.items():
        side.call(f"a pull of {label}", "Pull", {**pull, "maxMessages": most})
    side.call("a pull of very many", "Pull", {**pull, "maxMessages": 2_000_000_000})
    side.call("a missing subscription is pulled", "Pull", {**pull, "subscription": side.subscription("missing")})
    side.call("a malformed subscription is pulled", "Pull", {**pull, "subscription": "nonsense"})
    side.call("no subscription is pulled", "Pull", {**pull, "subscription": ""})
    side.publish(topic, "a", "b", "c", "d")
    few = {"subscription": subscription, "maxMessages": 3, "returnImmediately": True}
    end = time.monotonic() + CALL_TIMEOUT
    sizes = []
    while sum(sizes) < 4 and time.monotonic() < end:
        sizes.append(len(side.setup("Pull", few).received_messages))
    side.record("no pull gives more than was asked for", {"most": max(sizes) <= 3, "sum": sum(sizes)})


@case
def fan_out(side):
    """Each subscription has its own copy of what was published after its creation."""
    topic, early = side.pair("early")
    side.publish(topic, "before")
    late = side.subscription("late")
    side.setup("CreateSubscription", {"name": late, "topic": topic})
    side.publish(topic, "after")
    side.record_messages("the early one has both", side.pull(early, 2))
    side.record_messages("the late one has what came after", side.pull(late))
    side.setup("DeleteTopic", {"topic": topic})
    side.setup("CreateTopic", {"name": topic})
    side.publish(topic, "to the new one")
    pull = {"subscription": late, "maxMessages": 10, "returnImmediately": True}
    side.call("a topic made again is another one", "Pull", pull)


@case
def acknowledging(side):
    """Acknowledgements: malformed, unknown, repeated, stale, of another subscription."""
    topic, subscription = side.pair()
    side.publish(topic, "one", "two", "three")
    one, two, three = (received.ack_id for received in side.pull(subscription, 3))

    def acknowledge(label, *ids, of=subscription):
        side.call(label, "Acknowledge", {"subscription": of, "ackIds": list(ids)})

    acknowledge("no ids")
    acknowledge("an empty id", "")
    acknowledge("a malformed id", "nonsense")
    acknowledge("a malformed id beside a good one", "nonsense", two)
    acknowledge("one message", one)
    acknowledge("the same message again", one)
    acknowledge("the same id twice", three, three)
    acknowledge("of a missing subscription", one, of=side.subscription("missing"))
    acknowledge("of a malformed subscription", one, of="nonsense")
    acknowledge("of no subscription", one, of="")
    other = side.subscription("other")
    side.setup("CreateSubscription", {"name": other, "topic": topic})
    side.publish(topic, "four")
    (four,) = side.pull(subscription)
    acknowledge("an id of another subscription", four.ack_id, of=other)
    side.record_messages("the other subscription's message is still there", side.pull(other))
    hand_back = {"subscription": subscription, "ackIds": [four.ack_id], "ackDeadlineSeconds": 0}
    side.setup("ModifyAckDeadline", hand_back)
    (again,) = side.pull(subscription)
    acknowledge("a stale id while another holds the message", four.ack_id)
    acknowledge("the id that holds it", again.ack_id)
    pull = {"subscription": subscription, "maxMessages": 10, "returnImmediately": True}
    side.call("what is left", "Pull", pull)


@case
def deadlines(side):
    """ModifyAckDeadline: ranges, ids, nacks."""
    topic, subscription = side.pair()
    side.publish(topic, "one")
    (one,) = side.pull(subscription)

    def modify(label, ids, seconds, of=subscription):
        request = {"subscription": of, "ackIds": ids, "ackDeadlineSeconds": seconds}
        side.call(label, "ModifyAckDeadline", request)

    modify("to 60 s", [one.ack_id], 60)
    modify("to 600 s", [one.ack_id], 600)
    modify("to 601 s", [one.ack_id], 601)
    modify("to less than nothing", [one.ack_id], -1)
    modify("to 1 s less than a subscription may have", [one.ack_id], 9)
    modify("no ids", [], 30)
    modify("an empty id", [""], 30)
    modify("a malformed id", ["nonsense"], 30)
    modify("a malformed id beside a good one", ["nonsense", one.ack_id], 30)
    modify("of a missing subscription", [one.ack_id], 30, of=side.subscription("missing"))
    modify("to nothing: handed back", [one.ack_id], 0)
    (again,) = side.pull(subscription)
    side.record_messages("a message that was handed back comes again", [again])
    modify("a stale id", [one.ack_id], 30)
    side.setup("Acknowledge", {"subscription": subscription, "ackIds": [again.ack_id]})
    modify("an acknowledged id", [again.ack_id], 30)


@case
def filters(side):
    """Filters: which are well-formed, and which messages they pass."""
    topic = side.topic("a")
    side.setup("CreateTopic", {"name": topic})
    for number, text in enumerate([
        'attributes.kind = "gpu"',
        'attributes.kind != "gpu"',
        "attributes:kind",
        "NOT attributes:kind",
        "-attributes:kind",
        'hasPrefix(attributes.kind, "g")',
        'attributes:kind AND attributes.kind = "gpu"',
        'attributes:kind OR attributes.kind = "gpu"',
        "attributes:a AND attributes:b OR attributes:c",
        "(attributes:a AND attributes:b) OR attributes:c",
        'attributes."iana.org/language_tag" = "en"',
        'attributes:"iana.org/language_tag"',
        "attributes.kind",
        "attributes.kind = gpu",
        'attributes.kind == "gpu"',
        'attributes.kind > "gpu"',
        'attributes:kind and attributes:other',
        'attributes:kind not attributes:other',
        'NOT (attributes:kind)',
        'data = "x"',
        "attributes",
        "(attributes:kind",
        'attributes.kind = "gpu',
        'hasPrefix(attributes.kind)',
        'attributes.kind = "' + "x" * 230 + '"',
        'attributes.kind = "' + "x" * 300 + '"',
        "   ",
        'attributes.kind="gpu"',
        "attributes : kind",
        'attributes.kind = "\\"quoted\\""',
        "attributes:1kind",
        "attributes:kind-of",
        'attributes.größe = "1"',
        "NOT NOT attributes:kind",
        "attributes:a AND NOT attributes:b AND attributes:c",
        'attributes.kind = "gpu" "cpu"',
    ]):
        request = {"name": side.subscription(f"s{number}"), "topic": topic, "filter": text}
        code, _ = side.raw("CreateSubscription", request)
        shown = text if len(text) < 60 else f"{text[:24]}... of {len(text)} characters"
        side.record(f"the filter {shown}", {"code": code})


@case
def ordering(side):
    """Ordering keys without ordering: they are delivered."""
    topic, subscription = side.pair()
    message = types.PubsubMessage.pb()(data=b"x", ordering_key="clip")
    side.setup("Publish", types.PublishRequest.pb()(topic=topic, messages=[message]))
    side.record_messages("a message with its ordering key", side.pull(subscription))


@case
def dead_letters(side):
    """Dead letters: attempts are counted, and the message is forwarded after the last one."""
    side.setup("CreateTopic", {"name": side.topic("dead")})
    letters = side.subscription("letters")
    side.setup("CreateSubscription", {"name": letters, "topic": side.topic("dead")})
    policy = {"deadLetterTopic": side.topic("dead"), "maxDeliveryAttempts": 5}
    topic, subscription = side.pair(deadLetterPolicy=policy)
    side.publish(topic, "poison", kind="gpu")
    for attempt in range(1, 6):
        (received,) = side.pull(subscription)
        side.record_messages(f"delivery {attempt}", [received])
        hand_back = {"subscription": subscription, "ackIds": [received.ack_id], "ackDeadlineSeconds": 0}
        side.setup("ModifyAckDeadline", hand_back)
    # Ours arrives immediately; the emulator's never arrives.
    side.record_messages("the dead letter", side.pull(letters, wait=ABSENT_WAIT))
    pull = {"subscription": subscription, "maxMessages": 1, "returnImmediately": True}
    side.call("nothing is left", "Pull", pull)


@case
def streams(side):
    """StreamingPull: first requests, further requests, the end of a stream."""
    # Each stream has its own subscription: the emulator does not redeliver the messages of a broken stream.
    def opened(label, **changed):
        """Publishes a message and opens a stream: it receives the message or its end."""
        topic, subscription = side.pair(f"open-{len(side.log)}")
        side.publish(topic, label)
        stream = Stream(side, {"subscription": subscription, "streamAckDeadlineSeconds": 10, **changed})
        received, code = stream.messages(1)
        side.record(label, {"messages": [one.message.data.decode() for one in received], "ended": code})
        stream.close()

    def refused(label, **changed):
        """As `opened`, but reads to the end: under load, the emulator sends a message before it refuses a stream."""
        topic, subscription = side.pair(f"refused-{len(side.log)}")
        side.publish(topic, label)
        stream = Stream(side, {"subscription": subscription, "streamAckDeadlineSeconds": 10, **changed})
        _, code = stream.messages(float("inf"))
        side.record(label, {"ended": code})

    opened("a stream")
    refused("no deadline", streamAckDeadlineSeconds=0)
    refused("a deadline of 9 s", streamAckDeadlineSeconds=9)
    opened("a deadline of 600 s", streamAckDeadlineSeconds=600)
    refused("a deadline of 601 s", streamAckDeadlineSeconds=601)
    refused("a deadline of less than nothing", streamAckDeadlineSeconds=-1)
    opened("no subscription", subscription="")
    opened("a missing subscription", subscription=side.subscription("missing"))
    opened("a malformed subscription", subscription="nonsense")
    opened("limits", maxOutstandingMessages=5, maxOutstandingBytes=1000)
    opened("limits of less than nothing", maxOutstandingMessages=-1, maxOutstandingBytes=-1)
    opened("a client id", clientId="peer")
    opened("acknowledgements in the first request", ackIds=["nonsense"])
    opened("deadlines without ids", modifyDeadlineSeconds=[10])
    opened("ids without deadlines", modifyDeadlineAckIds=["nonsense"])

    def continued(label, request):
        """Sends a further request on an open stream, then nacks a message: it is redelivered, or the stream ends.

        Requests of a stream are handled in their order, so the first of them has then been handled.
        """
        topic, subscription = side.pair(f"go-on-{len(side.log)}")
        side.publish(topic, "held", "mark")
        stream = Stream(side, {"subscription": subscription, "streamAckDeadlineSeconds": 10})
        received, ended = stream.messages(2)
        held, mark = (one.ack_id for one in sorted(received, key=lambda one: one.message.data))
        stream.send(request([held], subscription))
        stream.send({"modifyDeadlineAckIds": [mark], "modifyDeadlineSeconds": [0]})
        again, code = stream.messages(1)
        side.record(label, {"again": [one.message.data.decode() for one in again], "ended": ended or code})
        stream.close()

    def fixed(**request):
        return lambda ids, subscription: request

    continued("an empty request", fixed())
    continued("the subscription again", lambda ids, subscription: {"subscription": subscription})
    continued("another deadline", fixed(streamAckDeadlineSeconds=20))
    continued("another deadline out of range", fixed(streamAckDeadlineSeconds=5))
    continued("an acknowledgement", lambda ids, subscription: {"ackIds": ids})
    continued("a malformed acknowledgement", fixed(ackIds=["nonsense"]))
    continued("an empty acknowledgement", fixed(ackIds=[""]))
    lease = lambda ids, seconds: {"modifyDeadlineAckIds": ids, "modifyDeadlineSeconds": [seconds]}
    continued("a longer lease", lambda ids, subscription: lease(ids, 60))
    continued("a lease of 601 s", lambda ids, subscription: lease(ids, 601))
    continued("a malformed lease", lambda ids, subscription: lease(["nonsense"], 60))
    continued("deadlines without ids later", fixed(modifyDeadlineSeconds=[60]))
    continued("another client id", fixed(clientId="other"))
    continued("limits later", fixed(maxOutstandingMessages=5))

    topic, subscription = side.pair("deleted")
    stream = Stream(side, {"subscription": subscription, "streamAckDeadlineSeconds": 10})
    side.publish(topic, "before the deletion")
    stream.messages(1)
    side.setup("DeleteSubscription", {"subscription": subscription})
    received, code = stream.messages(1)
    side.record("its subscription is deleted", {"messages": len(received), "ended": code})
    stream.close()


@case
def snapshots(side):
    """Snapshots and seeks."""
    topic, subscription = side.pair()
    name = side.snapshot("a")
    made = {"name": name, "subscription": subscription}
    side.call("a snapshot is made", "CreateSnapshot", made)
    side.call("a snapshot is read", "GetSnapshot", {"snapshot": name})
    side.call("a subscription is sought to a snapshot", "Seek", {"subscription": subscription, "snapshot": name})
    seek = {"subscription": subscription, "time": "2020-01-01T00:00:00Z"}
    side.call("a subscription is sought to a time", "Seek", seek)
    side.call("a seek to nothing", "Seek", {"subscription": subscription})
    side.call("a snapshot is deleted", "DeleteSnapshot", {"snapshot": name})


@case
def other_methods(side):
    """Unsupported methods and settings of topics."""
    topic, subscription = side.pair()
    push = {"subscription": subscription, "pushConfig": {"pushEndpoint": "http://127.0.0.1:1/push"}}
    side.call("push is turned on", "ModifyPushConfig", push)
    side.call("push is turned off", "ModifyPushConfig", {"subscription": subscription, "pushConfig": {}})
    side.call("a subscription is detached", "DetachSubscription", {"subscription": subscription})
    definition = 'syntax = "proto3"; message A { string a = 1; }'
    schema = {"type": "PROTOCOL_BUFFER", "definition": definition}
    create = {"parent": f"projects/{side.project}", "schemaId": "clip", "schema": schema}
    side.call("a schema is made", "CreateSchema", create)
    side.call("a schema is read", "GetSchema", {"name": f"projects/{side.project}/schemas/clip"})
    side.call("schemas are listed", "ListSchemas", {"parent": f"projects/{side.project}"})
    key = f"projects/{side.project}/locations/eu/keyRings/r/cryptoKeys/k"
    for label, asked in {
        "a key": {"kmsKeyName": key},
        "regions": {"messageStoragePolicy": {"allowedPersistenceRegions": ["europe-west1"]}},
        "a missing schema": {"schemaSettings": {"schema": f"projects/{side.project}/schemas/missing"}},
    }.items():
        side.call(f"a topic with {label}", "CreateTopic", {"name": side.topic(label.replace(" ", "-")), **asked})


@case
def by_json(side):
    """JSON over HTTP."""
    topic, subscription = f"/v1/{side.topic('a')}", f"/v1/{side.subscription('a')}"
    project = f"/v1/projects/{side.project}"
    side.rest("a topic is made", "PUT", topic, {"labels": {"a": "1"}})
    side.rest("a topic is made again", "PUT", topic, {})
    side.rest("a topic is read", "GET", topic)
    side.rest("a missing topic is read", "GET", f"{topic}-missing")
    side.rest("a topic with an unknown field", "PUT", f"{topic}-b", {"nonsense": 1})
    side.rest("a topic with a field of the wrong kind", "PUT", f"{topic}-c", {"labels": "x"})
    side.rest("a topic from text that is no JSON", "PUT", f"{topic}-d", "{")
    side.rest("a topic is read with an unknown parameter", "GET", f"{topic}?nonsense=1")
    side.rest("topics are listed in pages of nonsense", "GET", f"{project}/topics?pageSize=x")
    side.rest("a subscription is made", "PUT", subscription, {"topic": side.topic("a"), "ackDeadlineSeconds": 20})
    side.rest("a subscription is made with text for a number", "PUT", f"{subscription}-b",
              {"topic": side.topic("a"), "ackDeadlineSeconds": "20"})
    side.rest("a subscription with an unknown field", "PUT", f"{subscription}-c",
              {"topic": side.topic("a"), "nonsense": 1})
    side.rest("a subscription in names of the proto", "PUT", f"{subscription}-d",
              {"topic": side.topic("a"), "ack_deadline_seconds": 30})
    side.rest("a subscription is read", "GET", subscription)
    side.rest("a deadline is updated", "PATCH", subscription,
              {"subscription": {"ackDeadlineSeconds": 40}, "updateMask": "ackDeadlineSeconds"})
    side.rest("messages are published", "POST", f"{topic}:publish",
              {"messages": [{"data": "aGVsbG8=", "attributes": {"kind": "gpu"}}]})
    side.rest("a message in base64 for addresses", "POST", f"{topic}:publish", {"messages": [{"data": "-_8="}]})
    side.rest("a message that is no base64", "POST", f"{topic}:publish", {"messages": [{"data": "?"}]})
    side.rest("a message with an unknown field", "POST", f"{topic}:publish",
              {"messages": [{"data": "eA==", "x": 1}]})
    side.rest("no messages are published", "POST", f"{topic}:publish", {})
    received = side.pull(side.subscription("a"), 2)
    side.record_messages("they arrive", received)
    side.rest("nothing more is pulled", "POST", f"{subscription}:pull", {"maxMessages": 5, "returnImmediately": True})
    side.rest("a pull of none", "POST", f"{subscription}:pull", {"returnImmediately": True})
    ids = [one.ack_id for one in received]
    side.rest("a deadline is modified", "POST", f"{subscription}:modifyAckDeadline",
              {"ackIds": ids, "ackDeadlineSeconds": 60})
    side.rest("they are acknowledged", "POST", f"{subscription}:acknowledge", {"ackIds": ids})
    side.rest("nothing is acknowledged", "POST", f"{subscription}:acknowledge", {})
    side.rest("an unknown verb", "POST", f"{subscription}:nonsense", {})
    side.rest("a subscription is deleted", "DELETE", subscription)
    side.rest("a topic is deleted", "DELETE", topic)
    side.rest("a path that is not there", "GET", "/v1/nonsense")


# Accepted differences, each with its reason. A listed label that no longer differs fails.
KNOWN = [
    (
        "not supported by our server, refused by name",
        [
            "settings: ordering",
            "settings: exactly-once delivery",
            "settings: retention of acknowledged messages",
            "settings: a push endpoint",
            "settings: an export to BigQuery",
            "settings: an export to Cloud Storage",
            "listing: snapshots of a project without any",
            "listing: snapshots of a topic without any",
            "snapshots: a snapshot is made",
            "snapshots: a snapshot is read",
            "snapshots: a subscription is sought to a snapshot",
            "snapshots: a subscription is sought to a time",
            "snapshots: a seek to nothing",
            "snapshots: a snapshot is deleted",
            "other-methods: push is turned on",
            "other-methods: a schema is read",
            "other-methods: schemas are listed",
            "other-methods: a topic with a key",
            "other-methods: a topic with regions",
            "other-methods: a topic with a missing schema",
            "by-json: an unknown verb",
            "by-json: a path that is not there",
        ],
    ),
    (
        "documented limits that the emulator does not enforce",
        [
            "settings: a deadline of 9 s",
            "settings: an expiration of an hour",
            "subscription-updates: a deadline out of range",
            "publishing: a name of 257 bytes",
            "publishing: a value of 1025 bytes",
            "publishing: 101 attributes",
            "publishing: a name that begins with goog",
            "publishing: an attribute without a name",
            "publishing: an ordering key of 1025 bytes",
            "publishing: 10,000,001 bytes",
            "pulling: a pull of less than none",
            "deadlines: to 601 s",
            "streams: a lease of 601 s",
            "streams: limits later",
        ],
    ),
    ("the emulator never answers a request that is too large", ["publishing: two messages of 6 MB"]),
    (
        "documented since, and unknown to the emulator: retention of up to 31 days, and updates of these fields",
        [
            "settings: retention of 31 days",
            "topic-updates: labels are replaced",
            "topic-updates: labels are taken away",
            "topic-updates: two fields",
            "subscription-updates: labels",
            "subscription-updates: labels to none",
            "subscription-updates: the expiration",
            "subscription-updates: two fields",
        ],
    ),
    (
        "the emulator accepts or generates names that the documentation does not allow",
        ["topic-ids: a name with no project", "subscriptions: a subscription's name of nothing"],
    ),
    (
        "a malformed name of a topic is INVALID_ARGUMENT in every other call, also of the emulator",
        [
            "settings: a dead letter policy without a topic",
            "settings: a dead letter policy with a malformed topic",
        ],
    ),
    ("only the server sets whether a subscription is detached", ["settings: detached"]),
    (
        "the emulator accepts any page token, fails on a malformed project, and lists a missing topic as empty",
        [
            "listing: topics after a token of nonsense",
            "listing: subscriptions after a token of nonsense",
            "listing: topics of a malformed project",
            "listing: topics of no project",
            "listing: subscriptions of a missing topic",
            "by-json: topics are listed in pages of nonsense",
        ],
    ),
    (
        "unknown parameters are refused by the service, and ignored by the emulator",
        ["by-json: a topic is read with an unknown parameter"],
    ),
    ("the emulator forwards no dead letters", ["dead-letters: the dead letter"]),
]

# The emulator accepts any text as a filter. These are malformed by the documented syntax.
MALFORMED_FILTERS = [
    "attributes:a AND attributes:b OR attributes:c",
    "attributes.kind",
    "attributes.kind = gpu",
    'attributes.kind == "gpu"',
    'attributes.kind > "gpu"',
    "attributes:kind and attributes:other",
    "attributes:kind not attributes:other",
    'data = "x"',
    "attributes",
    "(attributes:kind",
    'attributes.kind = "gpu',
    "hasPrefix(attributes.kind)",
    'attributes.kind = "xxxxx... of 320 characters',
    'attributes.kind = "gpu" "cpu"',
    "NOT NOT attributes:kind",
]


def known():
    """Returns the reason of each listed difference."""
    listed = {}
    for reason, labels in KNOWN:
        for label in labels:
            assert label not in listed, f"'{label}' is listed twice"
            listed[label] = reason
    for text in MALFORMED_FILTERS:
        listed[f"filters: the filter {text}"] = "the emulator accepts any text as a filter"
    return listed


def compare(ours, theirs, listed):
    """Prints the differences; returns the numbers of passed and failed calls."""
    failed = 0
    for label in [*ours, *(label for label in theirs if label not in ours)]:
        mine, other = ours.get(label, "(not called)"), theirs.get(label, "(not called)")
        reason = listed.pop(label, None)
        if mine == other and reason is None:
            continue
        if mine == other:
            print(f"no longer differs: {label}\n  listed because: {reason}\n  both: {json.dumps(mine)[:600]}")
            failed += 1
        elif reason is None:
            print(f"differs: {label}\n  ours:   {json.dumps(mine)[:600]}\n  theirs: {json.dumps(other)[:600]}")
            failed += 1
    return len(ours) - failed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="host and port of our server")
    parser.add_argument("--theirs", required=True, help="host and port of Google's emulator")
    parser.add_argument("--only", help="runs one case")
    arguments = parser.parse_args()
    project = f"peer-{uuid.uuid4().hex[:8]}"
    ours, theirs = Side(arguments.ours, project), Side(arguments.theirs, project)
    listed = known()
    broken = 0
    for run in CASES:
        if arguments.only not in (None, run.__name__):
            name = run.__name__.replace("_", "-")
            listed = {label: why for label, why in listed.items() if not label.startswith(f"{name}: ")}
            continue
        for side in (ours, theirs):
            side.begin(run.__name__.replace("_", "-"))
            try:
                run(side)
            except Exception as error:
                print(f"failed: {run.__name__} at {side.address}: {error!r}")
                broken += 1
    passed, failed = compare(ours.log, theirs.log, listed)
    for label in listed:
        print(f"listed but not called: {label}")
    failed += broken + len(listed)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
