// The Unicode table holds exactly the sets of Unicode 16 that `tokenizers` 0.23.3 was measured to
// have, and its ranges and single look-ups agree.
// links: loader
#include "loader/tok_unicode.h"
#include "tests/test.h"

static const struct {
    const char *name;
    int count; /* code points, surrogates left out */
} property[] = {{"L", 141028}, {"N", 1911},  {"M", 2501}, {"P", 855},  {"S", 8514},
                {"Lu", 1858},  {"Ll", 2258}, {"Lt", 31},  {"Lm", 404}, {"Lo", 136477}};

/* White_Space, which \s must be. */
static const uint32_t space[][2] = {
    {0x9, 0xd},       {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};

static void check_property(const char *name, int want)
{
    uint32_t mask = unicode_mask(name, strlen(name)), lo = 0, hi;
    int single = 0, in_runs = 0;

    EXPECT(mask);
    for (uint32_t cp = 0; cp < UNICODE_END; cp++)
        single += mask >> unicode_category(cp) & 1;
    for (; unicode_next_run(mask, &lo, &hi); lo = hi + 1)
        in_runs += (int)(hi - lo + 1);
    printf("%s %d %d\n", name, single, in_runs);
    EXPECT(single == want && in_runs == want);
}

int main(void)
{
    size_t k = 0;

    for (size_t i = 0; i < sizeof property / sizeof *property; i++)
        check_property(property[i].name, property[i].count);
    EXPECT(unicode_category(0x295) == UC_LL && unicode_category(0xd800) == UC_CS);
    EXPECT(unicode_mask("Han", 3) == 0 && unicode_mask("X", 1) == 0 && unicode_mask("uL", 2) == 0);
    for (uint32_t cp = 0; cp < UNICODE_END; cp++) {
        if (k < sizeof space / sizeof *space && cp > space[k][1])
            k++;
        EXPECT(unicode_is_space(cp) == (k < sizeof space / sizeof *space && cp >= space[k][0]));
    }
    /* the sets of other libraries, at the places where they leave the categories */
    EXPECT(unicode_is_word(0x200d) && unicode_is_word(0x24b6) && unicode_is_word(0x203f));
    EXPECT(!unicode_is_word(0xbd) && !unicode_is_word(0xb2) && !unicode_is_word(0x200b));
    EXPECT(unicode_is_numeric(0x11de0) && unicode_is_numeric(0xbd) && !unicode_is_numeric('a'));
    EXPECT(unicode_is_punct('$') && unicode_is_punct(0x3002) && !unicode_is_punct(0x2e52));
    EXPECT(unicode_is_inert(0x11938) && unicode_is_inert(0x897) && !unicode_is_inert(0x301));
    return 0;
}
