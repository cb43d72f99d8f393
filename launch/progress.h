/* progress.h - how far a run is, on stderr: a line that is redrawn on a terminal, else a plain line
 * every ten seconds.
 *
 * Whether it is a terminal is asked of the stream itself: under mpirun stdout always looks like
 * one, stderr never does. Each line is one write, so lines of other processes do not tear it.
 *
 * Memory: none but the struct. Order: begin, any updates, end; one thread. */
#ifndef LAUNCH_PROGRESS_H
#define LAUNCH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out;
    char label[64];
    int64_t windows;
    bool quiet, terminal;
    double interval_s; /* between lines; set by begin, may be changed */
    double began_s, printed_s;
    int64_t before_windows, before_tokens; /* not of this run: they took no time of it */
    bool drawn; /* an unfinished line stands on the terminal */
};

void progress_begin(struct progress *p, FILE *out, const char *label, int64_t windows, bool quiet);
/* Right after begin: what is done already. */
void progress_skip(struct progress *p, int64_t windows, int64_t tokens);
/* So far: windows done, tokens scored in them, the sum of their nll. Cheap when nothing is due; the
 * last window is always shown. */
void progress_update(struct progress *p, int64_t windows_done, int64_t tokens, double sum_nll);
/* Ends the line that stands on the terminal. Call it before anything else is printed there. */
void progress_end(struct progress *p);

#endif
