#include "spec/json_scan.h"

#include <stdio.h>
#include <string.h>

#include "spec/json.h"

/* Records what stands at s->at against what should; returns false. */
static bool unexpected(struct json_scan *s, const char *want)
{
    unsigned char c;

    if (s->at >= s->bytes) {
        snprintf(s->wrong, sizeof s->wrong, "got the end of the text, want %s", want);
        return false;
    }
    c = (unsigned char)s->text[s->at];
    if (c > 0x20 && c < 0x7f)
        snprintf(s->wrong, sizeof s->wrong, "got '%c', want %s", c, want);
    else if (c < 0x80)
        snprintf(s->wrong, sizeof s->wrong, "got the character U+%04X, want %s", c, want);
    else
        snprintf(s->wrong, sizeof s->wrong, "got a character beyond ASCII, want %s", want);
    return false;
}

static bool at_char(const struct json_scan *s, char c)
{
    return s->at < s->bytes && s->text[s->at] == c;
}

static bool at_digit(const struct json_scan *s)
{
    return s->at < s->bytes && s->text[s->at] >= '0' && s->text[s->at] <= '9';
}

static void skip_space(struct json_scan *s)
{
    for (; s->at < s->bytes; s->at++) {
        char c = s->text[s->at];

        if ((s->flags & JSON_COMMENTS) && c == '/' && s->bytes - s->at >= 2 &&
            s->text[s->at + 1] == '/') {
            while (s->at < s->bytes && s->text[s->at] != '\n')
                s->text[s->at++] = ' ';
            if (s->at == s->bytes)
                return;
        } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            return;
        }
    }
}

static bool scan_hex(struct json_scan *s, unsigned *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        char c = s->at < s->bytes ? s->text[s->at] : 0;

        if (c >= '0' && c <= '9')
            *value = *value * 16 + (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            *value = *value * 16 + (unsigned)((c | 0x20) - 'a') + 10;
        else
            return unexpected(s, "four hexadecimal digits after \\u");
    }
    return true;
}

/* After "\u". */
static bool scan_unicode(struct json_scan *s)
{
    size_t start = s->at - 2;
    unsigned high, low;

    if (!scan_hex(s, &high))
        return false;
    if (high == 0) {
        s->nul_escapes++;
        if (!(s->flags & JSON_NUL)) {
            s->at = start;
            snprintf(s->wrong, sizeof s->wrong, "got \\u0000, want text without it");
            return false;
        }
    }
    if (high < 0xd800 || high > 0xdfff)
        return true;
    if (high < 0xdc00 && s->bytes - s->at >= 2 && s->text[s->at] == '\\' &&
        s->text[s->at + 1] == 'u') {
        s->at += 2;
        if (!scan_hex(s, &low))
            return false;
        if (low >= 0xdc00 && low <= 0xdfff)
            return true;
    }
    s->at = start;
    snprintf(s->wrong, sizeof s->wrong, "got half of a surrogate pair, want both");
    return false;
}

static bool scan_string(struct json_scan *s)
{
    for (s->at++; s->at < s->bytes; s->at++) {
        unsigned char c = (unsigned char)s->text[s->at];

        if (c == '"') {
            s->at++;
            return true;
        }
        if (c < 0x20)
            return unexpected(s, "it escaped inside a string, or the closing '\"'");
        if (c != '\\')
            continue;
        s->at++;
        if (at_char(s, 'u')) {
            s->at++;
            if (!scan_unicode(s))
                return false;
            s->at--; /* the loop steps over the last digit */
        } else if (s->at >= s->bytes || !s->text[s->at] || !strchr("\"\\/bfnrt", s->text[s->at])) {
            return unexpected(s, "an escape that JSON knows after '\\'");
        }
    }
    return unexpected(s, "the closing '\"' of a string");
}

static bool scan_digits(struct json_scan *s)
{
    if (!at_digit(s))
        return unexpected(s, "a digit");
    while (at_digit(s))
        s->at++;
    return true;
}

static bool scan_number(struct json_scan *s)
{
    size_t start = s->at;

    if (at_char(s, '-'))
        s->at++;
    if (at_char(s, '0'))
        s->at++;
    else if (!scan_digits(s))
        return false;
    if (at_digit(s))
        return unexpected(s, "no digit after a leading 0");
    if (at_char(s, '.')) {
        s->at++;
        if (!scan_digits(s))
            return false;
    }
    if (at_char(s, 'e') || at_char(s, 'E')) {
        s->at++;
        if (at_char(s, '+') || at_char(s, '-'))
            s->at++;
        if (!scan_digits(s))
            return false;
    }
    if (s->at - start > JSON_NUMBER_MAX) {
        snprintf(s->wrong, sizeof s->wrong, "got a number of %zu characters, want at most %d",
                 s->at - start, JSON_NUMBER_MAX);
        s->at = start;
        return false;
    }
    return true;
}

static bool scan_word(struct json_scan *s, const char *word)
{
    size_t n = strlen(word);

    if (s->bytes - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return unexpected(s, "a value");
    s->at += n;
    return true;
}

static bool scan_scalar(struct json_scan *s)
{
    char c = s->at < s->bytes ? s->text[s->at] : 0;

    if (c == '"')
        return scan_string(s);
    if (c == '-' || at_digit(s))
        return scan_number(s);
    if (c == 't')
        return scan_word(s, "true");
    if (c == 'f')
        return scan_word(s, "false");
    return c == 'n' ? scan_word(s, "null") : unexpected(s, "a value");
}

/* The key of a member and its colon. */
static bool scan_key(struct json_scan *s)
{
    if (!at_char(s, '"'))
        return unexpected(s, "a key in double quotes");
    if (!scan_string(s))
        return false;
    skip_space(s);
    if (!at_char(s, ':'))
        return unexpected(s, "':' after a key");
    s->at++;
    skip_space(s);
    return true;
}

/* After a value: closes what ends here. Stands on the next value, or at the end with depth 0. */
static bool scan_after(struct json_scan *s, const char *closing, int *depth)
{
    for (;;) {
        skip_space(s);
        if (*depth == 0)
            return s->at == s->bytes || unexpected(s, "nothing after the end of the document");
        if (at_char(s, ',')) {
            s->at++;
            skip_space(s);
            return true;
        }
        if (!at_char(s, closing[*depth - 1]))
            return unexpected(s, closing[*depth - 1] == '}' ? "',' or '}'" : "',' or ']'");
        s->at++;
        --*depth;
    }
}

bool json_scan(struct json_scan *s)
{
    char closing[JSON_DEPTH_MAX];
    int depth = 0;

    skip_space(s);
    for (;;) {
        s->place = s->at;
        if (depth && closing[depth - 1] == '}' && !scan_key(s))
            return false;
        if (s->values++ == s->stop)
            return true;
        if (at_char(s, '{') || at_char(s, '[')) {
            if (depth == JSON_DEPTH_MAX)
                return unexpected(s, "at most 64 levels of nesting");
            closing[depth++] = at_char(s, '{') ? '}' : ']';
            s->at++;
            skip_space(s);
            if (!at_char(s, closing[depth - 1]))
                continue;
            s->at++;
            depth--;
        } else if (!scan_scalar(s)) {
            return false;
        }
        if (!scan_after(s, closing, &depth))
            return false;
        if (depth == 0)
            return true;
    }
}
