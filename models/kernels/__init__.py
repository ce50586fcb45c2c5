"""Kernels of the static step: operators of torch, written out in torch and, for CUDA, in Triton."""
