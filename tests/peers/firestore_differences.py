"""The intended differences between our Firestore and Google's emulator, each with its reason.

The keys are the names of checks. A listed check that does not differ fails the suite, so the list stays correct.
`crates/emulator/README.md` lists the reasons, one line each.
"""

TIMES = "reads at a past or later time are refused by name: our emulator keeps no history"
DOWNWARD = "the emulator does not scan names downward; the real service does, given an index"
CRASH = "the emulator fails with UNKNOWN; the error of the real service is INVALID_ARGUMENT"
ARRAYS = "the emulator stores an array or vector in an array; documentation: arrays cannot contain arrays"
RESERVED = "the emulator stores a reserved field; documentation: names like __x__ are reserved"
FULL_PAGE = "the emulator returns a token after the last page if that is full; documentation allows both"
NOT_HERE = "refused by name: not supported by our emulator"

LISTED = {
    "call: get at a later time": TIMES,
    "call: collections at a later time": TIMES,
    "a query at a later time": TIMES,
    "a transaction at a past time": TIMES,
    "call: list by name, downward": DOWNWARD,
    "query: an order by name under an inequality on it": DOWNWARD,
    "query: an order by name downward": DOWNWARD,
    "aggregation: count downward by name": DOWNWARD,
    "call: list with a page token of nonsense": CRASH,
    "call: collections with a page token of nonsense": CRASH,
    "pages: by a field": "the emulator fails with UNKNOWN on the second page; documentation: pages work in every order",
    "aggregation: six": CRASH,
    "transform: append an array": ARRAYS,
    "transform: append a vector": ARRAYS,
    "transform: of a document's name": RESERVED,
    "transform: of a type": RESERVED,
    "call: list as many as there are": FULL_PAGE,
    "call: as many collections as there are": FULL_PAGE,
    "a query is explained": NOT_HERE,
    "a vector is searched for": NOT_HERE,
    "a verify of a missing document is answered": (
        "the emulator answers the time of its read; documentation: the update time of the document, which has none"
    ),
    "call: an empty commit": "the emulator answers no commit time; documentation: the time of the commit",
    "aggregation: count up to none": "the emulator accepts 0; documentation: up_to must be greater than zero",
    "the answer says how many documents an offset skipped": (
        "the emulator repeats skipped_results in every answer but the last; documentation: results skipped between the "
        "last response and the current one"
    ),
    "the first of two transactions wins": (
        "Google's emulator locks documents that are read, so that the first waits for the second and fails; ours is "
        "optimistic, as the real service can be configured to be"
    ),
}

# The emulator's answer when it fails. A listener's stream fails like this at times, whatever it listens to.
FAULT = {"refused": "INTERNAL"}


def _ended(ours, theirs):
    if not isinstance(ours, list):
        return False
    documents, ends = ours
    return [list(end) for end in ends] == [[1, 0]] and theirs in (FAULT, [documents, []])


# Outcomes that depend on a race in the emulator: the reason, and whether both answers are acceptable.
UNSTABLE = {
    "listen: a target that is requested once": (
        "the emulator ends the stream with INTERNAL or keeps the target; documentation: the target is removed once it "
        "is current",
        _ended,
    ),
}
