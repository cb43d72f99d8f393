#include "launch/wave_frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_HEAD = 2 * 8, FORMAT = 1 };

void wave_head_make(uint8_t body[WAVE_HEAD_BODY], const struct wave_head *h)
{
    const int64_t number[4] = {FORMAT, h->row, h->layer, h->windows};

    memcpy(body, number, sizeof number);
    memcpy(body + sizeof number, h->key, SHA256_HEX - 1);
}

bool wave_head_read(const uint8_t *body, size_t n, struct wave_head *h)
{
    int64_t number[4];

    if (n != WAVE_HEAD_BODY)
        return false;
    memcpy(number, body, sizeof number);
    memcpy(h->key, body + sizeof number, SHA256_HEX - 1);
    h->key[SHA256_HEX - 1] = 0;
    h->row = number[1];
    h->layer = number[2];
    h->windows = number[3];
    return number[0] == FORMAT && h->row > 0 && h->layer > 0 && h->windows > 0;
}

size_t wave_piece_make(uint8_t *body, int64_t window, uint64_t at, const void *bytes, size_t n)
{
    memcpy(body, &window, sizeof window);
    memcpy(body + sizeof window, &at, sizeof at);
    memcpy(body + PIECE_HEAD, bytes, n);
    return PIECE_HEAD + n;
}

bool wave_piece_read(const uint8_t *body, size_t n, struct wave_piece *p)
{
    if (n <= PIECE_HEAD || n > WAVE_BODY_MAX)
        return false;
    memcpy(&p->window, body, sizeof p->window);
    memcpy(&p->at, body + sizeof p->window, sizeof p->at);
    p->bytes = body + PIECE_HEAD;
    p->n = n - PIECE_HEAD;
    return true;
}

void wave_name_make(char out[NAME_MAX + 1], const char *journal, int rank, int64_t first)
{
    snprintf(out, NAME_MAX + 1, "%s.wave-%d-%" PRId64, journal, rank, first);
}

bool wave_name_read(const char *name, const char *journal, int *rank, int64_t *first)
{
    size_t n = strlen(journal);
    char same[NAME_MAX + 1];

    if (strncmp(name, journal, n) != 0 ||
        sscanf(name + n, ".wave-%9d-%18" SCNd64, rank, first) != 2)
        return false;
    wave_name_make(same, journal, *rank, *first);
    return *rank >= 0 && *first >= 0 && strcmp(same, name) == 0;
}

uint64_t wave_file_bytes(uint64_t hidden_bytes, uint64_t windows)
{
    uint64_t pieces = hidden_bytes / WAVE_PIECE + windows;

    return FRAME_OVERHEAD + WAVE_HEAD_BODY + hidden_bytes + pieces * (FRAME_OVERHEAD + PIECE_HEAD);
}
