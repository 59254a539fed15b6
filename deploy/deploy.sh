#!/usr/bin/env bash
# Takes this checkout to Google Cloud: builds, pushes, applies, rolls out. See deploy/README.md.
#
#   deploy/deploy.sh release [--canary PERCENT] [--builder local|cloud]
#       Builds and pushes both images, applies infra/ with them. With --canary, so many percent of a pool's instances run the new workers and the
#       others what they ran; without, all run them. The services follow at once: whatever cannot get ready replaces nothing.
#   deploy/deploy.sh promote
#       All workers run the newest revision.
#   deploy/deploy.sh rollback
#       All workers run what they ran before the last release, and so do the services.
#   deploy/deploy.sh status
#       Which revisions run.
#
# STATE_BUCKET  bucket of Terraform's state; asked for at the first run only
# VAR_FILE      default infra/my.tfvars, which names project and region
# POOLS         default: clipfleet-worker-gpu clipfleet-worker-cpu
# APPROVE=no    let Terraform apply without asking
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
variables=${VAR_FILE:-infra/my.tfvars}
read -ra pools <<<"${POOLS:-clipfleet-worker-gpu clipfleet-worker-cpu}"
services=(clipfleet-dispatcher clipfleet-status)
# Which images Terraform deploys; it reads every file of this name by itself.
images=infra/images.auto.tfvars

fail() {
  echo "deploy: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

say() { echo "deploy: $*" >&2; }

# The value of a plain text variable.
variable() {
  local value
  value=$(sed -nE "s/^ *$1 *= *\"([^\"]+)\".*/\1/p" "$variables")
  [[ -n $value ]] || fail "$variables names no $1" "add: $1 = \"...\", as in infra/example.tfvars"
  echo "$value"
}

prepare() {
  for tool in gcloud terraform; do
    command -v "$tool" >/dev/null || fail "there is no $tool" "install it: deploy/README.md names the versions"
  done
  [[ -f $variables ]] || fail "there is no $variables" "cp infra/example.tfvars $variables, and adapt it"
  project=$(variable project)
  region=$(variable region)
}

pool() { gcloud run worker-pools "$@" --project="$project" --region="$region"; }

# The revision that a pool's instances run, all or most of them; nothing where there is no such pool yet.
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
      [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || fail "--canary ${2:-} is no share" "give 1 to 99, in percent"
      canary=$2
      ;;
    --builder)
      [[ ${2:-} =~ ^(local|cloud)$ ]] || fail "--builder ${2:-} is unknown" "local or cloud"
      where=$2
      ;;
    *) fail "$1 is no option of release" "see deploy/deploy.sh" ;;
    esac
    shift 2
  done

  if [[ ! -d infra/.terraform ]]; then
    [[ -n ${STATE_BUCKET:-} ]] || fail "STATE_BUCKET is not set" "name the bucket of Terraform's state: STATE_BUCKET=... deploy/deploy.sh release"
    terraform -chdir=infra init -backend-config="bucket=$STATE_BUCKET"
  fi
  if ! repository=$(terraform -chdir=infra output -raw image_repository 2>/dev/null); then
    say "first release: making the repository, and all that needs no image"
    apply
    repository=$(terraform -chdir=infra output -raw image_repository)
  fi

  local version revision
  version=$(git describe --always --dirty)
  revision=$(git rev-parse HEAD)
  [[ $version != *-dirty ]] || fail "there are changes that are not committed" "commit them: an image is named after its commit"
  say "building $version"
  if [[ $where == cloud ]]; then
    deploy/images.sh check
    gcloud builds submit --project="$project" --region="$region" --config=deploy/cloudbuild.yaml \
      --substitutions="_REPOSITORY=$repository,_VERSION=$version,_REVISION=$revision" .
  else
    gcloud auth configure-docker --quiet "${repository%%/*}"
    REPOSITORY=$repository VERSION=$version REVISION=$revision deploy/images.sh push
  fi
  local made
  made=$(for image in worker services; do
    digest=$(gcloud artifacts docker images describe "$repository/$image:$version" --project="$project" --format='value(image_summary.digest)')
    [[ $digest == sha256:* ]] || fail "$repository/$image:$version has no digest" "look whether it was pushed"
    echo "${image}_image = \"$repository/$image@$digest\""
  done)

  # What ran before is written down, and held to, before anything changes: a pool that is split by names keeps to them.
  local before=() name now
  for name in "${pools[@]}"; do
    now=$(running "$name")
    [[ -n $now ]] || continue
    before+=("$name=$now")
    [[ -z $canary ]] || pool update-instance-split "$name" --to-revisions="$now=100"
  done
  printf '%s\n' "${before[@]}" | sed '/^$/d' >infra/.before
  [[ ! -f $images ]] || cp "$images" infra/.images-before
  printf '# Made by deploy/deploy.sh.\n%s\n' "$made" >"$images"
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
    say "$canary % of the workers run $version. Watch the dashboard, then: deploy/deploy.sh promote, or rollback"
  else
    say "$version runs. Try it: deploy/smoke.sh"
  fi
}

promote() {
  for name in "${pools[@]}"; do
    pool update-instance-split "$name" --to-latest
  done
}

rollback() {
  [[ -s infra/.before && -f infra/.images-before ]] ||
    fail "no earlier release was made from this checkout" "deploy the earlier commit with release, or see deploy/README.md"
  local name revision
  # Workers first: they are back at once, with the revision that is still there.
  while IFS='=' read -r name revision; do
    pool update-instance-split "$name" --to-revisions="$revision=100"
  done <infra/.before
  cp infra/.images-before "$images"
  apply
  say "rolled back. The pools keep to their revisions until promote, or the next release"
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
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'
  exit 2
  ;;
esac
