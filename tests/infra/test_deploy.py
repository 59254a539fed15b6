"""What docker/ and deploy/ say, against the validators that need neither engine nor account, and their scripts against
stand-ins: a project in the cloud (cloud_double.py), and gcloud, terraform and docker, which write down how they are
called."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from cloud_double import CPU, GPU, PROJECT, REGION, SERVICES, Project, serve
from terraform import ROOT, TOOLS

BIN = TOOLS / "requirements" / "bin"
DIGEST = "sha256:" + "ab" * 32
REPOSITORY = f"{REGION}-docker.pkg.dev/{PROJECT}/clipfleet"

# Each stand-in notes its name and arguments. It tells the project what it would have done there.
STAND_IN = f"#!{sys.executable} -IS" + """
import os, subprocess, sys, urllib.request
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
line = " ".join([name, *arguments])
with open(os.environ["CALLS"], "a") as calls:
    print(line, file=calls)

def tell(path):
    url = os.environ["CONTROL"] + "/control/" + path
    request = urllib.request.Request(url, data=b"{}", headers={"Authorization": "Bearer token"}, method="POST")
    urllib.request.urlopen(request).read()

"""

GCLOUD = STAND_IN + """
if arguments[:2] == ["auth", "print-access-token"]:
    print("token")
elif arguments[:2] == ["config", "get-value"]:
    print("alice@example.com")
elif arguments[:2] == ["builds", "submit"]:
    given = dict(it.split("=", 1) for it in line.split("--substitutions=")[1].rsplit(" ", 1)[0].split(","))
    for image in given["_IMAGES"].split():
        tell(f"push/{image}/{given['_VERSION']}")
"""

TERRAFORM = STAND_IN + """
if "output" in arguments:
    account = "projects/p/serviceAccounts/build"
    print({"image_repository": os.environ["REPOSITORY_URL"], "build_account": account}[arguments[-1]])
elif "show" in arguments:
    # The next of the plans that the test has put there; the last one stays.
    plans = sorted(os.listdir(os.environ["PLANS"]))
    with open(os.path.join(os.environ["PLANS"], plans[0])) as file:
        print(file.read())
    if len(plans) > 1:
        os.remove(os.path.join(os.environ["PLANS"], plans[0]))
elif "apply" in arguments and "region" in arguments[0]:
    tell("create")
"""

DOCKER = STAND_IN + """
if "inspect" in arguments and "imagetools" in arguments:
    print(os.environ["DIGEST"])
elif "--push" in arguments:
    image, version = arguments[arguments.index("--tag") + 1].rsplit("/", 1)[1].split(":")
    tell(f"push/{image}/{version}")
"""


class Cloud(Project):
    """A project that the stand-ins for terraform and docker change."""

    def _control(self, method, path, query, body):
        verb, *rest = path.split("/")
        if verb == "push":
            image, version = rest
            self.tags[image, version] = "sha256:" + f"{len(self.tags) + 1:064x}"
        else:
            newest = {image: f"{REPOSITORY}/{image}@{digest}" for (image, _), digest in self.tags.items()}
            existing = {name.rsplit("/", 1)[-1] for name in self.resources}
            for name in {GPU, CPU} - existing:
                self.create_pool(name, newest["worker"])
            for name in set(SERVICES) - existing:
                self.create_service(name, newest["services"])
        return {}


def run(*command, **settings):
    return subprocess.run([str(it) for it in command], cwd=ROOT, capture_output=True, text=True, **settings)


class Files(unittest.TestCase):
    def accepted(self, *command):
        told = run(*command)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)

    def test_hadolint_finds_nothing(self):
        self.accepted(BIN / "hadolint", "docker/Dockerfile")

    def test_compose_files_follow_the_specification(self):
        files = (ROOT / "docker").glob("compose*.yaml")
        self.accepted(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)

    def test_cloud_build_knows_every_key(self):
        self.accepted(BIN / "check-jsonschema", "--builtin-schema", "vendor.cloudbuild", "deploy/cloudbuild.yaml", "deploy/rebuild.yaml")

    def test_shellcheck_finds_nothing(self):
        told = run("git", "ls-files", "*.sh")
        scripts = told.stdout.splitlines()
        self.assertIn("deploy/deploy.sh", scripts)
        self.assertIn("tests/infra/run.sh", scripts)
        self.accepted(BIN / "shellcheck", "--external-sources", *scripts)

    def test_validators_can_fail(self):
        with tempfile.TemporaryDirectory() as folder:
            wrong = Path(folder) / "cloudbuild.yaml"
            wrong.write_text((ROOT / "deploy/cloudbuild.yaml").read_text().replace("steps:", "stages:"))
            told = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.cloudbuild", wrong)
            self.assertNotEqual(told.returncode, 0, told.stdout)
            dockerfile = Path(folder) / "Dockerfile"
            dockerfile.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
            self.assertNotEqual(run(BIN / "hadolint", dockerfile).returncode, 0)
            script = Path(folder) / "wrong.sh"
            script.write_text("#!/usr/bin/env bash\nrm $1\n")
            self.assertNotEqual(run(BIN / "shellcheck", script).returncode, 0)


class Scripts(unittest.TestCase):
    """Each in a copy of the tree's scripts that is a git checkout of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.tree = self.checkout("tree")
        self.calls = self.folder / "calls"
        self.plans = self.folder / "plans"
        self.plans.mkdir()
        self.plan("1", {})
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for name, text in (("gcloud", GCLOUD), ("terraform", TERRAFORM), ("docker", DOCKER)):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        self.cloud = Cloud()
        self.cloud.operation_reads = 1  # each further one is waited for
        server, self.endpoints = serve(self.cloud)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.control = f"http://127.0.0.1:{server.server_port}"

    def checkout(self, name):
        tree = self.folder / name
        for part in ("deploy", "docker"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        for root in ("global", "region"):
            (tree / "infra" / root).mkdir(parents=True)
            (tree / "infra" / root / "main.tf").write_text("# not read\n")
        (tree / ".gitignore").write_text("my.tfvars\n.terraform\n")
        self.git("init", "--quiet", tree=tree)
        self.commit(tree)
        return tree

    def with_variables(self):
        for root in ("global", "region"):
            (self.tree / "infra" / root / "my.tfvars").write_text(f'project = "{PROJECT}"\nregion  = "{REGION}"\n')

    def git(self, *arguments, tree=None):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        told = subprocess.run(["git", *identity, *arguments], cwd=tree or self.tree, capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stderr)
        return told.stdout.strip()

    def commit(self, tree=None):
        self.git("add", "--all", tree=tree)
        self.git("commit", "--quiet", "--allow-empty", "--message", "x", tree=tree)

    def plan(self, name, changes):
        """What `terraform show -json` prints of the next plan: {resource: (before, after)}."""
        update = {"actions": ["update"], "after_unknown": {"etag": True}}
        changes = [
            {"address": address, "change": {**update, "before": before, "after": after}}
            for address, (before, after) in changes.items()
        ]
        (self.plans / name).write_text(json.dumps({"resource_changes": changes}))

    def call(self, script, *arguments, tree=None, answer="", **environment):
        ours = ("GOOGLE_", "CLOUDSDK_", "CANARY_")
        path = [self.bin, Path(sys.executable).parent, os.environ["PATH"]]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            # This Python first: a python3 that only selects another one takes long to start.
            "PATH": ":".join(map(str, path)), "CALLS": str(self.calls), "CONTROL": self.control,
            "PLANS": str(self.plans), "DIGEST": DIGEST, "REPOSITORY_URL": REPOSITORY, **self.endpoints, **environment,
        }
        told = subprocess.run(
            [f"deploy/{script}.sh", *arguments], cwd=tree or self.tree, env=environment, input=answer,
            capture_output=True, text=True,
        )
        called = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return told, called

    def done(self, *arguments, **options):
        told, called = self.call("deploy", *arguments, **{"APPROVE": "no", "STATE_BUCKET": "states", **options})
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        return told, called

    def place(self, called, pattern):
        found = [index for index, call in enumerate(called) if re.search(pattern, call)]
        self.assertTrue(found, f"{pattern} is not among\n" + "\n".join(called))
        return found[0]

    def pinned(self):
        self.with_variables()
        self.call("images", "pin")
        self.commit()

    def worker_image(self):
        return f"{REPOSITORY}/worker@{self.cloud.tags['worker', self.git('describe', '--always')]}"

    def test_bases_are_pinned_and_nothing_is_pushed_before(self):
        repository = {"REPOSITORY": "example/clipfleet", "VERSION": "1"}
        told, called = self.call("images", "push", **repository)
        self.assertIn("deploy/images.sh pin", told.stderr)
        self.assertEqual((told.returncode, called), (1, []))
        told, _ = self.call("images", "pin")
        self.assertEqual(told.returncode, 0, told.stderr)
        bases = re.findall(r"^ARG (\w+_BASE)=(.*)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
        locked = (self.tree / "docker/bases.lock").read_text()
        expected = [(name, f"{image}@{DIGEST}") for name, image in bases]
        self.assertEqual(re.findall(r"^(\w+)=(.*)$", locked, re.MULTILINE), expected)
        told, called = self.call("images", "push", **repository)
        self.assertEqual(told.returncode, 0, told.stderr)
        for image in ("worker", "services"):
            call = called[self.place(called, f"--target {image} ")]
            self.assertIn("--push --sbom=true", call)
            self.assertIn(f"--build-arg MEDIA_BASE={dict(bases)['MEDIA_BASE']}@{DIGEST}", call)
            self.assertIn(f"--tag example/clipfleet/{image}:1", call)

    def test_a_base_of_another_tag_is_not_pinned(self):
        self.call("images", "pin")
        dockerfile = self.tree / "docker/Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("ubuntu:26.04", "ubuntu:26.10"))
        told, _ = self.call("images", "check")
        self.assertEqual(told.returncode, 1)
        self.assertIn("MEDIA_BASE", told.stderr)

    def test_init_prepares_a_clean_project_in_an_order_that_works(self):
        self.with_variables()
        _, called = self.done("init")
        self.assertEqual(self.cloud.buckets["states"]["versioning"], {"enabled": True})
        self.assertEqual(self.cloud.buckets["states"]["iamConfiguration"]["publicAccessPrevention"], "enforced")
        order = [
            r"^gcloud services enable serviceusage\S+ cloudresourcemanager\S+ .*--project=example-project",
            r"^terraform -chdir=\S+/infra/global init .*bucket=states .*prefix=clipfleet-global",
            r"^terraform -chdir=\S+/infra/region init .*bucket=states .*prefix=clipfleet-europe-west4",
            r"^terraform -chdir=\S+/infra/global plan .*-var-file=\S+/infra/global/my.tfvars",
            r"^terraform -chdir=\S+/infra/global apply",
        ]
        places = [self.place(called, pattern) for pattern in order]
        self.assertEqual(places, sorted(places))

    def test_init_may_be_repeated(self):
        self.with_variables()
        self.done("init")
        self.cloud.buckets["states"]["versioning"] = {"enabled": False}
        self.done("init")
        self.assertEqual(self.cloud.buckets["states"]["versioning"], {"enabled": True})

    def test_a_folder_that_was_used_for_another_region_gets_its_own_state(self):
        self.with_variables()
        for root, prefix in (("global", "clipfleet-global"), ("region", "clipfleet-us-east4")):
            state = self.tree / "infra" / root / ".terraform" / "terraform.tfstate"
            state.parent.mkdir()
            config = {"bucket": "states", "prefix": prefix}
            state.write_text(json.dumps({"version": 3, "backend": {"type": "gcs", "config": config}}))
        self.cloud.tags = {("worker", "v1"): DIGEST, ("services", "v1"): DIGEST}
        self.cloud._control("POST", "create", {}, {})
        told, called = self.call("deploy", "apply", APPROVE="no")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertEqual([call for call in called if " init " in call and "/infra/global " in call], [])
        self.place(called, "/infra/region init .*-reconfigure .*bucket=states .*prefix=clipfleet-europe-west4")

    def test_init_does_not_use_somebody_elses_bucket(self):
        self.with_variables()
        self.cloud.denied = {("GET", "storage")}
        told, called = self.call("deploy", "init", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 1)
        self.assertIn("gs://states exists and this account may not read it", told.stderr)
        self.assertFalse([call for call in called if call.startswith("terraform")], called)

    def test_a_fleet_from_its_first_release_to_a_rollback_on_another_machine(self):
        self.pinned()
        _, called = self.done("release")
        self.assertLess(self.place(called, "--push .*--target services"), self.place(called, "infra/region apply"))
        first = self.worker_image()
        self.assertEqual(self.cloud.running_images(GPU), {first: 100})

        self.cloud.set_count(GPU, 4)
        self.commit()
        self.git("tag", "-a", "v2", "-m", "x")
        watch = {"CANARY_MIN_MINUTES": "0", "CANARY_POLL_SECONDS": "0.1"}
        told, called = self.done("release", "--canary", "25", **watch)
        self.assertIn("promote: clipfleet-worker-gpu", told.stderr)
        self.assertEqual(self.cloud.running_images(GPU), {self.worker_image(): 100})
        self.assertFalse([call for call in called if re.search("^terraform .*(plan|apply)", call)], called)
        self.assertFalse([call for call in called if call.startswith("gcloud run")], "gcloud writes pools back whole")

        # A fresh clone, without state, variables and images: everything is with the pools.
        elsewhere = {"tree": self.checkout("elsewhere"), "GOOGLE_CLOUD_PROJECT": PROJECT, "GOOGLE_CLOUD_REGION": REGION}
        told, _ = self.call("deploy", "status", **elsewhere)
        self.assertIn("v2 is released", told.stdout)
        told, called = self.call("deploy", "rollback", **elsewhere)
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertFalse([call for call in called if call.startswith("terraform")], called)
        self.assertEqual(self.cloud.running_images(GPU), {first: 100})
        self.assertEqual(self.cloud.pool(GPU)["scaling"], {"manualInstanceCount": 4})
        for method, path, query, body in self.cloud.requests:
            if method == "PATCH" and path.startswith("/run/"):
                self.assertNotIn("scaling", body)
                self.assertTrue(query["updateMask"])

    def test_a_bad_canary_ends_the_release_with_an_error(self):
        self.pinned()
        self.done("release")
        first = self.worker_image()
        self.cloud.set_count(GPU, 4)
        self.commit()
        # The next image that is pushed fails its clips.
        self.cloud.failing[f"{REPOSITORY}/worker@sha256:{len(self.cloud.tags) + 1:064x}"] = "encode_black"
        told, _ = self.call("deploy", "release", "--canary", "25", CANARY_POLL_SECONDS="0.1", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 1)
        self.assertRegex(told.stderr, r"was rolled back: clipfleet-worker-gpu: \d+ of \d+ clips failed on the canary")
        self.assertEqual(self.cloud.running_images(GPU), {first: 100})

    def test_an_image_that_was_pushed_already_is_not_built_again(self):
        self.pinned()
        self.cloud.tags["worker", self.git("describe", "--always")] = DIGEST
        _, called = self.done("release")
        self.place(called, "--push .*--target services")
        self.assertFalse([call for call in called if "--target worker" in call], called)
        self.assertEqual(self.cloud.running_images(GPU), {f"{REPOSITORY}/worker@{DIGEST}": 100})

    def test_a_registry_that_may_not_be_read_has_no_missing_images(self):
        self.pinned()
        self.cloud.denied = {("GET", "artifactregistry")}
        told, called = self.call("deploy", "release", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 1)
        self.assertIn("403 Permission denied", told.stderr)
        self.assertFalse([call for call in called if "--push" in call], called)

    def test_what_is_pushed_by_a_rebuild_was_built_anew_and_tested(self):
        told, called = self.call("images", "rebuild", REPOSITORY=REPOSITORY, REVISION="c0ffee" + "0" * 34)
        self.assertEqual(told.returncode, 0, told.stderr)
        version = re.search(r"^rebuilt: (rebuild-[0-9]{8}-[0-9]{4}-c0ffee000000)$", told.stdout, re.M)[1]
        order = [
            r"^docker buildx rm --force clipfleet-rebuild$",
            r"^docker buildx imagetools inspect .*ubuntu:26.04$",
            r"^docker buildx inspect clipfleet-rebuild$",
            rf"^docker buildx build --builder clipfleet-rebuild .*MEDIA_BASE=\S+@{DIGEST} .*--target smoke ",
            rf"^docker buildx build --builder clipfleet-rebuild --push .*--target worker --tag {REPOSITORY}/worker:{version} ",
            rf"^docker buildx build --builder clipfleet-rebuild --push .*--target services --tag {REPOSITORY}/services:{version} ",
        ]
        places = [self.place(called, pattern) for pattern in order]
        self.assertEqual(places, sorted(places))
        self.assertIn(f"VERSION={version} --build-arg REVISION=c0ffee", called[places[-1]])

    def test_images_that_do_not_work_are_not_pushed(self):
        docker = self.bin / "docker"
        docker.write_text(DOCKER + "\nsys.exit('smoke' in arguments)\n")
        told, called = self.call("images", "rebuild", REPOSITORY=REPOSITORY)
        self.assertEqual(told.returncode, 1)
        self.assertIn("images: the images do not work", told.stderr)
        self.assertFalse([call for call in called if "--push" in call], called)

    def test_a_rebuild_is_released_by_its_version(self):
        self.pinned()
        self.done("release")
        rebuilt = {image: "sha256:" + digit * 64 for image, digit in (("worker", "1"), ("services", "2"))}
        for image, digest in rebuilt.items():
            self.cloud.tags[image, "rebuild-20261130-0300-c0ffee"] = digest
        # Also from a checkout with changes, since nothing is built from it.
        (self.tree / "deploy" / "new.txt").write_text("x")
        self.git("add", "--all")
        _, called = self.done("release", "--images", "rebuild-20261130-0300-c0ffee")
        self.assertFalse([call for call in called if "--push" in call or "builds submit" in call], called)
        self.assertEqual(self.cloud.running_images(GPU), {f"{REPOSITORY}/worker@{rebuilt['worker']}": 100})
        told, _ = self.call("deploy", "status")
        self.assertIn("rebuild-20261130-0300-c0ffee is released", told.stdout)
        told, _ = self.call("deploy", "release", "--images", "rebuild-1", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 1)
        self.assertIn("worker:rebuild-1 is not in the registry", told.stderr)

    def test_cloud_build_runs_as_its_own_account(self):
        self.pinned()
        _, called = self.done("release", "--builder", "cloud")
        call = called[self.place(called, "^gcloud builds submit")]
        self.assertIn("--service-account=projects/p/serviceAccounts/build", call)
        self.assertIn("_IMAGES=worker services", call)

    def test_what_is_not_committed_is_not_released(self):
        self.with_variables()
        (self.tree / "deploy" / "new.txt").write_text("x")
        self.git("add", "--all")
        told, called = self.call("deploy", "release", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 1)
        self.assertIn("not committed", told.stderr)
        self.assertFalse([call for call in called if "apply" in call or "push" in call], called)

    def test_wrong_use_is_named(self):
        self.with_variables()
        cases = (
            (["release", "--canary", "100"], "100 is not a percentage"),
            (["release", "--builder", "x"], "invalid choice: 'x'"),
            (["release", "--at-deadline", "never"], "never is unknown"),
            (["release", "--min-clips", "-1"], "-1 is below 0"),
            (["release", "--fast"], "--fast"),
            (["apply", "all"], "all is unknown"),
            (["deploy"], "invalid choice: 'deploy'"),
            ([], "VERB"),
        )
        for arguments, named in cases:
            told, called = self.call("deploy", *arguments)
            self.assertEqual(told.returncode, 2, arguments)
            self.assertIn(named, told.stderr)
            self.assertEqual([], called)
        told, _ = self.call("deploy", "release", "--canary", "10", CANARY_AT_DEADLINE="never")
        self.assertIn("never is unknown", told.stderr)
        (self.tree / "infra/region/my.tfvars").write_text('region = "europe-west4"\n')
        told, _ = self.call("deploy", "release")
        self.assertIn("names no project", told.stderr)
        (self.tree / "infra/region/my.tfvars").unlink()
        told, _ = self.call("deploy", "status")
        self.assertIn("cp infra/region/example.tfvars infra/region/my.tfvars", told.stderr)
        self.with_variables()
        told, _ = self.call("deploy", "release")
        self.assertIn("STATE_BUCKET is not set", told.stderr)

    # Terraform's part (H2): nothing that was read before an approval is written after it.

    def applied(self, called):
        return [call for call in called if " apply " in call]

    def pool_change(self, count, memory, before="8Gi"):
        scaling = [{"count": count}]
        return {"pool": ({"scaling": scaling, "memory": before}, {"scaling": scaling, "memory": memory})}

    def test_a_plan_is_made_again_after_the_approval(self):
        self.with_variables()
        self.plan("1", self.pool_change(0, "16Gi"))
        told, called = self.call("deploy", "apply", "global", answer="yes\n", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 0, told.stderr)
        plans = [call.split("-out=")[1].split()[0] for call in called if " plan " in call]
        self.assertEqual(len(plans), 2)
        self.assertEqual([call.split()[-1] for call in self.applied(called)], plans[1:], "the second plan is applied")

    def test_a_count_that_the_scaler_changed_meanwhile_is_no_other_plan(self):
        self.with_variables()
        self.plan("1", self.pool_change(0, "16Gi"))
        self.plan("2", self.pool_change(10, "16Gi"))
        told, called = self.call("deploy", "apply", "global", answer="yes\n", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertEqual(len(self.applied(called)), 1)

    def test_a_plan_that_differs_from_the_approved_one_is_not_applied(self):
        self.with_variables()
        for name, second in (
            ("another value", self.pool_change(0, "32Gi")),
            ("from another value", self.pool_change(0, "16Gi", before="4Gi")),
            ("one more resource", {**self.pool_change(0, "16Gi"), "x": ({}, {"a": 1})}),
        ):
            self.plan("1", self.pool_change(0, "16Gi"))
            self.plan("2", second)
            told, called = self.call("deploy", "apply", "global", answer="yes\n", STATE_BUCKET="states")
            self.assertEqual(told.returncode, 1, name)
            self.assertIn("has changed since it was approved", told.stderr)
            self.assertEqual(self.applied(called), [])

    def test_only_yes_approves(self):
        self.with_variables()
        self.plan("1", self.pool_change(0, "16Gi"))
        for answer, named in (("y\n", "not approved"), ("", "no terminal to approve on")):
            told, called = self.call("deploy", "apply", "global", answer=answer, STATE_BUCKET="states")
            self.assertEqual(told.returncode, 1)
            self.assertIn(named, told.stderr)
            self.assertEqual(self.applied(called), [])

    def test_without_changes_nothing_is_asked(self):
        self.with_variables()
        told, called = self.call("deploy", "apply", "global", STATE_BUCKET="states")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertIn("nothing to change", told.stderr)
        self.assertEqual(self.applied(called), [])

    def test_the_smoke_test_names_an_output_that_is_missing(self):
        told, _ = self.call("smoke", "gs://b/v.mp4", CLIPFLEET="true", REPOSITORY_URL="")
        self.assertEqual(told.returncode, 1)
        self.assertIn("infra/region has no output dispatcher_url", told.stderr)
