#!/usr/bin/env bash
# Prints the mirror of this machine's apt for Debian's main archive. It may be older than the release's own date.
set -euo pipefail

codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
# shellcheck disable=SC2016 # apt's own placeholders
mirror=$(apt-get indextargets --format '$(RELEASE)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
  awk -F'|' -v release="$codename" '$1 == release && $2 == "main" && !found++ { print $3 }')
[[ -n $mirror ]] || {
  echo "no source of $codename main among this machine's apt sources: run it on Debian" >&2
  exit 1
}
echo "$mirror"
