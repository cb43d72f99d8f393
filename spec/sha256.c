#include "spec/sha256.h"

#include <openssl/evp.h>

#include "spec/err.h"

/* libcrypto fails here only without memory or without SHA-256 itself; neither is a bad world that a
 * caller could act upon, so both are checks. */
struct sha256 *sha256_begin(void)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    CHECK(md != NULL);
    CHECK(EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    return (struct sha256 *)md;
}

void sha256_add(struct sha256 *s, const void *data, size_t bytes)
{
    CHECK(EVP_DigestUpdate((EVP_MD_CTX *)s, data, bytes) == 1);
}

void sha256_end(struct sha256 *s, char hex[SHA256_HEX])
{
    static const char digit[] = "0123456789abcdef";
    unsigned char sum[32];
    unsigned n = 0;

    CHECK(EVP_DigestFinal_ex((EVP_MD_CTX *)s, sum, &n) == 1 && n == sizeof sum);
    EVP_MD_CTX_free((EVP_MD_CTX *)s);
    for (unsigned i = 0; i < n; i++) {
        hex[2 * i] = digit[sum[i] >> 4];
        hex[2 * i + 1] = digit[sum[i] & 15];
    }
    hex[2 * n] = 0;
}

void sha256_of(const void *data, size_t bytes, char hex[SHA256_HEX])
{
    struct sha256 *s = sha256_begin();

    sha256_add(s, data, bytes);
    sha256_end(s, hex);
}
