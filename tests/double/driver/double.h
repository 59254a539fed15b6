/* A test double of NVIDIA's driver libraries: the interface that its parts share.
 *
 * One shared object has four names (libcuda, libnvcuvid, libnvidia-encode, libnvrtc), so that the parts share the
 * settings and the log. See ../README.md.
 */
#ifndef CLIPFLEET_DOUBLE_H
#define CLIPFLEET_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* CUDA results that the free headers do not define. */
enum {
    CUDA_RESULT_OUT_OF_MEMORY = 2,
    CUDA_RESULT_NO_DEVICE = 100,
    CUDA_RESULT_INVALID_IMAGE = 200,
    CUDA_RESULT_LAUNCH_FAILED = 719,
    CUDA_RESULT_NOT_SUPPORTED = 801,
};

/* log.c: appends one JSON line to the file named by CLIPFLEET_DOUBLE_LOG; does nothing without it. */
void record(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As record, but skips a line that this process has already written. */
void record_once(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* settings.c: the settings of this GPU from the environment. */

/* Whether CLIPFLEET_DOUBLE_FAULT names the fault; a fault that fires is logged once. */
bool fault(const char *name);

/* Whether the fault is given as name=N and N or more calls (`done`) have succeeded before this one. */
bool fault_after(const char *name, unsigned long done);

/* A number or a list (items joined by '+') of CLIPFLEET_DOUBLE_GPU, or the given default, which is an L4's. */
long gpu_number(const char *key, long otherwise);
bool gpu_lists(const char *key, const char *item, const char *otherwise);
void gpu_name(char *name, size_t size);

/* cuda.c: whether a stream exists, so that a pipeline is being built rather than an element registered. */
bool pipeline_under_way(void);

/* kernel.c: the converter kernel of GStreamer's nvcodec plugin on the CPU. */
struct texture {
    const uint8_t *data;
    size_t width, height, pitch;
    unsigned channels;
    unsigned bytes; /* of one channel of one texel */
    bool linear;
};

struct kernel {
    char function[64];
    char sampler[32]; /* the kernel's name of the source format, e.g. NV12 */
    char output[32];
};

/* The result of cuLaunchKernel. */
int run_kernel(const struct kernel *kernel, void **arguments);

/* A compiled program of this double is its options as text after this mark. */
#define PROGRAM_MARK "clipfleet-double-program "

/* pattern.c: the picture that a decoder outputs, whose geometry can be measured in the output. */
void draw_pattern(uint8_t *luma, size_t pitch, unsigned width, unsigned height, unsigned bytes, unsigned picture);

#endif
