/* Faults and capabilities of the GPU, from the environment. Both variables are lists joined by commas. */
#include "double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Finds "key" or "key=value" in a list and copies the value (or an empty text); false if the key is missing. */
static bool find(const char *variable, const char *key, char *value, size_t size)
{
    const char *item = getenv(variable);
    size_t wanted = strlen(key);

    while (item != NULL && *item != '\0') {
        size_t length = strcspn(item, ",");
        if (length >= wanted && strncmp(item, key, wanted) == 0 && (length == wanted || item[wanted] == '=')) {
            size_t start = length == wanted ? length : wanted + 1;
            snprintf(value, size, "%.*s", (int)(length - start), item + start);
            return true;
        }
        item += length + (item[length] == ',');
    }
    return false;
}

bool fault(const char *name)
{
    char value[32];
    if (!find("CLIPFLEET_DOUBLE_FAULT", name, value, sizeof value))
        return false;
    record_once("{\"call\":\"fault\",\"fault\":\"%s\"}", name);
    return true;
}

bool fault_after(const char *name, unsigned long done)
{
    char value[32];
    if (!find("CLIPFLEET_DOUBLE_FAULT", name, value, sizeof value))
        return false;
    if (done < strtoul(value, NULL, 10))
        return false;
    record_once("{\"call\":\"fault\",\"fault\":\"%s\",\"after\":%lu}", name, strtoul(value, NULL, 10));
    return true;
}

long gpu_number(const char *key, long otherwise)
{
    char value[64];
    if (!find("CLIPFLEET_DOUBLE_GPU", key, value, sizeof value))
        return otherwise;
    return strtol(value, NULL, 10);
}

bool gpu_lists(const char *key, const char *item, const char *otherwise)
{
    char list[128];
    if (!find("CLIPFLEET_DOUBLE_GPU", key, list, sizeof list))
        snprintf(list, sizeof list, "%s", otherwise);

    size_t wanted = strlen(item);
    for (const char *at = list; *at != '\0';) {
        size_t length = strcspn(at, "+");
        if (length == wanted && strncmp(at, item, wanted) == 0)
            return true;
        at += length + (at[length] == '+');
    }
    return false;
}

void gpu_name(char *name, size_t size)
{
    if (!find("CLIPFLEET_DOUBLE_GPU", "name", name, size))
        snprintf(name, size, "NVIDIA L4 (double)");
}
