/* journal_frame.h - the bytes of a journal, apart from files and from what they mean.
 *
 * A journal is a row of frames. The first one's body is the identity, text of lines "name value\n"
 * that say whose numbers follow; each later one holds the nll of one window.
 *
 *   magic[4] | body bytes, u32 | body | sum[16]
 *
 * All numbers are little-endian. sum: the first 16 hex digits of the SHA-256 of key, size and body,
 * where the key is the SHA-256 of the identity (empty for the first frame): a record of another
 * journal is as wrong as a flipped bit.
 *
 * A crash while frames are being appended leaves a tail that is no frame; nothing good follows it.
 * Where something good does follow, the bytes were damaged later: that is told apart.
 *
 * Memory: none; readers point into the caller's bytes, which may be hostile. */
#ifndef LAUNCH_JOURNAL_FRAME_H
#define LAUNCH_JOURNAL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/sha256.h"

enum {
    FRAME_MAGIC = 4,
    FRAME_HEAD = FRAME_MAGIC + 4,
    FRAME_SUM = 16,
    FRAME_OVERHEAD = FRAME_HEAD + FRAME_SUM,
    JOURNAL_IDENTITY_MAX = 1 << 16 /* bytes of an identity */
};

enum frame_state {
    FRAME_GOOD,
    FRAME_END,    /* nothing is left */
    FRAME_TORN,   /* no frame, and none after it: the tail of a crash */
    FRAME_DAMAGED /* no frame, but one after it */
};

struct frame_reader {
    const uint8_t *bytes;
    size_t size, at;      /* at: of the next frame */
    size_t body_max;      /* a larger body is no frame */
    char key[SHA256_HEX]; /* "" for the first frame */
};

/* Writes FRAME_OVERHEAD + n bytes; the body may stand at out + FRAME_HEAD already. */
void frame_make(uint8_t *out, const char *key, const void *body, size_t n);
/* The next frame; moves on only when it is good. *body points into the reader's bytes. */
enum frame_state frame_next(struct frame_reader *r, const uint8_t **body, size_t *n);

/* A record's body: its window, int64, then as many doubles as it has scored tokens. */
size_t record_bytes(int64_t values);
void record_make(uint8_t *body, int64_t window, const double *nll, int64_t values);
/* False when `n` is no size of a record. nll: `values` doubles, unaligned. */
bool record_read(const uint8_t *body, size_t n, int64_t *window, const uint8_t **nll,
                 int64_t *values);

#endif
