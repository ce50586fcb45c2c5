#!/bin/sh
# Writes what the images install: every package with its version, that of constraints.txt, and its hashes. Wants uv on the
# PATH, for example from PyPI, 0.13.8. torch-cpu.txt is written by hand.
set -eu
cd "$(dirname "$0")/../.."

compile() { # NAME ARGUMENTS...
    target=deploy/images/$1.txt
    shift
    echo "# Made by deploy/images/lock.sh." >"$target"
    uv pip compile --quiet --no-config --constraints constraints.txt --generate-hashes --python-version 3.11 \
        --python-platform x86_64-manylinux_2_28 --no-header --no-annotate "$@" >>"$target"
}

keep() { # NAME, and whether the lines of PyTorch and NVIDIA's libraries are to stay (1) or to go (0)
    file=deploy/images/$1.txt
    awk -v torch="$2" '/^[^ #]/ { is_torch = /^(torch==|triton==|nvidia-|cuda-)/ && !/^nvidia-ml-py==/ } /^#/ || is_torch == torch' \
        "$file" >"$file.new"
    mv "$file.new" "$file"
}

printf 'setuptools\ngrpcio-tools\n' | compile stubs -
for service in gateway codec lm; do
    compile "$service" pyproject.toml --extra "$service" --extra image
    keep "$service" 0
done
compile codec-triton pyproject.toml --extra triton --extra image
printf 'torch\n' | compile torch-cuda -
keep torch-cuda 1
printf 'torch\nnumpy\nprotobuf\nhuggingface_hub\ndumb-init\n' | compile triton -
