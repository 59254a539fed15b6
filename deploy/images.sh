#!/usr/bin/env bash
# Builds Clipfleet's images with docker (buildx), or with buildah if there is no engine.
#
#   deploy/images.sh pin     look up the digests of the bases and write docker/bases.lock; commit it
#   deploy/images.sh check   fail unless every base is pinned to a digest
#   deploy/images.sh build   build clipfleet-worker and clipfleet-services here
#   deploy/images.sh smoke   build both and test them from inside: doctor, then one clip
#   deploy/images.sh push    check, build and push both to $REPOSITORY with an SBOM, and print their digests
#   deploy/images.sh rebuild pin today's bases, build everything anew, smoke, and push with a dated version;
#                            docker/bases.lock of this checkout is overwritten
#
# REPOSITORY  REGION-docker.pkg.dev/PROJECT/clipfleet, the output of `terraform output image_repository` in infra/global
# VERSION     tag of the images; default: the output of git describe
# REVISION    commit that the images are built from; default: the current commit
# IMAGES      what to build or push; default: worker services
# BUILDER     docker or buildah; default: docker if it is installed
#
# Variables of rebuild: REPOSITORY, REVISION. The version is rebuild-DATE-TIME-REVISION.
#
# build and push pass further arguments to the builder, for example --build-arg NVRTC_PACKAGE= for instances without
# GPUs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock=docker/bases.lock
read -ra images <<<"${IMAGES:-worker services}"
builder=${BUILDER:-$(command -v docker >/dev/null && echo docker || echo buildah)}
# The engine's default builder creates no attestations.
buildx=clipfleet

fail() {
  echo "images: $1" >&2
  echo "remedy: $2" >&2
  exit 1
}

# The bases that the Dockerfile names: NAME=IMAGE.
bases() { sed -n 's/^ARG \([A-Z]*_BASE\)=\(.*\)$/\1=\2/p' docker/Dockerfile; }

pin() {
  command -v docker >/dev/null ||
    fail "docker is not installed" "install docker with buildx; it queries the registry and downloads nothing"
  local pinned=()
  while IFS='=' read -r name image; do
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image") ||
      fail "the registry has no $image" "check the network, or correct $name in docker/Dockerfile"
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "the digest of $image is unreadable: $digest" "update docker buildx"
    pinned+=("$name=$image@$digest")
  done < <(bases)
  {
    echo "# The exact bases of the images. Written by deploy/images.sh pin; run it again to get fixes of the bases."
    printf '%s\n' "${pinned[@]}"
  } >"$lock"
  cat "$lock"
}

# Fails unless each base of the Dockerfile is in the lock file, with the same tag and a digest.
check() {
  while IFS='=' read -r name image; do
    grep -qsE "^$name=$image@sha256:[0-9a-f]{64}$" "$lock" ||
      fail "$name ($image) is not pinned to a digest in $lock" "run deploy/images.sh pin, and commit the file"
  done < <(bases)
}

# The build arguments of both images.
arguments() {
  local version revision
  version=${VERSION:-$(git describe --always --dirty 2>/dev/null || echo unknown)}
  revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
  echo "--file docker/Dockerfile --build-arg VERSION=$version --build-arg REVISION=$revision"
  if [[ -f $lock ]]; then
    sed -n 's/^\([A-Z]*_BASE=.*\)$/--build-arg \1/p' "$lock"
  else
    echo "images: the bases are not pinned (deploy/images.sh pin); using what their tags point to today" >&2
  fi
}

build() {
  local common
  read -ra common <<<"$(arguments | tr '\n' ' ')"
  for image in "${images[@]}"; do
    case $builder in
    docker) docker buildx build --load "${common[@]}" --target "$image" --tag "clipfleet-$image" "$@" . ;;
    # Only the docker format keeps health checks.
    buildah) buildah build --layers --format docker "${common[@]}" --target "$image" --tag "clipfleet-$image" "$@" . ;;
    *) fail "BUILDER=$builder is unknown" "use docker or buildah" ;;
    esac
  done
}

# The stage `smoke` is built for what its commands say, and makes no image. With docker, on the builder that pushes: what
# is pushed next is taken from its cache, so it is what was tested.
smoke() {
  local common
  read -ra common <<<"$(arguments | tr '\n' ' ')"
  case $builder in
  docker)
    create_builder
    docker buildx build --builder "$buildx" --progress plain "${common[@]}" --target smoke "$@" . ||
      fail "the images do not work" "see above, from the first line with \"problem\" or \"error\""
    ;;
  *)
    buildah build --layers --format docker "${common[@]}" --target smoke --tag clipfleet-smoke "$@" . ||
      fail "the images do not work" "see above, from the first line with \"problem\" or \"error\""
    ;;
  esac
}

create_builder() {
  docker buildx inspect "$buildx" >/dev/null 2>&1 ||
    docker buildx create --name "$buildx" --driver docker-container >/dev/null
}

rebuild() {
  local revision
  revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null)} ||
    fail "REVISION is not set, and this is not a git checkout" "REVISION=COMMIT"
  REVISION=$revision
  VERSION=rebuild-$(date --utc +%Y%m%d-%H%M)-${revision:0:12}
  # Without a cache: it has packages of another day.
  buildx=clipfleet-rebuild
  docker buildx rm --force "$buildx" >/dev/null 2>&1 || true
  pin
  smoke "$@"
  push "$@"
  echo "rebuilt: $VERSION"
  echo "release it: deploy/deploy.sh release --images $VERSION"
}

push() {
  [[ -n ${REPOSITORY:-} ]] ||
    fail "REPOSITORY is not set" "REPOSITORY=\$(terraform -chdir=infra/global output -raw image_repository)"
  [[ $builder == docker ]] ||
    fail "only docker buildx can push images, because it adds the SBOM" \
      "install it, or use deploy/deploy.sh release --builder cloud"
  check
  local common version
  read -ra common <<<"$(arguments | tr '\n' ' ')"
  version=${VERSION:-$(git describe --always --dirty)} ||
    fail "VERSION is not set, and this is not a git checkout" "VERSION=1.2.3"
  create_builder
  for image in "${images[@]}"; do
    tag=$REPOSITORY/$image:$version
    docker buildx build --builder "$buildx" --push --sbom=true --provenance=mode=max "${common[@]}" \
      --target "$image" --tag "$tag" "$@" .
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")
    echo "${image}_image = \"$REPOSITORY/$image@$digest\""
  done
}

case ${1:-} in
pin | check) "$1" ;;
build | smoke | push | rebuild) "$@" ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
  ;;
esac
