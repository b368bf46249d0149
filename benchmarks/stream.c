/* The four kernels of STREAM (J. McCalpin), each run once when its name is read from standard input; the seconds that it took,
   and how often the system took a processor away meanwhile, are written back. Doubles, as in the original; all arrays are first touched by the threads that work on them. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static long taken_away(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 0;
    double *a = aligned_alloc(64, n * 8), *b = aligned_alloc(64, n * 8), *c = aligned_alloc(64, n * 8), s = 3.0;
    char name[64];
    if (n <= 0 || n % 8 || !a || !b || !c)
        return 1;
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++)
        a[i] = 0, b[i] = i % 1024, c[i] = (n - 1 - i) % 1024;
    while (scanf("%63s", name) == 1) {
        long before = taken_away();
        double began = omp_get_wtime();
        if (!strcmp(name, "copy")) {
#pragma omp parallel for schedule(static)
            for (long i = 0; i < n; i++)
                a[i] = b[i];
        } else if (!strcmp(name, "scale")) {
#pragma omp parallel for schedule(static)
            for (long i = 0; i < n; i++)
                a[i] = s * b[i];
        } else if (!strcmp(name, "add")) {
#pragma omp parallel for schedule(static)
            for (long i = 0; i < n; i++)
                a[i] = b[i] + c[i];
        } else if (!strcmp(name, "triad")) {
#pragma omp parallel for schedule(static)
            for (long i = 0; i < n; i++)
                a[i] = b[i] + s * c[i];
        } else
            return 2;
        double took = omp_get_wtime() - began;
        printf("%.9f %ld %g\n", took, taken_away() - before, a[n / 2]);
        fflush(stdout);
    }
    return 0;
}
