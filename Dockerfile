# One file, one image per service: docker build --target gateway|codec|lm -t moshi-cluster/<service> .
# With Mimi in NVIDIA Triton two more, docs/triton.md: codec-triton, triton.
# PyTorch comes from wherever pip is told; by default that is the large GPU build. For another one:
# --build-arg PIP_EXTRA_INDEX_URL=<an index with CPU builds>

FROM python:3.11-slim AS base
ARG PIP_EXTRA_INDEX_URL=
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# /cache is the home of downloaded checkpoints and of their fingerprints; mount a volume there to keep them.
RUN useradd --uid 10001 --no-log-init --create-home moshi && install -d -o moshi /cache
ENV HF_HOME=/cache XDG_CACHE_HOME=/cache
WORKDIR /app
# Without setup.py and code: what is installed from these are the dependencies, so a change of code downloads nothing.
COPY pyproject.toml constraints.txt README.md LICENSE ./

FROM base AS stubs
RUN pip install -c constraints.txt setuptools grpcio-tools
COPY setup.py ./
COPY protos protos
# As `make stubs` does.
RUN python setup.py -q stubs

# What every service imports. moshi_cluster/ holds links to the folders beside it: those that a service has no use for
# lead nowhere in its image.
FROM scratch AS common
COPY moshi_cluster /app/moshi_cluster
COPY --from=stubs /app/moshi_cluster/v1 /app/moshi_cluster/v1
COPY audio /app/audio
COPY services/__init__.py /app/services/
COPY services/common /app/services/common

# Audio edge and routing; no PyTorch.
FROM base AS gateway
RUN pip install -c constraints.txt '.[gateway]' && pip uninstall --yes moshi-cluster
COPY --from=common /app .
# Of the models only what a caller may ask for.
COPY models/__init__.py models/sampling.py models/
COPY services/gateway services/gateway
COPY clients/web clients/web
USER 10001
EXPOSE 50051 8998 9101
HEALTHCHECK --start-period=30s --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "services.gateway"]

# Everything the two workers share.
FROM base AS worker
RUN pip install -c constraints.txt torch
# The demo model. It is loaded only where a setting says /checkpoint.
COPY --chown=10001 checkpoints/demo /checkpoint

# Mimi.
FROM worker AS codec
RUN pip install -c constraints.txt '.[codec]' && pip uninstall --yes moshi-cluster
COPY --from=common /app .
COPY models models
COPY services/codec services/codec
USER 10001
EXPOSE 50052 9102
HEALTHCHECK --start-period=10m --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50052"]
ENTRYPOINT ["python", "-m", "services.codec"]

# The Temporal and Depth Transformers.
FROM worker AS lm
RUN pip install -c constraints.txt '.[lm]' && pip uninstall --yes moshi-cluster
COPY --from=common /app .
COPY models models
COPY services/lm services/lm
USER 10001
EXPOSE 50053 9103
# The first start may have to download 15 GB.
HEALTHCHECK --start-period=30m --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50053"]
ENTRYPOINT ["python", "-m", "services.lm"]

# The codec of a Mimi that runs in Triton: a client, no PyTorch and no models.
FROM base AS codec-triton
RUN pip install -c constraints.txt '.[triton]' && pip uninstall --yes moshi-cluster
COPY --from=common /app .
COPY services/codec services/codec
ENV MOSHI_CODEC_BACKEND=triton
USER 10001
EXPOSE 50052 9102
HEALTHCHECK --start-period=10m --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50052"]
ENTRYPOINT ["python", "-m", "services.codec"]

# Triton with Mimi in it. Its own image has Python 3.12, and a Python backend for it; the packages are what the models need.
FROM nvcr.io/nvidia/tritonserver:25.01-py3 AS triton
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1 PYTHONDONTWRITEBYTECODE=1
ENV HF_HOME=/cache XDG_CACHE_HOME=/cache
RUN useradd --uid 10001 --no-log-init --create-home moshi && install -d -o moshi /cache /models
WORKDIR /app
COPY constraints.txt ./
RUN pip install -c constraints.txt torch numpy protobuf huggingface_hub
COPY --from=common /app .
COPY models models
COPY services/codec services/codec
COPY tools tools
COPY deploy/triton/start.sh ./
COPY --chown=10001 checkpoints/demo /checkpoint
ENV MOSHI_CHECKPOINT=/checkpoint
USER 10001
EXPOSE 8000 8001 8002
HEALTHCHECK --start-period=10m --interval=10s CMD ["curl", "--fail", "--silent", "http://127.0.0.1:8000/v2/health/ready"]
ENTRYPOINT ["./start.sh"]
