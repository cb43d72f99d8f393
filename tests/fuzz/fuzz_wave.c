// sources: launch/journal_frame.c launch/wave_frame.c
/* The frames of a kept wave and the name of its file: what is called a head, a piece or a name is one,
 * lies within the bytes, and comes out as it went in. */
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

static void read_name(const uint8_t *data, size_t size)
{
    char name[2 * NAME_MAX], again[NAME_MAX + 1];
    int64_t first;
    int rank;

    if (size >= sizeof name)
        return;
    memcpy(name, data, size);
    name[size] = 0;
    if (!wave_name_read(name, "journal", &rank, &first))
        return;
    CHECK(rank >= 0 && first >= 0);
    wave_name_make(again, "journal", rank, first);
    CHECK(strcmp(again, name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader r = {.bytes = data, .size = size, .body_max = WAVE_BODY_MAX};
    const uint8_t *body;
    size_t n;

    read_one(data, size);
    read_name(data, size);
    if (frame_next(&r, &body, &n) != FRAME_GOOD)
        return 0;
    read_one(body, n);
    sha256_of(body, n, r.key);
    while (frame_next(&r, &body, &n) == FRAME_GOOD)
        read_one(body, n);
    return 0;
}
