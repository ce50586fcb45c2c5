"""Services of a cluster, one process each."""

import os

# gRPC's core has a log of its own: a line to stderr for every failed TLS handshake, written by the thread that carries
# the calls. It reads this once, when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
