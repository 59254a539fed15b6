#!/usr/bin/env bash
# Compares our emulator with Google's emulators: the same calls to both, our conformance suite on theirs, and a fleet on
# theirs. Also tests the security rules in theirs. See README.md in this folder. Uses programs that are already built,
# from CLIPFLEET_PROGRAMS or target/debug.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$(cd ../.. && pwd)
python=$root/target/clients/venv/bin/python
programs=${CLIPFLEET_PROGRAMS:-$root/target/debug}

fail() {
  echo "our emulator was not compared: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

[[ -x $python ]] || fail "Google's clients for Python are not installed" "make clients"
for program in clipfleet clipfleet-emulator clipfleet-pipeline; do
  [[ -x $programs/$program ]] || fail "there is no $programs/$program" \
    "cargo build --workspace --bins, or name another folder in CLIPFLEET_PROGRAMS"
done

# No proxy, no credentials, no cloud environment, no addresses of other emulators.
unset GOOGLE_APPLICATION_CREDENTIALS PUBSUB_EMULATOR_HOST FIRESTORE_EMULATOR_HOST STORAGE_EMULATOR_HOST
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PYTHONDONTWRITEBYTECODE=1

folder=$(mktemp --directory)
"$programs/clipfleet-emulator" "$folder/data" 127.0.0.1:0 >"$folder/address" &
server=$!
stop() {
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
for _ in $(seq 300); do
  [[ -s $folder/address ]] && break
  kill -0 "$server" 2>/dev/null || fail "clipfleet-emulator ended" "see above"
  sleep 0.1
done
[[ -s $folder/address ]] || fail "clipfleet-emulator did not start within 30 s" "see above"
ours=$(<"$folder/address")
ours=${ours#http://}

failed=()
# A comparison that hangs is killed after a quarter of an hour.
compare() {
  local service=$1 host=$2
  if ! "$python" emulators.py installed "$service" >/dev/null 2>&1; then
    echo "skipped: Google's $service emulator or Java is not installed; to compare with it:"
    echo "  apt-get install google-cloud-cli-$service-emulator default-jre-headless   # of Google's package repository"
    return
  fi
  if [[ ! -f $service.py ]]; then
    echo "skipped: there is no tests/peers/$service.py"
    return
  fi
  echo "== $service: the same calls to ours and to Google's emulator"
  # shellcheck disable=SC2016 # The address is known to the shell that emulators.py starts.
  timeout --kill-after=10 900 "$python" emulators.py run "$service" \
    bash -c '"$1" "$2" --ours "$3" --theirs "${!4}"' compare "$python" "$service.py" "$ours" "$host" ||
    failed+=("$service")
}

compare pubsub PUBSUB_EMULATOR_HOST
compare firestore FIRESTORE_EMULATOR_HOST

# The security rules, which Google's emulator evaluates and ours does not. Says so where they are skipped.
echo "== the security rules in Google's emulator"
timeout --kill-after=10 900 "$python" firestore_rules.py || failed+=(rules)

# Conformance checks that Google's emulator fails. Our emulator and the service pass them.
skipped_checks=(
  # It ignores retry policies: a nacked message is redelivered immediately.
  a_nacked_message_waits_for_its_backoff
  # It does not redeliver the messages of a stream that broke or was closed.
  an_unsettled_message_returns_after_the_deadline
  close_nacks_messages_that_were_not_received
  # It ignores max_outstanding_messages: one stream gets both messages.
  two_streams_share_the_work
)

# Whether both emulators are installed. Otherwise prints what is skipped.
both_installed() {
  local service
  for service in pubsub firestore; do
    if ! "$python" emulators.py installed "$service" >/dev/null 2>&1; then
      echo "skipped: $1 on Google's emulators, of which $service is not installed"
      return 1
    fi
  done
}

# The suite of tests/conformance on Google's Pub/Sub and Firestore, with objects in our Storage.
conformance() {
  local skip test skips=()
  both_installed "the conformance suite" || return 0
  for skip in "${skipped_checks[@]}"; do
    skips+=(--skip "$skip")
  done
  if [[ -n ${CLIPFLEET_CONFORMANCE:-} ]]; then
    test=("$CLIPFLEET_CONFORMANCE")
  elif command -v "${CARGO:-cargo}" >/dev/null; then
    test=("${CARGO:-cargo}" test --quiet --manifest-path "$root/Cargo.toml" --workspace --test conformance --)
  else
    echo "skipped: the conformance suite on Google's emulators; there is neither cargo nor CLIPFLEET_CONFORMANCE"
    return
  fi
  echo "== our conformance suite on Google's emulators"
  timeout --kill-after=10 1800 "$python" emulators.py run pubsub "$python" emulators.py run firestore \
    env STORAGE_EMULATOR_HOST="$ours" "${test[@]}" --include-ignored external "${skips[@]}" || failed+=(conformance)
}
conformance

# The programs as they are deployed, with objects in our Storage.
fleet() {
  both_installed "a fleet" || return 0
  echo "== a fleet on Google's emulators"
  timeout --kill-after=10 900 "$python" emulators.py run pubsub "$python" emulators.py run firestore \
    "$python" fleet.py "$programs" "$ours" || failed+=(fleet)
}
fleet

if ((${#failed[@]})); then
  echo "failed: ${failed[*]}, see above" >&2
  exit 1
fi
