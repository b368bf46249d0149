/* A stand-in for libnvidia-ml.so.1 that answers as a text file says.
 *
 * FAKE_NVML_ANSWERS names the file. One line is one call and its answer. The arguments follow the function; the first
 * argument of a call about a GPU is its index. A structure is answered by its fields in order, without its version:
 *
 *     nvmlDeviceGetCount_v2 = 8
 *     nvmlDeviceGetName 0 = NVIDIA H100 80GB HBM3
 *     nvmlDeviceGetClockInfo 0 1 = 1980
 *     nvmlDeviceGetEccMode 0 = 1 1
 *     nvmlDeviceGetGpuFabricInfo 0 = !13                  (the call returns this nvmlReturn_t)
 *
 * A call that the file does not have returns NVML_ERROR_NOT_SUPPORTED. These variables go before the file. Each is a
 * list with commas of calls, written as above with their arguments, or as the function alone for any arguments:
 *
 *     FAKE_NVML_ERROR="nvmlDeviceGetPowerUsage=15,nvmlDeviceGetName 3=999"     return that error
 *     FAKE_NVML_HANG="nvmlDeviceGetTemperature"                                never return
 *     FAKE_NVML_CRASH="nvmlDeviceGetName 1"                                    abort()
 *
 * The file is read anew at every nvmlInit; the variables are looked at in every call. One thread only.
 * Signatures and structures are those of nvml.h as nvidia-ml-py binds them. */

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    ARGUMENT_VERSION_MISMATCH = 25,
};

enum { MAX_ANSWERS = 8192, MAX_CALL = 128, MAX_LINE = 512 };

/* --- what the file and the variables say --- */

static struct {
    char call[MAX_LINE]; /* and behind its end the value */
    const char *value;
} answers[MAX_ANSWERS];
static size_t answer_count;
static int started; /* nvmlInit less nvmlShutdown */

static int read_answers(void)
{
    const char *path = getenv("FAKE_NVML_ANSWERS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return DRIVER_NOT_LOADED;
    answer_count = 0;
    while (answer_count < MAX_ANSWERS && fgets(answers[answer_count].call, MAX_LINE, file)) {
        char *line = answers[answer_count].call;
        line[strcspn(line, "\n")] = '\0';
        char *equals = strstr(line, " = ");
        if (!equals)
            continue;
        *equals = '\0';
        answers[answer_count++].value = equals + strlen(" = ");
    }
    fclose(file);
    return SUCCESS;
}

/* Whether `item`, up to a comma, '=' or its end, is `call` or the function of `call`. */
static int names(const char *item, const char *call)
{
    size_t length = strcspn(item, ",=");
    return strncmp(item, call, length) == 0 && (call[length] == '\0' || call[length] == ' ');
}

/* The entry for `call` in the list that the environment variable holds, NULL if it has none. */
static const char *listed(const char *variable, const char *call)
{
    const char *item = getenv(variable);
    while (item && *item) {
        if (names(item, call))
            return item;
        item = strchr(item, ',');
        if (item)
            item++;
    }
    return NULL;
}

/* Misbehave in `call` if the environment says so: hang, crash, or the error to return. */
static int misbehave(const char *call)
{
    if (listed("FAKE_NVML_CRASH", call))
        abort();
    if (listed("FAKE_NVML_HANG", call))
        for (;;)
            pause();
    const char *error = listed("FAKE_NVML_ERROR", call);
    const char *code = error ? error + strcspn(error, ",=") : "";
    return *code == '=' ? atoi(code + 1) : SUCCESS;
}

/* The answer to a call, written as in the file; what it returns if it is not SUCCESS. */
static int ask(const char **value, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int ask(const char **value, const char *format, ...)
{
    char call[MAX_CALL];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(call, sizeof call, format, arguments);
    va_end(arguments);

    int error = misbehave(call);
    if (error)
        return error;
    if (!started)
        return UNINITIALIZED;
    for (size_t i = 0; i < answer_count; i++)
        if (strcmp(answers[i].call, call) == 0) {
            *value = answers[i].value;
            return **value == '!' ? atoi(*value + 1) : SUCCESS;
        }
    return NOT_SUPPORTED;
}

/* The next whole number of `*value`, decimal or 0x; 0 after the last and at what is no number. */
static uint64_t number(const char **value)
{
    char *end;
    uint64_t result = strtoull(*value, &end, 0);
    *value = end == *value ? "" : end;
    return result;
}

/* --- handles: a GPU is its index + 1, so that none is NULL --- */

typedef struct device *nvmlDevice_t;

static nvmlDevice_t handle(unsigned index)
{
    return (nvmlDevice_t)(uintptr_t)(index + 1);
}

static unsigned gpu(nvmlDevice_t device)
{
    return (unsigned)(uintptr_t)device - 1;
}

/* --- calls: how they are declared, what they ask for, and where the `value` that comes back is put --- */

#define CALL(function, parameters, asked, put) \
    int function parameters \
    { \
        const char *value; \
        int error = ask asked; \
        if (!error) { \
            put; \
        } \
        return error; \
    }
#define PUT(out) (*(out) = (__typeof__(*(out)))number(&value))

#define SYSTEM_TEXT(function) \
    CALL(function, (char *text, unsigned size), (&value, #function), snprintf(text, size, "%s", value))
#define SYSTEM_NUMBER(function) CALL(function, (unsigned *out), (&value, #function), PUT(out))
#define GPU_TEXT(function) \
    CALL(function, (nvmlDevice_t device, char *text, unsigned size), (&value, #function " %u", gpu(device)), \
         snprintf(text, size, "%s", value))
#define GPU_NUMBERS(function, type, count) /* one number, or a structure of numbers of one type */ \
    CALL(function, (nvmlDevice_t device, type * out), (&value, #function " %u", gpu(device)), \
         for (int i = 0; i < (count); i++) PUT(out + i))
#define GPU_NUMBER(function) GPU_NUMBERS(function, unsigned, 1)
#define GPU_PAIR(function) \
    CALL(function, (nvmlDevice_t device, unsigned *first, unsigned *second), \
         (&value, #function " %u", gpu(device)), (PUT(first), PUT(second)))
#define GPU_NUMBER_OF(function) /* of a clock, a sensor, a threshold, a link */ \
    CALL(function, (nvmlDevice_t device, unsigned which, unsigned *out), \
         (&value, #function " %u %u", gpu(device), which), PUT(out))

SYSTEM_TEXT(nvmlSystemGetDriverVersion)
SYSTEM_TEXT(nvmlSystemGetNVMLVersion)
SYSTEM_NUMBER(nvmlSystemGetCudaDriverVersion_v2)

int nvmlSystemGetCudaDriverVersion(unsigned *number) /* the older call answers likewise; other programs use it */
{
    return nvmlSystemGetCudaDriverVersion_v2(number);
}

SYSTEM_NUMBER(nvmlDeviceGetCount_v2)

GPU_TEXT(nvmlDeviceGetName)
GPU_TEXT(nvmlDeviceGetUUID)
GPU_TEXT(nvmlDeviceGetSerial)
GPU_TEXT(nvmlDeviceGetVbiosVersion)
CALL(nvmlDeviceGetGspFirmwareVersion, (nvmlDevice_t device, char *version),
     (&value, "nvmlDeviceGetGspFirmwareVersion %u", gpu(device)), snprintf(version, 64, "%s", value))

GPU_NUMBER(nvmlDeviceGetNumGpuCores)
GPU_NUMBER(nvmlDeviceGetMemoryBusWidth)
GPU_NUMBER(nvmlDeviceGetCurrPcieLinkGeneration)
GPU_NUMBER(nvmlDeviceGetMaxPcieLinkGeneration)
GPU_NUMBER(nvmlDeviceGetCurrPcieLinkWidth)
GPU_NUMBER(nvmlDeviceGetMaxPcieLinkWidth)
GPU_NUMBER(nvmlDeviceGetPcieReplayCounter)
GPU_NUMBER(nvmlDeviceGetPowerUsage)
GPU_NUMBER(nvmlDeviceGetEnforcedPowerLimit)
GPU_NUMBER(nvmlDeviceGetPowerManagementDefaultLimit)
GPU_NUMBER(nvmlDeviceGetPerformanceState)
GPU_NUMBER(nvmlDeviceGetRetiredPagesPendingStatus)
GPU_NUMBER(nvmlDeviceGetPersistenceMode)
GPU_NUMBER(nvmlDeviceGetComputeMode)
GPU_NUMBER(nvmlDeviceGetMaxMigDeviceCount)
GPU_NUMBER(nvmlDeviceGetGpuInstanceId)
GPU_NUMBER(nvmlDeviceGetComputeInstanceId)
GPU_NUMBERS(nvmlDeviceGetCurrentClocksEventReasons, uint64_t, 1)
GPU_NUMBERS(nvmlDeviceGetCurrentClocksThrottleReasons, uint64_t, 1)
GPU_NUMBERS(nvmlDeviceGetUtilizationRates, unsigned, 2) /* gpu, memory */
GPU_NUMBERS(nvmlDeviceGetBAR1MemoryInfo, uint64_t, 3)   /* total, free, used */
GPU_NUMBERS(nvmlDeviceGetMemoryInfo, uint64_t, 3)       /* total, free, used */

GPU_PAIR(nvmlDeviceGetCudaComputeCapability)
GPU_PAIR(nvmlDeviceGetEccMode)
GPU_PAIR(nvmlDeviceGetMigMode)

GPU_NUMBER_OF(nvmlDeviceGetClockInfo)
GPU_NUMBER_OF(nvmlDeviceGetMaxClockInfo)
GPU_NUMBER_OF(nvmlDeviceGetTemperature)
GPU_NUMBER_OF(nvmlDeviceGetTemperatureThreshold)
GPU_NUMBER_OF(nvmlDeviceGetNvLinkState)
GPU_NUMBER_OF(nvmlDeviceGetNvLinkVersion)

CALL(nvmlDeviceGetTotalEccErrors, (nvmlDevice_t device, unsigned kind, unsigned span, uint64_t *count),
     (&value, "nvmlDeviceGetTotalEccErrors %u %u %u", gpu(device), kind, span), PUT(count))
CALL(nvmlDeviceGetRemappedRows,
     (nvmlDevice_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed),
     (&value, "nvmlDeviceGetRemappedRows %u", gpu(device)),
     (PUT(corrected), PUT(uncorrected), PUT(pending), PUT(failed)))

/* The answer to the next two may be any text: the handle is made here. */
CALL(nvmlDeviceGetHandleByIndex_v2, (unsigned index, nvmlDevice_t *device),
     (&value, "nvmlDeviceGetHandleByIndex_v2 %u", index), *device = handle(index))
CALL(nvmlDeviceGetMigDeviceHandleByIndex, (nvmlDevice_t device, unsigned index, nvmlDevice_t *instance),
     (&value, "nvmlDeviceGetMigDeviceHandleByIndex %u %u", gpu(device), index),
     *instance = handle(1000 * (gpu(device) + 1) + index))

/* --- calls with structures of their own --- */

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} nvmlPciInfo_t;
_Static_assert(sizeof(nvmlPciInfo_t) == 68, "nvmlPciInfo_t of nvml.h");

static void put_pci(nvmlPciInfo_t *pci, const char *value)
{
    (PUT(&pci->domain), PUT(&pci->bus), PUT(&pci->device), PUT(&pci->device_id), PUT(&pci->subsystem_id));
    unsigned domain = pci->domain & 0xffff, bus = pci->bus & 0xff, slot = pci->device & 0xff;
    snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "%04X:%02X:%02X.0", domain, bus, slot);
    snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", pci->domain, bus, slot);
}
/* "domain bus device device-id subsystem-id", each id with the vendor in its low half, as NVML has it */
CALL(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t device, nvmlPciInfo_t *pci),
     (&value, "nvmlDeviceGetPciInfo_v3 %u", gpu(device)), put_pci(pci, value))

typedef struct {
    unsigned version;
    uint64_t total, reserved, free, used;
} nvmlMemory_v2_t;
_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "nvmlMemory_v2_t of nvml.h");

static int put_memory(nvmlMemory_v2_t *memory, const char *value)
{
    if (memory->version != (sizeof *memory | 2 << 24))
        return ARGUMENT_VERSION_MISMATCH;
    (PUT(&memory->total), PUT(&memory->reserved), PUT(&memory->free), PUT(&memory->used));
    return SUCCESS;
}
CALL(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t device, nvmlMemory_v2_t *memory),
     (&value, "nvmlDeviceGetMemoryInfo_v2 %u", gpu(device)), error = put_memory(memory, value))

typedef struct {
    unsigned char cluster[16];
    int status;
    unsigned clique, state;
} nvmlGpuFabricInfo_t;
_Static_assert(sizeof(nvmlGpuFabricInfo_t) == 28, "nvmlGpuFabricInfo_t of nvml.h");

/* "status clique state" */
CALL(nvmlDeviceGetGpuFabricInfo, (nvmlDevice_t device, nvmlGpuFabricInfo_t *fabric),
     (&value, "nvmlDeviceGetGpuFabricInfo %u", gpu(device)),
     (PUT(&fabric->status), PUT(&fabric->clique), PUT(&fabric->state)))

typedef struct {
    unsigned pid;
    uint64_t used;
    unsigned gpu_instance, compute_instance;
} nvmlProcessInfo_t;
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "nvmlProcessInfo_t of nvml.h");

static int put_processes(unsigned *count, nvmlProcessInfo_t *found, const char *value)
{
    unsigned room = *count;
    for (*count = 0; value[strspn(value, " ")]; ++*count) {
        nvmlProcessInfo_t one = {.gpu_instance = ~0u, .compute_instance = ~0u};
        (PUT(&one.pid), PUT(&one.used));
        if (*count < room)
            found[*count] = one;
    }
    return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}
/* "pid bytes pid bytes ...", empty for none */
#define GPU_PROCESSES(function) \
    CALL(function, (nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *found), \
         (&value, #function " %u", gpu(device)), error = put_processes(count, found, value))
GPU_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2) /* before R510 */
GPU_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3)

typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    int type, error;
    uint64_t value;
} nvmlFieldValue_t;
_Static_assert(sizeof(nvmlFieldValue_t) == 40, "nvmlFieldValue_t of nvml.h");

/* Each field has its own answer: nvmlDeviceGetFieldValues GPU FIELD = 1; one that is not there is not supported. */
int nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *fields)
{
    const char *value;
    int error = misbehave("nvmlDeviceGetFieldValues");
    for (int i = 0; !error && i < count; i++) {
        fields[i].error = ask(&value, "nvmlDeviceGetFieldValues %u %u", gpu(device), fields[i].field);
        if (!fields[i].error)
            PUT(&fields[i].value);
    }
    return error;
}

/* --- calls that need no answer --- */

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    int error = misbehave("nvmlInitWithFlags");
    if (!error)
        error = read_answers();
    started += !error;
    return error;
}

int nvmlShutdown(void)
{
    int error = misbehave("nvmlShutdown");
    if (error)
        return error;
    if (!started)
        return UNINITIALIZED;
    started--;
    return SUCCESS;
}

/* nvidia-ml-py asks for the texts of the errors that are newer than its own table. */
const char *nvmlErrorString(int error)
{
    switch (error) {
    case 19: return "In use by another client";
    case 21: return "No data";
    case 25: return "API call received an input argument with invalid version";
    case 26: return "Deprecated";
    case 27: return "System is not ready for the request";
    case 28: return "No GPUs were found";
    case 29: return "Resource not in correct state to perform requested operation";
    default: return "Unknown Error";
    }
}
