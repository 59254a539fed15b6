/* libnvidia-encode: a lossless H.264 encoder (h264.c) that logs all its settings. It codes each picture immediately and
 * in input order: B-frames and look-ahead are logged, but not implemented. */
#include "double.h"
#include "h264.h"
#include "nvenc.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    API_MAJOR = 12,
    API_MINOR = 2,
    OLD_API_MAJOR = 8,
    ALIGNMENT = 512,
};

/* The source of a picture: device memory (registered) or host memory (input buffer). */
struct input {
    uint8_t *luma;
    size_t pitch;
    unsigned height;
};

struct bitstream {
    uint8_t *data;
    size_t size, capacity;
    uint64_t time, duration;
    uint32_t index;
    bool idr;
};

struct encoder {
    struct h264_stream stream;
    unsigned gop;
    bool initialized;
    unsigned long encoded, locked, idr_pictures, until_idr;
    size_t bytes;
};

static unsigned long sessions;

/* Sessions. */

/* The plugin opens a session when it registers its elements, to query the GPU's capabilities. A lack of memory or of
 * sessions occurs later, so these faults do not affect that first session. */
static NVENCSTATUS open_fault(unsigned long open)
{
    if (fault("no-nvenc"))
        return NV_ENC_ERR_UNSUPPORTED_DEVICE;
    if (!pipeline_under_way())
        return NV_ENC_SUCCESS;
    if (fault("open-out-of-memory"))
        return NV_ENC_ERR_OUT_OF_MEMORY;
    if (fault_after("session-limit", open))
        return NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS open_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *parameters, struct encoder **encoder)
{
    (void)parameters;
    /* Counted before the check: if two open at the same time, one of them is the second. */
    NVENCSTATUS status = open_fault(__atomic_fetch_add(&sessions, 1, __ATOMIC_RELAXED));
    if (status == NV_ENC_SUCCESS) {
        *encoder = calloc(1, sizeof **encoder);
        status = *encoder != NULL ? NV_ENC_SUCCESS : NV_ENC_ERR_OUT_OF_MEMORY;
    }
    if (status != NV_ENC_SUCCESS)
        __atomic_fetch_sub(&sessions, 1, __ATOMIC_RELAXED);
    return status;
}

static NVENCSTATUS destroy_encoder(struct encoder *encoder)
{
    if (encoder->initialized)
        record("{\"call\":\"encoder-closed\",\"pictures\":%lu,\"idr_pictures\":%lu,\"bytes\":%zu}", encoder->encoded,
               encoder->idr_pictures, encoder->bytes);
    __atomic_fetch_sub(&sessions, 1, __ATOMIC_RELAXED);
    h264_close(&encoder->stream);
    free(encoder);
    return NV_ENC_SUCCESS;
}

static const char *last_error(void *encoder)
{
    (void)encoder;
    return "driver double";
}

static unsigned profile_number(const GUID *profile)
{
    if (same(profile, &NV_ENC_H264_PROFILE_BASELINE_GUID))
        return 66;
    if (same(profile, &NV_ENC_H264_PROFILE_MAIN_GUID))
        return 77;
    return 100; /* high, and the driver's default */
}

/* The real driver also refuses settings that the GPU does not support. */
static bool acceptable(const NV_ENC_INITIALIZE_PARAMS *parameters)
{
    const NV_ENC_CONFIG *config = parameters->encodeConfig;
    const NV_ENC_RC_PARAMS *rate = &config->rcParams;
    long width = parameters->encodeWidth, height = parameters->encodeHeight;
    long largest = capability(NV_ENC_CAPS_WIDTH_MAX);

    return width >= capability(NV_ENC_CAPS_WIDTH_MIN) && height >= capability(NV_ENC_CAPS_HEIGHT_MIN) &&
           width <= largest && height <= largest &&
           config->frameIntervalP - 1 <= capability(NV_ENC_CAPS_NUM_MAX_BFRAMES) &&
           (!rate->enableLookahead || capability(NV_ENC_CAPS_SUPPORT_LOOKAHEAD)) &&
           (!rate->enableTemporalAQ || capability(NV_ENC_CAPS_SUPPORT_TEMPORAL_AQ));
}

static NVENCSTATUS initialize(struct encoder *encoder, NV_ENC_INITIALIZE_PARAMS *parameters)
{
    const NV_ENC_CONFIG *config = parameters->encodeConfig;
    const NV_ENC_CONFIG_H264 *h264 = &config->encodeCodecConfig.h264Config;
    const NV_ENC_CONFIG_H264_VUI_PARAMETERS *vui = &h264->h264VUIParameters;

    log_settings("encoder", parameters);
    if (!acceptable(parameters))
        return NV_ENC_ERR_UNSUPPORTED_PARAM;

    encoder->gop = config->gopLength;
    encoder->stream = (struct h264_stream){
        .width = parameters->encodeWidth,
        .height = parameters->encodeHeight,
        .profile = profile_number(&config->profileGUID),
        .rate = parameters->frameRateNum,
        .scale = parameters->frameRateDen,
        .colour_known = vui->colourDescriptionPresentFlag,
        .full_range = vui->videoFullRangeFlag,
        .primaries = vui->colourPrimaries,
        .transfer = vui->transferCharacteristics,
        .matrix = vui->colourMatrix,
        .delimiters = h264->outputAUD,
    };
    encoder->initialized = true;
    return h264_open(&encoder->stream) ? NV_ENC_SUCCESS : NV_ENC_ERR_OUT_OF_MEMORY;
}

static NVENCSTATUS reconfigure(struct encoder *encoder, NV_ENC_RECONFIGURE_PARAMS *parameters)
{
    log_settings("encoder-reconfigured", &parameters->reInitEncodeParams);
    encoder->gop = parameters->reInitEncodeParams.encodeConfig->gopLength;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS sequence_parameters(struct encoder *encoder, NV_ENC_SEQUENCE_PARAM_PAYLOAD *payload)
{
    *payload->outSPSPPSPayloadSize = (uint32_t)h264_headers(&encoder->stream, payload->spsppsBuffer);
    return NV_ENC_SUCCESS;
}

/* Input. */

static NVENCSTATUS register_resource(void *encoder, NV_ENC_REGISTER_RESOURCE *resource)
{
    (void)encoder;
    if (resource->bufferFormat != NV_ENC_BUFFER_FORMAT_NV12)
        return NV_ENC_ERR_UNSUPPORTED_PARAM;
    struct input *input = calloc(1, sizeof *input);
    *input = (struct input){
        .luma = resource->resourceToRegister,
        .pitch = resource->pitch,
        .height = resource->height,
    };
    resource->registeredResource = input;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unregister_resource(void *encoder, void *input)
{
    (void)encoder;
    free(input);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS map_resource(void *encoder, NV_ENC_MAP_INPUT_RESOURCE *map)
{
    (void)encoder;
    map->mappedResource = map->registeredResource;
    map->mappedBufferFmt = NV_ENC_BUFFER_FORMAT_NV12;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unmap_resource(void *encoder, void *input)
{
    (void)encoder, (void)input;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS create_input(void *encoder, NV_ENC_CREATE_INPUT_BUFFER *buffer)
{
    (void)encoder;
    if (buffer->bufferFmt != NV_ENC_BUFFER_FORMAT_NV12)
        return NV_ENC_ERR_UNSUPPORTED_PARAM;
    struct input *input = calloc(1, sizeof *input);
    input->pitch = (buffer->width + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    input->height = buffer->height;
    input->luma = calloc(input->height + (input->height + 1) / 2, input->pitch);
    buffer->inputBuffer = input;
    return input->luma != NULL ? NV_ENC_SUCCESS : NV_ENC_ERR_OUT_OF_MEMORY;
}

static NVENCSTATUS lock_input(void *encoder, NV_ENC_LOCK_INPUT_BUFFER *lock)
{
    (void)encoder;
    struct input *input = lock->inputBuffer;
    lock->bufferDataPtr = input->luma;
    lock->pitch = (uint32_t)input->pitch;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unlock_input(void *encoder, void *input)
{
    (void)encoder, (void)input;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS destroy_input(void *encoder, struct input *input)
{
    (void)encoder;
    free(input->luma);
    free(input);
    return NV_ENC_SUCCESS;
}

/* Output. */

static NVENCSTATUS create_bitstream(struct encoder *encoder, NV_ENC_CREATE_BITSTREAM_BUFFER *buffer)
{
    struct bitstream *bitstream = calloc(1, sizeof *bitstream);
    bitstream->capacity = h264_capacity(&encoder->stream);
    bitstream->data = malloc(bitstream->capacity);
    buffer->bitstreamBuffer = bitstream;
    return bitstream->data != NULL ? NV_ENC_SUCCESS : NV_ENC_ERR_OUT_OF_MEMORY;
}

static NVENCSTATUS destroy_bitstream(void *encoder, struct bitstream *bitstream)
{
    (void)encoder;
    free(bitstream->data);
    free(bitstream);
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS encode_picture(struct encoder *encoder, NV_ENC_PIC_PARAMS *parameters)
{
    if (parameters->encodePicFlags & NV_ENC_PIC_FLAG_EOS)
        return NV_ENC_SUCCESS;
    if (fault_after("encode-error-after", encoder->encoded))
        return NV_ENC_ERR_GENERIC;

    const struct input *input = parameters->inputBuffer;
    struct picture picture = {input->luma, input->luma + input->pitch * input->height, input->pitch};
    bool frozen = fault_after("garbage-after", encoder->encoded);
    bool idr = encoder->until_idr == 0 || (parameters->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR);
    if (idr)
        encoder->until_idr = encoder->gop == NVENC_INFINITE_GOPLENGTH || encoder->gop == 0 ? UINT32_MAX : encoder->gop;
    encoder->until_idr--;

    struct bitstream *bitstream = parameters->outputBitstream;
    bitstream->size = h264_picture(&encoder->stream, frozen ? NULL : &picture, idr, bitstream->data);
    bitstream->time = parameters->inputTimeStamp;
    bitstream->duration = parameters->inputDuration;
    bitstream->index = (uint32_t)encoder->encoded;
    bitstream->idr = idr;
    encoder->encoded++;
    encoder->idr_pictures += idr;
    encoder->bytes += bitstream->size;
    return NV_ENC_SUCCESS;
}

/* A hung GPU: the call that waits for it never returns. */
static void hang(void)
{
    for (;;)
        pause();
}

static NVENCSTATUS lock_bitstream(struct encoder *encoder, NV_ENC_LOCK_BITSTREAM *lock)
{
    if (fault_after("encode-hang-after", encoder->locked))
        hang();
    if (fault_after("encode-crash-after", encoder->locked))
        raise(SIGSEGV);
    if (fault_after("lock-error-after", encoder->locked))
        return NV_ENC_ERR_GENERIC;
    const struct bitstream *bitstream = lock->outputBitstream;
    encoder->locked++;
    lock->bitstreamBufferPtr = bitstream->data;
    lock->bitstreamSizeInBytes = (uint32_t)bitstream->size;
    lock->outputTimeStamp = bitstream->time;
    lock->outputDuration = bitstream->duration;
    lock->frameIdx = bitstream->index;
    lock->pictureType = bitstream->idr ? NV_ENC_PIC_TYPE_IDR : NV_ENC_PIC_TYPE_P;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS unlock_bitstream(void *encoder, void *bitstream)
{
    (void)encoder, (void)bitstream;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS set_streams(void *encoder, void *input, void *output)
{
    (void)encoder, (void)input, (void)output;
    return NV_ENC_SUCCESS;
}

/* Not used by the plugin on Linux, but clients may request the pointers. */
static NVENCSTATUS not_supported(void)
{
    return NV_ENC_ERR_UNIMPLEMENTED;
}

/* The two entry points. */

EXPORT NVENCSTATUS NvEncodeAPIGetMaxSupportedVersion(uint32_t *version)
{
    *version = fault("old-driver") ? OLD_API_MAJOR << 4 : API_MAJOR << 4 | API_MINOR;
    return NV_ENC_SUCCESS;
}

EXPORT NVENCSTATUS NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *list)
{
    if (fault("no-nvenc-api"))
        return NV_ENC_ERR_UNSUPPORTED_DEVICE;
    if (fault("old-driver"))
        return NV_ENC_ERR_INVALID_VERSION;

    offer_caps(list);
    ENTRY(list, nvEncOpenEncodeSessionEx, open_session);
    ENTRY(list, nvEncDestroyEncoder, destroy_encoder);
    ENTRY(list, nvEncGetLastErrorString, last_error);
    ENTRY(list, nvEncInitializeEncoder, initialize);
    ENTRY(list, nvEncReconfigureEncoder, reconfigure);
    ENTRY(list, nvEncGetSequenceParams, sequence_parameters);
    ENTRY(list, nvEncRegisterResource, register_resource);
    ENTRY(list, nvEncUnregisterResource, unregister_resource);
    ENTRY(list, nvEncMapInputResource, map_resource);
    ENTRY(list, nvEncUnmapInputResource, unmap_resource);
    ENTRY(list, nvEncCreateInputBuffer, create_input);
    ENTRY(list, nvEncLockInputBuffer, lock_input);
    ENTRY(list, nvEncUnlockInputBuffer, unlock_input);
    ENTRY(list, nvEncDestroyInputBuffer, destroy_input);
    ENTRY(list, nvEncCreateBitstreamBuffer, create_bitstream);
    ENTRY(list, nvEncDestroyBitstreamBuffer, destroy_bitstream);
    ENTRY(list, nvEncEncodePicture, encode_picture);
    ENTRY(list, nvEncLockBitstream, lock_bitstream);
    ENTRY(list, nvEncUnlockBitstream, unlock_bitstream);
    ENTRY(list, nvEncSetIOCudaStreams, set_streams);
    ENTRY(list, nvEncOpenEncodeSession, not_supported);
    ENTRY(list, nvEncGetEncodeStats, not_supported);
    ENTRY(list, nvEncRegisterAsyncEvent, not_supported);
    ENTRY(list, nvEncUnregisterAsyncEvent, not_supported);
    ENTRY(list, nvEncInvalidateRefFrames, not_supported);
    ENTRY(list, nvEncGetSequenceParamEx, not_supported);
    return NV_ENC_SUCCESS;
}
