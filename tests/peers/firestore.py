"""Compares our Firestore with Google's emulator: the same calls, and equal results or error codes.

    python3 tests/peers/firestore.py --ours 127.0.0.1:8085 --theirs 127.0.0.1:8080 [--seed N] [--only TEXT]

Hand-written checks are in `firestore_checks.py` and `firestore_listen.py`, generated ones, from a seed, in
`firestore_generated.py`. A difference fails unless `firestore_differences.py` lists it with its reason, and a listed
difference that no longer differs fails, too.
Without --theirs, Google's emulator is started.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = HERE.parent.parent / "target/clients/venv/bin/python"

try:
    import firestore_checks
    import firestore_differences
    import firestore_generated
    import firestore_listen
    from firestore_peer import Peer, Refused, comparable
except ModuleNotFoundError as missing:
    if missing.name not in ("grpc", "google", "google.cloud") or pathlib.Path(sys.executable) == CLIENTS:
        raise
    if not CLIENTS.exists():
        sys.exit("Google's clients for Python are not installed; remedy: make clients")
    os.execv(CLIENTS, [str(CLIENTS), *sys.argv])

import emulators


def outcome(check, peer):
    """Returns the outcome of a check on a server."""
    try:
        return comparable(check(peer), peer)
    except Refused as refused:
        return {"refused": refused.code}


# Maximum attempts of a check while the emulator fails with INTERNAL.
ATTEMPTS = 5


def outcomes(check, ours, theirs):
    """Returns the outcomes of a check on both servers."""
    # Each check has its own database, with the same name on both servers.
    for _ in range(ATTEMPTS):
        project = f"peers-{uuid.uuid4().hex[:12]}"
        got, expected = (outcome(check, peer.named(project)) for peer in (ours, theirs))
        if expected != firestore_differences.FAULT:
            break
    return got, expected


def compare(checks, ours, theirs):
    """Runs every check on both servers; returns the numbers of those that passed and failed."""
    passed, failed = 0, 0
    listed, unstable = firestore_differences.LISTED, firestore_differences.UNSTABLE
    for name, check in checks:
        got, expected = outcomes(check, ours, theirs)
        _, is_accepted = unstable.get(name, ("", None))
        if is_accepted(got, expected) if is_accepted else (got == expected) != (name in listed):
            passed += 1
            continue
        failed += 1
        if name in listed:
            print(
                f"FAILED {name}: is listed as a difference ({listed[name]}), but both answer {_short(got)}", flush=True
            )
        else:
            print(f"FAILED {name}\n  ours:   {_short(got)}\n  theirs: {_short(expected)}", flush=True)
    return passed, failed


def _short(answer):
    text = json.dumps(answer, sort_keys=True)
    return text if len(text) <= 1_500 else text[:1_500] + " ..."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="host and port of our emulator")
    parser.add_argument("--theirs", help="host and port of Google's Firestore emulator; started if not given")
    parser.add_argument("--seed", type=int, default=1, help="of the generated checks")
    parser.add_argument("--only", default="", help="run the checks whose names contain this text")
    arguments = parser.parse_args()
    checks = [*firestore_checks.CHECKS, *firestore_listen.CHECKS, *firestore_generated.checks(arguments.seed)]
    names = [name for name, _ in checks]
    assert len(set(names)) == len(names), "two checks have the same name"
    unknown = {*firestore_differences.LISTED, *firestore_differences.UNSTABLE} - set(names)
    assert not unknown or arguments.seed != 1, f"listed differences without a check: {sorted(unknown)}"
    checks = [(name, check) for name, check in checks if arguments.only in name]

    with contextlib.ExitStack() as started:
        theirs = arguments.theirs or started.enter_context(emulators.emulator("firestore")).address
        passed, failed = compare(checks, Peer(arguments.ours, "none"), Peer(theirs, "none"))
    listed = len(firestore_differences.LISTED) + len(firestore_differences.UNSTABLE)
    print(f"seed {arguments.seed}, {listed} listed differences, {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
