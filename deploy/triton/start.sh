#!/bin/sh
# Writes the model repository for MOSHI_CHECKPOINT and starts Triton on it. MOSHI_TRITON_REPOSITORY: more options of
# tools.triton_repository, for example "--slots 8 --device gpu". Arguments are tritonserver's.
set -eu
# shellcheck disable=SC2086  # several words
python3 -m tools.triton_repository --checkpoint "$MOSHI_CHECKPOINT" --output /models ${MOSHI_TRITON_REPOSITORY:-}
exec tritonserver --model-repository /models --disable-auto-complete-config "$@"
