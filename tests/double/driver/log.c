/* The log: one JSON line per call, written by one system call so that processes can share a file. */
#include "double.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE = 2048, REMEMBERED = 8192 };

static void append(char *line, int length)
{
    const char *path = getenv("CLIPFLEET_DOUBLE_LOG");
    if (path == NULL || *path == '\0' || length <= 0)
        return;
    if (length > LINE - 2)
        length = LINE - 2;
    line[length++] = '\n';
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0)
        return;
    if (write(file, line, (size_t)length) != length)
        fprintf(stderr, "driver double: a line of the log was lost\n");
    close(file);
}

void record(const char *format, ...)
{
    char line[LINE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    append(line, length);
}

/* FNV-1a, 64 bits. */
static uint64_t digest(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

/* Beyond the limit all lines count as new: a longer log is better than a missing line. */
static bool seen_before(uint64_t hash)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t seen[REMEMBERED];
    static size_t count;
    bool found = false;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count && !found; i++)
        found = seen[i] == hash;
    if (!found && count < REMEMBERED)
        seen[count++] = hash;
    pthread_mutex_unlock(&lock);
    return found;
}

void record_once(const char *format, ...)
{
    char line[LINE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (!seen_before(digest(line)))
        append(line, length);
}
