/* wave_frame.h - the bytes of a kept wave and its file's name, apart from files: frames as a journal's
 * (journal_frame.h).
 *
 * The first frame, with no key, is the head: whose hidden states follow, and how far they have come.
 * Each later one is a piece of one window, with the SHA-256 of the head's body as its key: a piece of
 * another wave, or of this one at another layer, is as wrong as a flipped bit. Windows stand in the
 * order of the text, their pieces in order, each of WAVE_PIECE bytes but the last.
 *
 * Memory: none; what is read points into the caller's bytes, which may be hostile. */
#ifndef LAUNCH_WAVE_FRAME_H
#define LAUNCH_WAVE_FRAME_H

#include <limits.h>

#include "launch/journal_frame.h"
#include "stage/wave_store.h"

enum {
    WAVE_HEAD_BODY = 4 * 8 + SHA256_HEX - 1,
    WAVE_BODY_MAX = 2 * 8 + WAVE_PIECE,
    WAVE_FRAME_MAX = FRAME_OVERHEAD + WAVE_BODY_MAX
};

struct wave_head {
    char key[SHA256_HEX]; /* SHA-256 of the journal's identity */
    int64_t row;          /* bytes of a token's hidden state */
    int64_t layer;        /* the first one that it has not been through */
    int64_t windows;
};

struct wave_piece {
    int64_t window;       /* of the text */
    uint64_t at;          /* bytes into its hidden states */
    const uint8_t *bytes; /* [n] */
    size_t n;
};

void wave_head_make(uint8_t body[WAVE_HEAD_BODY], const struct wave_head *h);
/* False when that is no head. Its numbers are positive, and nothing else is known of them. */
bool wave_head_read(const uint8_t *body, size_t n, struct wave_head *h);

/* Writes 16 + n bytes; returns how many. */
size_t wave_piece_make(uint8_t *body, int64_t window, uint64_t at, const void *bytes, size_t n);
/* False when that is no piece: it has 1 to WAVE_PIECE bytes. */
bool wave_piece_read(const uint8_t *body, size_t n, struct wave_piece *p);

/* "journal.wave-RANK-WINDOW": of the wave of a rank whose first window that is. */
void wave_name_make(char out[NAME_MAX + 1], const char *journal, int rank, int64_t first);
/* False when that is no such name. */
bool wave_name_read(const char *name, const char *journal, int *rank, int64_t *first);

/* Of a file with so many hidden states and windows, at most. */
uint64_t wave_file_bytes(uint64_t hidden_bytes, uint64_t windows);

#endif
