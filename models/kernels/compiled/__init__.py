"""The kernels in Triton: what `models.kernels` has in torch, under the same names, for CUDA.

With TRITON_INTERPRET=1 in the environment before the import they run on a CPU, slowly, for tests.
"""
