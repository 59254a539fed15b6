#!/usr/bin/env bash
# Builds Clipfleet's images, with docker (buildx) or, where there is no engine, with buildah.
#
#   deploy/images.sh pin     look up the digests of the bases and write docker/bases.lock; commit it
#   deploy/images.sh check   fail unless every base is held to a digest
#   deploy/images.sh build   build clipfleet-worker and clipfleet-services here
#   deploy/images.sh push    check, build and push both to $REPOSITORY with an SBOM, and say their digests
#
# REPOSITORY  REGION-docker.pkg.dev/PROJECT/clipfleet, as `terraform output image_repository` says
# VERSION     tag of the images; default: what git describes
# REVISION    commit they are built from; default: git's
# BUILDER     docker or buildah; default: docker if it is there
# Further arguments of build and push go to the builder, for example --build-arg NVRTC_PACKAGE= for machines without GPUs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock=docker/bases.lock
builder=${BUILDER:-$(command -v docker >/dev/null && echo docker || echo buildah)}

fail() {
  echo "images: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

# The bases as the Dockerfile names them: NAME=IMAGE.
bases() { sed -n 's/^ARG \([A-Z]*_BASE\)=\(.*\)$/\1=\2/p' docker/Dockerfile; }

pin() {
  command -v docker >/dev/null || fail "there is no docker" "install docker with buildx; it asks the registry and downloads nothing"
  local pinned=()
  while IFS='=' read -r name image; do
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image") ||
      fail "the registry knows no $image" "check the network, or correct $name in docker/Dockerfile"
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "the digest of $image is unreadable: $digest" "update docker buildx"
    pinned+=("$name=$image@$digest")
  done < <(bases)
  {
    echo "# What the images are built on, to the byte. Made by deploy/images.sh pin; made again, it takes up what the bases mended."
    printf '%s\n' "${pinned[@]}"
  } >"$lock"
  cat "$lock"
}

# Fails unless each base of the Dockerfile is in the lock, under the same tag, with a digest.
check() {
  while IFS='=' read -r name image; do
    grep -qsE "^$name=$image@sha256:[0-9a-f]{64}$" "$lock" ||
      fail "$name ($image) is not held to a digest in $lock" "run deploy/images.sh pin, and commit the file"
  done < <(bases)
}

# Arguments that both images are built with.
arguments() {
  local version revision
  version=${VERSION:-$(git describe --always --dirty 2>/dev/null || echo unknown)}
  revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
  echo "--file docker/Dockerfile --build-arg VERSION=$version --build-arg REVISION=$revision"
  if [[ -f $lock ]]; then
    sed -n 's/^\([A-Z]*_BASE=.*\)$/--build-arg \1/p' "$lock"
  else
    echo "images: the bases are not pinned (deploy/images.sh pin); their tags are taken as they are today" >&2
  fi
}

build() {
  local common
  read -ra common <<<"$(arguments | tr '\n' ' ')"
  for image in worker services; do
    case $builder in
    docker) docker buildx build --load "${common[@]}" --target "$image" --tag "clipfleet-$image" "$@" . ;;
    # The format that keeps health checks.
    buildah) buildah build --layers --format docker "${common[@]}" --target "$image" --tag "clipfleet-$image" "$@" . ;;
    *) fail "BUILDER=$builder is unknown" "docker or buildah" ;;
    esac
  done
}

push() {
  [[ -n ${REPOSITORY:-} ]] || fail "REPOSITORY is not set" "REPOSITORY=\$(terraform -chdir=infra output -raw image_repository)"
  [[ $builder == docker ]] || fail "images are pushed with docker buildx, which adds the SBOM" "install it, or use deploy/deploy.sh --builder cloud"
  check
  local common version
  read -ra common <<<"$(arguments | tr '\n' ' ')"
  version=${VERSION:-$(git describe --always --dirty 2>/dev/null)} || fail "VERSION is not set, and this is no git checkout" "VERSION=1.2.3"
  # The engine's own builder makes no attestations.
  docker buildx inspect clipfleet >/dev/null 2>&1 || docker buildx create --name clipfleet --driver docker-container >/dev/null
  for image in worker services; do
    tag=$REPOSITORY/$image:$version
    docker buildx build --builder clipfleet --push --sbom=true --provenance=mode=max "${common[@]}" --target "$image" --tag "$tag" "$@" .
    echo "${image}_image = \"$REPOSITORY/$image@$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")\""
  done
}

case ${1:-} in
pin | check) "$1" ;;
build | push) "$@" ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
  ;;
esac
