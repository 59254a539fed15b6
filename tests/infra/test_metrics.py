"""`/metrics` of every role, as a process of its own that has worked, against Prometheus's own linter."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

from terraform import ROOT, TOOLS

PROGRAM = os.environ["CLIPFLEET"]
TIMEOUT_SECONDS = 120  # seconds, for anything


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
        cls.environment = {**os.environ, **hosts, "CLIPFLEET_SCRATCH": str(cls.folder / "scratch")}
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
