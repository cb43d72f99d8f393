#include "launch/journal_frame.h"

#include <string.h>

static const uint8_t magic[FRAME_MAGIC] = {0xf4, 'p', 'p', 'l'};

/* Places tried for a frame behind one that is none: a bound on the time that a file can cost. */
enum { SEARCH_MAX = 64 };

static void sum_of(const char *key, const uint8_t *size, const void *body, size_t n, char *sum)
{
    struct sha256 *s = sha256_begin();
    char hex[SHA256_HEX];

    sha256_add(s, key, strlen(key));
    sha256_add(s, size, FRAME_HEAD - FRAME_MAGIC);
    sha256_add(s, body, n);
    sha256_end(s, hex);
    memcpy(sum, hex, FRAME_SUM);
}

void frame_make(uint8_t *out, const char *key, const void *body, size_t n)
{
    uint32_t size = (uint32_t)n;

    memcpy(out, magic, FRAME_MAGIC);
    memcpy(out + FRAME_MAGIC, &size, sizeof size);
    memmove(out + FRAME_HEAD, body, n);
    sum_of(key, out + FRAME_MAGIC, body, n, (char *)out + FRAME_HEAD + n);
}

static bool frame_at(const struct frame_reader *r, size_t at, size_t *n)
{
    const uint8_t *p = r->bytes + at;
    size_t left = r->size - at;
    uint32_t size;
    char sum[FRAME_SUM];

    if (left < FRAME_OVERHEAD || memcmp(p, magic, FRAME_MAGIC) != 0)
        return false;
    memcpy(&size, p + FRAME_MAGIC, sizeof size);
    if (size > r->body_max || size > left - FRAME_OVERHEAD)
        return false;
    sum_of(r->key, p + FRAME_MAGIC, p + FRAME_HEAD, size, sum);
    *n = size;
    return memcmp(sum, p + FRAME_HEAD + size, FRAME_SUM) == 0;
}

static bool frame_follows(const struct frame_reader *r)
{
    const uint8_t *end = r->bytes + r->size, *p = r->bytes + r->at;
    size_t n;

    for (int tried = 0; tried < SEARCH_MAX && end - p > FRAME_OVERHEAD; tried++) {
        p = memmem(p + 1, (size_t)(end - p - 1), magic, FRAME_MAGIC);
        if (!p)
            return false;
        if (frame_at(r, (size_t)(p - r->bytes), &n))
            return true;
    }
    return false;
}

enum frame_state frame_next(struct frame_reader *r, const uint8_t **body, size_t *n)
{
    if (r->at == r->size)
        return FRAME_END;
    if (!frame_at(r, r->at, n))
        return frame_follows(r) ? FRAME_DAMAGED : FRAME_TORN;
    *body = r->bytes + r->at + FRAME_HEAD;
    r->at += FRAME_OVERHEAD + *n;
    return FRAME_GOOD;
}

size_t record_bytes(int64_t values)
{
    return sizeof(int64_t) + (size_t)values * sizeof(double);
}

void record_make(uint8_t *body, int64_t window, const double *nll, int64_t values)
{
    memcpy(body, &window, sizeof window);
    memcpy(body + sizeof window, nll, (size_t)values * sizeof *nll);
}

bool record_read(const uint8_t *body, size_t n, int64_t *window, const uint8_t **nll,
                 int64_t *values)
{
    if (n < record_bytes(1) || n % sizeof(double) != 0)
        return false;
    memcpy(window, body, sizeof *window);
    *nll = body + sizeof *window;
    *values = (int64_t)(n / sizeof(double)) - 1;
    return true;
}
