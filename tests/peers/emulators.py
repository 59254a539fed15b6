"""Starts Google's Firestore and Pub/Sub emulators on free loopback ports, and stops them.

They come with the Debian packages google-cloud-cli-firestore-emulator and google-cloud-cli-pubsub-emulator, or with
`gcloud components install cloud-firestore-emulator pubsub-emulator`, and need Java. CLIPFLEET_FIRESTORE_EMULATOR and
CLIPFLEET_PUBSUB_EMULATOR name another program to start.

As a module: `installed("firestore")` answers the program's path or None; `with emulator("firestore") as running:`
gives `running.address`. As a program: `emulators.py installed firestore` exits with 0 or 1; `emulators.py run firestore
COMMAND [ARGUMENT ...]` runs a command with FIRESTORE_EMULATOR_HOST or PUBSUB_EMULATOR_HOST set, and exits as it does.
"""

import contextlib
import dataclasses
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# A cold start of Java on a busy machine took 30 s at most.
START_TIMEOUT = 120
STOP_TIMEOUT = 10
POLL_INTERVAL = 0.1

PROGRAMS = {
    "firestore": "cloud-firestore-emulator/cloud_firestore_emulator",
    "pubsub": "pubsub-emulator/bin/cloud-pubsub-emulator",
}
OVERRIDES = {"firestore": "CLIPFLEET_FIRESTORE_EMULATOR", "pubsub": "CLIPFLEET_PUBSUB_EMULATOR"}
HOST_VARIABLES = {"firestore": "FIRESTORE_EMULATOR_HOST", "pubsub": "PUBSUB_EMULATOR_HOST"}


class EmulatorError(Exception):
    """An emulator is not installed or did not start."""


@dataclasses.dataclass(frozen=True)
class Running:
    """A running emulator that answers."""

    address: str
    """Host and port."""
    log: pathlib.Path
    """Its output; removed when it stops."""
    pid: int


def installed(service):
    """Returns the path of an emulator's program, or None where it or Java is missing."""
    named = os.environ.get(OVERRIDES[service])
    if named:
        return shutil.which(named)
    if not (os.environ.get("JAVA") or shutil.which("java")):
        return None
    for root in _sdk_roots():
        program = root / "platform" / PROGRAMS[service]
        if os.access(program, os.X_OK):
            return str(program)
    return None


def missing(service):
    """Returns why an emulator cannot be started, with the remedy."""
    return (
        f"Google's {service} emulator or Java is missing; install google-cloud-cli-{service}-emulator and a Java "
        f"runtime, or set {OVERRIDES[service]} to the emulator's program"
    )


def _sdk_roots():
    """Yields the possible folders of the Google Cloud SDK, most specific first."""
    if os.environ.get("CLOUDSDK_ROOT_DIR"):
        yield pathlib.Path(os.environ["CLOUDSDK_ROOT_DIR"])
    gcloud = shutil.which("gcloud")
    if gcloud:
        yield pathlib.Path(gcloud).resolve().parent.parent
    yield pathlib.Path("/usr/lib/google-cloud-sdk")


@contextlib.contextmanager
def emulator(service, *arguments):
    """Starts an emulator with further arguments, yields it once it answers, and stops it."""
    program = installed(service)
    if program is None:
        raise EmulatorError(missing(service))
    with tempfile.TemporaryDirectory(prefix=f"{service}-emulator-") as folder:
        log = pathlib.Path(folder, "log")
        address = f"127.0.0.1:{_free_port()}"
        with log.open("wb") as output:
            # The program is a script that starts Java. In its own session, one signal reaches both.
            process = subprocess.Popen(
                [program, *_address_arguments(service, address), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        try:
            _wait_until_ready(service, address, process, log)
            yield Running(address, log, process.pid)
        finally:
            _stop(process)


def _address_arguments(service, address):
    host, port = address.split(":")
    if service == "firestore":
        return [f"--host={host}", f"--port={port}"]
    return [f"--host={host}", f"--port={port}", "--data-dir=."]


def _free_port():
    """Returns a port that was free a moment ago, because the emulators cannot choose and report one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(service, address, process, log):
    """Waits until the emulator answers HTTP with "Ok". It then serves gRPC, too."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmulatorError(f"the {service} emulator ended with {process.returncode}: {_tail(log)}")
        connection = http.client.HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(POLL_INTERVAL)
    raise EmulatorError(f"the {service} emulator did not answer within {START_TIMEOUT} s: {_tail(log)}")


def _tail(log):
    return log.read_text(errors="replace")[-2000:]


def _stop(process):
    """Stops the emulator and its Java process, which share a process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_TIMEOUT)
            if not _group_exists(process.pid):
                return
        except subprocess.TimeoutExpired:
            pass


def _group_exists(group):
    """Returns whether a process of the group still exists; waits for Java to exit after its script."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(POLL_INTERVAL)
    return True


def main(arguments):
    match arguments:
        case ["installed", ("firestore" | "pubsub") as service]:
            program = installed(service)
            print(program or missing(service), file=sys.stdout if program else sys.stderr)
            return 0 if program else 1
        case ["run", ("firestore" | "pubsub") as service, *command] if command:
            try:
                with emulator(service) as running:
                    environment = {**os.environ, HOST_VARIABLES[service]: running.address}
                    return subprocess.run(command, env=environment, check=False).returncode
            except EmulatorError as error:
                print(error, file=sys.stderr)
                return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
