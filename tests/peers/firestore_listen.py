"""Checks of Firestore's listeners: the content of the targets whenever the server reports a consistent state.

Servers may split changes into any number of messages, so messages are not compared. Each step ends with a write to a
document that every listener here also watches. Once that write was received and the server reported that all targets
are consistent, the targets contain the whole step.
"""

import queue as queues
import threading

import grpc

from firestore_checks import condition, cursor, order, query, unary
from firestore_peer import SERVICE, Refused, parse, resolved, to_json, types

# Bounds a hang; a step took 2 s at most on a busy machine.
STEP_TIMEOUT = 40
MARK = 1_000
CHECKS = []


class Listener:
    """One stream, and the content of its targets."""

    def __init__(self, peer):
        self.peer = peer
        self.targets = {}
        self.current = set()
        self.ended = {}
        self.consistent = False
        self.token = None
        self.marks = 0
        self.seen_mark = 0
        self._requests = queues.SimpleQueue()
        self._responses = queues.SimpleQueue()
        call = peer.channel.stream_stream(
            f"/{SERVICE}/Listen",
            request_serializer=bytes,
            response_deserializer=types.ListenResponse.pb().FromString,
        )
        metadata = [("authorization", "Bearer owner"), ("google-cloud-resource-prefix", peer.database)]
        self._stream = call(iter(self._requests.get, None), metadata=metadata)
        threading.Thread(target=self._receive, daemon=True).start()
        self._send({"addTarget": {"targetId": MARK, "documents": {"documents": [peer.name("mark/mark")]}}})

    def _send(self, request):
        request = resolved({"database": self.peer.database, **request}, self.peer.root)
        self._requests.put(parse(request, types.ListenRequest.pb()).SerializeToString())

    def _receive(self):
        try:
            for response in self._stream:
                self._responses.put(to_json(response))
        except grpc.RpcError as error:
            self._responses.put(error)

    def add(self, number, structured, **more):
        """Adds a target: a query, or a list of documents."""
        self.targets[number] = {}
        if isinstance(structured, list):
            target = {"documents": {"documents": [self.peer.name(path) for path in structured]}}
        else:
            target = {"query": {"parent": self.peer.root, "structuredQuery": structured}}
        self._send({"addTarget": {"targetId": number, **target, **more}})

    def remove(self, number):
        """Ends a target."""
        self._send({"removeTarget": number})

    def settle(self):
        """Waits until all writes were received; returns the content of the targets."""
        self.marks += 1
        self.peer.put({"mark/mark": {"n": self.marks}})
        active = {number for number in self.targets if number not in self.ended}
        while not (self.seen_mark == self.marks and self.consistent and active - set(self.ended) <= self.current):
            self._follow(self._next())
        return self.state()

    def state(self):
        """Returns the content of the targets, and how they ended."""
        held = {
            number: {name: fields for name, fields in sorted(held.items())} for number, held in self.targets.items()
        }
        return [{str(number): documents for number, documents in sorted(held.items())}, sorted(self.ended.items())]

    def wait_end(self, number):
        """Waits until a target has ended."""
        while number not in self.ended:
            self._follow(self._next())

    def close(self):
        """Ends the stream."""
        self._requests.put(None)
        self._stream.cancel()

    def _next(self):
        try:
            response = self._responses.get(timeout=STEP_TIMEOUT)
        except queues.Empty as error:
            raise Refused("SILENCE", f"no message for {STEP_TIMEOUT} s") from error
        if isinstance(response, grpc.RpcError):
            raise Refused(response.code().name, response.details())
        return response

    def _follow(self, response):
        self.consistent = False
        match response:
            case {"targetChange": change}:
                self._follow_target(change)
            case {"documentChange": change}:
                document = change["document"]
                for number in change.get("targetIds", ()):
                    self._show(number, document)
                self._drop(document["name"], change.get("removedTargetIds", ()))
            case {"documentDelete": change} | {"documentRemove": change}:
                # Documents that were requested by name are removed from all targets that requested them.
                self._drop(change["document"], change.get("removedTargetIds", ()))

    def _follow_target(self, change):
        numbers = change.get("targetIds", [])
        match change.get("targetChangeType", "NO_CHANGE"):
            case "NO_CHANGE" if not numbers and "readTime" in change:
                self.consistent = True
                self.token = change.get("resumeToken", self.token)
            case "CURRENT":
                self.current.update(numbers)
            case "RESET":
                for number in numbers:
                    self.targets.get(number, {}).clear()
            case "REMOVE":
                for number in numbers:
                    self.ended[number] = change.get("cause", {}).get("code", 0)

    def _show(self, number, document):
        if number == MARK:
            self.seen_mark = int(document["fields"]["n"]["integerValue"])
        else:
            self.targets[number][document["name"]] = document.get("fields", {})

    def _drop(self, name, numbers):
        for number in numbers:
            if number != MARK:
                self.targets[number].pop(name, None)


def check(function):
    """Registers a check that receives a peer and a listener."""

    def run(peer):
        listener = Listener(peer)
        try:
            return function(peer, listener)
        finally:
            listener.close()

    CHECKS.append((f"listen: {function.__name__.replace('_', ' ')}", run))
    return function


@check
def a_document_from_missing_to_deleted(peer, listener):
    listener.add(1, ["c/a", "c/b"])
    states = [listener.settle()]
    for write in (
        peer.update("c/a", {"n": 1}),
        peer.update("c/a", {"n": 2}),
        peer.update("c/b", {}),
        peer.update("c/other", {}),
        peer.delete("c/a"),
    ):
        peer.commit(write)
        states.append(listener.settle())
    return states


@check
def documents_enter_and_leave_a_query(peer, listener):
    peer.put({"c/a": {"n": 1}, "c/b": {"n": 5}, "d/a": {"n": 9}})
    listener.add(1, query(where=condition("n", "GREATER_THAN", 3)))
    states = [listener.settle()]
    for write in (
        peer.update("c/a", {"n": 4}),
        peer.update("c/b", {"n": 3}),
        peer.update("c/d", {"n": "text"}),
        peer.delete("c/a"),
        peer.update("c/b", {"n": 7}),
    ):
        peer.commit(write)
        states.append(listener.settle())
    return states


@check
def a_limit_is_refilled_and_pushes_out(peer, listener):
    peer.put({f"c/{number}": {"n": number} for number in range(5)})
    listener.add(1, query(orderBy=[order("n")], limit=2))
    states = [listener.settle()]
    for write in (
        peer.delete("c/0"),
        peer.update("c/new", {"n": -1}),
        peer.update("c/4", {"n": -2}),
        peer.delete("c/3"),
    ):
        peer.commit(write)
        states.append(listener.settle())
    return states


@check
def a_window_of_cursors(peer, listener):
    peer.put({f"c/{number}": {"n": number} for number in range(6)})
    listener.add(1, query(orderBy=[order("n", "DESCENDING")], startAt=cursor(4), endAt=cursor(1, before=True)))
    states = [listener.settle()]
    for write in (peer.update("c/0", {"n": 3.5}), peer.update("c/3", {"n": 9}), peer.update("c/5", {"n": 1})):
        peer.commit(write)
        states.append(listener.settle())
    return states


@check
def a_group_and_numbers_among_names(peer, listener):
    peer.put({"c/__id7__/c/__id12__": {}, "c/Upper": {}, "d/x/c/low": {}, "e/x": {}})
    listener.add(1, {"from": [{"collectionId": "c", "allDescendants": True}], "orderBy": [order("__name__")]})
    first = listener.settle()
    peer.commit(peer.update("e/x/c/9", {}), peer.delete("c/Upper"))
    return [first, listener.settle()]


@check
def null_and_nan(peer, listener):
    nan = float("nan")
    peer.put({"c/null": {"v": None}, "c/nan": {"v": nan}, "c/zero": {"v": 0}, "c/none": {}})
    filters = [
        condition("v", "EQUAL", None),
        condition("v", "EQUAL", nan),
        condition("v", "LESS_THAN_OR_EQUAL", 0),
        condition("v", "IN", [None, nan, 0]),
        condition("v", "NOT_EQUAL", 1),
        unary("v", "IS_NULL"),
        unary("v", "IS_NAN"),
        unary("v", "IS_NOT_NULL"),
        unary("v", "IS_NOT_NAN"),
    ]
    for number, one in enumerate(filters, 1):
        listener.add(number, query(where=one))
    return listener.settle()


@check
def several_targets_show_one_document(peer, listener):
    listener.add(1, query())
    listener.add(2, ["c/a"])
    listener.add(3, query(where=condition("n", "EQUAL", 1)))
    states = [listener.settle()]
    for write in (peer.update("c/a", {"n": 1}), peer.update("c/a", {"n": 2}), peer.delete("c/a")):
        peer.commit(write)
        states.append(listener.settle())
    return states


@check
def a_removed_target_receives_nothing(peer, listener):
    listener.add(1, query())
    listener.add(2, query("d"))
    peer.put({"c/a": {}, "d/a": {}})
    before = listener.settle()
    listener.remove(1)
    listener.wait_end(1)
    peer.put({"c/b": {}, "d/b": {}})
    return [before, listener.settle()]


@check
def a_target_that_is_requested_once(peer, listener):
    peer.put({"c/a": {"n": 1}})
    listener.add(1, query(), once=True)
    listener.settle()
    # The target ends after it is current, and before a later write is shown.
    return listener.settle()


@check
def a_commit_is_seen_whole(peer, listener):
    listener.add(1, query())
    listener.settle()
    peer.commit(*(peer.update(f"c/{number}", {"n": number}) for number in range(20)))
    first = listener.settle()
    peer.commit(*(peer.delete(f"c/{number}") for number in range(0, 20, 2)))
    return [first, listener.settle()]


@check
def a_listener_comes_back_with_its_token(peer, listener):
    peer.put({"c/a": {"n": 1}, "c/b": {"n": 1}, "c/d": {"n": 1}})
    listener.add(1, query())
    listener.settle()
    token = listener.token
    peer.commit(peer.update("c/a", {"n": 2}), peer.delete("c/b"), peer.update("c/e", {}))
    again = Listener(peer)
    try:
        # As a client does, with its previous state.
        again.marks = again.seen_mark = listener.marks
        again.add(1, query(), resumeToken=token)
        again.targets[1] = dict(listener.targets[1])
        return again.settle()
    finally:
        again.close()


def _refused(structured, **more):
    def run(peer, listener):
        listener.add(1, structured, **more)
        listener.wait_end(1)
        return listener.state()

    return run


for name, structured in {
    "two negations": query(where={"compositeFilter": {"op": "AND", "filters": [unary("n", "IS_NOT_NULL")] * 2}}),
    "a cursor too long": query(orderBy=[order("n")], startAt=cursor(1, 2)),
    "a reserved collection": query("__x__"),
}.items():
    refused = _refused(structured)
    refused.__name__ = f"a_target_is_refused_for_{name.replace(' ', '_')}"
    check(refused)
