#!/bin/sh
# Write the fixtures of this directory anew; needs nvcc 13.0 or later (see README.md).
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in scale shift clamp fill; do
    echo "extern \"C\" __global__ void $name(float *x, float a) { x[threadIdx.x] *= a; }" > "$work/$name.cu"
done
compile() { # NAME KERNEL ARGUMENTS..
    out=$1 kernel=$2
    shift 2
    nvcc -c -Xcompiler -fPIC,-Os,-fno-asynchronous-unwind-tables "$@" -o "$work/$out.o" "$work/$kernel.cu"
}
link() { # NAME OBJECT..
    out=$1
    shift
    gcc -shared -nostdlib -s -Wl,-z,noseparate-code,--build-id=none,--hash-style=gnu,-soname,"$out" -o "$out" "$@"
}
compile sm80 scale -gencode arch=compute_80,code=sm_80
compile sm80_compressed scale -Xfatbin -compress-all -gencode arch=compute_80,code=sm_80
compile sm90a scale -gencode arch=compute_90a,code=sm_90a
compile sm120 scale -gencode arch=compute_120,code=sm_120
compile ptx120 scale -gencode arch=compute_120,code=compute_120
compile sm100f scale -gencode arch=compute_100f,code=sm_100f
both="-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -Xfatbin -compress-all"
compile first scale $both -gencode arch=compute_90,code=compute_90
compile second shift $both
compile third clamp $both
compile fourth fill -Xfatbin -compress-all -gencode arch=compute_90a,code=sm_90a
for name in sm80 sm80_compressed sm90a sm120 ptx120 sm100f; do link "$name.so" "$work/$name.o"; done
link mixed.so "$work/first.o" "$work/second.o" "$work/third.o" "$work/fourth.o"
