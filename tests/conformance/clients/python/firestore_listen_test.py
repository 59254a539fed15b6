"""Listening to Firestore, through google-cloud-firestore.

"Listen" is the page "Get realtime updates"; "Reference" is the Firestore RPC reference (google.firestore.v1, Listen).
"""

import contextlib
import os
import queue
import socket
import threading
import time

import pytest
from conftest import PROJECT, unique
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.watch import ChangeType


class Watched:
    """A listener that records every snapshot."""

    def __init__(self, what):
        self.seen = []
        self.arriving = queue.Queue()
        self.watch = what.on_snapshot(self.record)

    def record(self, documents, changes, read_time):
        self.seen.append((documents, changes, read_time))
        self.arriving.put(self.seen[-1])

    def next(self):
        """Waits for the next snapshot."""
        return self.arriving.get(timeout=15)

    def until(self, condition):
        """Waits for a snapshot whose documents satisfy a condition."""
        while True:
            documents, changes, read_time = self.next()
            if condition(documents):
                return documents, changes, read_time


@pytest.fixture
def watch():
    """Listens until the check ends."""
    listeners = []

    def watch(what):
        listeners.append(Watched(what))
        return listeners[-1]

    yield watch
    for listener in listeners:
        listener.watch.unsubscribe()


def ids(documents):
    return "".join(document.id for document in documents)


def kinds(changes):
    return sorted((change.type.name.lower(), change.document.id) for change in changes)


def test_a_document_listener_receives_the_current_state_then_each_change(collection, watch):
    """Listen, Listen to a document: an initial snapshot, then one for each change."""
    one = collection.document("one")
    one.set({"n": 1})
    watched = watch(one)
    assert [document.to_dict() for document in watched.next()[0]] == [{"n": 1}]
    one.update({"n": 2})
    documents, changes, _ = watched.next()
    assert (documents[0].to_dict(), changes[0].type) == ({"n": 2}, ChangeType.MODIFIED)


def test_a_document_listener_receives_the_deletion_and_a_new_creation(collection, watch):
    """Reference, DocumentDelete: the document is removed; when recreated it is added."""
    one = collection.document("one")
    one.set({"n": 1})
    watched = watch(one)
    assert kinds(watched.next()[1]) == [("added", "one")]
    one.delete()
    documents, changes, _ = watched.next()
    assert (documents, kinds(changes)) == ([], [("removed", "one")])
    one.set({"n": 2})
    assert watched.next()[0][0].to_dict() == {"n": 2}


def test_a_listener_of_a_missing_document_receives_its_creation(collection, watch):
    """Listen: the initial snapshot is empty; creation adds."""
    one = collection.document("one")
    watched = watch(one)
    assert watched.next()[0] == []
    one.create({"n": 1})
    documents, changes, _ = watched.next()
    assert (documents[0].to_dict(), kinds(changes)) == ({"n": 1}, [("added", "one")])


def test_a_query_listener_reports_added_modified_and_removed_documents(collection, watch):
    """Listen, View changes between snapshots."""
    collection.document("a").set({"n": 1})
    watched = watch(collection.order_by("n"))
    assert kinds(watched.next()[1]) == [("added", "a")]
    collection.document("b").set({"n": 2})
    documents, changes, _ = watched.next()
    assert (ids(documents), kinds(changes)) == ("ab", [("added", "b")])
    collection.document("a").set({"n": 3})
    documents, changes, _ = watched.next()
    assert (ids(documents), kinds(changes)) == ("ba", [("modified", "a")])
    collection.document("b").delete()
    documents, changes, _ = watched.next()
    assert (ids(documents), kinds(changes)) == ("a", [("removed", "b")])


def test_documents_enter_and_leave_a_filtered_query(collection, watch):
    """Reference, DocumentRemove: a document that no longer matches leaves, though it still exists."""
    collection.document("a").set({"status": "queued"})
    watched = watch(collection.where(filter=FieldFilter("status", "==", "queued")))
    assert ids(watched.next()[0]) == "a"
    collection.document("a").update({"status": "done"})
    assert kinds(watched.next()[1]) == [("removed", "a")]
    collection.document("a").update({"status": "queued"})
    assert kinds(watched.next()[1]) == [("added", "a")]


def test_a_limited_query_is_refilled(collection, watch):
    """Listen with limit: when a document leaves the window the next one enters."""
    for n, id in enumerate("abcd"):
        collection.document(id).set({"n": n})
    watched = watch(collection.order_by("n").limit(2))
    assert ids(watched.next()[0]) == "ab"
    collection.document("a").delete()
    watched.until(lambda documents: ids(documents) == "bc")
    collection.document("z").set({"n": -1})
    watched.until(lambda documents: ids(documents) == "zb")


def test_a_batch_is_seen_completely_or_not_at_all(collection, db, watch):
    """Reference, TargetChange.NO_CHANGE: a snapshot is consistent at one time."""
    watched = watch(collection)
    assert watched.next()[0] == []
    for n in (1, 2, 3):
        batch = db.batch()
        for id in "abcde":
            batch.set(collection.document(id), {"n": n})
        batch.commit()
    watched.until(lambda documents: {document.get("n") for document in documents} == {3})
    for documents, _, _ in watched.seen[1:]:
        assert len(documents) == 5
        assert len({document.get("n") for document in documents}) == 1


def test_states_never_go_back_and_read_times_increase(collection, watch):
    """Reference, TargetChange.read_time: snapshots arrive in the order of time; the last state always arrives."""
    one = collection.document("one")
    one.set({"n": 0})
    watched = watch(one)
    watched.next()
    for n in range(1, 31):
        one.set({"n": n})
    watched.until(lambda documents: documents[0].get("n") == 30)
    states = [documents[0].get("n") for documents, _, _ in watched.seen]
    times = [read_time for _, _, read_time in watched.seen]
    assert states == sorted(states) and times == sorted(times)


def test_snapshots_carry_the_times_of_the_document(collection, watch):
    """Reference, Document: the same create and update time as a read gives."""
    one = collection.document("one")
    written = one.set({"n": 1})
    (document,), _, read_time = watch(one).next()
    assert document.update_time == document.create_time == written.update_time
    assert read_time >= written.update_time


def test_a_detached_listener_receives_nothing_more(collection, watch):
    """Listen, Detach a listener."""
    one = collection.document("one")
    one.set({"n": 1})
    stopped, other = watch(one), watch(one)
    stopped.next()
    other.next()
    stopped.watch.unsubscribe()
    one.set({"n": 2})
    assert other.next()[0][0].to_dict() == {"n": 2}
    time.sleep(0.3)
    assert len(stopped.seen) == 1


def test_a_new_listener_after_a_pause_starts_with_the_current_state(collection, watch):
    """Listen: each listener starts with a complete snapshot, whatever was missed."""
    collection.document("a").set({"n": 1})
    first = watch(collection)
    first.next()
    first.watch.unsubscribe()
    collection.document("a").delete()
    collection.document("b").set({"n": 2})
    documents, changes, _ = watch(collection).next()
    assert (ids(documents), kinds(changes)) == ("b", [("added", "b")])


class Proxy:
    """A TCP proxy to the server whose connections can be cut."""

    def __init__(self, to):
        self.to = to.rsplit(":", 1)
        self.pairs = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection((self.to[0], int(self.to[1])))
            self.pairs.append((client, server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(source, target), daemon=True).start()

    def carry(self, source, target):
        try:
            while content := source.recv(65536):
                target.sendall(content)
        except OSError:
            pass

    def cut(self):
        for end in sum(self.pairs, ()):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_listener_survives_a_broken_connection_and_misses_no_change(collection, watch, monkeypatch):
    """Reference, Target.resume_token: the client reopens the stream and continues where it ended."""
    proxy = Proxy(os.environ["FIRESTORE_EMULATOR_HOST"])
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.address)
    far = firestore.Client(project=PROJECT)
    collection.document("a").set({"n": 1})
    collection.document("b").set({"n": 1})
    watched = watch(far.collection(collection.id))
    assert ids(watched.next()[0]) == "ab"
    proxy.cut()
    collection.document("a").delete()
    collection.document("b").update({"n": 2})
    collection.document("c").set({"n": 1})
    documents, changes, _ = watched.until(lambda documents: len(documents) == 2 and ids(documents) == "bc")
    assert [document.get("n") for document in documents] == [2, 1]
    assert ("added", "b") not in kinds(changes)


def test_transforms_and_transactions_reach_a_listener(collection, db, watch):
    """Every commit is a change like all others."""
    one = collection.document("one")
    one.set({"n": 1})
    watched = watch(one)
    watched.next()
    one.update({"n": firestore.Increment(1)})
    assert watched.next()[0][0].get("n") == 2

    @firestore.transactional
    def change(transaction):
        transaction.update(one, {"n": one.get(transaction=transaction).get("n") + 10})

    change(db.transaction())
    assert watched.next()[0][0].get("n") == 12


def test_a_collection_group_is_listened_to_across_parents(collection, db, watch):
    """Listen to a collection group query."""
    group = unique("clips")
    watched = watch(db.collection_group(group))
    watched.next()
    collection.document("b1").collection(group).document("x").set({"n": 1})
    collection.document("b2").collection(group).document("y").set({"n": 1})
    watched.until(lambda documents: sorted(document.id for document in documents) == ["x", "y"])
