// sources: launch/journal_frame.c launch/wave_frame.c
/* The frames of a kept wave: what is called a head or a piece is one, lies within the bytes, and comes
 * out as it went in. */
#include "launch/wave_frame.h"
#include "spec/err.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A frame whose body is `body`, as a file has it. */
static void same_frame(const uint8_t *body, size_t n, const char *key)
{
    static uint8_t frame[WAVE_FRAME_MAX];
    struct frame_reader r = {.bytes = frame, .size = FRAME_OVERHEAD + n, .body_max = WAVE_BODY_MAX};
    const uint8_t *back;
    size_t bytes;

    memcpy(r.key, key, strlen(key) + 1);
    frame_make(frame, key, body, n);
    CHECK(frame_next(&r, &back, &bytes) == FRAME_GOOD && bytes == n && memcmp(back, body, n) == 0);
    r.at = 0;
    r.key[0] = '!';
    CHECK(frame_next(&r, &back, &bytes) != FRAME_GOOD);
}

static void read_one(const uint8_t *body, size_t n)
{
    static uint8_t again[WAVE_BODY_MAX];
    struct wave_head h;
    struct wave_piece p;

    if (wave_head_read(body, n, &h)) {
        CHECK(n == WAVE_HEAD_BODY && h.row > 0 && h.layer > 0 && h.windows > 0);
        wave_head_make(again, &h);
        if (strlen(h.key) == SHA256_HEX - 1)
            CHECK(memcmp(again, body, n) == 0);
        same_frame(body, n, "");
    }
    if (wave_piece_read(body, n, &p)) {
        CHECK(p.n > 0 && p.n <= WAVE_PIECE && p.bytes > body && p.bytes + p.n == body + n);
        CHECK(wave_piece_make(again, p.window, p.at, p.bytes, p.n) == n);
        CHECK(memcmp(again, body, n) == 0);
        same_frame(body, n, "key");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader r = {.bytes = data, .size = size, .body_max = WAVE_BODY_MAX};
    const uint8_t *body;
    size_t n;

    read_one(data, size);
    if (frame_next(&r, &body, &n) != FRAME_GOOD)
        return 0;
    read_one(body, n);
    sha256_of(body, n, r.key);
    while (frame_next(&r, &body, &n) == FRAME_GOOD)
        read_one(body, n);
    return 0;
}
