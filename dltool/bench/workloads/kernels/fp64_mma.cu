// FP64 on tensor cores: C (16, 8) += A (16, 16) @ B (16, 8), again and again, nothing loaded in between. From 8.0 on.
// Each warp has one A and four B. PTX ISA, "mma.m16n8k16" with .f64; before 9.0 it is eight "mma.m8n8k4".

__device__ __forceinline__ void multiply_add(double (&c)[4], const double (&a)[8], const double (&b)[4]) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, {%4,%5,%6,%7,%8,%9,%10,%11}, {%12,%13,%14,%15}, "
        "{%0,%1,%2,%3};"
        : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
        : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(a[4]), "d"(a[5]), "d"(a[6]), "d"(a[7]),
          "d"(b[0]), "d"(b[1]), "d"(b[2]), "d"(b[3]));
#else
    for (int i = 0; i < 8; ++i)
        asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                     : "+d"(c[i % 2 * 2]), "+d"(c[i % 2 * 2 + 1]) : "d"(a[i]), "d"(b[i / 2]));
#endif
}

extern "C" __global__ void __launch_bounds__(256, 2) measure(const double *a, const double *b, double *c, int rounds) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    double x[8], y[4][4], sum[4][4] = {};
    for (int i = 0; i < 8; ++i) x[i] = a[(warp * 8 + i) * 32 + lane];
    for (int i = 0; i < 16; ++i) y[i / 4][i % 4] = b[i * 32 + lane];
    for (int round = 0; round < rounds; ++round)
#pragma unroll
        for (int j = 0; j < 4; ++j) multiply_add(sum[j], x, y[j]);
    for (int i = 0; i < 16; ++i) c[((blockIdx.x * warps + warp) * 16 + i) * 32 + lane] = sum[i / 4][i % 4];
}
