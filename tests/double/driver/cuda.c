/* libcuda: contexts, memory (the heap), copies (real), modules and launches. Streams and events never wait, because
 * every call is complete when it returns. */
#include "double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ffnvcodec/dynlink_cuda.h>

/* The values of a real L4: Ada, compute capability 8.9; textures and rows aligned as on all recent GPUs. */
enum { ALIGNMENT = 512, PITCH_ALIGNMENT = 32, MAJOR = 8, MINOR = 9, DRIVER = 12040 };


static unsigned long streams_made;

bool pipeline_under_way(void)
{
    return __atomic_load_n(&streams_made, __ATOMIC_RELAXED) > 0;
}

EXPORT int cuInit(unsigned flags)
{
    (void)flags;
    return fault("no-device") ? CUDA_RESULT_NO_DEVICE : CUDA_SUCCESS;
}

EXPORT int cuDriverGetVersion(int *version)
{
    *version = (int)gpu_number("driver", fault("old-driver") ? 10000 : DRIVER);
    return CUDA_SUCCESS;
}

static const char *result_name(int result)
{
    switch (result) {
    case CUDA_SUCCESS: return "CUDA_SUCCESS";
    case CUDA_RESULT_OUT_OF_MEMORY: return "CUDA_ERROR_OUT_OF_MEMORY";
    case CUDA_RESULT_NO_DEVICE: return "CUDA_ERROR_NO_DEVICE";
    case CUDA_RESULT_INVALID_IMAGE: return "CUDA_ERROR_INVALID_IMAGE";
    case CUDA_RESULT_LAUNCH_FAILED: return "CUDA_ERROR_LAUNCH_FAILED";
    case CUDA_RESULT_NOT_SUPPORTED: return "CUDA_ERROR_NOT_SUPPORTED";
    default: return "CUDA_ERROR_UNKNOWN";
    }
}

EXPORT int cuGetErrorName(int result, const char **name)
{
    *name = result_name(result);
    return CUDA_SUCCESS;
}

EXPORT int cuGetErrorString(int result, const char **text)
{
    return cuGetErrorName(result, text);
}

/* Contexts: a stack per thread, as in the real driver. Handles are opaque. */

enum { DEPTH = 64 };
static __thread void *stack[DEPTH];
static __thread int depth;

EXPORT int cuCtxPushCurrent_v2(void *context)
{
    if (depth == DEPTH)
        return CUDA_ERROR_UNKNOWN;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

EXPORT int cuCtxPopCurrent_v2(void **context)
{
    if (depth == 0)
        return CUDA_ERROR_UNKNOWN;
    void *top = stack[--depth];
    if (context != NULL)
        *context = top;
    return CUDA_SUCCESS;
}

EXPORT int cuCtxCreate_v2(void **context, unsigned flags, int device)
{
    (void)flags;
    (void)device;
    *context = malloc(1);
    return cuCtxPushCurrent_v2(*context);
}

EXPORT int cuCtxDestroy_v2(void *context)
{
    free(context);
    return CUDA_SUCCESS;
}

EXPORT int cuCtxGetLimit(size_t *value, int limit)
{
    (void)limit;
    *value = 1024;
    return CUDA_SUCCESS;
}

EXPORT int cuCtxSetLimit(int limit, size_t value)
{
    (void)limit;
    (void)value;
    return CUDA_SUCCESS;
}

EXPORT int cuCtxSynchronize(void)
{
    return CUDA_SUCCESS;
}

/* One device. */

EXPORT int cuDeviceGetCount(int *count)
{
    *count = 1;
    return CUDA_SUCCESS;
}

EXPORT int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_RESULT_NO_DEVICE;
}

EXPORT int cuDeviceGetName(char *name, int size, int device)
{
    (void)device;
    gpu_name(name, (size_t)size);
    return CUDA_SUCCESS;
}

EXPORT int cuDeviceGetUuid(void *uuid, int device)
{
    (void)device;
    memset(uuid, 7, 16);
    return CUDA_SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = MAJOR; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = MINOR; break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: *value = ALIGNMENT; break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT: *value = PITCH_ALIGNMENT; break;
    default: *value = 0; break;
    }
    return CUDA_SUCCESS;
}

EXPORT int cuDeviceCanAccessPeer(int *can, int device, int peer)
{
    (void)device;
    (void)peer;
    *can = 0;
    return CUDA_SUCCESS;
}

/* Memory. */

EXPORT int cuMemAlloc_v2(CUdeviceptr *pointer, size_t size)
{
    static unsigned long allocations;
    unsigned long before = __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    if (fault_after("device-out-of-memory", before))
        return CUDA_RESULT_OUT_OF_MEMORY;

    size_t whole = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, whole > 0 ? whole : ALIGNMENT);
    if (memory == NULL)
        return CUDA_RESULT_OUT_OF_MEMORY;
    *pointer = (CUdeviceptr)(uintptr_t)memory;
    return CUDA_SUCCESS;
}

EXPORT int cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height, unsigned element)
{
    (void)element;
    *pitch = (width + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return cuMemAlloc_v2(pointer, *pitch * height);
}

EXPORT int cuMemFree_v2(CUdeviceptr pointer)
{
    free((void *)(uintptr_t)pointer);
    return CUDA_SUCCESS;
}

EXPORT int cuMemAllocHost_v2(void **pointer, size_t size)
{
    *pointer = malloc(size);
    return *pointer != NULL ? CUDA_SUCCESS : CUDA_RESULT_OUT_OF_MEMORY;
}

EXPORT int cuMemFreeHost(void *pointer)
{
    free(pointer);
    return CUDA_SUCCESS;
}

EXPORT int cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy)
{
    const uint8_t *from =
        copy->srcMemoryType == CU_MEMORYTYPE_HOST ? copy->srcHost : (void *)(uintptr_t)copy->srcDevice;
    uint8_t *to = copy->dstMemoryType == CU_MEMORYTYPE_HOST ? copy->dstHost : (void *)(uintptr_t)copy->dstDevice;

    from += copy->srcY * copy->srcPitch + copy->srcXInBytes;
    to += copy->dstY * copy->dstPitch + copy->dstXInBytes;
    for (size_t row = 0; row < copy->Height; row++)
        memcpy(to + row * copy->dstPitch, from + row * copy->srcPitch, copy->WidthInBytes);
    return CUDA_SUCCESS;
}

EXPORT int cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, void *stream)
{
    (void)stream;
    return cuMemcpy2D_v2(copy);
}

static int copy_bytes(void *to, const void *from, size_t size)
{
    memcpy(to, from, size);
    return CUDA_SUCCESS;
}

EXPORT int cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    return copy_bytes((void *)(uintptr_t)to, (void *)(uintptr_t)from, size);
}

EXPORT int cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, void *stream)
{
    (void)stream;
    return cuMemcpyDtoD_v2(to, from, size);
}

EXPORT int cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size)
{
    return copy_bytes(to, (void *)(uintptr_t)from, size);
}

EXPORT int cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, void *stream)
{
    (void)stream;
    return cuMemcpyDtoH_v2(to, from, size);
}

EXPORT int cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    return copy_bytes((void *)(uintptr_t)to, from, size);
}

EXPORT int cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, void *stream)
{
    (void)stream;
    return cuMemcpyHtoD_v2(to, from, size);
}

/* Fills rows with one value of 1, 2 or 4 bytes. */
static int fill(CUdeviceptr pointer, size_t pitch, const void *value, size_t size, size_t width, size_t height)
{
    uint8_t *row = (void *)(uintptr_t)pointer;
    for (; height > 0; height--, row += pitch)
        for (size_t i = 0; i < width; i++)
            memcpy(row + i * size, value, size);
    return CUDA_SUCCESS;
}

#define FILL(name, type)                                                                                             \
    EXPORT int name##_v2(CUdeviceptr pointer, size_t pitch, type value, size_t width, size_t height)                 \
    {                                                                                                                \
        return fill(pointer, pitch, &value, sizeof value, width, height);                                            \
    }                                                                                                                \
    EXPORT int name##Async(CUdeviceptr pointer, size_t pitch, type value, size_t width, size_t height, void *stream) \
    {                                                                                                                \
        (void)stream;                                                                                                \
        return fill(pointer, pitch, &value, sizeof value, width, height);                                            \
    }
FILL(cuMemsetD2D8, uint8_t)
FILL(cuMemsetD2D16, uint16_t)
FILL(cuMemsetD2D32, uint32_t)

/* Streams and events. */

EXPORT int cuStreamCreate(void **stream, unsigned flags)
{
    (void)flags;
    __atomic_fetch_add(&streams_made, 1, __ATOMIC_RELAXED);
    *stream = malloc(1);
    return CUDA_SUCCESS;
}

EXPORT int cuStreamDestroy_v2(void *stream)
{
    free(stream);
    return CUDA_SUCCESS;
}

EXPORT int cuStreamSynchronize(void *stream)
{
    (void)stream;
    return CUDA_SUCCESS;
}

EXPORT int cuEventCreate(void **event, unsigned flags)
{
    (void)flags;
    *event = malloc(1);
    return CUDA_SUCCESS;
}

EXPORT int cuEventDestroy_v2(void *event)
{
    free(event);
    return CUDA_SUCCESS;
}

EXPORT int cuEventRecord(void *event, void *stream)
{
    (void)event;
    (void)stream;
    return CUDA_SUCCESS;
}

EXPORT int cuEventSynchronize(void *event)
{
    (void)event;
    return CUDA_SUCCESS;
}

/* This double does not support sharing with other devices, processes and OpenGL. The symbols must exist. */

#define NOT_SUPPORTED(name)               \
    EXPORT int name(void)                 \
    {                                     \
        return CUDA_RESULT_NOT_SUPPORTED; \
    }
NOT_SUPPORTED(cuCtxEnablePeerAccess)
NOT_SUPPORTED(cuCtxDisablePeerAccess)
NOT_SUPPORTED(cuIpcGetEventHandle)
NOT_SUPPORTED(cuIpcOpenEventHandle)
NOT_SUPPORTED(cuIpcGetMemHandle)
NOT_SUPPORTED(cuIpcOpenMemHandle)
NOT_SUPPORTED(cuIpcOpenMemHandle_v2)
NOT_SUPPORTED(cuIpcCloseMemHandle)
NOT_SUPPORTED(cuGraphicsMapResources)
NOT_SUPPORTED(cuGraphicsUnmapResources)
NOT_SUPPORTED(cuGraphicsResourceSetMapFlags_v2)
NOT_SUPPORTED(cuGraphicsSubResourceGetMappedArray)
NOT_SUPPORTED(cuGraphicsResourceGetMappedPointer_v2)
NOT_SUPPORTED(cuGraphicsUnregisterResource)
NOT_SUPPORTED(cuGraphicsGLRegisterImage)
NOT_SUPPORTED(cuGraphicsGLRegisterBuffer)
NOT_SUPPORTED(cuGLGetDevices_v2)
NOT_SUPPORTED(cuGraphicsEGLRegisterImage)
NOT_SUPPORTED(cuGraphicsResourceGetMappedEglFrame)
