/* The capabilities of the GPU, by default an L4's: codecs, profiles, formats, capabilities and presets. */
#include "double.h"
#include "nvenc.h"

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

int capability(NV_ENC_CAPS which)
{
    switch (which) {
    case NV_ENC_CAPS_NUM_MAX_BFRAMES: return (int)gpu_number("bframes", 4);
    case NV_ENC_CAPS_SUPPORT_LOOKAHEAD: return (int)gpu_number("lookahead", 1);
    case NV_ENC_CAPS_SUPPORT_TEMPORAL_AQ: return (int)gpu_number("temporal-aq", 1);
    case NV_ENC_CAPS_SUPPORT_WEIGHTED_PREDICTION: return (int)gpu_number("weighted-prediction", 1);
    case NV_ENC_CAPS_SUPPORT_CUSTOM_VBV_BUF_SIZE: return (int)gpu_number("custom-vbv", 1);
    case NV_ENC_CAPS_WIDTH_MAX:
    case NV_ENC_CAPS_HEIGHT_MAX: return (int)gpu_number("encode-max", 4096);
    case NV_ENC_CAPS_WIDTH_MIN: return 145;
    case NV_ENC_CAPS_HEIGHT_MIN: return 49;
    case NV_ENC_CAPS_SUPPORTED_RATECONTROL_MODES:
        return NV_ENC_PARAMS_RC_VBR | NV_ENC_PARAMS_RC_CBR | NV_ENC_PARAMS_RC_CBR_LOWDELAY_HQ |
               NV_ENC_PARAMS_RC_CBR_HQ | NV_ENC_PARAMS_RC_VBR_HQ;
    case NV_ENC_CAPS_NUM_ENCODER_ENGINES: return 2;
    /* A real L4 supports the first two. This double only codes 4:2:0 frames of eight bits. */
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

const char *preset_name(const GUID *preset)
{
    const char *const names[] = {"p1", "p2", "p3", "p4", "p5", "p6", "p7"};
    for (int i = 0; i < PRESETS; i++)
        if (same(presets[i], preset))
            return names[i];
    return "other";
}

void offer_caps(NV_ENCODE_API_FUNCTION_LIST *list)
{
    ENTRY(list, nvEncGetEncodeGUIDCount, codec_count);
    ENTRY(list, nvEncGetEncodeGUIDs, codecs);
    ENTRY(list, nvEncGetEncodeProfileGUIDCount, profile_count);
    ENTRY(list, nvEncGetEncodeProfileGUIDs, profiles);
    ENTRY(list, nvEncGetInputFormatCount, format_count);
    ENTRY(list, nvEncGetInputFormats, formats);
    ENTRY(list, nvEncGetEncodeCaps, capabilities);
    ENTRY(list, nvEncGetEncodePresetCount, preset_count);
    ENTRY(list, nvEncGetEncodePresetGUIDs, preset_list);
    ENTRY(list, nvEncGetEncodePresetConfig, preset_config);
    ENTRY(list, nvEncGetEncodePresetConfigEx, preset_config_tuned);
}
