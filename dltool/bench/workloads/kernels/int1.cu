// Bits on tensor cores: C (16, 8) += how many of 256 bits of A (16, 256) and B (256, 8) agree in being set (AND), in int32.
// As int4.cu, 32 bits to a register. PTX ISA, "mma.m16n8k256.and.popc"; before 8.0 there is XOR only: four "mma.m8n8k128.xor.popc".

__device__ __forceinline__ void multiply_add(int (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int i = 0; i < 4; ++i)
        asm volatile("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0,%1}, {%2}, {%3}, {%0,%1};"
                     : "+r"(c[i % 2 * 2]), "+r"(c[i % 2 * 2 + 1]) : "r"(a[i]), "r"(b[i / 2]));
#endif
}

extern "C" __global__ void __launch_bounds__(256, 2) measure(const unsigned *a, const unsigned *b, int *c, int rounds) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    unsigned x[4], y[8][2];
    int sum[8][4] = {};
    for (int i = 0; i < 4; ++i) x[i] = a[(warp * 4 + i) * 32 + lane];
    for (int i = 0; i < 16; ++i) y[i / 2][i % 2] = b[i * 32 + lane];
    for (int round = 0; round < rounds; ++round)
#pragma unroll
        for (int j = 0; j < 8; ++j) multiply_add(sum[j], x, y[j]);
    for (int i = 0; i < 32; ++i) c[((blockIdx.x * warps + warp) * 32 + i) * 32 + lane] = sum[i / 4][i % 4];
}
