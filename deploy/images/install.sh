#!/bin/sh
# Installs what /requirements/NAME.txt names, and leaves what nobody runs: tests, and the debug symbols of extension modules,
# which some wheels bring (a fifth of the gateway's packages). Libraries that wheels carry along are left as they are. With
# CUDA a C compiler stays: Triton makes a launcher for each kernel when it is first used.
set -eu
pip install --no-deps --require-hashes -r "/requirements/$1.txt"
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -path '*/tests/*' \( -name 'test_*.py' -o -name 'test_*.pyc' \) -delete
rm -rf "$packages/torch/test" "$packages/torch/include"

apt-get update -q
[ "$1" != torch-cuda ] || apt-get install -y -q --no-install-recommends gcc libc6-dev
apt-get install -y -q --no-install-recommends binutils
find "$packages" -name '*.so' -not -path '*.libs/*' -not -path "$packages/torch/*" -not -path "$packages/nvidia/*" \
    -exec strip --strip-debug {} +
apt-get purge -y -q --autoremove binutils
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
