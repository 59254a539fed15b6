"""Shared code of all checks: Google's own, unmodified clients, which read the server's address from the environment.

PUBSUB_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST, STORAGE_EMULATOR_HOST and GOOGLE_CLOUD_PROJECT must be set. Every check
uses unique names, so that all can run at the same time against one server.
"""

import os
import time
import uuid

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, pubsub_v1, storage

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]


def unique(what):
    """A name that no other check uses."""
    return f"{what}-{uuid.uuid4().hex[:12]}"


def eventually(condition, timeout=30):
    """Waits until `condition` returns something true, and returns it. Bounds a hang; measures nothing."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found or time.monotonic() > end:
            assert found, "it did not happen in time"
            return found
        time.sleep(0.05)


@pytest.fixture(scope="session")
def publisher():
    return pubsub_v1.PublisherClient()


@pytest.fixture(scope="session")
def subscriber():
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture
def topic(publisher):
    """A new topic's full name."""
    return publisher.create_topic(name=publisher.topic_path(PROJECT, unique("topic"))).name


@pytest.fixture
def subscribe(subscriber, topic):
    """Creates a subscription, by default of the test's topic; returns its full name."""

    def make(of=None, **settings):
        name = subscriber.subscription_path(PROJECT, unique("subscription"))
        return subscriber.create_subscription(request={"name": name, "topic": of or topic, **settings}).name

    return make


@pytest.fixture
def pull(subscriber):
    """Pulls available messages; waits up to `timeout` seconds for the first one."""

    def pull(subscription, max_messages=10, timeout=10.0):
        end = time.monotonic() + timeout
        while True:
            request = {"subscription": subscription, "max_messages": max_messages, "return_immediately": True}
            received = list(subscriber.pull(request=request).received_messages)
            if received or time.monotonic() >= end:
                return received
            time.sleep(0.02)

    return pull


@pytest.fixture(scope="session")
def db():
    return firestore.Client(project=PROJECT)


@pytest.fixture
def collection(db):
    """A new collection."""
    return db.collection(unique("things"))


@pytest.fixture(scope="session")
def gcs():
    return storage.Client(project=PROJECT, credentials=AnonymousCredentials())


@pytest.fixture(scope="session")
def bucket(gcs):
    """A bucket for this process; its objects have unique names."""
    return gcs.create_bucket(unique("clipfleet-conformance"))


@pytest.fixture
def blob(bucket):
    """An object that does not exist yet."""
    return bucket.blob(unique("object"))
