/* err.h - how every module reports a failure.
 *
 *   Our own bug (bad argument, broken invariant): CHECK() prints and aborts, also in release builds.
 *   A bad world (file, device, peer, input):      return a status and fill a struct err.
 *
 * Nothing below launch/ prints or exits. launch/ alone prints the message, once per job, with its
 * rank, and ends the job. A message is one line and names where, which file, which thing: got, want.
 *
 * Memory: a struct err belongs to the caller and owns nothing. `fail` and `fail_in` never allocate. */
#ifndef SPEC_ERR_H
#define SPEC_ERR_H

/* Also the exit code of the job (design: sysexits numbers, they collide with no launcher's). */
enum status {
    OK = 0,
    ERR_USAGE = 64,       /* command line */
    ERR_DATA = 65,        /* a model or data file is wrong */
    ERR_NO_INPUT = 66,    /* a file or folder that was named is missing or unreadable */
    ERR_UNAVAILABLE = 69, /* device, backend or transport cannot be had */
    ERR_INTERNAL = 70,    /* our bug, or a self-check that failed */
    ERR_FIT = 71,         /* the plan is refused, or the system is out of a resource */
    ERR_OUTPUT = 73,      /* output is busy or cannot be created */
    ERR_IO = 74,          /* read or write error */
    ERR_INTERRUPTED = 75, /* signal, or a peer was lost */
    ERR_NONFINITE = 76,   /* the result is not finite */
    ERR_SPEC = 78         /* bad spec, or ranks disagree */
};

struct err {
    enum status code;
    char msg[1024]; /* one line, no newline */
};

/* Records a failure and returns `code`, so callers write `return fail(...)`. */
enum status fail(struct err *e, enum status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Puts "prefix: " before the message already in `e`; returns e->code. */
enum status fail_in(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));

void check_failed(const char *file, int line, const char *what) __attribute__((noreturn, cold));

#define MUST_USE __attribute__((warn_unused_result))
#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum status try_ = (call);                                                                 \
        if (try_ != OK)                                                                            \
            return try_;                                                                           \
    } while (0)
#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

#endif
