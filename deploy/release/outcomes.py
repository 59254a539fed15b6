"""How clips ended on a revision, from the log lines of workers.

The same lines as infra's log-based metrics: they are logged once for each attempt. The metrics themselves know no
revision, and arrive minutes later.
"""

import datetime

from .clock import timestamp
from .verdict import Outcomes

COMPLETED = "clip completed"
FAILED = "clip failed: "
REQUEUED = "attempt requeued: "

# Failures by a fault of the fleet: `fleet_codes` of infra's metrics.tf, and a test compares the two.
FLEET_CODES = frozenset({
    "audio_mismatch", "dead_lettered", "encode_black", "encode_failed", "encode_frozen", "encode_mismatch",
    "encode_slip", "encoder_unavailable", "internal", "output_denied", "output_unavailable", "pipeline_crashed",
    "pipeline_not_started", "pipeline_overdue", "pipeline_protocol", "pipeline_stalled", "reframe_mismatch",
    "reframe_slip", "scratch_full", "scratch_unavailable", "source_denied", "source_unavailable", "verify_failed",
    "worker_lost",
})

PAGE_SIZE = 1000
# Entries may become readable this much later than they were logged.
MAX_DELAY = datetime.timedelta(minutes=5)


class OutcomeLog:
    """Reads the entries of one pool since the start of a canary. An entry that is read twice counts once."""

    def __init__(self, api, clock, project, region, pool, revisions, since):
        self.api = api
        self.clock = clock
        self.project = project
        self.since = since
        self.next = since
        self.clips = {revision: {} for revision in revisions}
        names = " OR ".join(f'resource.labels.revision_name="{revision}"' for revision in revisions)
        self.filter = (
            f'resource.type="cloud_run_worker_pool" AND resource.labels.worker_pool_name="{pool}" '
            f'AND resource.labels.location="{region}" AND ({names}) '
            f'AND (jsonPayload.message="{COMPLETED}" OR jsonPayload.message=~"^{FAILED}" '
            f'OR (jsonPayload.message=~"^{REQUEUED}" AND jsonPayload.code=~".+"))'
        )

    def read(self):
        """{revision: Outcomes} of all entries so far."""
        started = self.clock.now()
        body = {
            "resourceNames": [f"projects/{self.project}"],
            "filter": f'timestamp>="{timestamp(self.next)}" AND {self.filter}',
            "orderBy": "timestamp asc",
            "pageSize": PAGE_SIZE,
        }
        while True:
            answer = self.api.call("POST", "logging", "v2/entries:list", body=body)
            for entry in answer.get("entries", []):
                self._add(entry)
            if not answer.get("nextPageToken"):
                break
            body["pageToken"] = answer["nextPageToken"]
        self.next = max(self.since, started - MAX_DELAY)
        return {revision: count(clips.values()) for revision, clips in self.clips.items()}

    def _add(self, entry):
        line = entry["jsonPayload"]
        clips = self.clips[entry["resource"]["labels"]["revision_name"]]
        outcomes = clips.setdefault((line.get("batch"), line.get("clip")), set())
        outcomes.add(outcome(line))


def outcome(line):
    if line["message"] == COMPLETED:
        return "completed"
    return "failed" if line.get("code") in FLEET_CODES else "rejected"


def count(clips):
    """The outcomes of clips, each a set of how its attempts ended."""
    clips = list(clips)
    failed = sum("failed" in clip for clip in clips)
    rejected = sum("rejected" in clip and "failed" not in clip for clip in clips)
    return Outcomes(clips=len(clips), failed=failed, rejected=rejected)
