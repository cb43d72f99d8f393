#include "launch/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "spec/clock.h"

static bool is_terminal(FILE *f)
{
    const char *term = getenv("TERM");

    return isatty(fileno(f)) && (!term || strcmp(term, "dumb") != 0);
}

void progress_begin(struct progress *p, FILE *out, const char *label, int64_t windows, bool quiet)
{
    *p = (struct progress){.out = out, .windows = windows, .quiet = quiet};
    snprintf(p->label, sizeof p->label, "%s", label);
    p->terminal = is_terminal(out);
    p->interval_s = p->terminal ? 0.2 : 10;
    p->began_s = p->printed_s = clock_seconds();
}

void progress_skip(struct progress *p, int64_t windows, int64_t tokens)
{
    p->before_windows = windows;
    p->before_tokens = tokens;
}

/* "0:41:10", or "-" when it is not known. */
static const char *format_eta(double seconds, char *text, size_t size)
{
    int64_t s;

    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(text, size, "-");
        return text;
    }
    s = llround(seconds);
    snprintf(text, size, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    return text;
}

static void write_line(struct progress *p, const char *line)
{
    char text[512];
    struct winsize size;
    int width = 79;

    if (p->terminal) {
        if (ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
            width = size.ws_col - 1; /* a longer line would wrap, and not be redrawn */
        snprintf(text, sizeof text, "\r%.*s\033[K", width < 400 ? width : 400, line);
    } else {
        snprintf(text, sizeof text, "%s\n", line);
    }
    fputs(text, p->out);
    fflush(p->out);
    p->drawn = p->terminal;
}

void progress_update(struct progress *p, int64_t windows_done, int64_t tokens, double sum_nll)
{
    int64_t fresh = windows_done - p->before_windows;
    double at, elapsed;
    char line[320], eta[32];

    if (p->quiet)
        return;
    at = clock_seconds();
    if (at - p->printed_s < p->interval_s && windows_done < p->windows) /* the last one always */
        return;
    p->printed_s = at;
    elapsed = at - p->began_s;
    format_eta(fresh > 0 ? elapsed * (double)(p->windows - windows_done) / (double)fresh : -1, eta,
               sizeof eta);
    snprintf(line, sizeof line,
             "%s: window %" PRId64 " of %" PRId64 ", ppl %.4f, %.1f tokens/s, %s left", p->label,
             windows_done, p->windows, tokens > 0 ? exp(sum_nll / (double)tokens) : NAN,
             elapsed > 0 ? (double)(tokens - p->before_tokens) / elapsed : 0.0, eta);
    write_line(p, line);
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fputs("\n", p->out);
    p->drawn = false;
    fflush(p->out);
}
