#include "loader/ids.h"

#include <inttypes.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little endian, so is memory");

size_t id_bytes(enum id_type t)
{
    return t == ID_I64 ? 8 : t == ID_U16 ? 2 : 4;
}

static int64_t id_at(const void *raw, enum id_type t, size_t i)
{
    const char *p = (const char *)raw + i * id_bytes(t);
    uint16_t u16;
    uint32_t u32;
    int32_t i32;
    int64_t i64;

    switch (t) {
    case ID_I32:
        memcpy(&i32, p, sizeof i32);
        return i32;
    case ID_U16:
        memcpy(&u16, p, sizeof u16);
        return u16;
    case ID_U32:
        memcpy(&u32, p, sizeof u32);
        return u32;
    case ID_I64:
        break;
    }
    memcpy(&i64, p, sizeof i64);
    return i64;
}

enum status ids_convert(const char *name, const void *raw, enum id_type t, int64_t first, size_t n,
                        int32_t *ids, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        int64_t id = id_at(raw, t, i);

        if (id < 0 || id > INT32_MAX)
            return fail(e, ERR_DATA,
                        "%s: id at position %" PRId64 ": got %" PRId64 ", want 0 to %" PRId32, name,
                        first + (int64_t)i, id, INT32_MAX);
        ids[i] = (int32_t)id;
    }
    return OK;
}
