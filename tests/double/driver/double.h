/* A stand-in for NVIDIA's driver libraries: what its parts share.
 *
 * One shared object answers to four names (libcuda, libnvcuvid, libnvidia-encode, libnvrtc), so that the parts see the
 * same settings and the same log. See ../README.md for what it is good for.
 */
#ifndef CLIPFLEET_DOUBLE_H
#define CLIPFLEET_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* CUDA results beside the few that the free headers name. */
enum {
    CUDA_RESULT_OUT_OF_MEMORY = 2,
    CUDA_RESULT_NO_DEVICE = 100,
    CUDA_RESULT_INVALID_IMAGE = 200,
    CUDA_RESULT_LAUNCH_FAILED = 719,
    CUDA_RESULT_NOT_SUPPORTED = 801,
};

/* log.c: appends one JSON line to the file named by CLIPFLEET_DOUBLE_LOG; does nothing without it. */
void record(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As record, but a line that was written before by this process is not written again. */
void record_once(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* settings.c: what the environment asks of this GPU. */

/* True when CLIPFLEET_DOUBLE_FAULT names the fault; a fault that fires is logged once. */
bool fault(const char *name);

/* True when the fault is given as name=N and `done` calls have succeeded before this one, N or more. */
bool fault_after(const char *name, unsigned long done);

/* A number or a list (items joined by '+') of CLIPFLEET_DOUBLE_GPU, else the given default, which is an L4's. */
long gpu_number(const char *key, long otherwise);
bool gpu_lists(const char *key, const char *item, const char *otherwise);
void gpu_name(char *name, size_t size);

/* cuda.c: true once a stream exists, which is when a pipeline is being built and no element is merely registered. */
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
    char sampler[32]; /* source format as the kernel calls it, e.g. NV12 */
    char output[32];
};

/* The number that cuLaunchKernel answers. */
int run_kernel(const struct kernel *kernel, void **arguments);

/* The compiled program of this double is its options as text behind this mark. */
#define PROGRAM_MARK "clipfleet-double-program "

/* pattern.c: the picture a decoder gives, with a geometry that can be measured in the output. */
void draw_pattern(uint8_t *luma, size_t pitch, unsigned width, unsigned height, unsigned bytes, unsigned picture);

#endif
