/* libnvcuvid: a decoder that accepts every picture and outputs the pattern (pattern.c) instead. It reads no bitstream:
 * GStreamer's own stateless decoder classes have already parsed it. */
#include "double.h"

#include <stdlib.h>
#include <string.h>

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/dynlink_nvcuvid.h>

enum { SURFACES = 128, ALIGNMENT = 512, DECODER_ENGINES = 4 };

struct decoder {
    CUVIDDECODECREATEINFO info;
    unsigned long decoded;
    unsigned first, next; /* number of the group's first picture; one past the last */
    unsigned shown[SURFACES];
};

static const char *codec_name(cudaVideoCodec codec)
{
    switch (codec) {
    case cudaVideoCodec_H264: return "h264";
    case cudaVideoCodec_HEVC: return "hevc";
    case cudaVideoCodec_VP8: return "vp8";
    case cudaVideoCodec_VP9: return "vp9";
    case cudaVideoCodec_AV1: return "av1";
    case cudaVideoCodec_MPEG2: return "mpeg2";
    case cudaVideoCodec_JPEG: return "jpeg";
    default: return "other";
    }
}

/* 4:2:0 formats that an Ada GPU decodes: ten bits in HEVC, VP9 and AV1 only; VP8 to 4096, all others to 8192. */
EXPORT int cuvidGetDecoderCaps(CUVIDDECODECAPS *caps)
{
    const char *codec = codec_name(caps->eCodecType);
    bool deep = caps->nBitDepthMinus8 > 0;
    bool deep_codec = strcmp(codec, "hevc") == 0 || strcmp(codec, "vp9") == 0 || strcmp(codec, "av1") == 0;
    bool known = gpu_lists("decode", codec, "h264+hevc+vp8+vp9+av1") &&
                 caps->eChromaFormat == cudaVideoChromaFormat_420 &&
                 (!deep || (deep_codec && caps->nBitDepthMinus8 <= 2 && gpu_number("decode-10bit", 1)));
    long largest = gpu_number("decode-max", caps->eCodecType == cudaVideoCodec_VP8 ? 4096 : 8192);

    caps->bIsSupported = known;
    caps->nNumNVDECs = DECODER_ENGINES;
    caps->nOutputFormatMask = !known ? 0 : 1u << (deep ? cudaVideoSurfaceFormat_P016 : cudaVideoSurfaceFormat_NV12);
    caps->nMaxWidth = (unsigned)largest;
    caps->nMaxHeight = (unsigned)largest;
    caps->nMaxMBCount = (unsigned)(largest / 16 * (largest / 16));
    caps->nMinWidth = 48;
    caps->nMinHeight = 16;
    return CUDA_SUCCESS;
}

EXPORT int cuvidCreateDecoder(struct decoder **decoder, CUVIDDECODECREATEINFO *info)
{
    if (fault("decoder-open-error"))
        return CUDA_RESULT_OUT_OF_MEMORY;
    if (info->OutputFormat != cudaVideoSurfaceFormat_NV12 && info->OutputFormat != cudaVideoSurfaceFormat_P016)
        return CUDA_RESULT_NOT_SUPPORTED;

    *decoder = calloc(1, sizeof **decoder);
    (*decoder)->info = *info;
    record("{\"call\":\"decoder\",\"codec\":\"%s\",\"bit_depth\":%lu,\"coded_size\":[%lu,%lu],"
           "\"display_rect\":[%d,%d,%d,%d],\"size\":[%lu,%lu],\"target_rect\":[%d,%d,%d,%d],\"output\":\"%s\","
           "\"decode_surfaces\":%lu,\"output_surfaces\":%lu}",
           codec_name(info->CodecType), (unsigned long)info->bitDepthMinus8 + 8, (unsigned long)info->ulWidth,
           (unsigned long)info->ulHeight, info->display_area.left, info->display_area.top,
           info->display_area.right - info->display_area.left, info->display_area.bottom - info->display_area.top,
           (unsigned long)info->ulTargetWidth, (unsigned long)info->ulTargetHeight, info->target_rect.left,
           info->target_rect.top, info->target_rect.right - info->target_rect.left,
           info->target_rect.bottom - info->target_rect.top,
           info->OutputFormat == cudaVideoSurfaceFormat_NV12 ? "NV12" : "P016",
           (unsigned long)info->ulNumDecodeSurfaces, (unsigned long)info->ulNumOutputSurfaces);
    return CUDA_SUCCESS;
}

EXPORT int cuvidReconfigureDecoder(struct decoder *decoder, CUVIDRECONFIGUREDECODERINFO *info)
{
    decoder->info.ulTargetWidth = info->ulTargetWidth;
    decoder->info.ulTargetHeight = info->ulTargetHeight;
    record("{\"call\":\"decoder-reconfigured\",\"coded_size\":[%u,%u],\"size\":[%u,%u]}", info->ulWidth, info->ulHeight,
           info->ulTargetWidth, info->ulTargetHeight);
    return CUDA_SUCCESS;
}

EXPORT int cuvidDestroyDecoder(struct decoder *decoder)
{
    record("{\"call\":\"decoder-closed\",\"pictures\":%lu}", decoder->decoded);
    free(decoder);
    return CUDA_SUCCESS;
}

/* The number of a picture in display order, from the codec's own count: an order count of zero in an intra picture
 * starts a new group after all earlier pictures. Other codecs are numbered in decoding order. */
static unsigned number_picture(struct decoder *decoder, const CUVIDPICPARAMS *picture)
{
    long order;
    switch (decoder->info.CodecType) {
    case cudaVideoCodec_H264: order = picture->CodecSpecific.h264.CurrFieldOrderCnt[0] / 2; break;
    case cudaVideoCodec_HEVC: order = picture->CodecSpecific.hevc.CurrPicOrderCntVal; break;
    default: return decoder->next++;
    }
    if (picture->intra_pic_flag && order == 0)
        decoder->first = decoder->next;
    unsigned number = decoder->first + (unsigned)(order < 0 ? 0 : order);
    if (number >= decoder->next)
        decoder->next = number + 1;
    return number;
}

EXPORT int cuvidDecodePicture(struct decoder *decoder, CUVIDPICPARAMS *picture)
{
    if (fault_after("decode-error-after", decoder->decoded))
        return CUDA_ERROR_UNKNOWN;
    if (picture->CurrPicIdx < 0 || picture->CurrPicIdx >= SURFACES)
        return CUDA_ERROR_UNKNOWN;
    if (picture->field_pic_flag && picture->second_field)
        return CUDA_SUCCESS;
    decoder->shown[picture->CurrPicIdx] = number_picture(decoder, picture);
    decoder->decoded++;
    return CUDA_SUCCESS;
}

EXPORT int cuvidMapVideoFrame64(struct decoder *decoder, int index, unsigned long long *pointer, unsigned *pitch,
                                CUVIDPROCPARAMS *parameters)
{
    (void)parameters;
    if (index < 0 || index >= SURFACES)
        return CUDA_ERROR_UNKNOWN;

    unsigned width = (unsigned)decoder->info.ulTargetWidth, height = (unsigned)decoder->info.ulTargetHeight;
    unsigned bytes = decoder->info.OutputFormat == cudaVideoSurfaceFormat_P016 ? 2 : 1;
    *pitch = (width * bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    uint8_t *surface = aligned_alloc(ALIGNMENT, (size_t)*pitch * (height + (height + 1) / 2));
    if (surface == NULL)
        return CUDA_RESULT_OUT_OF_MEMORY;
    draw_pattern(surface, *pitch, width, height, bytes, decoder->shown[index]);
    *pointer = (unsigned long long)(uintptr_t)surface;
    return CUDA_SUCCESS;
}

EXPORT int cuvidUnmapVideoFrame64(struct decoder *decoder, unsigned long long pointer)
{
    (void)decoder;
    free((void *)(uintptr_t)pointer);
    return CUDA_SUCCESS;
}

/* Contexts are not shared between threads here, so no lock is needed. */

EXPORT int cuvidCtxLockCreate(void **lock, void *context)
{
    (void)context;
    *lock = malloc(1);
    return CUDA_SUCCESS;
}

EXPORT int cuvidCtxLockDestroy(void *lock)
{
    free(lock);
    return CUDA_SUCCESS;
}

EXPORT int cuvidCtxLock(void *lock, unsigned flags)
{
    (void)lock, (void)flags;
    return CUDA_SUCCESS;
}

EXPORT int cuvidCtxUnlock(void *lock, unsigned flags)
{
    (void)lock, (void)flags;
    return CUDA_SUCCESS;
}

/* The driver's own parser: only the symbols must exist, because the plugin parses itself. */

EXPORT int cuvidCreateVideoParser(void **parser, void *parameters)
{
    (void)parser, (void)parameters;
    return CUDA_RESULT_NOT_SUPPORTED;
}

EXPORT int cuvidParseVideoData(void *parser, void *packet)
{
    (void)parser, (void)packet;
    return CUDA_RESULT_NOT_SUPPORTED;
}

EXPORT int cuvidDestroyVideoParser(void *parser)
{
    (void)parser;
    return CUDA_SUCCESS;
}
