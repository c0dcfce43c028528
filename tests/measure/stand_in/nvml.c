/* A stand-in for the NVIDIA driver's libnvidia-ml.so.1, for machines without a GPU.

   It exports the functions that harness/measure/nvml.py reaches through nvidia-ml-py, with the
   signatures and return codes of nvml.h, and answers for H200 cards as the tests configure it:

   STAND_IN_GPUS       how many cards (default 1)
   STAND_IN_FAIL       "function=code,function@1=code": return code of a function, on any card or
                       on card 1 alone; codes 15 (lost) and 16 (reset required) stick to a card
   STAND_IN_PROCESSES  "compute:PID:BYTES,graphics:PID:BYTES"; PID may be "self", BYTES "?"
   STAND_IN_REASONS    clock event reasons, a bit mask
   STAND_IN_MIG        number of MIG instances on card 0; "none" for MIG mode without an instance
   STAND_IN_NAMES      names of the cards, separated by commas

   Compiled with -DOLD_DRIVER it lacks the functions that a driver of the 470 series lacks. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15,
       RESET = 16, WRONG_VERSION = 25 };
enum { CARDS = 8, SLICES = 7 };

typedef struct { int card, slice; } Handle; /* slice -1: the whole card */
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Utilisation;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gi, ci; } Process;
typedef struct { unsigned sms, rest[7]; unsigned long long megabytes; } Attributes;
typedef struct { unsigned version; unsigned sensor; int degrees; } Temperature;

static const unsigned long long GB = 1000000000ull;
static Handle cards[CARDS], slices[CARDS][SLICES];
static int sticky[CARDS];

static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? (int)strtol(text, NULL, 0) : otherwise;
}

/* The code that STAND_IN_FAIL gives for this function (on this card; -1: no card), or OK. */
static int fault(const char *function, int card) {
    if (card >= 0 && sticky[card]) return sticky[card];
    const char *text = getenv("STAND_IN_FAIL");
    size_t length = strlen(function);
    while (text && *text) {
        if (!strncmp(text, function, length) && (text[length] == '=' || text[length] == '@')) {
            const char *rest = text + length;
            int wanted = *rest == '@' ? (int)strtol(rest + 1, (char **)&rest, 10) : card;
            int code = (int)strtol(rest + 1, NULL, 10);
            if (wanted == card) {
                if (card >= 0 && (code == LOST || code == RESET)) sticky[card] = code;
                return code;
            }
        }
        text = strchr(text, ',');
        if (text) text++;
    }
    return OK;
}

#define ASK(handle) do { int code = fault(__func__, (handle)->card); if (code) return code; } while (0)
#define ASK_LIBRARY() do { int code = fault(__func__, -1); if (code) return code; } while (0)
#define WHOLE_CARD_ONLY(handle) do { if ((handle)->slice >= 0) return INVALID; } while (0)

static int gpus(void) { return setting("STAND_IN_GPUS", 1); }

static int mig(const Handle *h) {
    const char *text = getenv("STAND_IN_MIG");
    return h->card == 0 && text && *text;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    ASK_LIBRARY();
    for (int c = 0; c < CARDS; c++) {
        cards[c] = (Handle){c, -1};
        sticky[c] = 0;
        for (int s = 0; s < SLICES; s++) slices[c][s] = (Handle){c, s};
    }
    return OK;
}

int nvmlShutdown(void) { ASK_LIBRARY(); return OK; }

const char *nvmlErrorString(int code) {
    return code == 999 ? "Unknown Error" : "an error of the stand-in";
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    ASK_LIBRARY();
    snprintf(text, size, "580.95.05");
    return OK;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) { ASK_LIBRARY(); *version = 13000; return OK; }

int nvmlSystemGetProcessName(unsigned pid, char *text, unsigned size) {
    ASK_LIBRARY();
    snprintf(text, size, "/usr/bin/program-%u --token secret", pid);
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *count) { ASK_LIBRARY(); *count = (unsigned)gpus(); return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle **handle) {
    if ((int)index >= gpus()) return INVALID;
    ASK(&cards[index]);
    *handle = &cards[index];
    return OK;
}

int nvmlDeviceGetName(Handle *h, char *text, unsigned size) {
    ASK(h);
    const char *names = getenv("STAND_IN_NAMES");
    char card[64] = "NVIDIA H200";
    for (int skip = h->card; names && *names; skip--) {
        size_t length = strcspn(names, ",");
        if (skip == 0) snprintf(card, sizeof card, "%.*s", (int)length, names);
        names += length + (names[length] == ',');
    }
    snprintf(text, size, h->slice < 0 ? "%s" : "%s MIG 1g.18gb", card);
    return OK;
}

int nvmlDeviceGetUUID(Handle *h, char *text, unsigned size) {
    ASK(h);
    if (h->slice < 0) snprintf(text, size, "GPU-%d0000000-1111-2222-3333-444444444444", h->card);
    else snprintf(text, size, "MIG-%d%d000000-5555-6666-7777-888888888888", h->card, h->slice);
    return OK;
}

int nvmlDeviceGetMemoryInfo(Handle *h, Memory *m) {
    ASK(h);
    unsigned long long total = (h->slice < 0 ? 140 : 18) * GB, used = 3 * GB;
    *m = (Memory){total, total - used, used}; /* "used" holds the reserved part here */
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(Handle *h, int *major, int *minor) {
    ASK(h);
    *major = 9;
    *minor = 0;
    return OK;
}

int nvmlDeviceGetMigMode(Handle *h, unsigned *current, unsigned *pending) {
    ASK(h);
    *current = *pending = (unsigned)mig(h);
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(Handle *h, unsigned *count) { ASK(h); *count = SLICES; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(Handle *h, unsigned index, Handle **slice) {
    ASK(h);
    /* Place 0 is empty, as happens once an instance was destroyed. */
    if (!mig(h) || index == 0 || (int)index > setting("STAND_IN_MIG", 0)) return NOT_FOUND;
    *slice = &slices[h->card][index];
    return OK;
}

int nvmlDeviceGetAttributes_v2(Handle *h, Attributes *attributes) {
    ASK(h);
    if (h->slice < 0) return NOT_SUPPORTED;
    *attributes = (Attributes){.sms = 16, .megabytes = 18000};
    return OK;
}

int nvmlDeviceGetNumGpuCores(Handle *h, unsigned *cores) {
    ASK(h);
    WHOLE_CARD_ONLY(h);
    *cores = 132 * 128;
    return OK;
}

int nvmlDeviceGetClockInfo(Handle *h, unsigned kind, unsigned *mhz) {
    ASK(h);
    WHOLE_CARD_ONLY(h);
    *mhz = kind == 1 ? 1755 : kind == 2 ? 3201 : 0;
    return kind == 1 || kind == 2 ? OK : INVALID;
}

int nvmlDeviceGetMaxClockInfo(Handle *h, unsigned kind, unsigned *mhz) {
    ASK(h);
    WHOLE_CARD_ONLY(h);
    *mhz = kind == 1 ? 1980 : kind == 2 ? 3201 : 0;
    return kind == 1 || kind == 2 ? OK : INVALID;
}

int nvmlDeviceGetPowerUsage(Handle *h, unsigned *milliwatts) {
    ASK(h);
    WHOLE_CARD_ONLY(h);
    *milliwatts = 412500;
    return OK;
}

int nvmlDeviceGetEnforcedPowerLimit(Handle *h, unsigned *milliwatts) {
    ASK(h);
    WHOLE_CARD_ONLY(h);
    *milliwatts = 700000;
    return OK;
}

int nvmlDeviceGetUtilizationRates(Handle *h, Utilisation *u) {
    ASK(h);
    WHOLE_CARD_ONLY(h);
    *u = (Utilisation){87, 41};
    return OK;
}

static int list_processes(const char *kind, unsigned *count, Process *out) {
    const char *text = getenv("STAND_IN_PROCESSES");
    unsigned room = *count, found = 0;
    while (text && *text) {
        char group[16], pid[16], bytes[32];
        if (sscanf(text, "%15[^:]:%15[^:]:%31[^,]", group, pid, bytes) == 3 && !strcmp(group, kind)) {
            if (out && found < room)
                out[found] = (Process){
                    !strcmp(pid, "self") ? (unsigned)getpid() : (unsigned)strtoul(pid, NULL, 10),
                    *bytes == '?' ? ~0ull : strtoull(bytes, NULL, 10), ~0u, ~0u};
            found++;
        }
        text = strchr(text, ',');
        if (text) text++;
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v2(Handle *h, unsigned *count, Process *out) {
    ASK(h);
    return list_processes("compute", count, out);
}

#ifdef OLD_DRIVER

int nvmlDeviceGetTemperature(Handle *h, unsigned sensor, unsigned *degrees) {
    ASK(h);
    *degrees = 61;
    return sensor == 0 ? OK : INVALID;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Handle *h, unsigned long long *reasons) {
    ASK(h);
    *reasons = (unsigned long long)setting("STAND_IN_REASONS", 0);
    return OK;
}

#else

int nvmlDeviceGetMemoryInfo_v2(Handle *h, Memory2 *m) {
    ASK(h);
    if (m->version != (sizeof *m | 2u << 24)) return WRONG_VERSION;
    unsigned long long total = (h->slice < 0 ? 140 : 18) * GB, used = 2 * GB, reserved = GB;
    *m = (Memory2){m->version, total, reserved, total - used - reserved, used};
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Handle *h, unsigned *count, Process *out) {
    ASK(h);
    return list_processes("compute", count, out);
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(Handle *h, unsigned *count, Process *out) {
    ASK(h);
    return list_processes("mps", count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle *h, unsigned *count, Process *out) {
    ASK(h);
    return list_processes("graphics", count, out);
}

int nvmlDeviceGetTemperatureV(Handle *h, Temperature *t) {
    ASK(h);
    if (t->version != (sizeof *t | 1u << 24)) return WRONG_VERSION;
    if (t->sensor != 0) return INVALID;
    t->degrees = 61;
    return OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(Handle *h, unsigned long long *reasons) {
    ASK(h);
    *reasons = (unsigned long long)setting("STAND_IN_REASONS", 0);
    return OK;
}

#endif
