/* Logs the settings that arrive at the driver, with their common names. */
#include "double.h"
#include "nvenc.h"

#include <stdio.h>

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

void log_settings(const char *call, const NV_ENC_INITIALIZE_PARAMS *parameters)
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
