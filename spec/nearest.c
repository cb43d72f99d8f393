#include "spec/nearest.h"

#include <ctype.h>
#include <string.h>

enum { WORD_MAX = 64, EDIT = 2, CASE_EDIT = 1 };

static int min3(int a, int b, int c)
{
    int low = a < b ? a : b;

    return low < c ? low : c;
}

static int replace_cost(char a, char b)
{
    if (a == b)
        return 0;
    return tolower((unsigned char)a) == tolower((unsigned char)b) ? CASE_EDIT : EDIT;
}

int word_distance(const char *a, const char *b)
{
    int row[3][WORD_MAX + 1]; /* of the table [bytes of a][bytes of b]: this one and two before */
    int na = (int)strnlen(a, WORD_MAX), nb = (int)strnlen(b, WORD_MAX);

    for (int j = 0; j <= nb; j++)
        row[0][j] = j * EDIT;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *two_before = row[(i + 1) % 3];

        now[0] = i * EDIT;
        for (int j = 1; j <= nb; j++) {
            now[j] = min3(now[j - 1] + EDIT, before[j] + EDIT,
                          before[j - 1] + replace_cost(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two_before[j - 2] + EDIT < now[j])
                now[j] = two_before[j - 2] + EDIT;
        }
    }
    return row[na % 3][nb];
}
