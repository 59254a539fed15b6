/* libcuda: programs, textures and launches. A "compiled" program is the compiler's options as text (nvrtc.c). */
#include "double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ffnvcodec/dynlink_cuda.h>

static void find_option(const char *program, const char *option, char *value, size_t size)
{
    const char *at = strstr(program, option);
    *value = '\0';
    if (at != NULL) {
        at += strlen(option);
        snprintf(value, size, "%.*s", (int)strcspn(at, " "), at);
    }
}

EXPORT int cuModuleLoadData(void **module, const void *image)
{
    if (strncmp(image, PROGRAM_MARK, strlen(PROGRAM_MARK)) != 0)
        return CUDA_RESULT_INVALID_IMAGE;
    *module = strdup(image);
    return CUDA_SUCCESS;
}

EXPORT int cuModuleUnload(void *module)
{
    free(module);
    return CUDA_SUCCESS;
}

/* Functions live as long as the process, because the plugin never frees them. */
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name)
{
    struct kernel *kernel = calloc(1, sizeof *kernel);
    snprintf(kernel->function, sizeof kernel->function, "%s", name);
    find_option(module, "-DSAMPLER=Sample", kernel->sampler, sizeof kernel->sampler);
    find_option(module, "-DOUTPUT=Output", kernel->output, sizeof kernel->output);
    *function = kernel;
    return CUDA_SUCCESS;
}

EXPORT int cuTexObjectCreate(CUtexObject *handle, const CUDA_RESOURCE_DESC *resource, const CUDA_TEXTURE_DESC *look,
                             const void *view)
{
    (void)view;
    struct texture *texture = calloc(1, sizeof *texture);
    texture->data = (void *)(uintptr_t)resource->res.pitch2D.devPtr;
    texture->width = resource->res.pitch2D.width;
    texture->height = resource->res.pitch2D.height;
    texture->pitch = resource->res.pitch2D.pitchInBytes;
    texture->channels = resource->res.pitch2D.numChannels;
    texture->bytes = resource->res.pitch2D.format == CU_AD_FORMAT_UNSIGNED_INT8 ? 1 : 2;
    texture->linear = look->filterMode == CU_TR_FILTER_MODE_LINEAR;
    *handle = (CUtexObject)(uintptr_t)texture;
    return CUDA_SUCCESS;
}

EXPORT int cuTexObjectDestroy(CUtexObject handle)
{
    free((void *)(uintptr_t)handle);
    return CUDA_SUCCESS;
}

EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared, void *stream, void **arguments,
                          void **extra)
{
    (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z;
    (void)shared, (void)stream, (void)extra;
    static unsigned long launches;
    if (fault("kernel-error") || fault_after("kernel-error-after", launches))
        return CUDA_RESULT_LAUNCH_FAILED;
    __atomic_fetch_add(&launches, 1, __ATOMIC_RELAXED);
    return run_kernel(function, arguments);
}
