/* sha256.h - SHA-256 through libcrypto.
 *
 * Memory: sha256_begin allocates; sha256_end finishes and frees. */
#ifndef SPEC_SHA256_H
#define SPEC_SHA256_H

#include <stddef.h>

enum { SHA256_HEX = 65 }; /* 64 lower-case digits and the final 0 */

struct sha256;

struct sha256 *sha256_begin(void);
void sha256_add(struct sha256 *s, const void *data, size_t bytes);
void sha256_end(struct sha256 *s, char hex[SHA256_HEX]);

/* All three in one. */
void sha256_of(const void *data, size_t bytes, char hex[SHA256_HEX]);

#endif
