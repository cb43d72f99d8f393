#include "stage/wave_store.h"

/* A walk through the pieces of a microbatch, window by window. */
struct walk {
    const struct microbatches *of;
    int64_t k;
    uint64_t row;
    int i;              /* which window of the microbatch */
    uint64_t start, at; /* bytes before that window; into it */
    int64_t window;     /* its index in the text */
    size_t n;           /* bytes of the piece */
};

/* The next piece; false after the last one. */
static bool next_piece(struct walk *w)
{
    uint64_t bytes;
    int64_t place;

    w->at += w->n;
    w->n = 0;
    while (w->i < microbatch_windows(w->of, w->k)) {
        bytes = (uint64_t)(microbatch_window(w->of, w->k, w->i, &place).len - 1) * w->row;
        if (w->at < bytes) {
            w->window = windows_index(w->of->windows, place);
            w->n = bytes - w->at < WAVE_PIECE ? (size_t)(bytes - w->at) : WAVE_PIECE;
            return true;
        }
        w->start += bytes;
        w->at = 0;
        w->i++;
    }
    return false;
}

enum status wave_keep(const struct wave_store *to, struct stage *s, const struct microbatches *of,
                      int64_t k, struct stage_place from, uint64_t row, bool *going, struct err *e)
{
    struct walk w = {.of = of, .k = k, .row = row};
    char piece[WAVE_PIECE];

    while (*going && next_piece(&w)) {
        TRY(stage_copy_out(s, from, w.start + w.at, piece, w.n, e));
        *going = to->add(to->context, w.window, w.at, piece, w.n);
    }
    return OK;
}

enum status wave_restore(const struct wave_store *from, int layer, struct stage *s,
                         const struct microbatches *of, int64_t k, struct stage_place to,
                         uint64_t row, struct err *e)
{
    struct walk w = {.of = of, .k = k, .row = row};
    char piece[WAVE_PIECE];

    while (next_piece(&w)) {
        TRY(from->read(from->context, layer, w.window, w.at, piece, w.n, e));
        TRY(stage_copy_in(s, to, w.start + w.at, piece, w.n, e));
    }
    return OK;
}
