// sources: launch/journal_frame.c
/* The frames of a journal: reading ends, never leaves the bytes, and what it calls a record is one. */
#include "launch/journal_frame.h"
#include "spec/err.h"

#include <string.h>

enum { VALUES_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads on from where r stands; returns how it ended. */
static enum frame_state read_records(struct frame_reader *r)
{
    int64_t window, values;
    const uint8_t *body, *nll;
    enum frame_state state;
    size_t n, before = r->at;

    while ((state = frame_next(r, &body, &n)) == FRAME_GOOD) {
        CHECK(r->at > before && r->at <= r->size && n <= r->body_max);
        CHECK(body >= r->bytes && body + n <= r->bytes + r->size);
        if (record_read(body, n, &window, &nll, &values))
            CHECK(values > 0 && record_bytes(values) == n);
        before = r->at;
    }
    CHECK(r->at == before && (state == FRAME_END) == (r->at == r->size));
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader r = {.bytes = data, .size = size, .body_max = JOURNAL_IDENTITY_MAX};
    uint8_t tail[2 * (FRAME_OVERHEAD + 24)];
    const uint8_t *body;
    size_t n;

    if (frame_next(&r, &body, &n) == FRAME_GOOD)
        sha256_of(body, n, r.key);
    r.body_max = record_bytes(VALUES_MAX);
    read_records(&r);

    /* A good frame after anything is seen: the bytes before it are good, too, or damaged. */
    if (size < sizeof tail) {
        const double nll[2] = {1, 2};

        memcpy(tail, data, size < sizeof tail / 2 ? size : sizeof tail / 2);
        n = size < sizeof tail / 2 ? size : sizeof tail / 2;
        record_make(tail + n + FRAME_HEAD, 7, nll, 2);
        frame_make(tail + n, "", tail + n + FRAME_HEAD, record_bytes(2));
        r = (struct frame_reader){.bytes = tail, .size = n + FRAME_OVERHEAD + record_bytes(2),
                                  .body_max = record_bytes(VALUES_MAX)};
        CHECK(read_records(&r) != FRAME_TORN);
    }
    return 0;
}
