"""How kernels meet a processor: numba's flags, explicit vectors, BLAS threads, buffers, and the team of threads."""
