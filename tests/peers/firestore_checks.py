"""Hand-written checks of Firestore: each makes calls to a server, and its outcome must be the same on both servers.

A function is one check; a table has one check for each row, with one call each.
"""

import functools

from firestore_peer import Raw, Ref, Refused, encoded, geo, time, value, vector

CHECKS = []
NAN = float("nan")
LONG_AGO = "2010-01-01T00:00:00Z"
LATER = "2100-01-01T00:00:00Z"


def check(function):
    """Registers a function as a check of the same name."""
    CHECKS.append((function.__name__.replace("_", " "), function))
    return function


def table(kind, call, rows):
    """Registers one check for each row: a label and the argument of `call`."""
    for label, argument in rows.items():
        CHECKS.append((f"{kind}: {label}", functools.partial(_call, call, argument)))


def _call(call, argument, peer):
    return call(peer, argument)


def attempt(call, *arguments, **more):
    """Returns the answer, or the code of the refusal, so that a check can continue."""
    try:
        return call(*arguments, **more)
    except Refused as refused:
        return refused.code


def found(answers):
    """Returns the ids of the documents of a query's answers."""
    names = [answer["document"]["name"] for answer in answers if "document" in answer]
    return [name.partition("/documents/")[2] for name in names]


def condition(field, operator, operand):
    """Returns a filter on a field."""
    return {"fieldFilter": {"field": {"fieldPath": field}, "op": operator, "value": value(operand)}}


def unary(field, operator):
    """Returns a filter without an operand."""
    return {"unaryFilter": {"field": {"fieldPath": field}, "op": operator}}


def both(*filters):
    """Returns the conjunction of filters."""
    return {"compositeFilter": {"op": "AND", "filters": list(filters)}}


def either(*filters):
    """Returns the disjunction of filters."""
    return {"compositeFilter": {"op": "OR", "filters": list(filters)}}


def order(field, direction="ASCENDING"):
    """Returns an order of a query."""
    return {"field": {"fieldPath": field}, "direction": direction}


def cursor(*values, before=False):
    """Returns a cursor."""
    return {"values": [value(one) for one in values], "before": before}


def query(collection="c", **more):
    """Returns a structured query."""
    return {"from": [{"collectionId": collection}], **more}


NUMBERS = {"c/a": {"n": 1, "m": 2}, "c/b": {"n": 2, "m": 1}, "c/d": {"n": 2, "m": 3}, "c/e": {"m": 1}, "g/h": {"n": 9}}


# Writes


@check
def a_document_is_replaced_merged_and_deleted(peer):
    peer.put({"c/a": {"x": 1, "y": {"p": 1, "q": 2}}})
    steps = [peer.get("c/a")]
    for write in (
        peer.update("c/a", {"y": {"p": 9}}, mask=["y.p", "x"]),
        peer.update("c/a", {"y": {"r": 3}}, mask=["y.r", "z.z"]),
        peer.update("c/a", {"x": 1, "other": 2}, mask=["x"]),
        peer.update("c/a", {}, mask=[]),
        peer.update("c/a", {"x": 5}),
        peer.update("c/a", {}),
    ):
        steps += [peer.commit(write), peer.get("c/a")]
    return [*steps, peer.commit(peer.delete("c/a")), attempt(peer.get, "c/a")]


@check
def a_write_that_changes_nothing_keeps_the_update_time(peer):
    peer.put({"c/a": {"x": 1}})
    return [peer.get("c/a"), peer.commit(peer.update("c/a", {"x": 1})), peer.get("c/a")]


@check
def a_document_that_is_deleted_and_made_again_in_one_commit(peer):
    peer.put({"c/a": {"x": 1}})
    same = [peer.get("c/a"), peer.commit(peer.delete("c/a"), peer.update("c/a", {"x": 1})), peer.get("c/a")]
    return [*same, peer.commit(peer.delete("c/a"), peer.update("c/a", {"x": 2})), peer.get("c/a")]


@check
def a_document_made_again_has_a_new_create_time(peer):
    peer.put({"c/a": {"x": 1}})
    peer.commit(peer.delete("c/a"))
    return [peer.commit(peer.update("c/a", {"x": 1})), peer.get("c/a")]


@check
def a_commit_does_all_or_nothing(peer):
    refused = attempt(peer.commit, peer.update("c/a", {"x": 1}), peer.update("c/b", {}, exists=True))
    return [refused, attempt(peer.get, "c/a")]


@check
def a_batch_does_each_write_on_its_own(peer):
    writes = [peer.update("c/a", {"x": 1}), peer.update("c/b", {}, exists=True), peer.delete("c/d", exists=False)]
    answer = peer.call("BatchWrite", {"database": peer.database, "writes": writes})
    return [answer, peer.get("c/a"), attempt(peer.get, "c/b")]


@check
def a_batch_may_verify(peer):
    peer.put({"c/a": {}, "c/b": {}})
    writes = [peer.verify("c/a", exists=False), peer.verify("c/b", exists=True)]
    return peer.call("BatchWrite", {"database": peer.database, "writes": writes})


@check
def a_batch_may_write_each_document_once(peer):
    writes = [peer.delete("c/a"), peer.delete("c/a")]
    return peer.call("BatchWrite", {"database": peer.database, "writes": writes})


@check
def a_batch_may_not_verify_what_it_writes(peer):
    writes = [peer.verify("c/a", exists=False), peer.delete("c/a")]
    return peer.call("BatchWrite", {"database": peer.database, "writes": writes})


@check
def more_than_500_writes_are_committed(peer):
    peer.commit(*(peer.update(f"c/{number}", {}) for number in range(501)))
    return len(found(peer.query(query())))


@check
def more_than_500_transforms_are_committed(peer):
    transforms = [{"fieldPath": f"f{number}", "increment": value(1)} for number in range(501)]
    peer.commit(peer.update("c/a", {}, transforms=transforms))
    return len(peer.get("c/a")["fields"])


@check
def a_verify_of_a_missing_document_is_answered(peer):
    return peer.commit(peer.verify("c/a", exists=False))


@check
def a_verify_changes_nothing_beside_a_write(peer):
    peer.put({"c/a": {"n": 1}, "c/b": {}})
    at = peer.get("c/a")["updateTime"]
    answer = peer.commit(peer.verify("c/a", updateTime=at), peer.update("c/b", {"n": 3}))
    return [answer, peer.get("c/a"), peer.get("c/b")]


@check
def a_transaction_verifies_what_it_read(peer):
    peer.put({"c/a": {"n": 1}, "c/b": {}})
    transaction = peer.begin(readWrite={})
    at = peer.get("c/a", transaction=transaction)["updateTime"]
    writes = [peer.verify("c/a", updateTime=at), peer.update("c/b", {"n": 3})]
    return peer.commit(*writes, transaction=transaction)


def _json_commit(peer, write):
    peer.put({"c/a": {"n": 1}})
    return peer.http("POST", f"{peer.root}:commit", {"writes": [write(peer)]})


table(
    "commit by JSON",
    _json_commit,
    {
        "verify that holds": lambda peer: peer.verify("c/a", exists=True),
        "verify that does not hold": lambda peer: peer.verify("c/a", exists=False),
        "verify without a precondition": lambda peer: peer.verify("c/a"),
        "update": lambda peer: peer.update("c/a", {"n": 2}, exists=True),
        "delete": lambda peer: peer.delete("c/a"),
        "nothing": lambda peer: {},
    },
)


def _one_write(peer, write):
    peer.put({"c/a": {"n": 1, "s": "x", "l": [1, "a"], "m": {"x": 1}}})
    return [peer.commit(write(peer)), attempt(peer.get, "c/a")]


def _at(peer):
    return peer.get("c/a")["updateTime"]


TRANSFORMS = {
    "increment of a number": {"fieldPath": "n", "increment": value(2)},
    "increment by a fraction": {"fieldPath": "n", "increment": value(0.5)},
    "increment of text": {"fieldPath": "s", "increment": value(2)},
    "increment of nothing": {"fieldPath": "z", "increment": value(2)},
    "increment in a map": {"fieldPath": "m.x", "increment": value(2)},
    "increment through a number": {"fieldPath": "n.x", "increment": value(2)},
    "increment by text": {"fieldPath": "n", "increment": value("2")},
    "increment beyond the largest": {"fieldPath": "n", "increment": value(2**63 - 1)},
    "increment by NaN": {"fieldPath": "n", "increment": value(NAN)},
    "maximum": {"fieldPath": "n", "maximum": value(2)},
    "maximum that is equal": {"fieldPath": "n", "maximum": value(1.0)},
    "maximum of null": {"fieldPath": "n", "maximum": value(None)},
    "maximum of nothing": {"fieldPath": "z", "maximum": value(2)},
    "minimum": {"fieldPath": "n", "minimum": value(0.5)},
    "minimum of NaN": {"fieldPath": "n", "minimum": value(NAN)},
    "append": {"fieldPath": "l", "appendMissingElements": {"values": [value(one) for one in (1.0, 2, 2, "a", None)]}},
    "append to text": {"fieldPath": "s", "appendMissingElements": {"values": [value(1)]}},
    "append nothing": {"fieldPath": "l", "appendMissingElements": {}},
    "append an array": {"fieldPath": "l", "appendMissingElements": {"values": [value([1])]}},
    "append a vector": {"fieldPath": "l", "appendMissingElements": {"values": [value(vector(1))]}},
    "remove": {"fieldPath": "l", "removeAllFromArray": {"values": [value(1.0), value("b")]}},
    "remove an array": {"fieldPath": "l", "removeAllFromArray": {"values": [value([1])]}},
    "remove from nothing": {"fieldPath": "z", "removeAllFromArray": {"values": [value(1)]}},
    "the server's time": {"fieldPath": "n", "setToServerValue": "REQUEST_TIME"},
    "no server value": {"fieldPath": "n", "setToServerValue": "SERVER_VALUE_UNSPECIFIED"},
    "nothing": {"fieldPath": "n"},
    "of a document's name": {"fieldPath": "__name__", "increment": value(1)},
    "of a type": {"fieldPath": "__type__", "increment": value(1)},
    "of a reserved field": {"fieldPath": "__x__", "increment": value(1)},
    "of no field": {"fieldPath": "", "increment": value(1)},
}
table(
    "transform",
    lambda peer, transform: _one_write(peer, lambda peer: peer.update("c/a", {}, mask=[], transforms=[transform])),
    TRANSFORMS,
)
table(
    "write",
    _one_write,
    {
        "verify": lambda peer: peer.verify("c/a", exists=True),
        "verify that it is missing": lambda peer: peer.verify("c/a", exists=False),
        "verify its time": lambda peer: peer.verify("c/a", updateTime=_at(peer)),
        "verify an old time": lambda peer: peer.verify("c/a", updateTime=LONG_AGO),
        "verify a later time": lambda peer: peer.verify("c/a", updateTime=LATER),
        "verify that another is there": lambda peer: peer.verify("c/z", exists=True),
        "verify without a precondition": lambda peer: peer.verify("c/a"),
        "verify with a mask": lambda peer: {**peer.verify("c/a", exists=True), "updateMask": {"fieldPaths": ["n"]}},
        "verify with a transform": lambda peer: {
            **peer.verify("c/a", exists=True),
            "updateTransforms": [{"fieldPath": "n", "increment": value(1)}],
        },
        "verify no name": lambda peer: {"verify": "", "currentDocument": {"exists": True}},
        "update under its time": lambda peer: peer.update("c/a", {}, updateTime=_at(peer)),
        "update under an old time": lambda peer: peer.update("c/a", {}, updateTime=LONG_AGO),
        "update under a later time": lambda peer: peer.update("c/a", {}, updateTime=LATER),
        "update under a time of nanoseconds": lambda peer: peer.update(
            "c/a", {}, updateTime="2020-01-01T00:00:00.000000001Z"
        ),
        "update of a missing one under a time": lambda peer: peer.update("c/z", {}, updateTime=LONG_AGO),
        "delete under a later time": lambda peer: peer.delete("c/a", updateTime=LATER),
        "delete of a missing one under a later time": lambda peer: peer.delete("c/z", updateTime=LATER),
        "delete of a missing one that must be there": lambda peer: peer.delete("c/z", exists=True),
        "delete of a missing one that must be missing": lambda peer: peer.delete("c/z", exists=False),
        "delete with a mask": lambda peer: {**peer.delete("c/a"), "updateMask": {"fieldPaths": ["n"]}},
        "delete with a transform": lambda peer: {
            **peer.delete("c/a"),
            "updateTransforms": [{"fieldPath": "n", "increment": value(1)}],
        },
        "no operation": lambda peer: {},
        "an empty precondition": lambda peer: {**peer.update("c/a", {}), "currentDocument": {}},
        "the old form of transforms": lambda peer: {
            "transform": {"document": peer.name("c/a"), "fieldTransforms": [TRANSFORMS["increment of a number"]]}
        },
        "two transforms of one field": lambda peer: peer.update(
            "c/a", {}, mask=[], transforms=[TRANSFORMS["increment of a number"], TRANSFORMS["maximum"]]
        ),
        "transforms of a field and one in it": lambda peer: peer.update(
            "c/a",
            {},
            mask=[],
            transforms=[TRANSFORMS["increment of a number"], TRANSFORMS["increment through a number"]],
        ),
        "a mask that overlaps": lambda peer: peer.update("c/a", {"m": {"y": 1}}, mask=["m", "m.y"]),
        "a mask with one field twice": lambda peer: peer.update("c/a", {"n": 2}, mask=["n", "n"]),
    },
)

# Two writes of one document in one commit: every pair, on an existing and on a missing document.
PAIRED = {
    "set": lambda peer, path, at: peer.update(path, {"n": 1}),
    "create": lambda peer, path, at: peer.update(path, {"n": 1}, exists=False),
    "update": lambda peer, path, at: peer.update(path, {"n": 1}, exists=True),
    "update of a version": lambda peer, path, at: peer.update(path, {"n": 1}, updateTime=at),
    "delete": lambda peer, path, at: peer.delete(path),
    "delete that needs it": lambda peer, path, at: peer.delete(path, exists=True),
    "delete that needs none": lambda peer, path, at: peer.delete(path, exists=False),
    "delete of a version": lambda peer, path, at: peer.delete(path, updateTime=at),
    "verify": lambda peer, path, at: peer.verify(path, exists=True),
    "verify that none is there": lambda peer, path, at: peer.verify(path, exists=False),
}


def _pair(peer, row):
    first, second, there = row
    at = LONG_AGO
    if there:
        peer.put({"c/a": {"n": 0}})
        at = _at(peer)
    writes = [PAIRED[first](peer, "c/a", at), PAIRED[second](peer, "c/a", at)]
    return [attempt(peer.commit, *writes), attempt(peer.get, "c/a")]


table(
    "pair",
    _pair,
    {
        f"{first}, then {second}, of a document that is {'there' if there else 'missing'}": (first, second, there)
        for first in PAIRED
        for second in PAIRED
        for there in (True, False)
    },
)

# Names

IDS = [
    "__id5__",
    "__id-5__",
    "__id007__",
    "__idabc__",
    "__id__",
    "__x__",
    "__",
    "___",
    "____",
    "_____",
    ".",
    "..",
    "a/b",
]
IDS += ["", "__id9223372036854775808__", "__id-9223372036854775808__", "__id-0__", "__id+5__", "a b", "a\0b", "%", "`"]
IDS += ["__a", "a__", "__ids__", "é", "\U0001f600"]
IDS_BY_LABEL = {repr(name): name for name in IDS}
IDS_BY_LABEL |= {f"{count} bytes": "x" * count for count in (1500, 1501)}
IDS_BY_LABEL |= {f"{2 * count} bytes of two each": "é" * count for count in (750, 751)}
table("document id", lambda peer, name: peer.commit(peer.update(f"c/{name}", {})), IDS_BY_LABEL)
table("collection id", lambda peer, name: peer.commit(peer.update(f"{name}/d", {})), IDS_BY_LABEL)

FIELDS = ["__x__", "", "__", "____", "_____", "__a", "a.b", "`", "\0", " ", "__name__", "__type__", "__id5__"]
FIELDS_BY_LABEL = {repr(name): name for name in FIELDS}
FIELDS_BY_LABEL |= {f"{count} bytes": "x" * count for count in (1498, 1499, 1500, 1501)}
FIELDS_BY_LABEL["1502 bytes of two each"] = "é" * 751
table("field", lambda peer, name: peer.commit(peer.update("c/a", {name: 1})), FIELDS_BY_LABEL)
table("field in a map", lambda peer, name: peer.commit(peer.update("c/a", {"m": {name: 1}})), FIELDS_BY_LABEL)
table("field in an array", lambda peer, name: peer.commit(peer.update("c/a", {"m": [{name: 1}]})), FIELDS_BY_LABEL)

PATHS = [
    "__name__",
    "a-b",
    "`a-b`",
    "1a",
    "a.b",
    "a..b",
    "",
    "`a",
    "a`",
    "a.`b`",
    "`__x__`",
    "__x__",
    "a.__x__",
    "`a`b",
]
PATHS += ["é", "a b", "``", "a\\.b", "`a\\`b`", ".a", "a.", "_", "a.__name__", "`a\\\\b`", "A9_"]
PATHS_BY_LABEL = {repr(path): path for path in PATHS}
table("mask", lambda peer, path: peer.commit(peer.update("c/a", {"a": 1}, mask=[path])), PATHS_BY_LABEL)
table("read mask", lambda peer, path: _one_write(peer, lambda peer: peer.update("c/a", {})) and peer.get(
    "c/a", mask={"fieldPaths": [path]}), PATHS_BY_LABEL)  # fmt: skip
table(
    "path of a filter", lambda peer, path: found(peer.query(query(where=condition(path, "EQUAL", 1)))), PATHS_BY_LABEL
)
table("path of an order", lambda peer, path: found(peer.query(query(orderBy=[order(path)]))), PATHS_BY_LABEL)

# Values


def _stored(peer, one):
    peer.put({"c/a": {"v": one}})
    return peer.get("c/a")


def _nested(count, wrap):
    nested = 1
    for _ in range(count):
        nested = wrap(nested)
    return nested


table(
    "value",
    _stored,
    {
        "latitude 91": geo(91, 0),
        "latitude -90, longitude 180": geo(-90, 180),
        "longitude -181": geo(0, -181),
        "latitude NaN": Raw(geoPointValue={"latitude": "NaN", "longitude": 0}),
        "reference": Ref("a/b"),
        "reference to a collection": Ref("a"),
        "reference to the root": Raw(referenceValue="<root>"),
        "reference to nothing": Raw(referenceValue=""),
        "reference to another project": Raw(referenceValue="projects/o/databases/(default)/documents/a/b"),
        "reference to a reserved id": Ref("a/__x__"),
        "reference to a number": Ref("a/__id7__"),
        "no type": Raw(),
        "first timestamp": Raw(timestampValue="0001-01-01T00:00:00Z"),
        "last timestamp": Raw(timestampValue="9999-12-31T23:59:59.999999999Z"),
        "timestamp of nanoseconds": time(1, 123_456_789),
        "negative zero": -0.0,
        "array in an array": [[1]],
        "array in a map in an array": [{"a": [1]}],
        "vector": vector(1, 2),
        "empty vector": vector(),
        "vector of integers": {"__type__": "__vector__", "value": [1, 2]},
        "vector of text": {"__type__": "__vector__", "value": ["a"]},
        "vector with a field": {"__type__": "__vector__", "value": [1.0], "x": 1},
        "vector without a value": {"__type__": "__vector__"},
        "another type": {"__type__": "other"},
        "vector in an array": [vector(1)],
        "vector in a map": {"m": vector(1)},
        "20 maps": _nested(20, lambda nested: {"k": nested}),
        "21 maps": _nested(21, lambda nested: {"k": nested}),
        "10 arrays with maps": _nested(10, lambda nested: [{"k": nested}]),
        "10 arrays with maps in a map": {"k": _nested(10, lambda nested: [{"k": nested}])},
        "empty ones": [{}, "", b""],
    },
)
table(
    "size",
    lambda peer, fields: peer.commit(peer.update("c/a", fields)),
    {
        "2048 dimensions": {"v": vector(*[0] * 2048)},
        "2049 dimensions": {"v": vector(*[0] * 2049)},
        "text of the longest size": {"s": "x" * 1_048_487},
        "text longer than that": {"s": "x" * 1_048_488},
        "bytes of the longest size": {"s": b"x" * 1_048_487},
        "bytes longer than that": {"s": b"x" * 1_048_488},
        # A document uses 52 bytes for `c/a`, and 2 for the name of each field.
        "the largest document": {"a": "x" * 524_000, "b": "x" * (1_048_576 - 524_000 - 58)},
        "a document larger than that": {"a": "x" * 524_000, "b": "x" * (1_048_576 - 524_000 - 57)},
    },
)
FILL = 1_048_576 - 524_000 - 58
SIZED = {
    "null": (None, 3), "true": (True, 3), "integer": (1, 10), "double": (1.5, 10), "timestamp": (time(1), 10),
    "point": (geo(1, 1), 18), "reference": (Ref("f/v"), 22), "longer reference": (Ref("f/v/f/v"), 26),
    "bytes": (b"12345", 7), "text": ("12345", 8), "empty array": ([], 3), "array": ([1, 1], 18),
    "empty map": ({}, 3), "map": ({"k": 1}, 12), "map in a map": ({"k": {"k": 1}}, 14), "vector": (vector(1, 2), 18),
}  # fmt: skip
for label, (plain, bytes_) in SIZED.items():
    rows = {f"{label} {what}": {"a": "x" * 524_000, "b": "x" * (FILL - bytes_ + more), "c": plain}
            for what, more in (("that fits", 0), ("a byte too large", 1))}  # fmt: skip
    table("size", lambda peer, fields: peer.commit(peer.update("c/a", fields)), rows)
for path in ("c/document", "c/a/c/a", "c/__id5__"):
    more = {"c/document": 7, "c/a/c/a": 4, "c/__id5__": 6}[path]
    for label, extra in (("fits", 0), ("is a byte too large", 1)):
        fields = {"a": "x" * 524_000, "b": "x" * (FILL - more + extra)}
        table("size", lambda peer, row: peer.commit(peer.update(*row)), {f"{path} {label}": (path, fields)})

# Documents


def _call_on_numbers(peer, row):
    method, request = row
    peer.put({**NUMBERS, "c/a/x/y": {"n": 1}, "c/zz/x/y": {}, "c/__id7__": {"n": 3}, "c/__id12__": {"n": 0}})
    request = {name: _named(peer, argument) for name, argument in request.items()}
    return peer.call(method, request)


def _named(peer, argument):
    match argument:
        case str():
            return argument.replace("<database>", peer.database).replace("<root>", peer.root)
        case list():
            return [_named(peer, element) for element in argument]
        case dict():
            return {name: _named(peer, member) for name, member in argument.items()}
    return argument


def _listing(**more):
    return ("ListDocuments", {"parent": "<root>", "collectionId": "c", **more})


def _collections(**more):
    return ("ListCollectionIds", {"parent": "<root>", **more})


table(
    "call",
    _call_on_numbers,
    {
        "get": ("GetDocument", {"name": "<root>/c/a"}),
        "get with an empty mask": ("GetDocument", {"name": "<root>/c/a", "mask": {}}),
        "get a missing one": ("GetDocument", {"name": "<root>/c/none"}),
        "get a collection": ("GetDocument", {"name": "<root>/c"}),
        "get the root": ("GetDocument", {"name": "<root>"}),
        "get at a later time": ("GetDocument", {"name": "<root>/c/a", "readTime": LATER}),
        "batch get": ("BatchGetDocuments", {"database": "<database>", "documents": ["<root>/c/b", "<root>/c/none"]}),
        "batch get each of two twice": (
            "BatchGetDocuments",
            {"database": "<database>", "documents": ["<root>/c/b", "<root>/c/none"] * 2},
        ),
        "batch get with a mask": (
            "BatchGetDocuments",
            {"database": "<database>", "documents": ["<root>/c/a"], "mask": {"fieldPaths": ["n"]}},
        ),
        "batch get a collection": ("BatchGetDocuments", {"database": "<database>", "documents": ["<root>/c"]}),
        "create": ("CreateDocument", {"parent": "<root>", "collectionId": "c", "documentId": "new", "document": {}}),
        "create what is there": ("CreateDocument", {"parent": "<root>", "collectionId": "c", "documentId": "a"}),
        "create with a name inside": (
            "CreateDocument",
            {"parent": "<root>", "collectionId": "c", "documentId": "k", "document": {"name": "<root>/c/k"}},
        ),
        "create without a collection": ("CreateDocument", {"parent": "<root>", "documentId": "k", "document": {}}),
        "create and read a part": (
            "CreateDocument",
            {
                "parent": "<root>",
                "collectionId": "c",
                "documentId": "k",
                "document": {"fields": encoded({"a": 1, "b": 2})},
                "mask": {"fieldPaths": ["a"]},
            },
        ),
        "update": ("UpdateDocument", {"document": {"name": "<root>/c/a", "fields": encoded({"z": 1})}}),
        "update a part": (
            "UpdateDocument",
            {
                "document": {"name": "<root>/c/a", "fields": encoded({"z": 1})},
                "updateMask": {"fieldPaths": ["z"]},
                "mask": {"fieldPaths": ["z"]},
            },
        ),
        "update makes a document": ("UpdateDocument", {"document": {"name": "<root>/c/new"}}),
        "update what must be there": (
            "UpdateDocument",
            {"document": {"name": "<root>/c/new"}, "currentDocument": {"exists": True}},
        ),
        "update nothing": ("UpdateDocument", {}),
        "delete": ("DeleteDocument", {"name": "<root>/c/a"}),
        "delete a missing one": ("DeleteDocument", {"name": "<root>/c/none"}),
        "delete what must be there": (
            "DeleteDocument",
            {"name": "<root>/c/none", "currentDocument": {"exists": True}},
        ),
        "delete what must be missing": (
            "DeleteDocument",
            {"name": "<root>/c/a", "currentDocument": {"exists": False}},
        ),
        "delete nothing": ("DeleteDocument", {"name": ""}),
        "list": _listing(),
        "list one": _listing(pageSize=1),
        "list as many as there are": _listing(pageSize=6),
        "list with a negative size": _listing(pageSize=-1),
        "list with missing ones": _listing(showMissing=True),
        "list all collections": _listing(collectionId=""),
        "list all collections of a document": ("ListDocuments", {"parent": "<root>/c/a"}),
        "list all collections with missing ones": _listing(collectionId="", showMissing=True),
        "list by a field": _listing(orderBy="n desc"),
        "list by two fields": _listing(orderBy="n, m desc"),
        "list by name, downward": _listing(orderBy="__name__ desc"),
        "list by a field and the name": _listing(orderBy="n, __name__ desc"),
        "list by one field twice": _listing(orderBy="n,n"),
        "list by nonsense": _listing(orderBy="n sideways"),
        "list by an order that ends early": _listing(orderBy="n desc,"),
        "list missing ones by a field": _listing(showMissing=True, orderBy="n"),
        "list with a page token of nonsense": _listing(pageToken="zz!"),
        "list with another page token of nonsense": _listing(pageToken="aGVsbG8="),
        "list a part": _listing(mask={"fieldPaths": ["n"]}),
        "list names": _listing(mask={}),
        "list a part of nonsense": _listing(mask={"fieldPaths": ["a..b"]}),
        "list below a missing document": ("ListDocuments", {"parent": "<root>/c/zz", "collectionId": "x"}),
        "list below a collection": ("ListDocuments", {"parent": "<root>/c", "collectionId": "x"}),
        "list below the database": ("ListDocuments", {"parent": "<database>", "collectionId": "c"}),
        "list a reserved collection": _listing(collectionId="__x__"),
        "collections": _collections(),
        "one collection": _collections(pageSize=1),
        "as many collections as there are": _collections(pageSize=2),
        "a negative number of collections": _collections(pageSize=-1),
        "collections with a page token of nonsense": _collections(pageToken="zz!"),
        "collections of a document": _collections(parent="<root>/c/a"),
        "collections of a missing document": _collections(parent="<root>/c/zz"),
        "collections of nothing": _collections(parent="<root>/c/none"),
        "collections of a collection": _collections(parent="<root>/c"),
        "collections at a later time": _collections(readTime=LATER),
        "partitions": (
            "PartitionQuery",
            {
                "parent": "<root>",
                "partitionCount": 3,
                "structuredQuery": {
                    "from": [{"collectionId": "c", "allDescendants": True}],
                    "orderBy": [order("__name__")],
                },
            },
        ),
        "an empty commit": ("Commit", {"database": "<database>"}),
    },
)


def _pages(method, part):
    """Returns a check that reads all pages."""

    def turn(peer, request):
        peer.put({f"{collection}/{name}": {"n": len(name)} for collection in "abcd" for name in ("x", "yy", "__id1__")})
        peer.put({"a/only/b/c": {}})
        pages, token = [], ""
        while not pages or token:
            answer = peer.call(method, {**_named(peer, request), "pageToken": token})
            pages.append([one["name"] if isinstance(one, dict) else one for one in answer.get(part, [])])
            token = answer.get("nextPageToken", "")
        # A full page may be followed by an empty one.
        return [page for page in pages if page]

    return turn


table(
    "pages",
    _pages("ListDocuments", "documents"),
    {
        "by name": {"parent": "<root>", "collectionId": "a", "pageSize": 1},
        "of missing ones": {"parent": "<root>", "collectionId": "a", "pageSize": 1, "showMissing": True},
        "by a field": {"parent": "<root>", "collectionId": "a", "pageSize": 2, "orderBy": "n desc"},
        "of all collections": {"parent": "<root>", "pageSize": 5},
    },
)
table("pages", _pages("ListCollectionIds", "collectionIds"), {"of collections": {"parent": "<root>", "pageSize": 3}})

# Queries


def _query(peer, structured):
    peer.put(NUMBERS)
    return found(peer.query(structured))


def _where(*filters, **more):
    return query(where=filters[0] if len(filters) == 1 else both(*filters), **more)


COMPARED = {"a string": "c/a", "a number": 1, "null": None, "a reference": Ref("c/a"), "a collection": Ref("c")}
COMPARED["a document of another collection"] = Ref("x/y")
OPERATORS = ["EQUAL", "NOT_EQUAL", "LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"]
table(
    "name",
    _query,
    {
        f"{operator} {label}": _where(condition("__name__", operator, operand))
        for operator in [*OPERATORS, "ARRAY_CONTAINS"]
        for label, operand in COMPARED.items()
    },
)
LISTS = {
    "no array": 1,
    "an empty array": [],
    "one": [1],
    "an array": [[1]],
    "null and NaN": [None, NAN],
    "the same twice": [1, 1],
}
LISTS |= {f"{count} values": list(range(count)) for count in (10, 11, 30, 31)}
table(
    "list",
    _query,
    {
        f"{operator} {label}": _where(condition("n", operator, operand))
        for operator in ("IN", "NOT_IN", "ARRAY_CONTAINS_ANY")
        for label, operand in LISTS.items()
    },
)


def _many(count, field="n"):
    return [condition(field, "EQUAL", number) for number in range(count)]


table(
    "query",
    _query,
    {
        "names in a list": _where(condition("__name__", "IN", [Ref("c/a"), Ref("c/none")])),
        "names not in a list": _where(condition("__name__", "NOT_IN", [Ref("c/a")])),
        "text in a list of names": _where(condition("__name__", "IN", ["c/a"])),
        "the name is null": _where(unary("__name__", "IS_NULL")),
        "the name is not null": _where(unary("__name__", "IS_NOT_NULL")),
        "all of nothing": query(where=both()),
        "any of nothing": query(where=either()),
        "an empty filter": query(where={}),
        "a filter without an operator": query(where={"compositeFilter": {"filters": [condition("n", "EQUAL", 1)]}}),
        "a filter without a value": query(where={"fieldFilter": {"field": {"fieldPath": "n"}, "op": "EQUAL"}}),
        "two of NOT_EQUAL on one field": _where(condition("n", "NOT_EQUAL", 1), condition("n", "NOT_EQUAL", 2)),
        "two of NOT_EQUAL on two fields": _where(condition("n", "NOT_EQUAL", 1), condition("m", "NOT_EQUAL", 2)),
        "two of NOT_EQUAL in alternatives": query(
            where=either(condition("n", "NOT_EQUAL", 1), condition("n", "NOT_EQUAL", 2))
        ),
        "NOT_EQUAL and NOT_IN": _where(condition("n", "NOT_EQUAL", 1), condition("n", "NOT_IN", [2])),
        "NOT_EQUAL and IS_NOT_NULL": _where(condition("n", "NOT_EQUAL", 1), unary("n", "IS_NOT_NULL")),
        "IS_NOT_NAN and IS_NOT_NULL": _where(unary("n", "IS_NOT_NAN"), unary("m", "IS_NOT_NULL")),
        "NOT_EQUAL and IN": _where(condition("n", "NOT_EQUAL", 1), condition("n", "IN", [1, 2])),
        "NOT_IN and IN": _where(condition("n", "NOT_IN", [1]), condition("m", "IN", [2])),
        "NOT_IN and ARRAY_CONTAINS_ANY": _where(
            condition("n", "NOT_IN", [1]), condition("m", "ARRAY_CONTAINS_ANY", [2])
        ),
        "NOT_IN and ARRAY_CONTAINS": _where(condition("n", "NOT_IN", [1]), condition("m", "ARRAY_CONTAINS", 2)),
        "NOT_IN in alternatives": query(where=either(condition("n", "NOT_IN", [1]), condition("m", "EQUAL", 2))),
        "two of ARRAY_CONTAINS": _where(condition("n", "ARRAY_CONTAINS", 1), condition("n", "ARRAY_CONTAINS", 2)),
        "two of ARRAY_CONTAINS on two fields": _where(
            condition("n", "ARRAY_CONTAINS", 1), condition("m", "ARRAY_CONTAINS", 2)
        ),
        "the same ARRAY_CONTAINS twice": _where(
            condition("n", "ARRAY_CONTAINS", 1), condition("n", "ARRAY_CONTAINS", 1)
        ),
        "two of ARRAY_CONTAINS in alternatives": query(
            where=either(condition("n", "ARRAY_CONTAINS", 1), condition("n", "ARRAY_CONTAINS", 2))
        ),
        "ARRAY_CONTAINS and ARRAY_CONTAINS_ANY": _where(
            condition("n", "ARRAY_CONTAINS", 1), condition("n", "ARRAY_CONTAINS_ANY", [2])
        ),
        "two of ARRAY_CONTAINS_ANY": _where(
            condition("n", "ARRAY_CONTAINS_ANY", [1, 2]), condition("n", "ARRAY_CONTAINS_ANY", [2])
        ),
        "36 disjunctions of two fields": _where(
            condition("n", "IN", list(range(6))), condition("m", "IN", list(range(6)))
        ),
        "30 disjunctions of two fields": _where(
            condition("n", "IN", list(range(6))), condition("m", "IN", list(range(5)))
        ),
        "33 disjunctions of one field": _where(
            condition("n", "IN", list(range(6))), condition("n", "IN", list(range(3, 9)))
        ),
        "31 alternatives": query(where=either(*_many(31))),
        "30 alternatives": query(where=either(*_many(30))),
        "31 alternatives of which three differ": query(where=either(*(_many(3) * 11)[:31])),
        "alternatives in alternatives": query(where=either(either(*_many(3)), both(*_many(1), either(*_many(2, "m"))))),
        "100 filters": query(where=both(*[condition(f"f{number}", "EQUAL", 1) for number in range(100)])),
        "101 filters": query(where=both(*[condition(f"f{number}", "EQUAL", 1) for number in range(101)])),
        "101 equal filters": query(where=both(*[condition("n", "EQUAL", 2)] * 101)),
        "100 orders": query(orderBy=[order(f"f{number}") for number in range(100)]),
        "101 orders": query(orderBy=[order(f"f{number}") for number in range(101)]),
        "inequalities on 10 fields": query(
            where=both(*[condition(f"f{number}", "LESS_THAN", 1) for number in range(10)])
        ),
        "inequalities on 11 fields": query(
            where=both(*[condition(f"f{number}", "LESS_THAN", 1) for number in range(11)])
        ),
        "implicit orders by the names of fields": _where(
            condition("n", "GREATER_THAN", 0), condition("m", "GREATER_THAN", 0)
        ),
        "implicit orders downward": _where(
            condition("n", "GREATER_THAN", 0), condition("m", "GREATER_THAN", 0), orderBy=[order("n", "DESCENDING")]
        ),
        "implicit orders with the name in the middle": _where(
            condition("n", "GREATER_THAN", 0),
            condition("__name__", "GREATER_THAN", Ref("c/a")),
            condition("m", "GREATER_THAN", 0),
        ),
        "an inequality on a field and an order by another": _where(
            condition("n", "GREATER_THAN", 0), orderBy=[order("m")]
        ),
        "an inequality on a field and an order by name": _where(
            condition("n", "GREATER_THAN", 0), orderBy=[order("__name__")]
        ),
        "an order by a field and one by name and an inequality on another": _where(
            condition("n", "GREATER_THAN", 0), orderBy=[order("m"), order("__name__")]
        ),
        "an order by name under an inequality on it": _where(
            condition("__name__", "GREATER_THAN", Ref("c/a")), orderBy=[order("__name__", "DESCENDING")]
        ),
        "an order by a field twice": query(orderBy=[order("n"), order("n", "DESCENDING")]),
        "an order after one by name": query(orderBy=[order("__name__"), order("n")]),
        "an order by name twice": query(orderBy=[order("__name__"), order("__name__")]),
        "an order without a direction": query(orderBy=[{"field": {"fieldPath": "n"}}]),
        "an order by name downward": query(orderBy=[order("__name__", "DESCENDING")]),
        "the name equal, beside an inequality": _where(
            condition("__name__", "EQUAL", Ref("c/a")), condition("n", "GREATER_THAN", 0)
        ),
        "the name equal, beside inequalities on it and another": _where(
            condition("__name__", "EQUAL", Ref("c/a")),
            condition("__name__", "GREATER_THAN", Ref("c/0")),
            condition("n", "GREATER_THAN", 0),
        ),
        "the name equal or an inequality": query(
            where=either(condition("__name__", "EQUAL", Ref("c/e")), condition("n", "GREATER_THAN", 1))
        ),
        "the name equal, beside an equality": _where(
            condition("__name__", "EQUAL", Ref("c/a")), condition("n", "EQUAL", 1)
        ),
        "the name in a list, beside an inequality": _where(
            condition("__name__", "IN", [Ref("c/a")]), condition("n", "GREATER_THAN", 0)
        ),
        "the name in a list, ordered": _where(
            condition("__name__", "IN", [Ref("c/a"), Ref("c/b")]), orderBy=[order("n", "DESCENDING")]
        ),
        "an inequality that never holds or one that may": query(
            where=either(condition("z", "LESS_THAN", None), condition("n", "GREATER_THAN", 1))
        ),
        "a cursor of text by name": query(orderBy=[order("__name__")], startAt=cursor("c/a")),
        "a cursor of a number by name": query(orderBy=[order("__name__")], startAt=cursor(1)),
        "a cursor by name": query(orderBy=[order("__name__")], startAt=cursor(Ref("c/a"))),
        "a cursor by the name of another collection": query(orderBy=[order("__name__")], startAt=cursor(Ref("x/a"))),
        "a cursor by the name of a collection": query(orderBy=[order("__name__")], startAt=cursor(Ref("x"))),
        "a cursor with a value too many": query(orderBy=[order("n")], startAt=cursor(1, 2)),
        "a cursor by an order that nobody named": query(orderBy=[order("n")], startAt=cursor(2, Ref("c/b"))),
        "a cursor without an order": query(startAt=cursor(Ref("c/a"))),
        "a cursor without an order, under an inequality": _where(condition("n", "GREATER_THAN", 0), startAt=cursor(1)),
        "a cursor by two orders": query(orderBy=[order("n"), order("__name__")], startAt=cursor(2, Ref("c/b"))),
        "a cursor by the first of two orders": query(orderBy=[order("n"), order("m")], startAt=cursor(2, before=True)),
        "an end": query(orderBy=[order("n")], endAt=cursor(2, before=True)),
        "an end and what is equal": query(orderBy=[order("n")], endAt=cursor(2)),
        "a cursor of nothing": query(orderBy=[order("n")], startAt=cursor()),
        "a cursor before nothing": query(orderBy=[order("n")], startAt=cursor(before=True)),
        "an end before nothing": query(orderBy=[order("n")], endAt=cursor(before=True)),
        "a negative limit": query(limit=-1),
        "a negative offset": query(offset=-1),
        "limit 0": query(limit=0),
        "an offset beyond the end": query(offset=9),
        "an offset and a limit": query(offset=1, limit=2),
        "no collection": {},
        "no collection, all below": {"from": [{"allDescendants": True}]},
        "no collection and a filter": {"where": condition("n", "EQUAL", 1)},
        "no collection and a filter on the name": {"where": condition("__name__", "GREATER_THAN", Ref("c/b"))},
        "no collection and an order": {"orderBy": [order("n")]},
        "no collection and an order by name": {"orderBy": [order("__name__")]},
        "no collection and an order by name downward": {"orderBy": [order("__name__", "DESCENDING")]},
        "two collections": {"from": [{"collectionId": "c"}, {"collectionId": "g"}]},
        "a reserved collection": query("__x__"),
        "a collection of no legal name": query("a/b"),
        "a group": {"from": [{"collectionId": "c", "allDescendants": True}]},
    },
)


@check
def the_answer_says_how_many_documents_an_offset_skipped(peer):
    peer.put(NUMBERS)
    return [answer.get("skippedResults") for answer in peer.query(query(offset=1))]


@check
def a_query_is_explained(peer):
    return found(peer.query(query(), explainOptions={"analyze": True}))


@check
def a_vector_is_searched_for(peer):
    near = {"vectorField": {"fieldPath": "v"}, "queryVector": value(vector(1)), "limit": 3}
    return found(peer.query(query(findNearest={**near, "distanceMeasure": "EUCLIDEAN"})))


@check
def a_query_at_a_later_time(peer):
    return found(peer.query(query(), readTime=LATER))


def _select(peer, fields):
    peer.put({"c/a": {"n": 1, "m": {"x": 1, "y": 2}, "q-r": 3}})
    selected = {"fields": [{"fieldPath": field} for field in fields]}
    return [answer["document"].get("fields") for answer in peer.query(query(select=selected)) if "document" in answer]


table(
    "select",
    _select,
    {
        repr(one): one
        for one in ([], ["__name__"], ["n"], ["m.x"], ["m", "m.x"], ["n", "n"], ["`q-r`"], ["a..b"], ["none"])
    },
)

VALUES = [
    None, False, True, NAN, float("-inf"), -1, -0.0, 0, 0.5, 9_007_199_254_740_992.0, 9_007_199_254_740_993, 2**63 - 1,
    9.3e18, float("inf"), time(0), time(1), "", "a", "b", "\uffee", "\U0001f600", b"", b"a", b"\xff", Ref("c/a"),
    Ref("c/__id7__"), Ref("c/a/c/a"), geo(0, 0), geo(0, 1), geo(1, 0), [], [1], [1, 0], ["a"], vector(2), vector(1, 2),
    {}, {"k": 1}, {"k": 2}, {"j": 9}, {"k": 1, "l": 1},
]  # fmt: skip
TYPED = {f"c/{number:02}": {"v": one} for number, one in enumerate(VALUES)} | {"c/none": {}}


def _typed(peer, structured):
    peer.put(TYPED)
    return found(peer.query(structured))


table("types", _typed, {f"in order {way}": query(orderBy=[order("v", way)]) for way in ("ASCENDING", "DESCENDING")})
table(
    "types",
    _typed,
    {operator: _where(unary("v", operator)) for operator in ("IS_NULL", "IS_NAN", "IS_NOT_NULL", "IS_NOT_NAN")},
)
table(
    "types",
    _typed,
    {
        f"{operator} {one!r}": _where(condition("v", operator, one))
        for operator in OPERATORS
        for one in (None, NAN, True, 0, 0.5, "a", b"a", time(0), Ref("c/a"), geo(0, 1), [1], vector(2), {"k": 1})
    },
)

NAMED = [
    "__id-9223372036854775808__",
    "__id-3__",
    "__id7__",
    "__id12__",
    "0",
    "Z",
    "_",
    "__",
    "a",
    "a b",
    "é",
    "\U0001f600",
]


@check
def numbers_sort_before_text_among_names(peer):
    peer.put({f"c/{name}": {} for name in NAMED} | {f"c/{name}/d/x": {} for name in NAMED})
    group = {"from": [{"collectionId": "d", "allDescendants": True}]}
    listed = peer.call("ListDocuments", {"parent": peer.root, "collectionId": "c"})["documents"]
    return [found(peer.query(query())), found(peer.query(group)), [document["name"] for document in listed]]


@check
def a_range_from_the_lowest_name_has_every_document_below_a_collection(peer):
    """The query of `recursive()` of the Python client and of `recursiveDelete` of the Node client."""
    peer.put({f"c/{name}": {} for name in ("0x", "Upper", "lower")} | {"c/Upper/d/X": {}, "cc/Q": {}, "b/A": {}})
    below = both(
        condition("__name__", "GREATER_THAN_OR_EQUAL", Ref("c/__id-9223372036854775808__")),
        condition("__name__", "LESS_THAN", Ref("c\0/__id-9223372036854775808__")),
    )
    return found(peer.query({"from": [{"allDescendants": True}], "where": below, "orderBy": [order("__name__")]}))


# Aggregations

COUNT = {"count": {}}
SUM = {"sum": {"field": {"fieldPath": "n"}}}
AVERAGE = {"avg": {"field": {"fieldPath": "n"}}}


def _aggregate(peer, row):
    structured, *aggregations = row
    peer.put({**NUMBERS, "c/f": {"n": "text", "m": 4}, "c/g": {"n": 0.5}})
    return peer.aggregate(structured, *aggregations)


def _summed(*numbers):
    def run(peer, _):
        peer.put({f"c/{place}": {"n": number} for place, number in enumerate(numbers)})
        return peer.aggregate(query(), SUM, AVERAGE)

    return run


table(
    "aggregation",
    _aggregate,
    {
        "count": (query(), COUNT),
        "sum": (query(), SUM),
        "average": (query(), AVERAGE),
        "all three": (query(), COUNT, SUM, AVERAGE),
        "sums of two fields": (query(), COUNT, SUM, {"sum": {"field": {"fieldPath": "m"}}}),
        "sum under a limit": (query(limit=2), SUM),
        "sum under a limit, ordered by another field": (query(limit=2, orderBy=[order("m", "DESCENDING")]), SUM),
        "sums of two fields under a limit": (query(limit=2), SUM, {"sum": {"field": {"fieldPath": "m"}}}),
        "sum under an offset": (query(offset=1), SUM),
        "count under a limit": (query(limit=2), COUNT),
        "count under an offset and a limit": (query(offset=4, limit=4), COUNT),
        "limit 0": (query(limit=0), COUNT, SUM, AVERAGE),
        "count up to two": (query(), {"count": {"upTo": "2"}}),
        "count up to none": (query(), {"count": {"upTo": "0"}}),
        "count up to less than none": (query(), {"count": {"upTo": "-1"}}),
        "sum of no numbers": (query(where=condition("n", "EQUAL", "text")), SUM, AVERAGE),
        "sum of a field under an inequality": (query(where=condition("m", "GREATER_THAN", 1)), SUM),
        "none": (query(),),
        "five": (query(), *[COUNT] * 5),
        "six": (query(), *[COUNT] * 6),
        "empty": (query(), {}),
        "an alias twice": (query(), {**COUNT, "alias": "a"}, {**COUNT, "alias": "a"}),
        "a reserved alias": (query(), {**COUNT, "alias": "__a__"}),
        "an alias with spaces": (query(), {**COUNT, "alias": "a b"}),
        "an alias that is too long": (query(), {**COUNT, "alias": "a" * 1501}),
        "an alias that another has by default": (query(), COUNT, {**COUNT, "alias": "field_1"}),
        "some without an alias": (query(), COUNT, {**COUNT, "alias": "a"}, COUNT),
        "sum of the name": (query(), {"sum": {"field": {"fieldPath": "__name__"}}}),
        "sum of no field": (query(), {"sum": {}}),
        "sum of a reserved field": (query(), {"sum": {"field": {"fieldPath": "__x__"}}}),
        "sum of a selected field": (query(select={"fields": [{"fieldPath": "n"}]}), SUM),
        "count with a selected field": (query(select={"fields": [{"fieldPath": "n"}]}), COUNT),
        "sum in the order of names": (query(orderBy=[order("__name__")]), SUM),
        "sum in the order of the field and of names": (query(orderBy=[order("n"), order("__name__")]), SUM),
        "sum of a range of names": (query(where=condition("__name__", "GREATER_THAN", Ref("c/a"))), SUM),
        "count downward by name": (query(orderBy=[order("__name__", "DESCENDING")]), COUNT),
        "count of no collection": ({}, COUNT),
        "sum of no collection": ({}, SUM),
    },
)
TOTALS = {
    "past the largest integer and back": (2**63 - 1, 1, -1),
    "past the smallest integer and back": (-(2**63), -1, 1),
    "past the largest integer": (2**63 - 1, 1),
    "large numbers and a fraction": (2**63 - 1, 0.5),
    "NaN": (1, NAN),
    "infinities": (float("inf"), float("-inf")),
    "fractions": (0.1, 0.2, 0.3),
    "integers and a whole double": (1, 2.0),
    "nothing": (),
}
for label, numbers in TOTALS.items():
    table("sum", _summed(*numbers), {label: None})

# Transactions


def _ended(peer, end):
    transaction = peer.begin(readWrite={})
    end(peer, transaction)
    again = [attempt(peer.get, "c/none", transaction=transaction), attempt(peer.commit, transaction=transaction)]
    retried = attempt(peer.begin, readWrite={"retryTransaction": transaction})
    return [*again, retried if retried == "INVALID_ARGUMENT" else "begun"]


@check
def a_committed_transaction_is_over(peer):
    return _ended(peer, lambda peer, transaction: peer.commit(transaction=transaction))


@check
def a_rolled_back_transaction_is_over(peer):
    def end(peer, transaction):
        peer.call("Rollback", {"database": peer.database, "transaction": transaction})

    return _ended(peer, end)


UNKNOWN = "AAAA"
table(
    "unknown transaction",
    lambda peer, call: call(peer),
    {
        "get": lambda peer: peer.get("c/a", transaction=UNKNOWN),
        "batch get": lambda peer: peer.call(
            "BatchGetDocuments",
            {"database": peer.database, "documents": [peer.name("c/a")], "transaction": UNKNOWN},
        ),
        "query": lambda peer: peer.query(query(), transaction=UNKNOWN),
        "aggregation": lambda peer: peer.aggregate(query(), COUNT, transaction=UNKNOWN),
        "list": lambda peer: peer.call(
            "ListDocuments", {"parent": peer.root, "collectionId": "c", "transaction": UNKNOWN}
        ),
        "commit": lambda peer: peer.commit(transaction=UNKNOWN),
        "roll back": lambda peer: peer.call("Rollback", {"database": peer.database, "transaction": UNKNOWN}),
        "retry": lambda peer: peer.begin(readWrite={"retryTransaction": UNKNOWN}),
    },
)


@check
def a_transaction_that_only_reads_sees_one_moment(peer):
    peer.put({"c/a": {"n": 1}, "d/b": {"n": 1}})
    transaction = peer.begin(readOnly={})
    first = peer.get("c/a", transaction=transaction)["fields"]
    peer.commit(peer.update("c/a", {"n": 2}), peer.update("d/b", {"n": 2}))
    second = peer.get("d/b", transaction=transaction)["fields"]
    queried = [answer["document"]["fields"] for answer in peer.query(query("d"), transaction=transaction)]
    counted = peer.aggregate(query("d"), SUM, transaction=transaction)
    return [first, second, queried, counted, peer.get("d/b")["fields"]]


@check
def a_transaction_that_only_reads_sees_the_moment_it_began(peer):
    peer.put({"c/a": {"n": 1}})
    transaction = peer.begin(readOnly={})
    peer.commit(peer.update("c/a", {"n": 2}), peer.update("c/b", {}))
    return [peer.get("c/a", transaction=transaction)["fields"], found(peer.query(query(), transaction=transaction))]


@check
def a_transaction_that_only_reads_writes_nothing(peer):
    return peer.commit(peer.update("c/a", {}), transaction=peer.begin(readOnly={}))


@check
def a_transaction_that_only_reads_may_be_committed(peer):
    transaction = peer.begin(readOnly={})
    peer.query(query(), transaction=transaction)
    return peer.commit(transaction=transaction).get("writeResults")


@check
def a_transaction_begins_with_a_read(peer):
    peer.put({"c/a": {"n": 1}})
    answers = peer.query(query(), newTransaction={"readWrite": {}})
    transaction = next(answer["transaction"] for answer in answers if "transaction" in answer)
    return [found(answers), peer.commit(peer.update("c/a", {"n": 2}), transaction=transaction)]


@check
def a_transaction_begins_with_a_read_of_one_moment(peer):
    peer.put({"c/a": {"n": 1}})
    ask = {"database": peer.database, "documents": [peer.name("c/a")], "newTransaction": {"readOnly": {}}}
    transaction = next(
        answer["transaction"] for answer in peer.call("BatchGetDocuments", ask) if "transaction" in answer
    )
    peer.commit(peer.update("c/a", {"n": 2}))
    return peer.get("c/a", transaction=transaction)["fields"]


@check
def a_transaction_reads_what_was_committed_after_it_began(peer):
    peer.put({"c/a": {"n": 1}, "d/b": {"n": 1}})
    transaction = peer.begin(readWrite={})
    peer.get("c/a", transaction=transaction)
    peer.commit(peer.update("d/b", {"n": 2}))
    read = peer.get("d/b", transaction=transaction)["fields"]
    return [read, peer.commit(peer.update("c/a", {"n": 3}), transaction=transaction)]


@check
def of_two_transactions_that_read_a_document_one_writes_it(peer):
    peer.put({"c/a": {"n": 1}})
    first, second = peer.begin(readWrite={}), peer.begin(readWrite={})
    for transaction in (first, second):
        peer.get("c/a", transaction=transaction)
    outcomes = [attempt(peer.commit, peer.update("c/a", {"n": 2}), transaction=one) for one in (first, second)]
    return sorted("committed" if isinstance(outcome, dict) else outcome for outcome in outcomes)


@check
def the_first_of_two_transactions_wins(peer):
    peer.put({"c/a": {"n": 1}})
    first, second = peer.begin(readWrite={}), peer.begin(readWrite={})
    for transaction in (first, second):
        peer.get("c/a", transaction=transaction)
    outcome = attempt(peer.commit, peer.update("c/a", {"n": 2}), transaction=first)
    attempt(peer.call, "Rollback", {"database": peer.database, "transaction": second})
    return "committed" if isinstance(outcome, dict) else outcome


@check
def a_transaction_at_a_past_time(peer):
    return peer.begin(readOnly={"readTime": LONG_AGO})


# By JSON


def _json(peer, row):
    verb, path, *body = row
    peer.put({**NUMBERS, "c/a/x/y": {}})
    return peer.http(verb, path.replace("<root>", peer.root), *body)


table(
    "JSON",
    _json,
    {
        "get": ("GET", "<root>/c/a"),
        "get a missing one": ("GET", "<root>/c/none"),
        "get a part": ("GET", "<root>/c/a?mask.fieldPaths=n"),
        "list": ("GET", "<root>/c"),
        "list one": ("GET", "<root>/c?pageSize=1"),
        "list with missing ones": ("GET", "<root>/c?showMissing=true"),
        "list by a field": ("GET", "<root>/g?orderBy=n%20desc"),
        "create": ("POST", "<root>/c?documentId=new", {"fields": encoded({"n": 1})}),
        "create what is there": ("POST", "<root>/c?documentId=a", {}),
        "update": ("PATCH", "<root>/c/a", {"fields": encoded({"n": 5})}),
        "update a part": ("PATCH", "<root>/c/a?updateMask.fieldPaths=n", {"fields": encoded({"n": 5})}),
        "update what must be there": ("PATCH", "<root>/c/none?currentDocument.exists=true", {}),
        "delete": ("DELETE", "<root>/c/a"),
        "delete what must be there": ("DELETE", "<root>/c/none?currentDocument.exists=true"),
        "query": ("POST", "<root>:runQuery", {"structuredQuery": query(orderBy=[order("n")], offset=1)}),
        "query of nothing": ("POST", "<root>:runQuery", {"structuredQuery": query("none")}),
        "aggregation": (
            "POST",
            "<root>:runAggregationQuery",
            {"structuredAggregationQuery": {"structuredQuery": query(), "aggregations": [COUNT]}},
        ),
        "collections": ("POST", "<root>:listCollectionIds", {}),
        "one collection": ("POST", "<root>:listCollectionIds", {"pageSize": 1}),
        "collections of a document": ("POST", "<root>/c/a:listCollectionIds", {}),
        "batch get": ("POST", "<root>:batchGet", {"documents": ["<root>/c/a", "<root>/c/none"]}),
        "an id that is no number": ("PATCH", "<root>/c/__idabc__", {}),
    },
)
