"""Verbs and options; `deploy/deploy.sh --help` prints them."""

import argparse
import os
import subprocess
import sys

from . import bootstrap, images, status
from .api import Api
from .clock import Clock
from .cloud_run import ChangeFailed, CloudRun, existing
from .failure import Failure
from .record import CANARY, PREPARED, RELEASED
from .rollout import SERVICES, Release, Rollout
from .settings import Settings
from .terraform import GLOBAL, REGION, Terraform
from .verdict import KEEP, PROMOTE, ROLL_BACK, Bounds
from .watch import OVERRIDDEN, Watch

INTERRUPTED = 130
MIN_PYTHON = (3, 9)


def main(arguments, connect=None):
    options = parser().parse_args(arguments)
    try:
        return options.verb((connect or Deployment)(options), options) or 0
    except Failure as failure:
        log(failure.message)
        print(f"remedy: {failure.remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        log("interrupted; run it again to go on, deploy/deploy.sh status shows what runs")
        return INTERRUPTED


class Deployment:
    """What the verbs work with."""

    def __init__(self, options, clock=None, api=None, terraform=None, by=None):
        self.settings = Settings()
        self.clock = clock or Clock()
        self.api = api or Api(self.clock)
        self.terraform = terraform or Terraform(self.settings, log, ask)
        project, region = self.settings.project, self.settings.region
        self.cloud = CloudRun(self.api, self.clock, project, region)
        self.rollout = Rollout(self.cloud, self.clock, self.settings.pools, by or operator(), log)
        if "min_clips" in options:
            self.watch = Watch(
                self.rollout, self.api, self.clock, project, region, bounds(options), options.poll_seconds, log
            )


def init(deployment, _options):
    bootstrap.prepare(deployment.api, deployment.settings, deployment.terraform, log)


def release(deployment, options):
    rollout, terraform, settings = deployment.rollout, deployment.terraform, deployment.settings
    version, revision = (options.images, "") if options.images else images.commit()
    rollout.refuse_during_canary("a release", version if options.canary else None)
    if options.canary:
        # Before minutes are spent on a build.
        shares = canary_shares(rollout, version, options.canary)
    terraform.init(GLOBAL)
    repository = terraform.output(GLOBAL, "image_repository")
    if options.images:
        names = images.published(deployment.api, repository, version)
    else:
        account = terraform.output(GLOBAL, "build_account") if options.builder == "cloud" else ""
        build = images.Build(settings, repository, version, revision, account)
        names = images.push(deployment.api, build, log)
    new = Release(version, names["worker"], names["services"])

    missing = rollout.missing(settings.services)
    if missing:
        log(f"creating {', '.join(missing)}")
        terraform.init(REGION)
        terraform.apply(REGION, worker_image=new.worker_image, services_image=new.services_image)
    try:
        rollout.prepare(new)
        if options.canary and shares:
            rollout.start_canary(new, shares)
        elif rollout.canary() is None:
            rollout.finish_pools(new)
    except ChangeFailed:
        log(f"{version} does not start")
        withdraw(rollout, version)
        raise
    if rollout.canary() is None:
        rollout.finish_services(new)
        log(f"{version} is deployed. Test it: deploy/smoke.sh")
        return 0
    if options.watch == "no":
        log(f"a canary of {version} runs: deploy/deploy.sh watch, promote or rollback")
        return 0
    return judge(deployment, new)


def canary_shares(rollout, version, percent):
    """The shares of a new canary; none for a canary that runs already, or if there is nothing to compare with."""
    pools = rollout.read_pools()
    if not pools:
        log("first release: nothing runs that a canary could be compared with")
        return {}
    current = rollout.current()
    if current and current.version == version and current.phase in (CANARY, RELEASED):
        return {}
    return rollout.canary_shares(percent)


def withdraw(rollout, version):
    """Rolls back workers that did not start. Best effort: the cause is what the operator must read."""
    try:
        rollout.rollback(version)
    except Failure as failure:
        log(f"it was not rolled back: {failure.message}")


def watch(deployment, _options):
    canary = deployment.rollout.canary()
    if canary is None:
        raise Failure("no canary runs", "deploy/deploy.sh status shows what runs")
    return judge(deployment, deployment.rollout.promotion())


def judge(deployment, new):
    """Watches a canary, and does what the verdict says."""
    rollout = deployment.rollout
    log(f"watching the canary of {new.version}. Ctrl-C ends the watch only; promote and rollback work from any shell")
    try:
        verdict = deployment.watch.run(new.version)
    except KeyboardInterrupt:
        log(f"the canary of {new.version} runs on, unwatched: deploy/deploy.sh watch, promote or rollback")
        return INTERRUPTED
    except Failure as failure:
        log(f"the canary of {new.version} runs on, unwatched: deploy/deploy.sh watch, promote or rollback")
        raise failure
    log(f"{verdict.decision}: {verdict.reason}")
    if verdict.decision == PROMOTE:
        rollout.finish(new)
        log(f"{new.version} is deployed. Test it: deploy/smoke.sh")
        return 0
    if verdict.decision == ROLL_BACK:
        rollout.rollback_canary(new.version)
        raise Failure(f"{new.version} was rolled back: {verdict.reason}", "see deploy/runbook.md, then release a fix")
    if verdict.decision == OVERRIDDEN:
        current = rollout.current()
        return 0 if current and (current.version, current.phase) == (new.version, RELEASED) else 1
    log(f"the canary of {new.version} runs on: deploy/deploy.sh watch, promote or rollback")
    return 1


def promote(deployment, _options):
    new = deployment.rollout.promotion()
    deployment.rollout.finish(new)
    log(f"{new.version} is deployed. Test it: deploy/smoke.sh")


def rollback(deployment, _options):
    left = deployment.rollout.rollback()
    log(f"{left} is rolled back")


def apply(deployment, options):
    rollout, terraform = deployment.rollout, deployment.terraform
    for root in options.roots or (GLOBAL, REGION):
        terraform.init(root)
        if root == GLOBAL:
            terraform.apply(GLOBAL)
            continue
        refuse_unfinished(rollout)
        for name in rollout.read_pools():
            rollout.restore_template(name)
        terraform.apply(REGION, **current_images(deployment))
        rollout.adopt()


def refuse_unfinished(rollout):
    rollout.refuse_during_canary("a change of the pools")
    for name, pool in rollout.read_pools().items():
        if pool.record and pool.record.phase == PREPARED:
            raise Failure(
                f"{name}: the release of {pool.record.version} by {pool.record.by} is not finished",
                "run it again, or deploy/deploy.sh rollback, then apply",
            )


def current_images(deployment):
    """Terraform uses them for what it creates, and leaves those of existing pools and services alone."""
    pools = deployment.rollout.read_pools()
    services = [existing(deployment.cloud.service, name) for name in SERVICES]
    services = [service.image for service in services if service]
    # A region without services still has their image in the records of its pools.
    services += [pool.record.services_image for pool in pools.values() if pool.record and pool.record.services_image]
    if not pools or not services:
        raise Failure("nothing is deployed in this region yet", "deploy/deploy.sh release, which creates it")
    return {"worker_image": next(iter(pools.values())).image, "services_image": services[0]}


def show_status(deployment, _options):
    for line in status.lines(deployment.cloud, deployment.settings.pools, deployment.settings.services):
        print(line)


def bounds(options):
    return Bounds(
        min_clips=options.min_clips,
        min_failures=options.min_failures,
        max_failed_share=options.max_failed / 100,
        max_excess=options.max_excess / 100,
        min_minutes=options.min_minutes,
        max_minutes=options.max_minutes,
        at_deadline=options.at_deadline,
    )


def operator():
    result = subprocess.run(["gcloud", "config", "get-value", "account"], capture_output=True, text=True)
    return result.stdout.strip() or "unknown"


def ask(question):
    print(question, end="", file=sys.stderr, flush=True)
    try:
        return input() == "yes"
    except EOFError as error:
        raise Failure("there is no terminal to approve on", "APPROVE=no applies without asking") from error


def log(text):
    print(f"deploy: {text}", file=sys.stderr, flush=True)


def parser():
    main_parser = argparse.ArgumentParser(prog="deploy/deploy.sh", description="See deploy/README.md.")
    verbs = main_parser.add_subparsers(required=True, metavar="VERB")

    def verb(name, function, text):
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=function)
        return added

    verb("init", init, "prepares a project: APIs, the bucket of Terraform's state, and infra/global")
    releasing = verb("release", release, "builds, pushes and rolls out this commit: workers first, then the services")
    releasing.add_argument("--canary", type=percentage, metavar="PERCENT", help="try it on some workers first")
    releasing.add_argument("--builder", choices=("local", "cloud"), default="local", help="where images are built")
    releasing.add_argument(
        "--images", metavar="VERSION", help="releases this version from the registry, such as a rebuild's; builds nothing"
    )
    releasing.add_argument(
        "--watch", choices=("yes", "no"), default="yes", help="wait for the verdict on the canary, and act on it"
    )
    add_bounds(releasing)
    add_bounds(verb("watch", watch, "watches the canary that runs, and promotes it or rolls it back"))
    verb("promote", promote, "all workers run the newest release, and the services follow")
    verb("rollback", rollback, "services and workers run again what ran before the newest release")
    verb("status", show_status, "shows which versions and revisions run")
    applying = verb("apply", apply, "changes what Terraform describes; images and instance counts stay")
    applying.add_argument("roots", nargs="*", type=root, metavar="global|region", help="default: both")
    return main_parser


def add_bounds(added):
    """Options of the verdict. Each default comes from the environment variable CANARY_OPTION, if it is set."""
    default = Bounds()

    def bound(name, kind, value, text):
        variable = f"CANARY_{name.upper().replace('-', '_')}"
        given = os.environ.get(variable, str(value))
        added.add_argument(f"--{name}", type=kind, default=given, help=f"{text} ({variable}, else {value})")

    bound("min-clips", positive(int), default.min_clips, "clips before a promotion")
    bound("min-failures", positive(int), default.min_failures, "failed clips before a rollback")
    bound("max-failed", positive(float), default.max_failed_share * 100, "percent of failed clips at a promotion")
    bound("max-excess", positive(float), default.max_excess * 100, "percent by which the canary may be worse")
    bound("min-minutes", positive(float), default.min_minutes, "minutes before a promotion")
    bound("max-minutes", positive(float), default.max_minutes, "minutes before the deadline")
    bound("poll-seconds", positive(float), 30, "seconds between two polls of the log")
    bound("at-deadline", at_deadline, default.at_deadline, "without a verdict until then: rollback, promote or keep")


def positive(kind):
    def parse(text):
        value = kind(text)
        if value < 0:
            raise argparse.ArgumentTypeError(f"{text} is below 0")
        return value

    parse.__name__ = "number"  # argparse: invalid number value: 'x'
    return parse


def at_deadline(text):
    if text not in (ROLL_BACK, PROMOTE, KEEP):
        raise argparse.ArgumentTypeError(f"{text} is unknown: use {ROLL_BACK}, {PROMOTE} or {KEEP}")
    return text


def percentage(text):
    if not (text.isdigit() and 1 <= int(text) <= 99):
        raise argparse.ArgumentTypeError(f"{text} is not a percentage: use 1 to 99")
    return int(text)


def root(text):
    if text not in (GLOBAL, REGION):
        raise argparse.ArgumentTypeError(f"{text} is unknown: use {GLOBAL} or {REGION}")
    return text


if __name__ == "__main__":
    if sys.version_info < MIN_PYTHON:
        sys.exit(f"deploy: python3 is {sys.version.split()[0]}\nremedy: install Python 3.9 or newer")
    sys.exit(main(sys.argv[1:]))
