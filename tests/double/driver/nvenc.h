/* Shared by the parts of libnvidia-encode: nvenc.c encodes, nvenc_caps.c has the capabilities of the GPU,
 * nvenc_settings.c logs the settings. */
#ifndef CLIPFLEET_DOUBLE_NVENC_H
#define CLIPFLEET_DOUBLE_NVENC_H

#include <stdbool.h>
#include <string.h>

#include <ffnvcodec/nvEncodeAPI.h>

/* The values of this double's presets. No real driver has these values, so if one of them arrives at
 * nvEncInitializeEncoder, the client kept the preset's own. */
enum {
    PRESET_AVERAGE_BIT_RATE = 1234567,
    PRESET_MAX_BIT_RATE = 2345678,
    PRESET_VBV = 3456789,
    PRESET_GOP = 251,
};

static inline bool same(const GUID *a, const GUID *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* nvenc_caps.c: fills in the capability functions of the interface, and answers one query. */
void offer_caps(NV_ENCODE_API_FUNCTION_LIST *list);
int capability(NV_ENC_CAPS which);

/* "p1" to "p7". */
const char *preset_name(const GUID *preset);

/* nvenc_settings.c */
void log_settings(const char *call, const NV_ENC_INITIALIZE_PARAMS *parameters);

/* Handles are void pointers in the interface and structures here. */
#define ENTRY(list, name, function) (list)->name = (__typeof__((list)->name))(void *)(function)

#endif
