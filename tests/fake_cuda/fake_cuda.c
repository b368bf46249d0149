/* A stand-in for libcuda.so.1 that starts, or does not, as the environment says.
 *
 *     FAKE_CUDA_CODE=803     cuInit answers this CUresult
 *     FAKE_CUDA_COUNT=2      so many devices; their PCI addresses are 0000:01:00.0, 0000:02:00.0 ...
 *     FAKE_CUDA_DOES=hang    cuInit never returns; "crash": SIGSEGV; "abort": SIGABRT, after a word on stderr
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags)
{
    const char *does = getenv("FAKE_CUDA_DOES");
    (void)flags;
    if (does && !strcmp(does, "hang"))
        for (;;)
            pause();
    if (does && !strcmp(does, "crash"))
        raise(SIGSEGV);
    if (does && !strcmp(does, "abort")) {
        fprintf(stderr, "libcuda: inner check failed\n");
        abort();
    }
    return number("FAKE_CUDA_CODE", 0);
}

int cuDriverGetVersion(int *version)
{
    *version = 12080;
    return 0;
}

int cuDeviceGetCount(int *count)
{
    *count = number("FAKE_CUDA_COUNT", 1);
    return 0;
}

int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return 0;
}

int cuDeviceGetPCIBusId(char *text, int length, int device)
{
    snprintf(text, (size_t)length, "0000:%02X:00.0", device + 1);
    return 0;
}
