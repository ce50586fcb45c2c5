# One file, one image per service: docker build --target gateway|codec|lm -t moshi-cluster/<service> .
# With Mimi in NVIDIA Triton two more, docs/triton.md: codec-triton, triton. docs/containers.md has the rest.
#
# Build arguments; each is declared in every stage that uses it, since not every builder hands them on:
# TORCH     cpu, or cuda: PyTorch with NVIDIA's libraries, 2.7 GB
# BASE      Python 3.11 on Debian 12, here 3.11.16
# VERSION, REVISION, SOURCE   for the labels: of this project, its commit (metrics tell it, too), and where it is published
#
# Dependencies are those of deploy/images/*.txt, each with its hashes, and lie in layers before any code.

ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# hadolint ignore=DL3006
FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# /cache is the home of downloaded checkpoints, of their fingerprints and of compiled kernels; mount a volume there to keep them.
RUN useradd --uid 10001 --no-log-init --create-home moshi && install -d -o moshi /cache
ENV HF_HOME=/cache XDG_CACHE_HOME=/cache TRITON_CACHE_DIR=/cache/triton
WORKDIR /app

FROM base AS stubs
COPY deploy/images/stubs.txt /requirements/
RUN pip install --no-deps --require-hashes -r /requirements/stubs.txt
COPY setup.py pyproject.toml ./
COPY protos protos
# As `make stubs` does.
RUN python setup.py -q stubs

# What every service imports. moshi_cluster/ holds links to the folders beside it: those that a service has no use for
# lead nowhere in its image.
FROM scratch AS common
COPY LICENSE /app/
COPY moshi_cluster /app/moshi_cluster
COPY --from=stubs /app/moshi_cluster/v1 /app/moshi_cluster/v1
COPY audio /app/audio
COPY services/__init__.py /app/services/
COPY services/common /app/services/common

# Audio edge and routing; no PyTorch.
FROM base AS gateway
COPY deploy/images/install.sh deploy/images/gateway.txt /requirements/
RUN /requirements/install.sh gateway
COPY --from=common /app .
# Of the models only what a caller may ask for.
COPY models/__init__.py models/sampling.py models/
COPY services/gateway services/gateway
COPY clients/web clients/web
USER 10001
EXPOSE 50051 8998 9101
HEALTHCHECK --start-period=30s --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50051"]
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "services.gateway"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown
ENV MOSHI_REVISION=${REVISION}
LABEL org.opencontainers.image.title="moshi-cluster gateway" org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source=${SOURCE}

# Everything the two workers share.
FROM base AS worker
ARG TORCH=cpu
COPY deploy/images/install.sh deploy/images/torch-${TORCH}.txt /requirements/
RUN /requirements/install.sh torch-${TORCH}

# Mimi.
FROM worker AS codec
COPY deploy/images/install.sh deploy/images/codec.txt /requirements/
RUN /requirements/install.sh codec
# The demo model. It is loaded only where a setting says /checkpoint.
COPY --chown=10001 checkpoints/demo /checkpoint
COPY --from=common /app .
COPY models models
COPY services/codec services/codec
USER 10001
EXPOSE 50052 9102
HEALTHCHECK --start-period=10m --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50052"]
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "services.codec"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown
ENV MOSHI_REVISION=${REVISION}
LABEL org.opencontainers.image.title="moshi-cluster codec" org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source=${SOURCE}

# The Temporal and Depth Transformers.
FROM worker AS lm
COPY deploy/images/install.sh deploy/images/lm.txt /requirements/
RUN /requirements/install.sh lm
COPY --chown=10001 checkpoints/demo /checkpoint
COPY --from=common /app .
COPY models models
COPY services/lm services/lm
USER 10001
EXPOSE 50053 9103
# The first start may have to download 15 GB.
HEALTHCHECK --start-period=30m --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50053"]
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "services.lm"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown
ENV MOSHI_REVISION=${REVISION}
LABEL org.opencontainers.image.title="moshi-cluster lm" org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source=${SOURCE}

# The codec of a Mimi that runs in Triton: a client, no PyTorch and no models.
FROM base AS codec-triton
COPY deploy/images/install.sh deploy/images/codec-triton.txt /requirements/
RUN /requirements/install.sh codec-triton
COPY --from=common /app .
COPY services/codec services/codec
ENV MOSHI_CODEC_BACKEND=triton
USER 10001
EXPOSE 50052 9102
HEALTHCHECK --start-period=10m --interval=10s CMD ["python", "-m", "services.common.probe", "127.0.0.1:50052"]
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "services.codec"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown
ENV MOSHI_REVISION=${REVISION}
LABEL org.opencontainers.image.title="moshi-cluster codec before Triton" org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source=${SOURCE}

# Triton with Mimi in it. Its own image has Python 3.12, and a Python backend for it; the packages are what the models need.
FROM nvcr.io/nvidia/tritonserver:25.01-py3 AS triton
ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV HF_HOME=/cache XDG_CACHE_HOME=/cache
RUN useradd --uid 10001 --no-log-init --create-home moshi && install -d -o moshi /cache /models
WORKDIR /app
COPY deploy/images/triton.txt /requirements/
RUN pip install --no-deps --require-hashes -r /requirements/triton.txt
COPY --chown=10001 checkpoints/demo /checkpoint
COPY --from=common /app .
COPY models models
COPY services/codec services/codec
COPY tools tools
COPY deploy/triton/start.sh ./
ENV MOSHI_CHECKPOINT=/checkpoint
USER 10001
EXPOSE 8000 8001 8002
HEALTHCHECK --start-period=10m --interval=10s CMD ["curl", "--fail", "--silent", "http://127.0.0.1:8000/v2/health/ready"]
ENTRYPOINT ["dumb-init", "--single-child", "--", "./start.sh"]
ARG VERSION=0 REVISION=unknown SOURCE=unknown
LABEL org.opencontainers.image.title="moshi-cluster triton" org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source=${SOURCE}
