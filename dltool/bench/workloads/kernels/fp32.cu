// FP32 on the ordinary cores: x = a x + b again and again, nothing loaded in between; eight x of a thread do not wait for one another.
// With |a| below 0.75 rounding does not add up, so the result is known.

extern "C" __global__ void __launch_bounds__(256, 2) measure(const float *a, const float *b, float *c, int rounds) {
    const int thread = threadIdx.x, threads = blockDim.x;
    const float factor = a[thread];
    float x[8], y[8];
    for (int j = 0; j < 8; ++j) x[j] = y[j] = b[j * threads + thread];
    for (int round = 0; round < rounds; ++round)
#pragma unroll
        for (int j = 0; j < 8; ++j)
            asm volatile("fma.rn.f32 %0, %0, %1, %2;" : "+f"(x[j]) : "f"(factor), "f"(y[j]));
    for (int j = 0; j < 8; ++j) c[(blockIdx.x * 8 + j) * threads + thread] = x[j];
}
