#!/bin/sh
# `make images`: builds the images of gateway, codec and lm with the container engine that is there, and says how large they
# are. Exit code 1 where one is larger than it should be.
#
# ENGINE: podman or docker. TORCH: cpu or cuda. PREFIX, TAG: of the images' names. IMAGES: others, for example "triton
# codec-triton". What is given as arguments goes to the build, for example --build-arg BASE=...
set -eu
cd "$(dirname "$0")/../.."
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || { echo "neither podman nor docker is there" >&2; exit 1; }
torch=${TORCH:-cpu} prefix=${PREFIX:-moshi-cluster} tag=${TAG:-latest}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
case $engine in *podman) format="--format docker" ;; *) format= ;; esac # OCI's own format has no HEALTHCHECK

most_mb() { # of an image for CPUs
    case $1 in gateway | codec-triton) echo 350 ;; codec | lm) [ "$torch" != cpu ] || echo 1200 ;; esac
}

status=0
for image in ${IMAGES:-gateway codec lm}; do
    # shellcheck disable=SC2086  # one option or none
    "$engine" build $format --target "$image" --tag "$prefix/$image:$tag" --build-arg TORCH="$torch" \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg SOURCE="${SOURCE:-unknown}" "$@" .
    mb=$(($("$engine" image inspect --format '{{.Size}}' "$prefix/$image:$tag") / 1000000)) most=$(most_mb "$image")
    echo "== $prefix/$image:$tag: $mb MB${most:+, at most $most}"
    [ "$mb" -le "${most:-$mb}" ] || status=1
done
exit $status
