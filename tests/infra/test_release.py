"""Releases in a stand-in for a Google Cloud project (cloud_double.py): deploy/release with its own verbs, on a clock
that only sleeping moves."""

import contextlib
import datetime
import io
import itertools
import json
import os
import re
import sys
import tempfile
import unittest
import urllib.parse
from pathlib import Path
from unittest import mock

from cloud_double import CONTROL, CPU, GPU, PARENT, PROJECT, REGION, SEPARATE_SERVICES, SERVICES, HttpError, Project, serve
from terraform import INFRA, ROOT

sys.path.insert(0, str(ROOT / "deploy"))
from release import __main__ as deploy, api, images, outcomes, record, resources, verdict  # noqa: E402
from release.failure import Failure  # noqa: E402
from release.verdict import Bounds, Outcomes  # noqa: E402

DISPATCHER = "clipfleet-dispatcher"


def image(role, version):
    return f"{REGION}-docker.pkg.dev/{PROJECT}/clipfleet/{role}@sha256:{version}"


class Killed(BaseException):
    """The process ends here."""


class TestClock:
    def __init__(self):
        self.time = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
        self.on_sleep = []  # is called once each

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += datetime.timedelta(seconds=seconds)
        if self.on_sleep and seconds >= 30:
            self.on_sleep.pop(0)()


class LocalApi(api.Api):
    """The project's answers without a network."""

    def __init__(self, project, clock):
        super().__init__(clock, token=lambda: "token")
        self.project = project

    def _request(self, method, url, body):
        parts = urllib.parse.urlsplit(url)
        service = parts.netloc.split(".")[0]
        try:
            query = dict(urllib.parse.parse_qsl(parts.query))
            answer = self.project.handle(method, f"/{service}{parts.path}", query, body)
            return 200, json.dumps(answer)
        except HttpError as error:
            return error.code, json.dumps(error.body)


class LocalTerraform:
    """Creates what is missing, with the images that it is given."""

    def __init__(self, project, services):
        self.project = project
        self.pools = (GPU, CPU)
        self.services = services
        self.applied = []

    def init(self, root):
        pass

    def output(self, root, name):
        return f"{REGION}-docker.pkg.dev/{PROJECT}/clipfleet"

    def apply(self, root, **variables):
        self.applied.append((root, variables))
        if root != "region":
            return
        existing = {name.rsplit("/", 1)[-1] for name in self.project.resources}
        for name in set(self.pools) - existing:
            self.project.create_pool(name, variables["worker_image"])
        known = {*SERVICES, *SEPARATE_SERVICES}
        for name in known & existing - set(self.services):
            del self.project.resources[f"{PARENT}/services/{name}"]
        for name in set(self.services) - existing:
            self.project.create_service(name, variables["services_image"])


class ReleaseCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.variables = Path(folder.name) / "region.tfvars"
        self.variables.write_text(f'project = "{PROJECT}"\nregion = "{REGION}"\n')
        patch = mock.patch.dict(os.environ, {"REGION_VARS": str(self.variables)})
        patch.start()
        self.addCleanup(patch.stop)
        self.services = SERVICES
        self.start_anew()

    def start_anew(self):
        """An empty project."""
        self.clock = TestClock()
        self.project = Project(self.clock.now)
        self.terraform = LocalTerraform(self.project, self.services)
        self.addCleanup(self.check_requests, self.project)

    def use_services(self, *roles):
        """What `services` of infra/region says from now on."""
        text = re.sub(r"services = .*\n", "", self.variables.read_text())
        self.variables.write_text(text + f"services = {json.dumps(roles)}\n")
        self.services = self.terraform.services = tuple(f"clipfleet-{role}" for role in roles)

    def check_requests(self, project):
        """Whatever a test does: no change without mask and etag, and none of the instance count."""
        for method, path, query, body in project.requests:
            if method == "PATCH" and path.startswith("/run/"):
                self.assertTrue(query.get("updateMask"), path)
                self.assertTrue(body.get("etag"), path)
                self.assertNotIn("scaling", query["updateMask"])
                self.assertNotIn("scaling", body)
                self.assertLessEqual(set(body), {"name", "etag", *query["updateMask"].split(",")})

    def call(self, *arguments, version="v1", by="alice@example.com", images_of=None):
        """(exit status, what was said) of deploy.sh at a commit, by an operator with nothing but a fresh checkout."""

        def connect(options):
            return deploy.Deployment(options, self.clock, LocalApi(self.project, self.clock), self.terraform, by)

        names = {role: image(role, images_of or version) for role in ("worker", "services")}
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), \
                mock.patch.object(images, "commit", lambda: (version, f"{version}-commit")), \
                mock.patch.object(images, "push", lambda *_: names):
            try:
                status = deploy.main(list(arguments), connect)
            finally:
                self.said = said.getvalue()
        return status

    def done(self, *arguments, **options):
        self.assertEqual(self.call(*arguments, **options), 0, self.said)

    def fails(self, *arguments, **options):
        self.assertNotEqual(self.call(*arguments, **options), 0, self.said)

    def deployed(self, *versions, instances=4):
        """A fleet that runs the last of these versions, with an idle CPU pool."""
        for version in versions:
            self.done("release", version=version)
        self.project.set_count(GPU, instances)

    def runs(self, version, services=None):
        """All workers run a version, the services too or another one, and templates name the same images."""
        for pool in (GPU, CPU):
            self.assertEqual(self.project.running_images(pool), {image("worker", version): 100}, pool)
            self.assertEqual(self.project.pool(pool)["template"]["containers"][0]["image"], image("worker", version))
        for name in self.terraform.services:
            self.assertEqual(self.project.service_image(name), image("services", services or version), name)

    def record(self, name):
        resource = self.project.pool(name) if name in (GPU, CPU) else self.project.service(name)
        return record.read(resource["annotations"], name)

    def writes(self):
        """Names of what was changed, in order."""
        return [path.rsplit("/", 1)[-1] for method, path, _, _ in self.project.requests if method == "PATCH"]


class Releases(ReleaseCase):
    def test_the_first_release_lets_terraform_create_everything(self):
        self.done("release", version="v1")
        expected = {"worker_image": image("worker", "v1"), "services_image": image("services", "v1")}
        self.assertEqual(self.terraform.applied, [("region", expected)])
        self.runs("v1")
        self.assertEqual(self.record(GPU).phase, record.RELEASED)
        self.assertEqual(self.record(CONTROL).version, "v1")

    def test_a_later_release_needs_no_terraform_and_keeps_the_rest_of_the_template(self):
        self.deployed("v1")
        before = self.project.pool(GPU)["template"]
        self.done("release", version="v2")
        self.runs("v2")
        self.assertEqual(len(self.terraform.applied), 1)
        after = self.project.pool(GPU)["template"]
        self.assertTrue(after["gpuZonalRedundancyDisabled"])
        after = json.loads(json.dumps(after).replace("sha256:v2", "sha256:v1"))
        self.assertEqual(after, before)
        self.assertEqual(self.project.pool(GPU)["scaling"], {"manualInstanceCount": 4})

    # By the roles that a region runs as services of their own: their order in a release.
    ORDERS = {
        ("control",): [CONTROL],
        ("dispatcher", "status", "scaler"): ["clipfleet-status", "clipfleet-scaler", DISPATCHER],
    }

    def test_workers_roll_before_the_services_and_the_dispatcher_last(self):
        for roles, services in self.ORDERS.items():
            with self.subTest(roles=roles):
                self.start_anew()
                self.use_services(*roles)
                self.deployed("v1")
                self.project.requests.clear()
                self.done("release", version="v2")
                self.runs("v2")
                order = [name for name, _ in itertools.groupby(self.writes())]
                self.assertEqual(order, [GPU, CPU, GPU, CPU, *services])

    def test_a_rollback_goes_the_other_way(self):
        for roles, services in self.ORDERS.items():
            with self.subTest(roles=roles):
                self.start_anew()
                self.use_services(*roles)
                self.deployed("v1", "v2")
                self.project.requests.clear()
                self.done("rollback")
                self.runs("v1")
                order = [name for name, _ in itertools.groupby(self.writes())]
                self.assertEqual(order, [*reversed(services), GPU, CPU])

    def test_what_runs_side_by_side_is_all_rolled(self):
        """While a fleet moves from three services to one, or back."""
        self.use_services("dispatcher", "status", "scaler")
        self.deployed("v1")
        self.project.create_service(CONTROL, image("services", "v1"))
        self.done("release", version="v2")
        for name in (CONTROL, *SEPARATE_SERVICES):
            self.assertEqual(self.project.service_image(name), image("services", "v2"), name)
        self.done("status")
        for name in (CONTROL, *SEPARATE_SERVICES):
            self.assertIn(f"{name}: {name}-", self.said)

    def test_status_names_what_is_missing_and_not_what_belongs_to_the_other_layout(self):
        self.deployed("v1")
        self.done("status")
        self.assertNotIn("does not exist", self.said)
        del self.project.resources[f"{PARENT}/services/{CONTROL}"]
        self.done("status")
        self.assertEqual(re.findall("(.*): does not exist", self.said), [CONTROL])

    def test_from_three_services_to_one_and_back(self):
        for before, after in itertools.permutations(self.ORDERS):
            with self.subTest(before=before):
                self.start_anew()
                self.use_services(*before)
                self.deployed("v1", "v2")
                self.use_services(*after)
                self.done("apply", "region")
                self.runs("v2")
                # What was created runs no release yet: nothing ran before that a rollback could bring back.
                self.done("release", version="v2")
                self.done("rollback")
                self.runs("v1", services="v2")
                for name in self.terraform.services:
                    self.assertIn(f"{name}: nothing ran there before v2, so it keeps its image", self.said)
                self.done("release", version="v3")
                self.done("rollback")
                self.runs("v1", services="v2")

    def test_the_default_service_is_that_of_terraform(self):
        text = (INFRA / "region/variables.tf").read_text()
        default = re.search(r'variable "services" \{.*?default *= *(\[[^\]]*\])', text, re.DOTALL)[1]
        self.assertEqual(json.loads(default), [name.removeprefix("clipfleet-") for name in SERVICES])
        with mock.patch.dict(os.environ, {"REGION_VARS": str(self.variables)}):
            self.assertEqual(deploy.Settings().services, list(SERVICES))

    def test_workers_go_back_to_the_revision_that_still_exists(self):
        self.deployed("v1")
        first = resources.Pool(self.project.pool(GPU)).running()
        self.done("release", version="v2")
        self.done("rollback")
        self.assertEqual(resources.Pool(self.project.pool(GPU)).running(), first)

    def test_a_second_rollback_is_refused(self):
        self.deployed("v1", "v2")
        self.done("rollback")
        self.fails("rollback")
        self.assertIn("there is no release to roll back", self.said)
        self.runs("v1")

    def test_the_first_release_cannot_be_rolled_back(self):
        self.deployed("v1")
        self.fails("rollback")
        self.assertIn("remedy: release the commit that you want to run", self.said)

    def test_a_version_that_was_rolled_back_can_be_released_again(self):
        self.deployed("v1", "v2")
        self.done("rollback")
        self.done("release", version="v2")
        self.runs("v2")
        self.done("rollback")
        self.runs("v1")

    def test_the_same_release_again_changes_nothing(self):
        self.deployed("v1", "v2")
        self.project.requests.clear()
        self.done("release", version="v2")
        self.assertEqual(self.writes(), [])
        self.assertEqual(self.record(GPU).previous.version, "v1")

    def test_a_commit_with_the_images_of_the_one_before_is_a_release_too(self):
        self.deployed("v1", "v2")
        self.done("release", "--canary", "25", "--watch", "no", version="v3", images_of="v2")
        self.assertEqual(sorted(resources.Pool(self.project.pool(GPU)).shares().values()), [25, 75])
        self.done("promote")
        self.runs("v2")
        self.assertEqual((self.record(GPU).version, self.record(GPU).previous.version), ("v3", "v2"))
        self.done("rollback")
        self.assertEqual(self.record(GPU).version, "v2")
        self.runs("v2")

    def test_a_second_region_has_the_scaler_only(self):
        self.use_services("scaler")
        self.deployed("v1")
        self.done("release", version="v2")
        self.assertEqual(len(self.terraform.applied), 1)
        self.assertNotIn("clipfleet-dispatcher", self.said)
        self.assertNotIn(CONTROL, self.said)
        self.assertEqual(self.project.service_image("clipfleet-scaler"), image("services", "v2"))
        self.done("rollback")
        self.assertEqual(self.project.service_image("clipfleet-scaler"), image("services", "v1"))

    def test_a_region_without_gpus_has_the_cpu_pool_only(self):
        with self.variables.open("a") as file:
            file.write("l4_quota = 0\n")
        self.terraform.pools = (CPU,)
        self.done("release", version="v1")
        self.done("release", version="v2")
        self.assertEqual(len(self.terraform.applied), 1)
        self.assertEqual(self.project.running_images(CPU), {image("worker", "v2"): 100})
        self.done("rollback")
        self.assertEqual(self.project.running_images(CPU), {image("worker", "v1"): 100})

    def test_a_service_that_terraform_did_not_get_to_create_is_created(self):
        self.terraform.services = ()
        self.done("release", version="v1")
        self.terraform.services = SERVICES
        self.done("release", version="v1")
        self.runs("v1")

    def test_workers_that_do_not_start_get_no_instance_and_the_release_is_withdrawn(self):
        self.deployed("v1")
        self.project.broken.add(image("worker", "v2"))
        self.fails("release", version="v2")
        self.assertIn("failed its startup probe", self.said)
        self.runs("v1")
        self.assertEqual(self.record(GPU).phase, record.ROLLED_BACK)

    def test_workers_of_which_no_instance_starts_are_rolled_back(self):
        for options in ([], ["--canary", "25"]):
            self.start_anew()
            self.deployed("v1")
            self.project.crashing.add(image("worker", "v2"))
            self.fails("release", *options, version="v2")
            self.assertIn("no instance of", self.said)
            self.runs("v1")

    def test_a_service_that_does_not_start_is_reported_and_rolls_back(self):
        self.deployed("v1")
        self.project.broken.add(image("services", "v2"))
        self.fails("release", version="v2")
        self.assertIn("startup probe", self.said)
        self.assertEqual(self.project.service_image(CONTROL), image("services", "v1"))
        self.done("rollback")
        self.runs("v1")

    def test_a_revision_that_somebody_else_made_meanwhile_gets_no_instance(self):
        self.deployed("v1")
        others = []

        def before(method, path):
            # Between the revision and its instances.
            if method == "PATCH" and path.endswith(CPU) and not others:
                raw = self.project.pool(GPU)
                raw["template"]["containers"][0]["image"] = image("worker", "other")
                others.append(self.project._written(raw, new_revision=True))

        self.project.before = before
        self.fails("release", version="v2")
        self.assertIn("somebody else changes the pool", self.said)
        self.assertEqual(self.project.running_images(GPU), {image("worker", "v1"): 100})

    def test_a_template_with_a_named_revision_is_no_obstacle(self):
        self.deployed("v1")
        name = next(iter(self.project.revision_images(GPU)))
        self.project.pool(GPU)["template"]["revision"] = name
        self.done("release", version="v2")
        self.runs("v2")

    def test_sidecars_stay(self):
        self.deployed("v1")
        sidecar = {"name": "collector", "image": "collector@sha256:1"}
        self.project.service(CONTROL)["template"]["containers"].insert(0, sidecar)
        self.done("release", version="v2")
        containers = self.project.service(CONTROL)["template"]["containers"]
        self.assertEqual([it["image"] for it in containers], ["collector@sha256:1", image("services", "v2")])


class ReadingAPool(ReleaseCase):
    def test_of_two_revisions_the_larger_share_is_the_running_one(self):
        self.deployed("v1", "v2")
        old, new = self.project.revision_images(GPU)
        named = "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION"
        for shares in (((old, 10), (new, 90)), ((new, 90), (old, 10))):
            pool = {**self.project.pool(GPU), "instanceSplitStatuses": [
                {"type": named, "revision": revision, "percent": percent} for revision, percent in shares
            ]}
            self.assertEqual(resources.Pool(pool).running(), new)

    def test_a_release_goes_back_to_the_larger_share(self):
        self.deployed("v1", "v2")
        old, new = self.project.revision_images(GPU)
        pool = self.project.pool(GPU)
        pool["annotations"] = {}
        pool["instanceSplits"] = resources.splits({new: 20, old: 80})
        self.project._written(pool, new_revision=False)
        self.done("release", version="v3")
        self.assertEqual(self.record(GPU).previous.revision, old)
        self.done("rollback")
        self.assertEqual(self.project.running_images(GPU), {image("worker", "v1"): 100})

    def test_latest_is_the_newest_ready_revision(self):
        self.project.create_pool(GPU, image("worker", "v1"))
        raw = self.project.pool(GPU)
        ready = raw["latestReadyRevision"].rsplit("/", 1)[-1]
        self.assertEqual(resources.Pool(raw).running(), ready)
        del raw["instanceSplitStatuses"][0]["revision"]
        self.assertEqual(resources.Pool(raw).running(), ready)

    def test_a_pool_that_yields_no_revision_stops_the_release(self):
        self.deployed("v1")
        raw = self.project.pool(GPU)
        raw["instanceSplitStatuses"] = []
        del raw["latestReadyRevision"]
        raw["instanceSplits"] = []
        self.project.requests.clear()
        self.fails("release", version="v2")
        self.assertIn("no revision can be read", self.said)
        self.assertIn("remedy: gcloud run worker-pools describe", self.said)
        self.assertEqual(self.writes(), [])

    def test_equal_shares_are_an_error(self):
        pool = {"name": "p/x", "instanceSplitStatuses": resources.splits({"a": 50, "b": 50})}
        with self.assertRaises(Failure) as raised:
            resources.Pool(pool).running()
        self.assertIn("a and b on equal shares", raised.exception.message)

    def test_a_denied_read_is_not_a_missing_pool(self):
        self.deployed("v1")
        self.project.denied = {("GET", f"workerPools/{GPU}")}
        for verb in ("release", "promote", "rollback", "status", "apply"):
            self.fails(verb, version="v2")
            self.assertIn("403 Permission denied", self.said, verb)
        self.assertEqual(len(self.terraform.applied), 2, "the first release, and infra/global of apply")

    def test_a_denied_write_says_so(self):
        self.deployed("v1")
        self.project.denied = {("PATCH", f"workerPools/{GPU}")}
        self.fails("release", version="v2")
        self.assertIn("403 Permission denied", self.said)

    def test_an_unreadable_record_is_an_error(self):
        self.deployed("v1")
        self.project.pool(GPU)["annotations"][record.ANNOTATION] = '{"phase": "x"}'
        self.fails("release", version="v2")
        self.assertIn("is not a record of a release", self.said)


class Conflicts(ReleaseCase):
    def test_the_scaler_may_write_between_read_and_change(self):
        self.deployed("v1", instances=4)
        tries = itertools.count()

        def before(method, path):
            # At every first try of a change of this pool, the scaler is faster.
            if method == "PATCH" and path.endswith(GPU) and next(tries) % 2 == 0:
                self.project.set_count(GPU, self.project.pool(GPU)["scaling"]["manualInstanceCount"] + 1)

        self.project.before = before
        self.done("release", version="v2")
        self.runs("v2")
        self.assertEqual(next(tries), 4, "two changes, each of which was refused once")
        self.assertEqual(self.project.pool(GPU)["scaling"]["manualInstanceCount"], 6)

    def test_a_change_whose_answer_was_lost_is_not_made_twice(self):
        self.deployed("v1")
        lost = iter([True])

        def after(method, path):
            if method == "PATCH" and next(lost, False):
                raise HttpError(503, "UNAVAILABLE", "lost")

        self.project.after = after
        self.done("release", version="v2")
        self.runs("v2")
        self.assertEqual(len(self.project.revision_images(GPU)), 2)

    def test_a_scaler_that_never_stops_writing_ends_the_release_with_an_error(self):
        self.deployed("v1")
        self.project.before = lambda method, path: method == "PATCH" and self.project.set_count(GPU, 1)
        self.fails("release", version="v2")
        self.assertIn("409", self.said)


class Tokens(ReleaseCase):
    def test_a_token_that_has_expired_is_replaced(self):
        self.deployed("v1")
        server, endpoints = serve(self.project)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        tokens = iter(("expired", "token"))
        with mock.patch.dict(os.environ, endpoints):
            found = api.Api(self.clock, lambda: next(tokens)).get("run", f"v2/{PARENT}/workerPools/{GPU}")
        self.assertEqual(found["name"], f"{PARENT}/workerPools/{GPU}")
        self.assertEqual(list(tokens), [])

    def test_an_address_that_does_not_answer_is_tried_again(self):
        start = self.clock.now()
        with mock.patch.dict(os.environ, {"CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://127.0.0.1:9/"}):
            with self.assertRaises(api.Unavailable):
                api.Api(self.clock, lambda: "token").get("run", "v2/x")
        self.assertEqual((self.clock.now() - start).total_seconds(), 1 + 2 + 4 + 8)


class Canaries(ReleaseCase):
    def test_three_releases_one_bad_one_overridden(self):
        self.deployed("v1")
        self.done("release", "--canary", "25", version="v2")
        self.assertIn("promote: clipfleet-worker-gpu: 0 of", self.said)
        self.runs("v2")

        self.project.failing[image("worker", "v3")] = "encode_frozen"
        self.fails("release", "--canary", "25", version="v3")
        self.assertIn("v3 was rolled back", self.said)
        self.runs("v2")
        self.assertEqual((self.record(GPU).phase, self.record(GPU).version), (record.ROLLED_BACK, "v2"))

        # An operator on another machine promotes, long before the watch would.
        self.clock.on_sleep = [lambda: self.assertEqual(self.other("promote"), 0)]
        self.done("release", "--canary", "25", "--min-clips", "100000", version="v4")
        self.assertIn("overridden: clipfleet-worker-gpu: v4 is released, by bob@example.com", self.said)
        self.runs("v4")
        self.assertEqual(self.project.pool(GPU)["scaling"], {"manualInstanceCount": 4})

    def other(self, *arguments):
        said = self.said if hasattr(self, "said") else ""
        try:
            return self.call(*arguments, by="bob@example.com", version="(none)")
        finally:
            self.others, self.said = self.said, said

    def test_an_operator_may_roll_back_while_the_watch_runs(self):
        self.deployed("v1")
        self.clock.on_sleep = [lambda: self.assertEqual(self.other("rollback"), 0)]
        self.fails("release", "--canary", "25", "--min-clips", "100000", version="v2")
        self.assertIn("v1 is rolled_back, by bob@example.com", self.said)
        self.runs("v1")

    def test_a_promotion_just_before_the_verdict_stands(self):
        for decided in ("before the verdict", "during the rollback"):
            self.start_anew()
            self.deployed("v1")
            self.project.failing[image("worker", "v2")] = "encode_frozen"
            promoted = []

            def before(method, path):
                during = method == "PATCH" and path.endswith(GPU) and self.record(GPU).phase == record.CANARY
                early = path.startswith("/logging")
                if (during if decided == "during the rollback" else early) and not promoted:
                    promoted.append(True)
                    self.assertEqual(self.other("promote"), 0)

            self.project.before = before
            self.fails("release", "--canary", "25", version="v2")
            self.assertTrue(promoted)
            self.runs("v2")
            self.assertNotIn("was rolled back", self.said)

    def test_services_follow_at_the_promotion_only(self):
        self.deployed("v1")
        self.done("release", "--canary", "25", "--watch", "no", version="v2")
        self.assertEqual(self.project.running_images(GPU), {image("worker", "v1"): 75, image("worker", "v2"): 25})
        self.assertEqual(self.project.running_images(CPU), {image("worker", "v1"): 100}, "it has no instances")
        self.assertEqual(self.project.service_image(CONTROL), image("services", "v1"))
        self.done("promote", version="(none)")
        self.runs("v2")

    def test_a_pool_that_follows_its_latest_revision_never_runs_more_than_the_canary(self):
        self.project.create_pool(GPU, image("worker", "v1"), instances=4)
        for name in SERVICES:
            self.project.create_service(name, image("services", "v1"))
        shares = []

        def after(method, path):
            shares.append(self.project.running_images(GPU).get(image("worker", "v2"), 0))

        self.project.after = after
        with mock.patch.dict(os.environ, {"POOLS": GPU}):
            self.done("release", "--canary", "25", "--watch", "no", version="v2")
        self.assertEqual(max(shares), 25)

    def test_a_canary_can_be_watched_later(self):
        self.deployed("v1")
        self.done("release", "--canary", "25", "--watch", "no", version="v2")
        self.done("watch", version="(none)")
        self.runs("v2")
        self.fails("watch")
        self.assertIn("no canary runs", self.said)

    def test_a_share_of_less_than_one_instance_becomes_one(self):
        self.deployed("v1", instances=3)
        self.done("release", "--canary", "10", "--watch", "no", version="v2")
        self.assertIn("34 % are used", self.said)
        self.assertEqual(self.project.running_images(GPU)[image("worker", "v2")], 34)

    def test_one_instance_is_no_canary(self):
        for instances in (0, 1, 2):
            with self.subTest(instances=instances):
                self.start_anew()
                self.deployed("v1", instances=instances)
                self.project.requests.clear()
                self.fails("release", "--canary", "10", version="v2")
                self.assertIn("no pool has 3 instances", self.said)
                self.assertEqual(self.writes(), [])

    def test_nothing_else_is_released_or_applied_during_a_canary(self):
        self.deployed("v1")
        self.done("release", "--canary", "25", "--watch", "no", version="v2")
        for verb in (("release",), ("release", "--canary", "10"), ("apply", "region")):
            self.fails(*verb, version="v3")
            self.assertIn("a canary of v2 runs since 2030-01-01T", self.said)
            self.assertIn("started by alice@example.com", self.said)

    def test_the_first_release_has_no_canary(self):
        self.done("release", "--canary", "10", version="v1")
        self.assertIn("nothing runs that a canary could be compared with", self.said)
        self.runs("v1")

    def test_without_clips_the_deadline_rolls_back(self):
        self.deployed("v1")
        self.project.clips_per_read = 0
        self.fails("release", "--canary", "25", version="v2")
        self.assertIn("no verdict after 120 minutes", self.said)
        self.runs("v1")

    def test_the_deadline_may_keep_or_promote(self):
        for choice, status in (("keep", 1), ("promote", 0)):
            self.start_anew()
            self.deployed("v1")
            self.project.clips_per_read = 0
            self.assertEqual(self.call("release", "--canary", "25", "--at-deadline", choice, version="v2"), status)
            self.assertEqual(self.record(GPU).phase, record.CANARY if choice == "keep" else record.RELEASED)

    def test_ctrl_c_ends_the_watch_and_not_the_canary(self):
        self.deployed("v1")

        def interrupt():
            raise KeyboardInterrupt

        self.clock.on_sleep = [interrupt]
        self.assertEqual(self.call("release", "--canary", "25", "--min-clips", "1000", version="v2"), 130)
        self.assertIn("deploy/deploy.sh watch, promote or rollback", self.said)
        self.assertEqual(self.record(GPU).phase, record.CANARY)

    def test_a_split_that_was_changed_by_hand_ends_the_watch(self):
        self.deployed("v1")

        def by_hand():
            raw = self.project.pool(GPU)
            raw["instanceSplits"] = resources.splits({self.record(GPU).revision: 100})
            self.project._written(raw, new_revision=False)

        self.clock.on_sleep = [by_hand]
        self.fails("release", "--canary", "25", "--min-clips", "1000", version="v2")
        self.assertIn("the split was changed by hand", self.said)

    def test_a_log_that_may_not_be_read_leaves_the_canary_and_says_so(self):
        self.deployed("v1")
        self.project.denied = {("POST", "logging")}
        self.fails("release", "--canary", "25", version="v2")
        self.assertIn("runs on, unwatched", self.said)
        self.assertIn("403", self.said)
        self.assertEqual(self.record(GPU).phase, record.CANARY)

    def test_a_log_that_does_not_answer_ends_at_the_deadline(self):
        self.deployed("v1")

        def before(method, path):
            if path.startswith("/logging"):
                raise HttpError(503, "UNAVAILABLE", "try later")

        self.project.before = before
        self.fails("release", "--canary", "25", "--max-minutes", "20", version="v2")
        self.assertIn("no outcomes can be read", self.said)
        self.runs("v1")

    def test_an_outage_that_hits_both_is_not_held_against_the_canary(self):
        self.deployed("v1")
        for version in ("v1", "v2"):
            self.project.failing[image("worker", version)] = "output_unavailable"
        self.clock.on_sleep = [lambda: None] * 10 + [self.project.failing.clear]
        self.call("release", "--canary", "25", "--max-failed", "60", version="v2")
        self.assertIn("not clearly the canary's fault", self.said)
        self.runs("v2")

    def test_status_says_what_is_on_trial(self):
        self.deployed("v1")
        self.done("release", "--canary", "25", "--watch", "no", version="v2")
        self.done("status")
        self.assertIn("clipfleet-worker-gpu: 4 instances: 75 %", self.said)
        self.assertIn("v2 is a canary of 25 %, since 2030-01-01T", self.said)
        self.assertIn("before: v1 clipfleet-worker-gpu-", self.said)
        self.assertIn("several versions: v1, v2", self.said)


class Killings(ReleaseCase):
    """A process that ends at any change, before or after the change took effect, can be run again. With a service for
    each role, since these are the most changes."""

    def setUp(self):
        super().setUp()
        self.use_services("dispatcher", "status", "scaler")

    def each_moment(self, prepare, arguments, version, check):
        """Runs `arguments` with a death at its first, second, ... change, and then again."""
        for moment in ("before", "after"):
            deaths = 0
            while self.dies(prepare, arguments, version, moment, deaths):
                deaths += 1
                self.done(*arguments, version=version)
                check()
                self.assertEqual(self.project.pool(GPU)["scaling"], {"manualInstanceCount": 4})
            self.assertGreater(deaths, 3)

    def dies(self, prepare, arguments, version, moment, number):
        self.start_anew()
        prepare()
        left = itertools.count()

        def kill(method, path):
            if method == "PATCH" and next(left) == number:
                raise Killed

        setattr(self.project, moment, kill)
        try:
            self.call(*arguments, version=version)
            return False
        except Killed:
            return True
        finally:
            setattr(self.project, moment, lambda method, path: None)

    def test_a_release(self):
        def check():
            self.runs("v2")
            self.assertEqual(self.record(GPU).previous.version, "v1")
            self.assertEqual(self.record(DISPATCHER).previous.version, "v1")

        self.each_moment(lambda: self.deployed("v1"), ["release"], "v2", check)

    def test_a_release_with_a_canary(self):
        command = ["release", "--canary", "25", "--min-minutes", "1"]
        self.each_moment(lambda: self.deployed("v1"), command, "v2", lambda: self.runs("v2"))

    def test_a_promotion(self):
        def canary():
            self.deployed("v1")
            self.done("release", "--canary", "25", "--watch", "no", version="v2")

        self.each_moment(canary, ["promote"], "(none)", lambda: self.runs("v2"))

    def test_a_rollback(self):
        for moment in ("before", "after"):
            deaths = 0
            while self.dies(lambda: self.deployed("v1", "v2"), ["rollback"], "(none)", moment, deaths):
                deaths += 1
                # The last step of all brings the template back; then there is nothing left to roll back.
                self.call("rollback")
                self.done("apply", "region")
                self.runs("v1")
            self.assertGreater(deaths, 3)

    def test_a_killed_release_can_be_rolled_back(self):
        for number in range(4):
            self.dies(lambda: self.deployed("v1"), ["release"], "v2", "after", number)
            self.done("rollback")
            self.runs("v1")

    def test_another_version_can_follow_a_killed_release(self):
        for number in range(7):
            self.dies(lambda: self.deployed("v1"), ["release"], "v2", "after", number)
            self.done("release", version="v3")
            self.runs("v3")


class Shapes(ReleaseCase):
    def more_slots(self):
        """What Terraform does when a setting of the workers changed."""
        for name in (GPU, CPU):
            raw = self.project.pool(name)
            raw["template"]["containers"][0]["env"] = [{"name": "CLIPFLEET_SLOTS", "value": "3"}]
            self.project._written(raw, new_revision=True)

    def test_a_new_shape_runs_after_an_apply_and_not_before(self):
        self.deployed("v1", "v2")
        self.more_slots()
        self.assertNotEqual(self.slots(), "3", "an apply by Terraform alone moves no instance")
        self.done("apply", "region")
        self.assertEqual(self.slots(), "3")
        self.runs("v2")
        self.assertEqual(self.record(GPU).version, "v2")
        self.done("rollback")
        self.runs("v1")

    def slots(self):
        running = resources.Pool(self.project.pool(GPU)).running()
        revision = self.project.revisions[f"{PARENT}/workerPools/{GPU}/revisions/{running}"]
        return revision["containers"][0]["env"][0]["value"]

    def test_terraform_gets_the_images_that_run(self):
        self.deployed("v1", "v2")
        self.done("apply")
        expected = {"worker_image": image("worker", "v2"), "services_image": image("services", "v2")}
        self.assertEqual(self.terraform.applied[-2:], [("global", {}), ("region", expected)])

    def test_an_apply_without_a_new_shape_moves_no_instance(self):
        self.deployed("v1", "v2")
        self.done("rollback")
        running = resources.Pool(self.project.pool(GPU)).running()
        self.done("apply", "region")
        self.assertEqual(resources.Pool(self.project.pool(GPU)).running(), running)

    def test_an_unfinished_release_is_finished_first(self):
        self.deployed("v1")
        revision = resources.Pool(self.project.pool(GPU)).running()
        raw = self.project.pool(GPU)
        previous = record.Previous("v1", "x", revision)
        prepared = record.Record("prepared", "v2", "2030-01-01T00:00:00Z", "alice", previous=previous)
        raw["annotations"] = resources.Pool(raw).with_record(prepared)
        self.fails("apply", "region")
        self.assertIn("the release of v2 by alice is not finished", self.said)

    def test_nothing_is_applied_before_the_first_release(self):
        self.fails("apply", "region")
        self.assertIn("nothing is deployed in this region yet", self.said)


class Verdicts(unittest.TestCase):
    #       canary             stable             minutes   decision
    TABLE = [
        # Enough clips, all good.
        ((20, 0, 0),           (200, 0, 0),       10,       verdict.PROMOTE),
        ((20, 1, 0),           (200, 5, 0),       10,       verdict.PROMOTE),  # 5 % is allowed, 2.5 more, too
        # Too early, too few.
        ((20, 0, 0),           (200, 0, 0),       9.9,      verdict.WAIT),
        ((19, 0, 0),           (200, 0, 0),       60,       verdict.WAIT),
        # Bad: at once, and before the least number of clips.
        ((3, 3, 0),            (50, 0, 0),        1,        verdict.ROLL_BACK),
        ((100, 5, 0),          (1000, 10, 0),     30,       verdict.ROLL_BACK),  # 4 more, of 5 allowed
        # Two failures prove nothing, and promote nothing.
        ((2, 2, 0),            (50, 0, 0),        1,        verdict.WAIT),
        ((20, 2, 0),           (200, 0, 0),       30,       verdict.WAIT),
        # Nothing to compare with: the absolute bound decides.
        ((60, 3, 0),           (0, 0, 0),         10,       verdict.PROMOTE),
        ((50, 3, 0),           (0, 0, 0),         1,        verdict.ROLL_BACK),
        ((50, 3, 0),           (19, 0, 0),        1,        verdict.ROLL_BACK),
        ((60, 3, 0),           (1, 0, 0),         10,       verdict.PROMOTE),
        ((10, 10, 0),          (10, 10, 0),       1,        verdict.WAIT),
        # Both fail: the canary is not at fault, and is not promoted either.
        ((50, 25, 0),          (200, 100, 0),     60,       verdict.WAIT),
        ((50, 25, 0),          (200, 100, 0),     120,      verdict.ROLL_BACK),
        # A canary that blames sources that the stable revision takes.
        ((20, 0, 10),          (200, 0, 2),       5,        verdict.ROLL_BACK),
        ((20, 0, 10),          (200, 0, 90),      10,       verdict.PROMOTE),
        ((20, 0, 10),          (0, 0, 0),         10,       verdict.PROMOTE),  # nothing to compare with
        # The deadline.
        ((0, 0, 0),            (0, 0, 0),         120,      verdict.ROLL_BACK),
        ((20, 0, 0),           (200, 0, 0),       120,      verdict.PROMOTE),  # good is good
    ]

    def test_table(self):
        for canary, stable, minutes, expected in self.TABLE:
            with self.subTest(canary=canary, stable=stable, minutes=minutes):
                found = verdict.judge(Outcomes(*canary), Outcomes(*stable), minutes, Bounds())
                self.assertEqual(found.decision, expected, found.reason)

    def test_the_deadline_is_a_choice(self):
        for choice in (verdict.KEEP, verdict.PROMOTE, verdict.ROLL_BACK):
            found = verdict.judge(Outcomes(), Outcomes(), 120, Bounds(at_deadline=choice))
            self.assertEqual(found.decision, choice)

    def test_one_bad_pool_is_enough_and_all_must_be_good(self):
        def combined(**decisions):
            verdicts = {name: verdict.Verdict(decision, "") for name, decision in decisions.items()}
            return verdict.combine(verdicts).decision

        self.assertEqual(combined(gpu="promote", cpu="rollback"), verdict.ROLL_BACK)
        self.assertEqual(combined(gpu="promote", cpu="wait"), verdict.WAIT)
        self.assertEqual(combined(gpu="promote", cpu="promote"), verdict.PROMOTE)


class OutcomesOfRevisions(ReleaseCase):
    def log(self):
        api = LocalApi(self.project, self.clock)
        return outcomes.OutcomeLog(api, self.clock, PROJECT, REGION, GPU, ("old", "new"), self.clock.now())

    def test_each_entry_counts_once_and_for_its_revision(self):
        log = self.log()
        ended = {"old": [None], "new": [None, "encode_black", "source_empty"], "other": ["encode_black"]}
        for revision, codes in ended.items():
            for code in codes:
                self.project.log(GPU, revision, code)
        self.project.log(CPU, "new", "encode_black")
        expected = {"old": Outcomes(1, 0, 0), "new": Outcomes(3, 1, 1)}
        self.assertEqual(log.read(), expected)
        self.assertEqual(log.read(), expected)
        self.clock.sleep(600)
        self.project.log(GPU, "new")
        self.assertEqual(log.read()["new"], Outcomes(4, 1, 1))

    def test_an_entry_that_arrives_late_counts(self):
        log = self.log()
        self.clock.sleep(60)
        self.assertEqual(log.read()["new"], Outcomes())
        self.project.log(GPU, "new")
        self.clock.sleep(60)
        log.read()
        self.project.log(GPU, "new")
        self.project.entries[-1]["timestamp"] -= datetime.timedelta(minutes=1)
        self.clock.sleep(60)
        self.assertEqual(log.read()["new"], Outcomes(2, 0, 0))

    def test_a_clip_that_fails_again_and_again_is_one_clip(self):
        for _ in range(5):
            self.project.log(GPU, "new", "pipeline_crashed")
            self.project.entries[-1]["jsonPayload"]["clip"] = "c-same"
        self.project.log(GPU, "new")
        self.project.entries[-1]["jsonPayload"]["clip"] = "c-same"
        self.assertEqual(self.log().read()["new"], Outcomes(1, 1, 0))

    def test_an_attempt_that_was_requeued_without_a_code_is_not_counted(self):
        self.project.log(GPU, "new", "x")
        del self.project.entries[-1]["jsonPayload"]["code"]
        self.assertEqual(self.log().read()["new"], Outcomes())

    def test_the_messages_are_those_of_the_worker(self):
        text = (ROOT / "crates/worker/src/attempt.rs").read_text()
        for message in (outcomes.COMPLETED, outcomes.FAILED, outcomes.REQUEUED):
            self.assertIn(f'"{message}', text)

    def test_the_fleets_codes_are_those_of_the_metrics(self):
        text = next(INFRA.rglob("metrics.tf")).read_text()
        listed = re.search(r"fleet_codes = \[(.*?)\]", text, re.DOTALL)[1]
        self.assertEqual(set(re.findall(r'"(\w+)"', listed)), set(outcomes.FLEET_CODES))


class Documents(unittest.TestCase):
    def options(self):
        """{verb: {option: default}}"""
        verbs = next(it for it in deploy.parser()._actions if it.choices)
        return {name: {it.option_strings[-1]: it.default for it in verb._actions if it.option_strings}
                for name, verb in verbs.choices.items()}

    def test_options_of_a_canary_are_in_the_readme_with_their_defaults(self):
        readme = (ROOT / "deploy/README.md").read_text().split("### Canary")[1].split("\n### ")[0]
        listed = dict(re.findall(r"^\| `(--[a-z-]+)` \| `?(\w+)`? \|", readme, re.MULTILINE))
        bounds = {name: default for name, default in self.options()["watch"].items() if name != "--help"}
        self.assertEqual({name: str(default).removesuffix(".0") for name, default in bounds.items()}, listed)

    def test_verbs_are_in_the_script_and_the_readme(self):
        script = (ROOT / "deploy/deploy.sh").read_text()
        readme = (ROOT / "deploy/README.md").read_text()
        self.assertEqual(set(re.findall(r"^#   deploy/deploy.sh (\w+)", script, re.MULTILINE)), set(self.options()))
        for verb in self.options():
            self.assertIn(f"deploy.sh {verb}", readme)


if __name__ == "__main__":
    unittest.main()
