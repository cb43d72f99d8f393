// links: launch spec
// timeout: 20
/* Progress without a terminal: whole lines, no more than one an interval, nothing when quiet; on a
 * terminal one line that is redrawn, cut to the width, and ended. */
#include "launch/progress.h"
#include "tests/test.h"

#include <pty.h>
#include <time.h>
#include <unistd.h>

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void test_lines(void)
{
    struct progress p;
    char *text = NULL, *at;
    size_t size;
    FILE *f = tmpfile();
    int lines = 0;
    double rate;
    long windows;
    char eta[16];

    EXPECT(f);
    progress_begin(&p, f, "demo", 40, false);
    EXPECT(!p.terminal && p.interval_s == 10);
    p.interval_s = 0.1;
    for (int i = 1; i <= 20; i++) { /* 0.4 s: at most 4 lines, at least 1 */
        nap_ms(20);
        progress_update(&p, i, 100 * i, 100 * i * log(8.5));
    }
    progress_end(&p);
    size = (size_t)ftell(f);
    rewind(f);
    text = calloc(1, size + 1);
    EXPECT(text && fread(text, 1, size, f) == size);
    EXPECT(size > 0 && text[size - 1] == '\n' && !strchr(text, '\r') && !strchr(text, '\033'));
    for (at = text; *at; at = strchr(at, '\n') + 1, lines++) {
        EXPECT(sscanf(at, "demo: window %ld of 40, ppl 8.5000, %lf tokens/s, %15s left\n", &windows,
                      &rate, eta) == 3);
        EXPECT(windows >= 1 && windows <= 20 && rate > 100 && rate <= 5000);
        EXPECT(strncmp(eta, "0:00:0", 6) == 0);
    }
    EXPECT(lines >= 1 && lines <= 8);
    free(text);
    fclose(f);
}

static void test_quiet_and_early(void)
{
    struct progress p;
    FILE *f = tmpfile();

    EXPECT(f);
    progress_begin(&p, f, "demo", 40, true);
    p.interval_s = 0;
    progress_update(&p, 1, 1, 1);
    progress_end(&p);
    EXPECT(ftell(f) == 0);
    progress_begin(&p, f, "demo", 40, false);
    progress_update(&p, 1, 1, 1); /* nothing is due within the first ten seconds */
    progress_end(&p);
    EXPECT(ftell(f) == 0);
    p.interval_s = 0;
    progress_update(&p, 0, 0, 0); /* nothing is known yet, and nothing is divided by it */
    EXPECT(ftell(f) > 0);
    fclose(f);
}

static void test_terminal(void)
{
    struct winsize size = {.ws_row = 24, .ws_col = 40};
    struct progress p;
    char text[256] = "";
    int master, slave;
    ssize_t n;
    FILE *f;

    EXPECT(setenv("TERM", "xterm", 1) == 0);
    if (openpty(&master, &slave, NULL, NULL, &size) != 0)
        return; /* no terminals here */
    f = fdopen(slave, "w");
    EXPECT(f);
    progress_begin(&p, f, "a model with a long name", 40, false);
    EXPECT(p.terminal);
    p.interval_s = 0;
    progress_update(&p, 10, 1000, 1000 * log(8.5));
    progress_update(&p, 20, 2000, 2000 * log(8.5));
    progress_end(&p);
    progress_end(&p); /* once is enough */
    n = read(master, text, sizeof text - 1);
    EXPECT(n > 0);
    EXPECT_TEXT(text, "\ra model with a long name: window 10 of \033[K"
                      "\ra model with a long name: window 20 of \033[K\r\n");
    fclose(f);
    close(master);
}

int main(void)
{
    test_lines();
    test_quiet_and_early();
    test_terminal();
    return 0;
}
