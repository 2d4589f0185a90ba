#!/usr/bin/env bash
# Builds what a release carries: an archive for each platform, and SHA256SUMS.
#
#   deploy/dist.sh v1.2.3 [folder]     the folder is dist by default
#
# The same commit gives the same bytes.
set -euo pipefail
version=${1:?usage: deploy/dist.sh VERSION [FOLDER]}
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mkdir -p "${2:-dist}" && cd "${2:-dist}" && pwd)
epoch=$(git -C "$root" log -1 --format=%ct)
cd "$root"
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}; do
  name=authd_${version}_${platform/\//_}
  work=$(mktemp -d)
  folder=$work/$name
  mkdir "$folder"
  CGO_ENABLED=0 GOWORK=off GOOS=${platform%/*} GOARCH=${platform#*/} \
    go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$folder/authd" ./cmd/authd
  cp LICENSE README.md CHANGELOG.md .env-sample deploy/systemd/authd.service "$folder"
  tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+w,go=rX \
    -C "$work" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
  rm -r "$work"
  echo "$out/$name.tar.gz"
done
cd "$out" && sha256sum authd_*.tar.gz >SHA256SUMS
