"""Generated checks: queries and aggregations over generated documents, and sequences of writes, all from one seed."""

import functools
import random

from firestore_peer import Ref, Refused, geo, time, value, vector

NAN = float("nan")
INFINITY = float("inf")
# Values of every type, with the edges of each.
VALUES = [
    None, True, False, NAN, -INFINITY, INFINITY, 0, -0.0, 0.0, 1, 1.0, 1.5, -1, 2, 3, 9_007_199_254_740_993,
    9_007_199_254_740_992.0, 2**63 - 1, -(2**63), 9.3e18, time(0), time(1), time(1, 1_000), "", "a", "b", "ab", "ä",
    "\U0001f600", "\uffee", b"", b"a", b"\xff", Ref("c/a"), Ref("c/b"), Ref("c/__id7__"), Ref("d/a"), geo(0, 0),
    geo(1, -1), [], [1], [1, 2], [1.0], [None], [NAN], ["a"], ["a", "b"], [{"k": 1}], vector(1), vector(2),
    vector(1, 2), {}, {"k": 1}, {"k": 1.0}, {"k": 2}, {"j": 1}, {"k": None}, {"k": {"k": 1}},
]  # fmt: skip
FIELDS = ["a", "b", "m.x", "`q-r`"]
IDS = ["a", "b", "B", "0", "_", "ä", "__id7__", "__id12__", "__id-3__", "zz", "Z9", "a b"]
ORDERED = ["LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL", "EQUAL", "NOT_EQUAL"]
LISTS = ["IN", "NOT_IN", "ARRAY_CONTAINS_ANY"]
UNARY = ["IS_NULL", "IS_NOT_NULL", "IS_NAN", "IS_NOT_NAN"]

QUERIES = 260
AGGREGATIONS = 60
WRITES = 60


def checks(seed):
    """Returns the checks of a seed, by name."""
    documents = _documents(random.Random(seed))
    made = []
    for kind, count in ((_query, QUERIES), (_aggregation, AGGREGATIONS)):
        for number in range(count):
            draw = random.Random(f"{seed} {kind.__name__} {number}")
            made.append((f"{kind.__name__[1:]} {number} of seed {seed}", functools.partial(_on, documents, kind(draw))))
    for number in range(WRITES):
        draw = random.Random(f"{seed} writes {number}")
        made.append((f"writes {number} of seed {seed}", functools.partial(_run_writes, _writes(draw))))
    return made


def _documents(draw):
    documents = {}
    for collection in ("c", "c/a/c", "d"):
        for name in IDS:
            fields = {field: draw.choice(VALUES) for field in ("a", "b", "q-r") if draw.random() < 0.8}
            if draw.random() < 0.5:
                fields["m"] = {"x": draw.choice(VALUES)}
            documents[f"{collection}/{name}"] = fields
    # Enough numbers and arrays for requests that only match these.
    for number in range(12):
        documents[f"c/n{number}"] = {
            "a": draw.choice([1, 2, 3, 1.5]),
            "b": [draw.choice([1, 2, "a"]) for _ in range(2)],
        }
    return documents


def _on(documents, request, peer):
    """Runs a request on the documents; returns names and selected fields for a query."""
    peer.put(documents)
    if "aggregations" in request:
        return peer.aggregate(request["query"], *request["aggregations"])
    answers = peer.query(request["query"])
    return [
        (answer["document"]["name"], answer["document"].get("fields")) for answer in answers if "document" in answer
    ]


def _field(draw, names=True):
    return "__name__" if names and draw.random() < 0.1 else draw.choice(FIELDS)


def _operand(draw, field):
    return Ref(f"c/{draw.choice(IDS)}") if field == "__name__" else draw.choice(VALUES)


def _filter(draw, depth=0):
    kind = draw.random()
    if kind < 0.25 and depth < 2:
        filters = [_filter(draw, depth + 1) for _ in range(draw.randint(1, 3))]
        return {"compositeFilter": {"op": draw.choice(["AND", "OR"]), "filters": filters}}
    if kind < 0.35:
        return {"unaryFilter": {"op": draw.choice(UNARY), "field": {"fieldPath": _field(draw, False)}}}
    if kind < 0.55:
        field = _field(draw)
        operands = [_operand(draw, field) for _ in range(draw.randint(1, 4))]
        # Arrays cannot contain arrays or vectors, so a list of operands has neither.
        operands = [operand for operand in operands if not isinstance(operand, list)] or [1]
        return _field_filter(field, draw.choice(LISTS), operands)
    field = _field(draw)
    operator = draw.choice(ORDERED) if draw.random() < 0.85 else "ARRAY_CONTAINS"
    return _field_filter(field, operator, _operand(draw, field))


def _field_filter(field, operator, operand):
    return {"fieldFilter": {"field": {"fieldPath": field}, "op": operator, "value": value(operand)}}


def _structured(draw):
    group = draw.random() < 0.3
    query = {"from": [{"collectionId": "c", "allDescendants": group}]}
    if draw.random() < 0.75:
        query["where"] = _filter(draw)
    orders = [_field(draw) for _ in range(draw.choice([0, 0, 1, 1, 2]))]
    if orders:
        query["orderBy"] = [_order(draw, field) for field in orders]
        for cursor in ("startAt", "endAt"):
            if draw.random() < 0.25:
                count = draw.randint(1, len(orders))
                values = [value(_operand(draw, field)) for field in orders[:count]]
                query[cursor] = {"values": values, "before": draw.random() < 0.5}
    if draw.random() < 0.3:
        query["limit"] = draw.randint(0, 6)
    if draw.random() < 0.15:
        query["offset"] = draw.randint(0, 4)
    return query


def _order(draw, field):
    # Google's emulator refuses to scan names in descending order; the real service needs an index for it.
    downward = field != "__name__" and draw.random() < 0.5
    return {"field": {"fieldPath": field}, "direction": "DESCENDING" if downward else "ASCENDING"}


def _query(draw):
    query = _structured(draw)
    if draw.random() < 0.2:
        query["select"] = {"fields": [{"fieldPath": draw.choice(FIELDS)} for _ in range(draw.randint(0, 2))]}
    return {"query": query}


def _aggregation(draw):
    kinds = [draw.choice(["count", "sum", "avg"]) for _ in range(draw.randint(1, 3))]
    aggregations = []
    for number, kind in enumerate(kinds):
        operand = {} if kind == "count" else {"field": {"fieldPath": draw.choice(["a", "b", "m.x"])}}
        if kind == "count" and draw.random() < 0.3:
            operand["upTo"] = str(draw.randint(1, 5))
        aggregations.append({"alias": f"r{number}" if draw.random() < 0.7 else "", kind: operand})
    return {"query": _structured(draw), "aggregations": aggregations}


def _writes(draw):
    """Returns a few commits, each of a few writes on a few documents."""
    return [[_write(draw) for _ in range(draw.randint(1, 3))] for _ in range(draw.randint(2, 5))]


def _write(draw):
    path = f"w/{draw.choice('xyz')}"
    condition = draw.choice([{}, {}, {}, {"exists": True}, {"exists": False}])
    kind = draw.random()
    if kind < 0.2:
        return ("delete", path, condition)
    if kind < 0.25:
        return ("verify", path, condition or {"exists": True})
    fields = {field: draw.choice(VALUES) for field in ("a", "b") if draw.random() < 0.7}
    fields["m"] = {"x": draw.choice(VALUES), "y": draw.choice([1, "y"])}
    mask = draw.sample(["a", "b", "m", "m.x", "m.z", "gone"], draw.randint(0, 3)) if draw.random() < 0.5 else None
    transforms = [_transform(draw) for _ in range(draw.choice([0, 0, 1, 2]))]
    return ("update", path, condition, fields, mask, transforms)


def _transform(draw):
    number = value(draw.choice([1, -1, 0.5, NAN, 2**63 - 1, -(2**63), -0.0, 0]))
    elements = [draw.choice(["a", 1, 1.0, None, NAN, {"k": 1}]) for _ in range(draw.randint(0, 3))]
    elements = {"values": [value(element) for element in elements]}
    kind = draw.choice(["increment", "maximum", "minimum", "appendMissingElements", "removeAllFromArray"])
    operand = elements if "Elements" in kind or "Array" in kind else number
    return {"fieldPath": draw.choice(["a", "b", "m.x", "m.n", "t"]), kind: operand}


def _run_writes(commits, peer):
    outcomes = []
    for writes in commits:
        made = [getattr(peer, kind)(path, *rest, **condition) for kind, path, condition, *rest in writes]
        try:
            outcomes.append(peer.commit(*made))
        except Refused as refused:
            outcomes.append(refused.code)
        answers = peer.query({"from": [{"collectionId": "w"}]})
        outcomes.append([answer["document"] for answer in answers if "document" in answer])
    return outcomes
