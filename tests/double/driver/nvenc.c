/* libnvidia-encode: an H.264 encoder without loss (h264.c) that logs every setting it is given. It codes each picture
 * at once and in the order given: B-frames and look-ahead are logged, not done. */
#include "double.h"
#include "h264.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ffnvcodec/nvEncodeAPI.h>

enum {
    API_MAJOR = 12,
    API_MINOR = 2,
    OLD_API_MAJOR = 8,
    ALIGNMENT = 512,
    /* What the presets of this double say. No real driver has these odd figures, so where one of them arrives at
     * nvEncInitializeEncoder the client has left the preset's own. */
    PRESET_AVERAGE_BIT_RATE = 1234567,
    PRESET_MAX_BIT_RATE = 2345678,
    PRESET_VBV = 3456789,
    PRESET_GOP = 251,
};

/* Where the driver reads a picture from: device memory (registered) or the host's (input buffer). */
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

static bool same(const GUID *a, const GUID *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Sessions. */

/* The plugin opens a session when it registers its elements, to ask what the card can do. A lack of memory or of
 * sessions strikes later, so these faults spare that first one. */
static NVENCSTATUS open_fault(void)
{
    if (fault("no-nvenc"))
        return NV_ENC_ERR_UNSUPPORTED_DEVICE;
    if (!pipeline_under_way())
        return NV_ENC_SUCCESS;
    if (fault("open-out-of-memory"))
        return NV_ENC_ERR_OUT_OF_MEMORY;
    if (fault_after("session-limit", sessions))
        return NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS open_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *parameters, struct encoder **encoder)
{
    (void)parameters;
    NVENCSTATUS status = open_fault();
    if (status != NV_ENC_SUCCESS)
        return status;
    *encoder = calloc(1, sizeof **encoder);
    if (*encoder == NULL)
        return NV_ENC_ERR_OUT_OF_MEMORY;
    __atomic_fetch_add(&sessions, 1, __ATOMIC_RELAXED);
    return NV_ENC_SUCCESS;
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

/* What the card can do. */

static NVENCSTATUS codec_count(void *encoder, uint32_t *count)
{
    (void)encoder;
    *count = 1;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS codecs(void *encoder, GUID *list, uint32_t size, uint32_t *count)
{
    (void)encoder, (void)size;
    list[0] = NV_ENC_CODEC_H264_GUID;
    *count = 1;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS profile_count(void *encoder, GUID codec, uint32_t *count)
{
    (void)encoder;
    *count = same(&codec, &NV_ENC_CODEC_H264_GUID) ? 3 : 0;
    return *count > 0 ? NV_ENC_SUCCESS : NV_ENC_ERR_INVALID_PARAM;
}

static NVENCSTATUS profiles(void *encoder, GUID codec, GUID *list, uint32_t size, uint32_t *count)
{
    (void)size;
    if (profile_count(encoder, codec, count) != NV_ENC_SUCCESS)
        return NV_ENC_ERR_INVALID_PARAM;
    list[0] = NV_ENC_H264_PROFILE_BASELINE_GUID;
    list[1] = NV_ENC_H264_PROFILE_MAIN_GUID;
    list[2] = NV_ENC_H264_PROFILE_HIGH_GUID;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS format_count(void *encoder, GUID codec, uint32_t *count)
{
    (void)encoder, (void)codec;
    *count = 1;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS formats(void *encoder, GUID codec, NV_ENC_BUFFER_FORMAT *list, uint32_t size, uint32_t *count)
{
    (void)encoder, (void)codec, (void)size;
    list[0] = NV_ENC_BUFFER_FORMAT_NV12;
    *count = 1;
    return NV_ENC_SUCCESS;
}

static int capability(NV_ENC_CAPS which)
{
    switch (which) {
    case NV_ENC_CAPS_NUM_MAX_BFRAMES: return (int)card_number("bframes", 4);
    case NV_ENC_CAPS_SUPPORT_LOOKAHEAD: return (int)card_number("lookahead", 1);
    case NV_ENC_CAPS_SUPPORT_TEMPORAL_AQ: return (int)card_number("temporal-aq", 1);
    case NV_ENC_CAPS_SUPPORT_WEIGHTED_PREDICTION: return (int)card_number("weighted-prediction", 1);
    case NV_ENC_CAPS_SUPPORT_CUSTOM_VBV_BUF_SIZE: return (int)card_number("custom-vbv", 1);
    case NV_ENC_CAPS_WIDTH_MAX:
    case NV_ENC_CAPS_HEIGHT_MAX: return (int)card_number("encode-max", 4096);
    case NV_ENC_CAPS_WIDTH_MIN: return 145;
    case NV_ENC_CAPS_HEIGHT_MIN: return 49;
    case NV_ENC_CAPS_SUPPORTED_RATECONTROL_MODES:
        return NV_ENC_PARAMS_RC_VBR | NV_ENC_PARAMS_RC_CBR | NV_ENC_PARAMS_RC_CBR_LOWDELAY_HQ | NV_ENC_PARAMS_RC_CBR_HQ |
               NV_ENC_PARAMS_RC_VBR_HQ;
    case NV_ENC_CAPS_NUM_ENCODER_ENGINES: return 2;
    /* A real L4 has the first two; this double codes 4:2:0 frames of eight bits only. */
    case NV_ENC_CAPS_SUPPORT_YUV444_ENCODE:
    case NV_ENC_CAPS_SUPPORT_LOSSLESS_ENCODE:
    case NV_ENC_CAPS_SUPPORT_10BIT_ENCODE:
    case NV_ENC_CAPS_SUPPORT_FIELD_ENCODING:
    case NV_ENC_CAPS_ASYNC_ENCODE_SUPPORT: return 0;
    default: return 1;
    }
}

static NVENCSTATUS capabilities(void *encoder, GUID codec, NV_ENC_CAPS_PARAM *parameter, int *value)
{
    (void)encoder, (void)codec;
    *value = capability(parameter->capsToQuery);
    return NV_ENC_SUCCESS;
}

/* Presets p1 to p7. */

static const GUID *const presets[] = {
    &NV_ENC_PRESET_P1_GUID, &NV_ENC_PRESET_P2_GUID, &NV_ENC_PRESET_P3_GUID, &NV_ENC_PRESET_P4_GUID,
    &NV_ENC_PRESET_P5_GUID, &NV_ENC_PRESET_P6_GUID, &NV_ENC_PRESET_P7_GUID,
};
enum { PRESETS = sizeof presets / sizeof *presets };

static NVENCSTATUS preset_count(void *encoder, GUID codec, uint32_t *count)
{
    (void)encoder, (void)codec;
    *count = PRESETS;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS preset_list(void *encoder, GUID codec, GUID *list, uint32_t size, uint32_t *count)
{
    (void)encoder, (void)codec, (void)size;
    for (int i = 0; i < PRESETS; i++)
        list[i] = *presets[i];
    *count = PRESETS;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS preset_config(void *encoder, GUID codec, GUID preset, NV_ENC_PRESET_CONFIG *config)
{
    (void)encoder, (void)preset;
    if (!same(&codec, &NV_ENC_CODEC_H264_GUID))
        return NV_ENC_ERR_INVALID_PARAM;
    config->presetCfg.gopLength = PRESET_GOP;
    config->presetCfg.frameIntervalP = 1;
    config->presetCfg.rcParams.rateControlMode = NV_ENC_PARAMS_RC_VBR;
    config->presetCfg.rcParams.averageBitRate = PRESET_AVERAGE_BIT_RATE;
    config->presetCfg.rcParams.maxBitRate = PRESET_MAX_BIT_RATE;
    config->presetCfg.rcParams.vbvBufferSize = PRESET_VBV;
    config->presetCfg.encodeCodecConfig.h264Config.idrPeriod = PRESET_GOP;
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS preset_config_tuned(void *encoder, GUID codec, GUID preset, NV_ENC_TUNING_INFO tuning,
                                       NV_ENC_PRESET_CONFIG *config)
{
    (void)tuning;
    return preset_config(encoder, codec, preset, config);
}

/* Settings, logged by the names that people use. */

static const char *preset_name(const GUID *preset)
{
    static const char *const names[] = {"p1", "p2", "p3", "p4", "p5", "p6", "p7"};
    for (int i = 0; i < PRESETS; i++)
        if (same(presets[i], preset))
            return names[i];
    return "other";
}

static const char *tuning_name(NV_ENC_TUNING_INFO tuning)
{
    switch (tuning) {
    case NV_ENC_TUNING_INFO_HIGH_QUALITY: return "high-quality";
    case NV_ENC_TUNING_INFO_LOW_LATENCY: return "low-latency";
    case NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY: return "ultra-low-latency";
    case NV_ENC_TUNING_INFO_LOSSLESS: return "lossless";
    default: return "default";
    }
}

static const char *rate_control_name(NV_ENC_PARAMS_RC_MODE mode)
{
    switch (mode) {
    case NV_ENC_PARAMS_RC_CONSTQP: return "constqp";
    case NV_ENC_PARAMS_RC_VBR: return "vbr";
    case NV_ENC_PARAMS_RC_CBR: return "cbr";
    default: return "other";
    }
}

static const char *multi_pass_name(NV_ENC_MULTI_PASS mode)
{
    switch (mode) {
    case NV_ENC_TWO_PASS_QUARTER_RESOLUTION: return "two-pass-quarter";
    case NV_ENC_TWO_PASS_FULL_RESOLUTION: return "two-pass";
    default: return "disabled";
    }
}

static unsigned profile_number(const GUID *profile)
{
    if (same(profile, &NV_ENC_H264_PROFILE_BASELINE_GUID))
        return 66;
    if (same(profile, &NV_ENC_H264_PROFILE_MAIN_GUID))
        return 77;
    return 100; /* high, and what the driver chooses by itself */
}

static const char *profile_name(const GUID *profile)
{
    if (same(profile, &NV_ENC_CODEC_PROFILE_AUTOSELECT_GUID))
        return "auto";
    if (same(profile, &NV_ENC_H264_PROFILE_BASELINE_GUID))
        return "baseline";
    if (same(profile, &NV_ENC_H264_PROFILE_MAIN_GUID))
        return "main";
    return same(profile, &NV_ENC_H264_PROFILE_HIGH_GUID) ? "high" : "other";
}

static const char *boolean(unsigned value)
{
    return value ? "true" : "false";
}

static void log_rate_control(const NV_ENC_RC_PARAMS *rate, char *text, size_t size)
{
    snprintf(text, size,
             "\"rate_control\":\"%s\",\"const_qp\":[%u,%u,%u],\"const_quality\":%u,\"const_quality_256ths\":%u,"
             "\"average_bit_rate\":%u,\"average_is_preset\":%s,\"max_bit_rate\":%u,\"max_is_preset\":%s,"
             "\"vbv_buffer_size\":%u,\"vbv_initial_delay\":%u,\"min_qp\":%s,\"max_qp\":%s,\"max_qp_values\":[%u,%u,%u],"
             "\"spatial_aq\":%s,\"aq_strength\":%u,\"temporal_aq\":%s,\"lookahead\":%u,\"b_adapt\":%s,\"i_adapt\":%s,"
             "\"zero_latency\":%s,\"strict_gop\":%s,\"multi_pass\":\"%s\"",
             rate_control_name(rate->rateControlMode), rate->constQP.qpIntra, rate->constQP.qpInterP,
             rate->constQP.qpInterB, rate->targetQuality, rate->targetQualityLSB, rate->averageBitRate,
             boolean(rate->averageBitRate == PRESET_AVERAGE_BIT_RATE), rate->maxBitRate,
             boolean(rate->maxBitRate == PRESET_MAX_BIT_RATE), rate->vbvBufferSize, rate->vbvInitialDelay,
             boolean(rate->enableMinQP), boolean(rate->enableMaxQP), rate->maxQP.qpIntra, rate->maxQP.qpInterP,
             rate->maxQP.qpInterB, boolean(rate->enableAQ), rate->aqStrength, boolean(rate->enableTemporalAQ),
             rate->enableLookahead ? rate->lookaheadDepth : 0, boolean(!rate->disableBadapt),
             boolean(!rate->disableIadapt), boolean(rate->zeroReorderDelay), boolean(rate->strictGOPTarget),
             multi_pass_name(rate->multiPass));
}

static void log_settings(const char *call, const NV_ENC_INITIALIZE_PARAMS *parameters)
{
    const NV_ENC_CONFIG *config = parameters->encodeConfig;
    const NV_ENC_CONFIG_H264 *h264 = &config->encodeCodecConfig.h264Config;
    const NV_ENC_CONFIG_H264_VUI_PARAMETERS *vui = &h264->h264VUIParameters;
    char rate[1024];

    log_rate_control(&config->rcParams, rate, sizeof rate);
    record("{\"call\":\"%s\",\"preset\":\"%s\",\"tune\":\"%s\",%s,\"size\":[%u,%u],\"display_aspect\":[%u,%u],"
           "\"frame_rate\":[%u,%u],\"gop_length\":%u,\"idr_period\":%u,\"frame_interval_p\":%d,\"profile\":\"%s\","
           "\"cabac\":%s,\"repeat_headers\":%s,\"delimiters\":%s,\"colour\":[%u,%u,%u],\"full_range\":%s}",
           call, preset_name(&parameters->presetGUID), tuning_name(parameters->tuningInfo), rate,
           parameters->encodeWidth, parameters->encodeHeight, parameters->darWidth, parameters->darHeight,
           parameters->frameRateNum, parameters->frameRateDen, config->gopLength, h264->idrPeriod,
           config->frameIntervalP, profile_name(&config->profileGUID),
           boolean(h264->entropyCodingMode != NV_ENC_H264_ENTROPY_CODING_MODE_CAVLC), boolean(h264->repeatSPSPPS),
           boolean(h264->outputAUD), vui->colourDescriptionPresentFlag ? vui->colourPrimaries : 0,
           vui->colourDescriptionPresentFlag ? vui->transferCharacteristics : 0,
           vui->colourDescriptionPresentFlag ? vui->colourMatrix : 0, boolean(vui->videoFullRangeFlag));
}

/* The real driver refuses what the card cannot do, too. */
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

/* A hung card: the call that waits for it never comes back. */
static void hang(void)
{
    for (;;)
        pause();
}

static NVENCSTATUS lock_bitstream(struct encoder *encoder, NV_ENC_LOCK_BITSTREAM *lock)
{
    if (fault_after("encode-hang-after", encoder->locked))
        hang();
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

/* Not used by the plugin on Linux; clients may ask for the pointers all the same. */
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

/* Handles are void pointers in the interface and structures here. */
#define ENTRY(name, function) list->name = (__typeof__(list->name))(void *)(function)
    ENTRY(nvEncOpenEncodeSessionEx, open_session);
    ENTRY(nvEncDestroyEncoder, destroy_encoder);
    ENTRY(nvEncGetLastErrorString, last_error);
    ENTRY(nvEncGetEncodeGUIDCount, codec_count);
    ENTRY(nvEncGetEncodeGUIDs, codecs);
    ENTRY(nvEncGetEncodeProfileGUIDCount, profile_count);
    ENTRY(nvEncGetEncodeProfileGUIDs, profiles);
    ENTRY(nvEncGetInputFormatCount, format_count);
    ENTRY(nvEncGetInputFormats, formats);
    ENTRY(nvEncGetEncodeCaps, capabilities);
    ENTRY(nvEncGetEncodePresetCount, preset_count);
    ENTRY(nvEncGetEncodePresetGUIDs, preset_list);
    ENTRY(nvEncGetEncodePresetConfig, preset_config);
    ENTRY(nvEncGetEncodePresetConfigEx, preset_config_tuned);
    ENTRY(nvEncInitializeEncoder, initialize);
    ENTRY(nvEncReconfigureEncoder, reconfigure);
    ENTRY(nvEncGetSequenceParams, sequence_parameters);
    ENTRY(nvEncRegisterResource, register_resource);
    ENTRY(nvEncUnregisterResource, unregister_resource);
    ENTRY(nvEncMapInputResource, map_resource);
    ENTRY(nvEncUnmapInputResource, unmap_resource);
    ENTRY(nvEncCreateInputBuffer, create_input);
    ENTRY(nvEncLockInputBuffer, lock_input);
    ENTRY(nvEncUnlockInputBuffer, unlock_input);
    ENTRY(nvEncDestroyInputBuffer, destroy_input);
    ENTRY(nvEncCreateBitstreamBuffer, create_bitstream);
    ENTRY(nvEncDestroyBitstreamBuffer, destroy_bitstream);
    ENTRY(nvEncEncodePicture, encode_picture);
    ENTRY(nvEncLockBitstream, lock_bitstream);
    ENTRY(nvEncUnlockBitstream, unlock_bitstream);
    ENTRY(nvEncSetIOCudaStreams, set_streams);
    ENTRY(nvEncOpenEncodeSession, not_supported);
    ENTRY(nvEncGetEncodeStats, not_supported);
    ENTRY(nvEncRegisterAsyncEvent, not_supported);
    ENTRY(nvEncUnregisterAsyncEvent, not_supported);
    ENTRY(nvEncInvalidateRefFrames, not_supported);
    ENTRY(nvEncGetSequenceParamEx, not_supported);
#undef ENTRY
    return NV_ENC_SUCCESS;
}
