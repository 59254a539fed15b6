"""The intended differences between our Firestore and Google's emulator, each with its reason.

Names are those of checks. A check that is listed here and does not differ makes the suite red, so the list stays true.
`crates/emulator/README.md` repeats it for readers, a line for each reason.
"""

TIMES = "reads at a past or later time are refused by name: ours keeps no history"
DOWNWARD = "the emulator does not scan names downward; the real service does, given an index"
CRASH = "the emulator fails with UNKNOWN; the error of the real service is INVALID_ARGUMENT"
ARRAYS = "the emulator stores an array or vector in an array; documentation: arrays cannot contain arrays"
RESERVED = "the emulator stores a reserved field; documentation: names like __x__ are reserved"
FULL_PAGE = "the emulator gives a token behind the last page if that is full; documentation allows both"
NOT_HERE = "refused by name: not part of ours"

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
    "pages: by a field": "the emulator fails with UNKNOWN on the second page; documentation has pages in every order",
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
    "aggregation: count up to none": "the emulator takes 0; documentation: up_to must be greater than zero",
    "the answer says how many documents an offset skipped": (
        "the emulator repeats skipped_results in every answer but the last; documentation: results skipped between the "
        "last response and the current one"
    ),
    "the first of two transactions wins": (
        "Google's emulator locks what is read, so that the first waits for the second and gives up; ours is "
        "optimistic, as the real service may be told to be"
    ),
}

# What the emulator answers when it fails; a listener's stream does so now and then, whatever it listens to.
FAULT = {"refused": "INTERNAL"}


def _ended(ours, theirs):
    if not isinstance(ours, list):
        return False
    documents, ends = ours
    return [list(end) for end in ends] == [[1, 0]] and theirs in (FAULT, [documents, []])


# What a race in the emulator decides: the reason, and whether both answers are what they may be.
UNSTEADY = {
    "listen: a target that is asked once": (
        "the emulator ends the stream with INTERNAL or keeps the target; documentation: the target is removed once it "
        "is current",
        _ended,
    ),
}
