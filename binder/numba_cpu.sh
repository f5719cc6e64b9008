# Numba's cache is for one kind of processor, and the machine that builds an image is not the one that runs it. So both
# compile for a processor that every cloud has; it is as fast as compiling for the actual one.
if [ "$(uname -m)" = x86_64 ]; then
    export NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES="+avx2,+fma,+sse4.1"
fi
