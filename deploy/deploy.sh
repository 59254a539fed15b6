#!/usr/bin/env bash
# Deploys this checkout to Google Cloud: builds, pushes, applies, rolls out. See deploy/README.md.
#
#   deploy/deploy.sh release [--canary PERCENT] [--builder local|cloud]
#       Builds and pushes both images, and applies infra/ with them. All workers run the new revision; with --canary,
#       only that percentage of each pool's instances. The services always run the new revision, once it is ready.
#   deploy/deploy.sh promote
#       Moves all workers to the newest revision.
#   deploy/deploy.sh rollback
#       Moves workers and services back to what they ran before the last release.
#   deploy/deploy.sh status
#       Shows which revisions run.
#
# STATE_BUCKET  bucket of Terraform's state; needed at the first run only
# VAR_FILE      Terraform variables with project and region; default: infra/my.tfvars
# POOLS         worker pools; default: clipfleet-worker-gpu clipfleet-worker-cpu
# APPROVE=no    Terraform applies without asking for approval
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
variables=${VAR_FILE:-infra/my.tfvars}
read -ra pools <<<"${POOLS:-clipfleet-worker-gpu clipfleet-worker-cpu}"
services=(clipfleet-dispatcher clipfleet-status)
# The images that Terraform deploys. Terraform reads *.auto.tfvars by itself.
images=infra/images.auto.tfvars

fail() {
  echo "deploy: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

log() { echo "deploy: $*" >&2; }

# The value of a string variable in the variables file.
variable() {
  local value
  value=$(sed -nE "s/^ *$1 *= *\"([^\"]+)\".*/\1/p" "$variables")
  [[ -n $value ]] || fail "$variables names no $1" "add: $1 = \"...\", as in infra/example.tfvars"
  echo "$value"
}

prepare() {
  for tool in gcloud terraform; do
    command -v "$tool" >/dev/null || fail "$tool is not installed" "install it; deploy/README.md has the versions"
  done
  [[ -f $variables ]] || fail "$variables does not exist" "cp infra/example.tfvars $variables, then adapt it"
  project=$(variable project)
  region=$(variable region)
}

pool() { gcloud run worker-pools "$@" --project="$project" --region="$region"; }

# The revision that all or most of a pool's instances run; empty if the pool does not exist yet.
running() {
  { pool describe "$1" --format='value(instanceSplitStatuses.revision)' 2>/dev/null || true; } | tr ';' '\n' | head -n 1
}

apply() {
  local answer=()
  [[ ${APPROVE:-yes} == no ]] && answer=(-auto-approve)
  terraform -chdir=infra apply -var-file="$(realpath "$variables")" "${answer[@]}"
}

release() {
  local canary='' where=local
  while (($#)); do
    case $1 in
    --canary)
      [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || fail "--canary ${2:-} is not a percentage" "use 1 to 99"
      canary=$2
      ;;
    --builder)
      [[ ${2:-} =~ ^(local|cloud)$ ]] || fail "--builder ${2:-} is unknown" "use local or cloud"
      where=$2
      ;;
    *) fail "$1 is not an option of release" "see deploy/deploy.sh" ;;
    esac
    shift 2
  done

  if [[ ! -d infra/.terraform ]]; then
    [[ -n ${STATE_BUCKET:-} ]] || fail "STATE_BUCKET is not set" "set the bucket of Terraform's state: STATE_BUCKET=... deploy/deploy.sh release"
    terraform -chdir=infra init -backend-config="bucket=$STATE_BUCKET"
  fi
  if ! repository=$(terraform -chdir=infra output -raw image_repository 2>/dev/null); then
    log "first release: creating the repository and everything else that needs no image"
    apply
    repository=$(terraform -chdir=infra output -raw image_repository)
  fi

  local version revision
  version=$(git describe --always --dirty)
  revision=$(git rev-parse HEAD)
  [[ $version != *-dirty ]] || fail "some changes are not committed" "commit them: an image is named after its commit"
  log "building $version"
  if [[ $where == cloud ]]; then
    deploy/images.sh check
    gcloud builds submit --project="$project" --region="$region" --config=deploy/cloudbuild.yaml \
      --substitutions="_REPOSITORY=$repository,_VERSION=$version,_REVISION=$revision" .
  else
    gcloud auth configure-docker --quiet "${repository%%/*}"
    REPOSITORY=$repository VERSION=$version REVISION=$revision deploy/images.sh push
  fi
  local pushed
  pushed=$(for image in worker services; do
    digest=$(gcloud artifacts docker images describe "$repository/$image:$version" --project="$project" --format='value(image_summary.digest)')
    [[ $digest == sha256:* ]] || fail "$repository/$image:$version has no digest" "check whether it was pushed"
    echo "${image}_image = \"$repository/$image@$digest\""
  done)

  # Record the current revision of each pool before anything changes. A canary also pins the pool to it: a pool whose
  # split names revisions keeps them when a new one is created.
  local before=() name now
  for name in "${pools[@]}"; do
    now=$(running "$name")
    [[ -n $now ]] || continue
    before+=("$name=$now")
    [[ -z $canary ]] || pool update-instance-split "$name" --to-revisions="$now=100"
  done
  printf '%s\n' "${before[@]}" | sed '/^$/d' >infra/.before
  [[ ! -f $images ]] || cp "$images" infra/.images-before
  printf '# Written by deploy/deploy.sh.\n%s\n' "$pushed" >"$images"
  apply

  for name in "${pools[@]}"; do
    now=$(sed -n "s/^$name=//p" infra/.before)
    if [[ -n $canary && -n $now ]]; then
      pool update-instance-split "$name" --to-revisions="LATEST=$canary,$now=$((100 - canary))"
    elif [[ -n $now ]]; then
      pool update-instance-split "$name" --to-latest
    fi
  done
  if [[ -n $canary && ${#before[@]} -gt 0 ]]; then
    log "$canary % of the workers run $version. Watch the dashboard, then run deploy/deploy.sh promote, or rollback"
  else
    log "$version is deployed. Test it: deploy/smoke.sh"
  fi
}

promote() {
  for name in "${pools[@]}"; do
    pool update-instance-split "$name" --to-latest
  done
}

rollback() {
  [[ -s infra/.before && -f infra/.images-before ]] ||
    fail "no earlier release was made from this checkout" "release the earlier commit, or see deploy/README.md"
  local name revision
  # Workers first, because their previous revision still exists and starts at once.
  while IFS='=' read -r name revision; do
    pool update-instance-split "$name" --to-revisions="$revision=100"
  done <infra/.before
  cp infra/.images-before "$images"
  apply
  log "rolled back. The pools keep these revisions until promote or the next release"
}

status() {
  for name in "${pools[@]}"; do
    echo "$name: $(pool describe "$name" --format='value(scaling.manualInstanceCount)') instances of" \
      "$(pool describe "$name" --format='value[separator=" "](instanceSplitStatuses.revision,instanceSplitStatuses.percent)')"
  done
  for name in "${services[@]}"; do
    echo "$name: $(gcloud run services describe "$name" --project="$project" --region="$region" --format='value(status.latestReadyRevisionName)')"
  done
}

case ${1:-} in
release | promote | rollback | status)
  prepare
  "$@"
  ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
  ;;
esac
