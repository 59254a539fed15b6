"""Runs a fleet on Google's emulators: two clips, from the upload to the documents and the finished files.

    python3 emulators.py run pubsub python3 emulators.py run firestore python3 fleet.py PROGRAMS STORAGE

PROGRAMS is the folder of the built programs, STORAGE host and port of our Storage server. The roles are the programs
as they are deployed. This script creates topics, subscriptions and the bucket, as Terraform does.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import google.auth.credentials
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.firestore import Client as Firestore
from google.protobuf import duration_pb2

PROJECT = "clipfleet-local"
BUCKET = "clipfleet-local"
SUBSCRIPTIONS = {
    # Name: topic, ack deadline in seconds, maximum backoff in seconds, dead letter topic.
    "export-requests-dispatcher": ("export-requests", 60, 60, None),
    "clip-jobs-worker": ("clip-jobs", 20, 30, "clip-jobs-dead-letter"),
    "clip-jobs-dead-letter-status": ("clip-jobs-dead-letter", 60, 60, None),
    "progress-events-status": ("progress-events", 60, 10, None),
}
ROLES = ("dispatcher", "status", "worker")
CLIPS = {"one": (1, 4), "two": (2.5, 5)}
FPS = 30

# Maximum wait for each step, seconds. On a busy machine the whole test took 20.
TIMEOUT = 240
POLL_INTERVAL = 0.2


def make_topology(storage):
    """Creates topics and subscriptions on the emulator, and the bucket on our server."""
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    named = {}
    for topic in sorted({topic for topic, *_ in SUBSCRIPTIONS.values()}):
        named[topic] = publisher.create_topic(name=publisher.topic_path(PROJECT, topic)).name
    for name, (topic, ack_seconds, max_backoff, dead_letters) in SUBSCRIPTIONS.items():
        backoff = {"minimum_backoff": duration_pb2.Duration(seconds=1)}
        backoff["maximum_backoff"] = duration_pb2.Duration(seconds=max_backoff)
        request = {
            "name": subscriber.subscription_path(PROJECT, name),
            "topic": named[topic],
            "ack_deadline_seconds": ack_seconds,
            "retry_policy": backoff,
        }
        if dead_letters:
            request["dead_letter_policy"] = {"dead_letter_topic": named[dead_letters], "max_delivery_attempts": 100}
        subscriber.create_subscription(request=request)
    body = json.dumps({"name": BUCKET}).encode()
    request = urllib.request.Request(
        f"http://{storage}/storage/v1/b?project={PROJECT}", body, {"content-type": "application/json"}
    )
    with contextlib.suppress(urllib.error.HTTPError):  # It may exist.
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    return subscriber


def free_port():
    """Returns a port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(program, role, environment, folder):
    """Runs a role until the block ends; yields its address once it is ready."""
    port = free_port()
    log = folder / f"{role}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, role], env={**environment, "PORT": str(port)}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{role} did not become ready:\n{log.read_text()}")
            time.sleep(POLL_INTERVAL)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            code = process.wait(TIMEOUT)
        finally:
            process.kill()
    if code != 0:
        sys.exit(f"{role} ended with {code}:\n{log.read_text()}")


def is_ready(port):
    """Returns whether a role reports that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=TIMEOUT) as answer:
            return answer.status == 200
    except OSError:
        return False


def export(program, dispatcher, environment, folder):
    """Exports the clips of a generated source; returns the batch status of the command line, and the folder."""
    source, clips = folder / "source.mp4", folder / "clips"
    video, audio = "testsrc2=size=1280x720:rate=30", "sine=frequency=440"
    coded = ["-t", "6", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", source]
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, *coded]
    subprocess.run(command, check=True, timeout=TIMEOUT)
    command = [program, "export", source, "--server", dispatcher, "--out", clips, "--json"]
    command += [f"--clip={name}={start}-{end}" for name, (start, end) in CLIPS.items()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"the export ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout), clips


def frames(path):
    """Returns the number of frames that a file decodes to."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries"]
    command += ["stream=nb_read_frames", "-of", "csv=p=0", path]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout)


def wait_settled(subscriber):
    """Waits until no subscription has a message left."""
    for name in SUBSCRIPTIONS:
        path = subscriber.subscription_path(PROJECT, name)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                pulled = subscriber.pull(
                    request={"subscription": path, "max_messages": 10, "return_immediately": True}, timeout=TIMEOUT
                )
            except exceptions.DeadlineExceeded:
                break
            if not pulled.received_messages:
                break
            assert time.monotonic() < deadline, f"{name} still has {pulled.received_messages}"
            time.sleep(POLL_INTERVAL)


def main(programs, storage):
    """Runs the fleet, and compares its documents on the emulator with its files."""
    program = pathlib.Path(programs).resolve() / "clipfleet"
    subscriber = make_topology(storage)
    with tempfile.TemporaryDirectory(prefix="clipfleet-peers-") as temporary:
        folder = pathlib.Path(temporary)
        environment = {**os.environ, "GOOGLE_CLOUD_PROJECT": PROJECT, "STORAGE_EMULATOR_HOST": storage}
        environment["CLIPFLEET_SCRATCH"] = str(folder / "scratch")
        with contextlib.ExitStack() as started:
            addresses = {role: started.enter_context(running(program, role, environment, folder)) for role in ROLES}
            batch, clips = export(program, addresses["dispatcher"], environment, folder)
            # Documents as any client of the emulator reads them.
            credentials = google.auth.credentials.AnonymousCredentials()
            firestore = Firestore(project=PROJECT, credentials=credentials)
            documents = firestore.document(f"exportBatches/{batch['batchId']}")
            stored = documents.get().to_dict()
            assert (stored["status"], stored["completedClips"]) == ("completed", len(CLIPS)), stored
            for name, (start, end) in CLIPS.items():
                clip = documents.collection("clips").document(name).get().to_dict()
                assert (clip["status"], clip["progress"]) == ("completed", 100), clip
                got = frames(clips / f"source-{name}.mp4")
                assert got == (end - start) * FPS, f"{name} has {got} frames"
        wait_settled(subscriber)
    print(f"{len(CLIPS)} clips on Google's emulators: documents, files and queues are correct")


if __name__ == "__main__":
    main(*sys.argv[1:])
