"""Watches a canary until there is a verdict, or a person decides."""

import dataclasses

from .api import Unavailable
from .clock import parse_timestamp
from .outcomes import OutcomeLog
from .record import CANARY
from .verdict import WAIT, Outcomes, Verdict, combine, judge

# A person, or another release, decided.
OVERRIDDEN = "overridden"


@dataclasses.dataclass
class Trial:
    """The canary of one pool."""

    pool: str
    revision: str
    stable: str
    percent: int
    log: OutcomeLog


class Watch:
    def __init__(self, rollout, api, clock, project, region, bounds, poll_seconds, log):
        self.rollout = rollout
        self.api = api
        self.clock = clock
        self.project = project
        self.region = region
        self.bounds = bounds
        self.poll_seconds = poll_seconds
        self.log = log

    def run(self, version):
        """The verdict on the canary of a version."""
        trials, since = self._start(version)
        logged = None
        while True:
            pools = self.rollout.read_pools()
            override = overridden(trials, pools, version)
            if override:
                return override
            minutes = (self.clock.now() - since).total_seconds() / 60
            try:
                verdict = combine({trial.pool: self._judge(trial, pools, minutes) for trial in trials})
            except Unavailable as error:
                # The log is not all there is: the deadline holds, and a person can decide.
                verdict = Verdict(WAIT, error.message)
                if minutes >= self.bounds.max_minutes:
                    verdict = Verdict(self.bounds.at_deadline, f"no outcomes can be read: {error.message}")
            if verdict.decision != WAIT:
                return verdict
            if verdict.reason != logged:
                logged = verdict.reason
                self.log(f"{minutes:.0f} min: {logged}")
            self.clock.sleep(self.poll_seconds)

    def _start(self, version):
        records = {name: pool.record for name, pool in self.rollout.read_pools().items()}
        records = {name: it for name, it in records.items() if it and it.phase == CANARY and it.version == version}
        trials = [
            Trial(
                name, it.revision, it.previous.revision, it.percent,
                OutcomeLog(
                    self.api, self.clock, self.project, self.region, name, (it.revision, it.previous.revision),
                    parse_timestamp(it.since),
                ),
            )
            for name, it in records.items()
        ]
        return trials, min((parse_timestamp(it.since) for it in records.values()), default=self.clock.now())

    def _judge(self, trial, pools, minutes):
        outcomes = trial.log.read()
        canary, stable = outcomes[trial.revision], outcomes[trial.stable]
        if pools[trial.pool].instances == 0 and canary == stable == Outcomes():
            # The scaler took the pool to zero, and another pool works: nothing to judge, nothing to hold against it.
            idle = judge(canary, stable, minutes, self.bounds)
            return idle if minutes >= self.bounds.max_minutes else Verdict(WAIT, "the pool has no instances")
        return judge(canary, stable, minutes, self.bounds)


def overridden(trials, pools, version):
    """The verdict of somebody else, or None. It is read from the pools, so it may come from any machine."""
    if not trials:
        return Verdict(OVERRIDDEN, f"no canary of {version} runs")
    for trial in trials:
        record = pools[trial.pool].record if trial.pool in pools else None
        if record is None or record.version != version or record.phase != CANARY:
            now = f"{record.version} is {record.phase}, by {record.by}" if record else "its record is gone"
            return Verdict(OVERRIDDEN, f"{trial.pool}: {now}")
        share = pools[trial.pool].shares().get(trial.revision, 0)
        if share != trial.percent and not pools[trial.pool].reconciling:
            return Verdict(OVERRIDDEN, f"{trial.pool}: the split was changed by hand, {trial.revision} has {share} %")
    return None
