"""Terraform: plan, approval, and apply of exactly the approved changes.

Google's provider writes a worker pool back whole, with the instance count and the splits that it read while planning
(Update in resource_cloud_run_v2_worker_pool.go; `ignore_changes` only makes it send the value that was read). A plan
that waits for approval while the scaler works would set the fleet back to the count of that time. So the plan that is
applied is made after the approval, and is applied at once, if it makes the same changes as the approved one.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from .failure import Failure

GLOBAL = "global"
REGION = "region"


class Terraform:
    def __init__(self, settings, log, ask):
        self.settings = settings
        self.log = log
        self.ask = ask

    def init(self, root):
        """Connects a root module to its state. Each has its own, and infra/region one for each region.

        A folder remembers the state that it used last, which may be another region's: that is replaced, not used.
        """
        used = self._used_state(root)
        bucket = self.settings.state_bucket or used.get("bucket")
        if not bucket:
            raise Failure(
                f"STATE_BUCKET is not set, and infra/{root} of this checkout has not used Terraform yet",
                "set the bucket of Terraform's state: STATE_BUCKET=... deploy/deploy.sh init",
            )
        prefix = f"clipfleet-{GLOBAL if root == GLOBAL else self.settings.region}"
        if (used.get("bucket"), used.get("prefix")) != (bucket, prefix):
            state = (f"-backend-config=bucket={bucket}", f"-backend-config=prefix={prefix}")
            self._run(root, "init", "-input=false", "-reconfigure", *state)

    def _used_state(self, root):
        """Bucket and prefix of the state that the folder is connected to; empty if there is none."""
        file = self.settings.root(root) / ".terraform" / "terraform.tfstate"
        return json.loads(file.read_text())["backend"]["config"] if file.is_file() else {}

    def output(self, root, name):
        result = self._run(root, "output", "-raw", name, capture=True)
        return result.strip()

    def apply(self, root, **variables):
        """Plans, asks, plans again, and applies if both plans change the same."""
        options = [f"-var-file={self.settings.variables_file(root)}"]
        options += [f"-var={name}={value}" for name, value in variables.items()]
        with tempfile.TemporaryDirectory() as folder:
            approved, plan = Path(folder) / "approved", Path(folder) / "plan"
            if not self.settings.approved_in_advance:
                self._run(root, "plan", "-input=false", f"-out={approved}", *options)
                expected = self._changes(root, approved)
                if not expected:
                    self.log(f"infra/{root}: nothing to change")
                    return
                if not self.ask(f"Apply these changes of infra/{root}? Only `yes` does: "):
                    raise Failure("not approved, nothing was applied", "run it again")
            self._run(root, "plan", "-input=false", f"-out={plan}", *options)
            if not self.settings.approved_in_advance and self._changes(root, plan) != expected:
                raise Failure(
                    f"the plan of infra/{root} has changed since it was approved, nothing was applied",
                    "compare the two plans above, then run it again",
                )
            self._run(root, "apply", "-input=false", str(plan))

    def _changes(self, root, plan):
        return changes(json.loads(self._run(root, "show", "-json", str(plan), capture=True)))

    def _run(self, root, *arguments, capture=False):
        command = ["terraform", f"-chdir={self.settings.root(root)}", *arguments]
        result = subprocess.run(command, stdout=subprocess.PIPE if capture else None, text=True)
        if result.returncode:
            raise Failure(f"terraform {arguments[0]} of infra/{root} failed", "see its output above")
        return result.stdout if capture else ""


def changes(plan):
    """What a plan changes: {resource: (actions, {attribute: (before, after)})}.

    Attributes that stay as they are do not count, whatever their value is: the scaler may change the instance count
    between two plans.
    """
    found = {}
    for resource in plan.get("resource_changes", []):
        change = resource["change"]
        if change["actions"] in (["no-op"], ["read"]):
            continue
        attributes = {}
        compare(change.get("before"), change.get("after"), change.get("after_unknown"), "", attributes)
        found[resource["address"]] = (tuple(change["actions"]), attributes)
    return found


def compare(before, after, unknown, path, found):
    """Collects the leaves that differ. A value that is known after the apply only counts without the one before."""
    if unknown is True:
        found[path] = ("(any)", "(known after apply)")
    elif isinstance(before, dict) and isinstance(after, dict):
        unknown = unknown if isinstance(unknown, dict) else {}
        for key in sorted({*before, *after, *unknown}):
            compare(before.get(key), after.get(key), unknown.get(key), f"{path}.{key}", found)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        unknown = unknown if isinstance(unknown, list) and len(unknown) == len(after) else [None] * len(after)
        for index, (one, other, it) in enumerate(zip(before, after, unknown)):
            compare(one, other, it, f"{path}[{index}]", found)
    elif before != after:
        found[path] = (before, after)
