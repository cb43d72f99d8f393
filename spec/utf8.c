#include "spec/utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the well-formed sequence at p (`left` bytes remain), or 0. The bounds of the second byte
 * keep out overlong forms, surrogates and what lies beyond U+10FFFF (Unicode, table 3-7). */
static size_t sequence_bytes(const unsigned char *p, size_t left)
{
    unsigned char first = p[0], low = 0x80, high = 0xbf;
    size_t n;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    n = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < n)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return n;
}

size_t utf8_check(const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0;

    while (at < bytes) {
        uint64_t eight;
        size_t n;

        if (bytes - at >= sizeof eight) { /* most text is ASCII: eight bytes a step */
            memcpy(&eight, p + at, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                at += sizeof eight;
                continue;
            }
        }
        n = sequence_bytes(p + at, bytes - at);
        if (n == 0)
            return at;
        at += n;
    }
    return bytes;
}
