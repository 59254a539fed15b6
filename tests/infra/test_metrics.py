"""Every role as a process of its own that has worked: its `/metrics` against Prometheus's own linter, and the lines that
it logged against the filters of infra/global/metrics.tf."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

import fleet
from log_filter import matches
from terraform import ROOT, TOOLS, resources

PROGRAM = os.environ["CLIPFLEET"]
TIMEOUT_SECONDS = 120  # seconds, for anything


def setUpModule():
    global counted
    # The metrics that are counted from log lines, by their names in infra/global/metrics.tf.
    metrics = resources(fleet.planned(), "google_logging_metric").values()
    # The filter of one names a trigger of Cloud Build by an id that no plan knows.
    counted = {it["name"].removeprefix("clipfleet/"): it for it in metrics if it.get("filter")}


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def listed():
    """Metrics and their roles, by deploy/metrics.md."""
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (\w+) \|", (ROOT / "deploy/metrics.md").read_text(), re.MULTILINE)
    return {(role, name): kind for name, roles, kind in rows for role in roles.split(", ")}


def check(text):
    return subprocess.run([TOOLS / "promtool", "check", "metrics"], input=text, capture_output=True, text=True)


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        emulator = f"127.0.0.1:{free_port()}"
        hosts = {f"{it}_EMULATOR_HOST": emulator for it in ("PUBSUB", "FIRESTORE", "STORAGE")}
        cls.environment = {**os.environ, **hosts, "CLIPFLEET_SCRATCH": str(cls.folder / "scratch"), "CLIPFLEET_LOG_FORMAT": "json"}
        cls.ports = {}
        cls.start("emulator", "--data", cls.folder / "data", "--emulator", emulator)
        cls.start("dispatcher")
        cls.start("status")
        cls.start("worker", "--slots", "1")
        cls.start("scaler", "--scaler-pool", "local", "--scaler-dry-run", "true")
        source = cls.folder / "source.mp4"
        made = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-t", "3", "-pix_fmt", "yuv420p", source]
        subprocess.run(made, check=True)
        server = f"http://127.0.0.1:{cls.ports['dispatcher']}"
        command = [PROGRAM, "export", source, "--server", server, "--clip", "one=0-2", "--out", cls.folder / "clips"]
        subprocess.run(command, check=True, env=cls.environment, capture_output=True, timeout=TIMEOUT_SECONDS)
        late = [PROGRAM, "export", source, "--server", server, "--clip", "late=1-60", "--out", cls.folder / "late"]
        failed = subprocess.run(late, env=cls.environment, capture_output=True, timeout=TIMEOUT_SECONDS)
        assert failed.returncode == 1, failed
        for topic in ("clip-jobs", "progress-events"):
            body = json.dumps({"messages": [{"data": base64.b64encode(b"not a message").decode()}]}).encode()
            url = f"http://{emulator}/v1/projects/clipfleet-local/topics/{topic}:publish"
            request = urllib.request.Request(url, body, {"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=10).close()

    @classmethod
    def start(cls, role, *arguments):
        port = cls.ports[role] = free_port()
        log = open(cls.folder / f"{role}.log", "w")
        cls.addClassCleanup(log.close)
        command = [PROGRAM, role, *map(str, arguments), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, env=cls.environment, stdout=log, stderr=log)
        cls.addClassCleanup(cls.stop, process)
        end = time.monotonic() + TIMEOUT_SECONDS
        while subprocess.run([PROGRAM, "ready", f"http://127.0.0.1:{port}/ready"], capture_output=True).returncode != 0:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{role} does not get ready\n{(cls.folder / f'{role}.log').read_text()}")
            time.sleep(0.3)

    @staticmethod
    def stop(process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def scraped(self, role):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[role]}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def test_prometheus_finds_nothing_to_say(self):
        for role in ("dispatcher", "status", "worker", "scaler"):
            with self.subTest(role):
                told = check(self.scraped(role))
                self.assertEqual((told.returncode, told.stdout + told.stderr), (0, ""))

    def test_prometheus_would(self):
        self.assertNotEqual(check("# TYPE clipfleet_clips counter\nclipfleet_clips 1\n").returncode, 0)

    def test_what_a_clip_leaves_is_there_and_described(self):
        expected = {
            "dispatcher": {"clipfleet_batches_accepted_total", "clipfleet_clips_dispatched_total", "clipfleet_dispatch_seconds"},
            "status": {"clipfleet_events_folded_total", "clipfleet_documents_written_total"},
            "worker": {
                "clipfleet_attempts_total", "clipfleet_queue_wait_seconds", "clipfleet_phase_seconds", "clipfleet_encode_frames_per_second",
                "clipfleet_source_bytes_total", "clipfleet_source_bytes_served_total", "clipfleet_clips_made_total", "clipfleet_clip_seconds",
            },
            "scaler": {"clipfleet_scaler_events_received_total", "clipfleet_scaler_decisions_total", "clipfleet_scaler_leader"},
        }
        kinds = listed()
        for role, names in expected.items():
            with self.subTest(role):
                text = self.scraped(role)
                there = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
                self.assertLessEqual(names, set(there))
                # Nothing is there that the list does not know, and each is of the kind that it says.
                self.assertEqual(there, {name: kinds.get((role, name)) for name in there})
                self.assertEqual(set(re.findall(r"^# HELP (\w+) .", text, re.MULTILINE)), set(there))

    def test_the_rules_name_series_that_there_are(self):
        rules = (ROOT / "deploy/prometheus/slo.rules.yaml").read_text()
        named = set(re.findall(r"(clipfleet_\w+\{[^}]+\})", rules))
        self.assertIn('clipfleet_clips_ended_total{on_time="false"}', named)
        self.assertLessEqual(named, set(re.findall(r"^(clipfleet_\w+\{[^}]+\})", self.scraped("worker"), re.MULTILINE)))

    RESOURCES = {
        "worker": ("cloud_run_worker_pool", {"worker_pool_name": "clipfleet-worker-cpu"}),
        "dispatcher": ("cloud_run_revision", {"service_name": "clipfleet-dispatcher"}),
        "status": ("cloud_run_revision", {"service_name": "clipfleet-status"}),
        "scaler": ("cloud_run_revision", {"service_name": "clipfleet-scaler"}),
    }

    def entries(self, service=None):
        """Everything that was logged, as Cloud Run hands it to Cloud Logging, and its role. `service` is the one that runs
        all roles but the workers, if they have none of their own."""
        for role, (kind, labels) in self.RESOURCES.items():
            if service and role != "worker":
                labels = {"service_name": service}
            for line in (self.folder / f"{role}.log").read_text().splitlines():
                if line.startswith("{"):
                    yield role, {"resource": {"type": kind, "labels": labels}, "jsonPayload": json.loads(line)}

    def test_lines_are_counted_by_the_filters_that_mean_them(self):
        expected = {
            ("clips_ended", "worker"),
            ("clips_failed", "worker"),
            ("clips_encoded", "worker"),
            ("clips_in_time", "worker"),
            ("clip_milliseconds", "worker"),
            ("jobs_handed_back", "worker"),
            ("messages_dropped", "status"),
            ("messages_dropped", "scaler"),
        }
        filters = {name: it["filter"] for name, it in counted.items()}
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            found = {(name, role) for role, entry in self.entries() for name, text in filters.items() if matches(text, entry)}
            if expected <= found or time.monotonic() > end:
                break
            time.sleep(0.3)
        self.assertEqual(found, expected)
        of_one = {(name, role) for role, entry in self.entries("clipfleet-control") for name, text in filters.items() if matches(text, entry)}
        self.assertEqual(of_one, expected)

    def test_the_labels_of_counted_lines_have_values(self):
        for name, it in counted.items():
            for role, entry in self.entries():
                if matches(it["filter"], entry):
                    for label, extractor in (it["label_extractors"] or {}).items():
                        field = extractor.removeprefix("EXTRACT(jsonPayload.").removesuffix(")")
                        self.assertTrue(entry["jsonPayload"].get(field), f"{name}: {label} of {entry}")


class Rules(unittest.TestCase):
    """The rules for a Prometheus that scrapes /metrics."""

    FOLDER = ROOT / "deploy/prometheus"

    def run_tests(self, rules):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "slo.rules.yaml").write_text(rules)
            shutil.copy(self.FOLDER / "slo.test.yaml", folder)
            return subprocess.run([TOOLS / "promtool", "test", "rules", "slo.test.yaml"], cwd=folder, capture_output=True, text=True)

    def test_they_fire_on_a_burn_and_not_at_low_volume(self):
        rules = (self.FOLDER / "slo.rules.yaml").read_text()
        told = subprocess.run([TOOLS / "promtool", "check", "rules", self.FOLDER / "slo.rules.yaml"], capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        told = self.run_tests(rules)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        # Each part of a rule is one that a test holds.
        for part in [r" and sum\(increase\(\w+(?:\{[^}]*\})?\[\w+\]\)\) > 20", r" and clipfleet:clips_late:ratio_rate5m > 14.4 \* 0.01"]:
            without = re.sub(part, "", re.sub(r"\n +and", " and", rules))
            self.assertNotEqual(without, re.sub(r"\n +and", " and", rules), part)
            self.assertNotEqual(self.run_tests(without).returncode, 0, f"no test needs {part}")

    def test_they_name_metrics_that_there_are(self):
        rules = re.sub(r"#.*", "", (self.FOLDER / "slo.rules.yaml").read_text())
        named = set(re.findall(r"\bclipfleet_\w+", rules))
        series = {name + end for (_, name), kind in listed().items() for end in ({"histogram": ("_bucket", "_count", "_sum")}.get(kind, ("",)))}
        self.assertLessEqual(named, series)
        runbook = (ROOT / "deploy/runbook.md").read_text()
        for anchor in re.findall(r"runbook\.md#([\w-]+)", rules):
            self.assertIn(anchor, re.sub(r"[^\w#\n-]", "", runbook.lower().replace(" ", "-")))


class Filters(unittest.TestCase):
    def test_comparisons(self):
        entry = {"resource": {"type": "a"}, "jsonPayload": {"message": "clip failed: x", "reused": False}}
        for text, expected in [
            ('resource.type="a"', True),
            ('resource.type="b" OR jsonPayload.reused=false', True),
            # OR before AND, other than in most languages.
            ('resource.type="a" OR resource.type="b" AND jsonPayload.reused=true', False),
            ('(resource.type="a") OR (resource.type="b" AND jsonPayload.reused=true)', True),
            ('(resource.type="b" OR resource.type="a") AND jsonPayload.message=~"^clip failed: "', True),
            ('resource.type="a" AND jsonPayload.message="clip failed"', False),
            ('jsonPayload.encoder!~"^nv"', True),
            ('jsonPayload.code=~".+"', False),
        ]:
            with self.subTest(text):
                self.assertEqual(matches(text, entry), expected)
        for malformed in ["resource.type", "(resource.type=\"a\"", "resource.type=\"a\" b"]:
            with self.assertRaises(ValueError):
                matches(malformed, entry)
