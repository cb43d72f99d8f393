/* utf8.h - is it UTF-8? JSON documents and the text of a run are checked by this. */
#ifndef SPEC_UTF8_H
#define SPEC_UTF8_H

#include <stddef.h>

/* Offset of the first byte of the first sequence that is not valid UTF-8 (as Python's
 * UnicodeDecodeError.start reports it), or `bytes` when all is valid. */
size_t utf8_check(const char *text, size_t bytes);

#endif
