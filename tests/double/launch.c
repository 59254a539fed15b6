/* Runs a pipeline as gst-launch-1.0 does and prints every error and warning of its bus as one JSON line, with domain
 * and code. Can move a crop while the pipeline runs, which gst-launch-1.0 cannot.
 *
 *   launch [--seconds N] [--pan FROM TO SPARE PICTURES] PIPELINE
 *
 * --pan moves the window of the videocrop named "crop": its property left changes from FROM to TO in PICTURES steps,
 * and right is SPARE minus left, so that the window keeps its size.
 * Exit status: 0 end of stream, 1 an error, 2 a pipeline that could not be built, 3 still running after N seconds.
 */
#include <gst/gst.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, FAILED = 1, NOT_BUILT = 2, HUNG = 3 };

struct pan {
    int from, to, spare, pictures;
    int done;
    GstElement *crop;
};

static GstPadProbeReturn move_crop(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    (void)pad, (void)info;
    struct pan *pan = data;
    int step = pan->done < pan->pictures ? pan->done : pan->pictures - 1;
    int left = pan->from + (pan->to - pan->from) * step / MAX(pan->pictures - 1, 1);
    g_object_set(pan->crop, "left", left, "right", pan->spare - left, NULL);
    pan->done++;
    return GST_PAD_PROBE_OK;
}

static gboolean start_pan(GstElement *pipeline, struct pan *pan)
{
    if (!GST_IS_BIN(pipeline) || (pan->crop = gst_bin_get_by_name(GST_BIN(pipeline), "crop")) == NULL)
        return FALSE;
    GstPad *pad = gst_element_get_static_pad(pan->crop, "sink");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, move_crop, pan, NULL);
    gst_object_unref(pad);
    return TRUE;
}

static void print_text(const char *text)
{
    putchar('"');
    for (; text != NULL && *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    putchar('"');
}

static void print_message(const char *kind, GstObject *source, GError *error, const char *debug)
{
    GstElementFactory *factory = GST_IS_ELEMENT(source) ? gst_element_get_factory(GST_ELEMENT(source)) : NULL;
    printf("{\"%s\":", kind);
    print_text(error->message);
    printf(",\"element\":");
    print_text(factory != NULL ? GST_OBJECT_NAME(factory) : GST_OBJECT_NAME(source));
    printf(",\"domain\":");
    print_text(g_quark_to_string(error->domain));
    printf(",\"code\":%d,\"debug\":", error->code);
    print_text(debug);
    printf("}\n");
    fflush(stdout);
}

/* Whether this is the final message. */
static gboolean handle(GstMessage *message, int *status)
{
    GError *error = NULL;
    gchar *debug = NULL;
    gboolean last = TRUE;

    switch (GST_MESSAGE_TYPE(message)) {
    case GST_MESSAGE_ERROR:
        gst_message_parse_error(message, &error, &debug);
        print_message("error", GST_MESSAGE_SRC(message), error, debug);
        *status = FAILED;
        break;
    case GST_MESSAGE_WARNING:
        gst_message_parse_warning(message, &error, &debug);
        print_message("warning", GST_MESSAGE_SRC(message), error, debug);
        last = FALSE;
        break;
    case GST_MESSAGE_EOS: *status = OK; break;
    default: last = FALSE; break;
    }
    g_clear_error(&error);
    g_free(debug);
    return last;
}

static int run(GstElement *pipeline, int seconds)
{
    gint64 end = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    GstBus *bus = gst_element_get_bus(pipeline);
    int status = HUNG;

    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    for (gint64 left = G_USEC_PER_SEC; left > 0; left = end - g_get_monotonic_time()) {
        GstMessage *message = gst_bus_timed_pop(bus, (GstClockTime)left * GST_USECOND);
        gboolean last = message != NULL && handle(message, &status);
        if (message != NULL)
            gst_message_unref(message);
        if (last)
            break;
    }
    /* A hung driver call also hangs the state change, so exit without it. */
    if (status == HUNG)
        _Exit(HUNG);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    return status;
}

int main(int count, char **arguments)
{
    struct pan pan = {0};
    int seconds = 60, at = 1;

    gst_init(NULL, NULL);
    for (; at < count && strncmp(arguments[at], "--", 2) == 0; at++) {
        if (strcmp(arguments[at], "--seconds") == 0 && at + 1 < count) {
            seconds = atoi(arguments[++at]);
        } else if (strcmp(arguments[at], "--pan") == 0 && at + 4 < count) {
            pan.from = atoi(arguments[++at]);
            pan.to = atoi(arguments[++at]);
            pan.spare = atoi(arguments[++at]);
            pan.pictures = atoi(arguments[++at]);
        } else {
            break;
        }
    }
    if (at + 1 != count) {
        fprintf(stderr, "usage: launch [--seconds N] [--pan FROM TO SPARE PICTURES] PIPELINE\n");
        return 64;
    }

    GError *error = NULL;
    GstElement *pipeline = gst_parse_launch_full(arguments[at], NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
    if (pipeline == NULL || error != NULL) {
        printf("{\"not_built\":");
        print_text(error != NULL ? error->message : "no pipeline");
        printf(",\"domain\":");
        print_text(error != NULL ? g_quark_to_string(error->domain) : "");
        printf(",\"code\":%d}\n", error != NULL ? error->code : 0);
        return NOT_BUILT;
    }
    if (pan.pictures > 0 && !start_pan(pipeline, &pan)) {
        fprintf(stderr, "launch: no element is named crop\n");
        return 64;
    }
    int status = run(pipeline, seconds);
    gst_object_unref(pipeline);
    return status;
}
