"""The state of a release.

It is an annotation of the pool or service that it is about, and not a file: so any machine can promote or roll back,
and one request changes a pool and its record together, or neither. Whatever kills a release in between, the record is
true.

An annotation, since a label is limited to 63 characters of a small alphabet and ends up in the bill. Annotations follow
the rules of Kubernetes (256 KiB in all); a name without a prefix is the owner's own.
"""

import dataclasses
import json
from typing import Optional

from .failure import Failure

ANNOTATION = "clipfleet-release"

# The new revision exists, and no instance runs it.
PREPARED = "prepared"
# The new revision runs on a share of the instances.
CANARY = "canary"
# The new version runs everywhere.
RELEASED = "released"
# The version before it runs again.
ROLLED_BACK = "rolled_back"
PHASES = (PREPARED, CANARY, RELEASED, ROLLED_BACK)

UNKNOWN_VERSION = "unknown"


@dataclasses.dataclass(frozen=True)
class Previous:
    """What ran before."""

    version: str
    image: str
    # Empty for a service, which goes back by its image.
    revision: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    phase: str
    version: str
    since: str
    by: str
    # Of a pool: the revision of this version, once it exists. Empty for a service.
    revision: str = ""
    # Of a pool: the image of the services, which follow the workers.
    services_image: str = ""
    # Of a canary: its share of the instances.
    percent: int = 0
    # What a rollback goes back to; nothing after a rollback.
    previous: Optional[Previous] = None

    def replace(self, **fields):
        return dataclasses.replace(self, **fields)


def read(annotations, owner):
    """The record among the annotations of `owner`; None before its first release."""
    text = annotations.get(ANNOTATION)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        previous = fields.pop("previous", None)
        record = Record(**fields, previous=previous and Previous(**previous))
        if record.phase not in PHASES:
            raise ValueError(f"phase {record.phase} is unknown")
        return record
    except (ValueError, TypeError, AttributeError) as error:
        raise Failure(
            f"the annotation {ANNOTATION} of {owner} is not a record of a release: {error}: {text}",
            "use the version of deploy.sh that wrote it, or remove the annotation and release again",
        ) from error


def write(annotations, record):
    """The annotations with this record. The others stay."""
    fields = {name: value for name, value in dataclasses.asdict(record).items() if value}
    return {**annotations, ANNOTATION: json.dumps(fields, sort_keys=True)}
