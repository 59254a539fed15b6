"""Whether a canary is promoted or rolled back. Without effects: numbers in, a verdict out."""

import dataclasses

PROMOTE = "promote"
ROLL_BACK = "rollback"
WAIT = "wait"
KEEP = "keep"


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Clips with at least one ended attempt on a revision.

    Clips and not attempts, since a clip that crashes any worker crashes it three times.
    """

    clips: int = 0
    # Clips with an attempt that failed by a fault of the fleet, also those that another attempt completed.
    failed: int = 0
    # Clips that failed by a fault of their request or source, by the revision's judgement.
    rejected: int = 0

    @property
    def failed_share(self):
        return self.failed / self.clips if self.clips else 0.0

    @property
    def rejected_share(self):
        return self.rejected / self.clips if self.clips else 0.0


@dataclasses.dataclass(frozen=True)
class Bounds:
    # Below this many clips a share says nothing: one failed clip of 20 is 5 %.
    min_clips: int = 20
    # One bad source is no bad release.
    min_failures: int = 3
    # The share at which the alert "Clips fail" fires.
    max_failed_share: float = 0.05
    # By how much the canary's share may exceed the stable revision's.
    max_excess: float = 0.03
    # The same for rejected clips. Larger, since one batch of a damaged source may meet one revision only.
    max_rejected_excess: float = 0.20
    min_minutes: float = 10
    max_minutes: float = 120
    # What happens to a canary that was neither good nor bad in this time: ROLL_BACK, PROMOTE or KEEP.
    at_deadline: str = ROLL_BACK


@dataclasses.dataclass(frozen=True)
class Verdict:
    decision: str
    reason: str


def judge(canary, stable, minutes, bounds):
    """The verdict on a canary, from its outcomes and the stable revision's in the same time.

    While both fail alike, the fleet has another problem (an outage of Cloud Storage): neither is decided.
    """
    known = stable.clips >= bounds.min_clips
    excess = canary.failed_share - stable.failed_share
    summary = (
        f"{canary.failed} of {canary.clips} clips failed on the canary, "
        f"{stable.failed} of {stable.clips} on the stable revision"
    )

    # With little to compare with, the absolute bound must be exceeded, too.
    worse = excess > bounds.max_excess and (known or canary.failed_share > bounds.max_failed_share)
    if canary.failed >= bounds.min_failures and worse:
        return Verdict(ROLL_BACK, summary)
    rejects_more = known and canary.rejected_share - stable.rejected_share > bounds.max_rejected_excess
    if canary.rejected >= bounds.min_failures and canary.clips >= bounds.min_clips and rejects_more:
        return Verdict(
            ROLL_BACK,
            f"the canary blames request or source for {canary.rejected} of {canary.clips} clips, "
            f"the stable revision for {stable.rejected} of {stable.clips}",
        )

    enough = canary.clips >= bounds.min_clips
    good = not worse and not rejects_more and canary.failed_share <= bounds.max_failed_share
    if enough and good and minutes >= bounds.min_minutes:
        return Verdict(PROMOTE, summary)
    if minutes >= bounds.max_minutes:
        return Verdict(bounds.at_deadline, f"no verdict after {bounds.max_minutes:g} minutes: {summary}")
    if not enough:
        return Verdict(WAIT, f"{summary}; a verdict needs {bounds.min_clips} clips on the canary")
    if not good:
        return Verdict(WAIT, f"{summary}; too many to promote, and not clearly the canary's fault")
    return Verdict(WAIT, f"{summary}; promoted after {bounds.min_minutes:g} minutes")


def combine(verdicts):
    """The verdict on a release from those of its pools: one bad pool is enough, and all must be good."""
    for decision in (ROLL_BACK, WAIT, KEEP, PROMOTE):
        for name, verdict in verdicts.items():
            if verdict.decision == decision:
                return Verdict(decision, f"{name}: {verdict.reason}")
    raise ValueError("no pool, no verdict")
