/* libnvrtc: a program is its compiler options as text. cuda.c reads from them which formats a kernel converts. */
#include "double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NVRTC_SUCCESS = 0, NVRTC_COMPILATION = 6, TEXT = 512 };

EXPORT int nvrtcCreateProgram(char **program, const char *source, const char *name, int headers,
                              const char *const *header, const char *const *include)
{
    (void)source, (void)name, (void)headers, (void)header, (void)include;
    *program = calloc(1, TEXT);
    return NVRTC_SUCCESS;
}

EXPORT int nvrtcCompileProgram(char *program, int count, const char *const *options)
{
    if (fault("kernel-compile-error"))
        return NVRTC_COMPILATION;
    size_t used = (size_t)snprintf(program, TEXT, "%s", PROGRAM_MARK);
    for (int i = 0; i < count && used < TEXT; i++)
        used += (size_t)snprintf(program + used, TEXT - used, "%s ", options[i]);
    return NVRTC_SUCCESS;
}

EXPORT int nvrtcDestroyProgram(char **program)
{
    free(*program);
    *program = NULL;
    return NVRTC_SUCCESS;
}

EXPORT int nvrtcGetPTXSize(const char *program, size_t *size)
{
    *size = strlen(program) + 1;
    return NVRTC_SUCCESS;
}

EXPORT int nvrtcGetPTX(const char *program, char *text)
{
    strcpy(text, program);
    return NVRTC_SUCCESS;
}

EXPORT int nvrtcGetCUBINSize(const char *program, size_t *size)
{
    return nvrtcGetPTXSize(program, size);
}

EXPORT int nvrtcGetCUBIN(const char *program, char *text)
{
    return nvrtcGetPTX(program, text);
}

EXPORT int nvrtcGetProgramLogSize(const char *program, size_t *size)
{
    (void)program;
    *size = 1;
    return NVRTC_SUCCESS;
}

EXPORT int nvrtcGetProgramLog(const char *program, char *text)
{
    (void)program;
    *text = '\0';
    return NVRTC_SUCCESS;
}
