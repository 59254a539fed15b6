"""Runs the services of docker/compose.yaml from their images and exports a clip on them.

In chroot isolation, containers share this machine's network. Therefore service names become local ports, and every
service gets its own PORT. Everything else is as in the file and the images.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/debug/clipfleet"
USER = 10001
IMAGES = ("worker", "services")
TIMEOUT_SECONDS = 120  # Maximum wait for each step.

os.environ["BUILDAH_ISOLATION"] = "chroot"


def output_of(*command, check=True, **settings):
    command = [str(it) for it in command]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS * 4, **settings)
    if check and result.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def descendants(pid):
    # A child is listed under the thread that started it.
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield int(child)
            yield from descendants(int(child))


class Container:
    """A service in its image."""

    def __init__(self, name, image, command, environment):
        self.name = name
        self.port = free_port()
        self.container = output_of("buildah", "from", "--pull-never", f"localhost/{image}").strip()
        config = json.loads(output_of("buildah", "inspect", self.container))["Docker"]["config"]
        assert config["User"] == f"{USER}:{USER}", config["User"]
        self.health = config["Healthcheck"]["Test"][1:]
        self.settings = [f"--env={key}={value}" for key, value in {**environment, "PORT": self.port}.items()]
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"{name}-", suffix=".log")
        run = ["buildah", "run", *self.settings, self.container, "--", *config["Entrypoint"], *command]
        self.process = subprocess.Popen(run, stdout=self.log, stderr=subprocess.STDOUT)

    def run(self, *command, check=True):
        return output_of("buildah", "run", *self.settings, self.container, "--", *command, check=check)

    def wait(self):
        end = time.monotonic() + TIMEOUT_SECONDS
        while '"ready":true' not in self.run(*self.health, check=False):
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                raise SystemExit(f"{self.name} did not become ready\n{self.log.read()}")
            time.sleep(0.5)

    def processes(self):
        """The process ids in the container, the image's own program first."""
        owned = [pid for pid in descendants(self.process.pid) if os.stat(f"/proc/{pid}").st_uid == USER]
        return [pid for pid in owned if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"buildah")]

    def stop(self):
        for pid in self.processes()[:1]:
            os.kill(pid, signal.SIGTERM)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            code = "none: it had to be killed"
            for pid in [*self.processes(), self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        output_of("buildah", "rm", self.container)
        return code


def start(services):
    """Starts all services in the order of their dependencies."""
    emulator, running = free_port(), {}
    address = f"127.0.0.1:{emulator}"
    names = {"emulator:8085": address, "0.0.0.0:8085": address, "${GPU_ENABLED:-auto}": "auto"}
    while len(running) < len(services):
        waiting = ((name, service) for name, service in services.items() if name not in running)
        name, service = next(it for it in waiting if set(it[1].get("depends_on", {})) <= set(running))
        environment = {key: names.get(value, value) for key, value in service.get("environment", {}).items()}
        running[name] = Container(name, service["image"], service["command"], environment)
        running[name].wait()
    return running, f"127.0.0.1:{emulator}"


def export(dispatcher, emulator, folder):
    source = folder / "source.mp4"
    output_of(
        "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30",
        "-f", "lavfi", "-i", "sine=frequency=440", "-t", "6", "-c:v", "libx264", "-preset", "ultrafast",
        "-pix_fmt", "yuv420p", "-c:a", "aac", source,
    )
    hosts = {f"{it}_EMULATOR_HOST": emulator for it in ("PUBSUB", "FIRESTORE", "STORAGE")}
    server = f"http://127.0.0.1:{dispatcher.port}"
    command = [PROGRAM, "export", source, "--server", server, "--clip", "one=1-4", "--out", folder / "clips", "--json"]
    status = json.loads(output_of(*command, env={**os.environ, **hosts}))
    file = folder / "clips" / "source-one.mp4"
    probe = json.loads(output_of("ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", file))
    picture = next(it for it in probe["streams"] if it["codec_type"] == "video")
    shape = (picture["width"], picture["height"], int(picture["nb_read_frames"]))
    assert shape in ((1080, 1920, 90), (720, 1280, 90)), shape
    return status["clips"][0], shape


def main():
    services = YAML(typ="safe").load(ROOT / "docker/compose.yaml")["services"]
    listed = {image: output_of("buildah", "images", "--json", f"localhost/clipfleet-{image}") for image in IMAGES}
    sizes = {image: json.loads(images)[0]["size"] for image, images in listed.items()}
    running = {}
    try:
        running, emulator = start(services)
        worker = running["worker"]
        doctor = worker.run("clipfleet", "doctor", "--verbose")
        problems = ("problem", "note     cannot decode")
        missing = [line for line in doctor.splitlines() if line.startswith(problems)]
        assert not missing, doctor
        version = next(line for line in doctor.splitlines() if "GStreamer" in line)
        assert worker.run("id", "-u").strip() == str(USER)
        with tempfile.TemporaryDirectory() as folder:
            clip, shape = export(running["dispatcher"], emulator, Path(folder))
        assert clip["status"] == "completed" and clip["encoder"] == "x264enc", clip
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics") as answer:
            assert b"clipfleet_" in answer.read()
    finally:
        ends = {name: it.stop() for name, it in reversed(running.items())}
    assert set(ends.values()) == {0}, f"each service must exit when it is stopped: {ends}"
    version = version.split("ok")[-1].strip()
    print(f"images: worker {sizes['worker']}, services {sizes['services']}; {version} in the worker")
    print(f"stack: {', '.join(running)} became ready and exited with 0")
    print(f"one clip of {shape[0]}x{shape[1]} with {shape[2]} frames")


if __name__ == "__main__":
    sys.exit(main())
