"""One Firestore server for the differential suite: calls in protobuf's JSON form in, comparable outcomes out.

The requests are sent over gRPC in the message types of google-cloud-firestore, or as JSON over HTTP/1.1. An outcome has
what must be equal on both servers: a status code and the answers. Ids that each server chooses (of transactions and
pages) are left out, and times are replaced by their rank.
"""

import base64
import http.client
import json
import math

import grpc
from google.cloud.firestore_v1 import types
from google.protobuf import json_format

# Bounds a hang. The slowest call, a commit that waits for a lock in Google's emulator, took 30 s.
CALL_TIMEOUT = 60
# Enough for commits of the maximum size.
MESSAGE_BYTES = 64 << 20

SERVICE = "google.firestore.v1.Firestore"
# Method: its request, its response, and whether it streams responses.
METHODS = {
    "GetDocument": (types.GetDocumentRequest, types.Document, False),
    "ListDocuments": (types.ListDocumentsRequest, types.ListDocumentsResponse, False),
    "CreateDocument": (types.CreateDocumentRequest, types.Document, False),
    "UpdateDocument": (types.UpdateDocumentRequest, types.Document, False),
    "DeleteDocument": (types.DeleteDocumentRequest, None, False),
    "BatchGetDocuments": (types.BatchGetDocumentsRequest, types.BatchGetDocumentsResponse, True),
    "Commit": (types.CommitRequest, types.CommitResponse, False),
    "BatchWrite": (types.BatchWriteRequest, types.BatchWriteResponse, False),
    "BeginTransaction": (types.BeginTransactionRequest, types.BeginTransactionResponse, False),
    "Rollback": (types.RollbackRequest, None, False),
    "RunQuery": (types.RunQueryRequest, types.RunQueryResponse, True),
    "RunAggregationQuery": (types.RunAggregationQueryRequest, types.RunAggregationQueryResponse, True),
    "PartitionQuery": (types.PartitionQueryRequest, types.PartitionQueryResponse, False),
    "ListCollectionIds": (types.ListCollectionIdsRequest, types.ListCollectionIdsResponse, False),
}
SERVER_TIMES = ("createTime", "updateTime", "commitTime")


class Refused(Exception):
    """A call that the server refused."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Peer:
    """A server, and the database of one check."""

    def __init__(self, address, project, channel=None):
        self.address = address
        self.database = f"projects/{project}/databases/(default)"
        self.root = f"{self.database}/documents"
        options = [("grpc.max_send_message_length", MESSAGE_BYTES), ("grpc.max_receive_message_length", MESSAGE_BYTES)]
        self.channel = channel or grpc.insecure_channel(address, options)

    def named(self, project):
        """Returns the same server with another database."""
        return Peer(self.address, project, self.channel)

    def name(self, path):
        """Returns the full name of a document."""
        return f"{self.root}/{path}"

    def call(self, method, request):
        """Calls a method; returns its response, or a list of them, as JSON. Raises Refused."""
        request_type, response_type, streams = METHODS[method]
        call = self.channel.unary_stream if streams else self.channel.unary_unary
        message = parse(resolved(request, self.root), request_type.pb())
        read = response_type.pb().FromString if response_type else (lambda data: b"")
        invoke = call(f"/{SERVICE}/{method}", request_serializer=bytes, response_deserializer=read)
        # Google's emulator accepts this token as an administrator's, to whom no rules apply.
        metadata = [("authorization", "Bearer owner"), ("google-cloud-resource-prefix", self.database)]
        try:
            answer = invoke(message.SerializeToString(), timeout=CALL_TIMEOUT, metadata=metadata)
            return [to_json(one) for one in answer] if streams else to_json(answer)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from error

    def http(self, verb, path, body=None, headers=()):
        """Calls the JSON API; returns the answer. Raises Refused."""
        connection = http.client.HTTPConnection(self.address, timeout=CALL_TIMEOUT)
        try:
            text = json.dumps(resolved(body, self.root)) if body is not None else None
            headers = {"authorization": "Bearer owner", "content-type": "application/json", **dict(headers)}
            connection.request(verb, f"/v1/{path}", text, headers)
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        finally:
            connection.close()
        if response.status != http.client.OK:
            error = answer[0]["error"] if isinstance(answer, list) else answer["error"]
            raise Refused(error["status"], error["message"])
        return answer

    # Shorthand for the calls that most checks make.

    def commit(self, *writes, **more):
        """Commits writes."""
        return self.call("Commit", {"database": self.database, "writes": list(writes), **more})

    def put(self, documents):
        """Stores documents, {path: fields}, in one commit."""
        self.commit(*(self.update(path, fields) for path, fields in documents.items()))

    def update(self, path, fields, mask=None, transforms=(), **condition):
        """Returns a write that sets a document."""
        write = {"update": {"name": self.name(path), "fields": encoded(fields)}}
        if mask is not None:
            write["updateMask"] = {"fieldPaths": list(mask)}
        return {**write, **_rest(transforms, condition)}

    def delete(self, path, **condition):
        """Returns a write that deletes a document."""
        return {"delete": self.name(path), **_rest((), condition)}

    def verify(self, path, **condition):
        """Returns a write that checks a document and changes nothing."""
        return {"verify": self.name(path), **_rest((), condition)}

    def get(self, path, **more):
        """Reads a document."""
        return self.call("GetDocument", {"name": self.name(path), **more})

    def query(self, query, parent="", **more):
        """Runs a query; returns its responses."""
        parent = self.name(parent) if parent else self.root
        return self.call("RunQuery", {"parent": parent, "structuredQuery": query, **more})

    def aggregate(self, query, *aggregations, **more):
        """Runs aggregations; returns the values by alias."""
        inner = {"structuredQuery": query, "aggregations": list(aggregations)}
        request = {"parent": self.root, "structuredAggregationQuery": inner, **more}
        return [
            answer.get("result", {}).get("aggregateFields", {}) for answer in self.call("RunAggregationQuery", request)
        ]

    def begin(self, **options):
        """Begins a transaction; returns its id."""
        request = {"database": self.database, "options": options}
        return self.call("BeginTransaction", request)["transaction"]


def _rest(transforms, condition):
    rest = {"updateTransforms": list(transforms)} if transforms else {}
    return {**rest, "currentDocument": condition} if condition else rest


def parse(request, message_type):
    """Parses a request; `verify` is field 5 of a write, which the published protocol does not have."""
    if not isinstance(request, dict) or not any("verify" in write for write in request.get("writes", ())):
        return json_format.ParseDict(request, message_type())
    message = json_format.ParseDict({**request, "writes": []}, message_type())
    for write in request["writes"]:
        known = {name: value for name, value in write.items() if name != "verify"}
        added = message.writes.add()
        json_format.ParseDict(known, added)
        if "verify" in write:
            name = write["verify"].encode()
            added.MergeFromString(b"\x2a" + _varint(len(name)) + name)
    return message


def _varint(number):
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def to_json(message):
    """Returns a message as JSON."""
    return json_format.MessageToDict(message) if message else {}


class Ref(str):
    """A reference, as the path below `documents`; the suite resolves it to the full name."""


class Raw(dict):
    """A value that is already JSON."""


def time(seconds, nanos=0):
    """Returns a timestamp value of 2001."""
    return Raw(timestampValue=f"2001-09-09T01:46:{seconds:02d}.{nanos:09d}Z")


def geo(latitude, longitude):
    """Returns a point."""
    return Raw(geoPointValue={"latitude": latitude, "longitude": longitude})


def vector(*numbers):
    """Returns a vector, which is a special map."""
    return {"__type__": "__vector__", "value": [float(number) for number in numbers]}


def value(plain):
    """Returns a plain Python value in JSON. References stay relative until `resolved` adds the database."""
    match plain:
        case Raw():
            return dict(plain)
        case None:
            return {"nullValue": None}
        case bool():
            return {"booleanValue": plain}
        case int():
            return {"integerValue": str(plain)}
        case float() if math.isnan(plain):
            return {"doubleValue": "NaN"}
        case float() if math.isinf(plain):
            return {"doubleValue": "Infinity" if plain > 0 else "-Infinity"}
        case float():
            return {"doubleValue": plain}
        case Ref():
            return {"referenceValue": f"<root>/{plain}"}
        case str():
            return {"stringValue": plain}
        case bytes():
            return {"bytesValue": base64.b64encode(plain).decode()}
        case list() | tuple():
            return {"arrayValue": {"values": [value(element) for element in plain]}}
        case dict():
            return {"mapValue": {"fields": encoded(plain)}}
    raise TypeError(plain)


def encoded(fields):
    """Returns the fields of a document in JSON."""
    return {name: value(field) for name, field in fields.items()}


def resolved(json_value, root):
    """Adds the database to relative references."""
    match json_value:
        case dict():
            return {name: resolved(member, root) for name, member in json_value.items()}
        case list():
            return [resolved(element, root) for element in json_value]
        case str():
            return json_value.replace("<root>", root)
    return json_value


def comparable(outcome, peer):
    """Returns the part of an outcome on which both servers must agree."""
    plain = _without_choices(outcome, peer)
    times = sorted(set(_times(plain)), key=_moment)
    ranks = {at: f"<time {rank}>" for rank, at in enumerate(times, 1)}
    return _replaced(plain, ranks)


def _without_choices(outcome, peer):
    match outcome:
        case dict():
            # The emulator sends `done` at the end of every answer, which the documentation leaves to servers.
            left = {"transaction", "readTime", "nextPageToken", "done"}
            kept = {name: _without_choices(member, peer) for name, member in outcome.items() if name not in left}
            if "nextPageToken" in outcome:
                kept["nextPageToken"] = "<more>"
            # The servers may word a message differently.
            if "code" in kept and "message" in kept:
                kept.pop("message")
            return kept
        case list() | tuple():
            return [_without_choices(element, peer) for element in outcome]
        case str():
            return outcome.replace(peer.database, "<database>")
    return outcome


def _moment(time_text):
    """Returns a sort key for times with fractions of different lengths."""
    whole, _, fraction = time_text.removesuffix("Z").partition(".")
    return whole, fraction.ljust(9, "0")


def _times(outcome):
    match outcome:
        case dict():
            for name, member in outcome.items():
                if name in SERVER_TIMES:
                    yield member
                else:
                    yield from _times(member)
        case list():
            for element in outcome:
                yield from _times(element)


def _replaced(outcome, ranks):
    match outcome:
        case {"timestampValue": str(at)} if at.startswith("20") and not at.startswith("2001-"):
            # The server's own time, in milliseconds.
            return {"timestampValue": "<server time>" if len(at) <= len("2026-01-01T00:00:00.000Z") else at}
        case dict():
            return {name: _replaced(member, ranks) for name, member in outcome.items()}
        case list():
            return [_replaced(element, ranks) for element in outcome]
        case str():
            return ranks.get(outcome, outcome)
    return outcome
