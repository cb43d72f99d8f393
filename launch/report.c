/* report.c - the tables on the terminal. */
#include "launch/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "spec/size.h"

enum { SHORT_SHA = 12, LABEL_MAX = 40 };

/* Text from a file, cut or padded to `width` characters (0: as it is), without control characters:
 * a label must not move the cursor. */
static void print_text(FILE *out, const char *text, int width)
{
    int n = 0;

    for (const char *s = text; *s; s++) {
        bool starts = ((unsigned char)*s & 0xc0) != 0x80; /* a character of UTF-8 */

        if (starts && width > 0 && n == width)
            break;
        n += starts;
        putc((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, out);
    }
    if (n < width)
        fprintf(out, "%*s", width - n, "");
}

static int text_width(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_row(FILE *out, const char *name)
{
    fprintf(out, "  %-12s", name);
}

static void print_error(FILE *out, double error, const char *of_what)
{
    if (isfinite(error))
        fprintf(out, "  +/- %.4f (%s)", error, of_what);
}

static void print_result(const struct report_model *m, FILE *out)
{
    if (m->partial) {
        print_row(out, "PARTIAL");
        fprintf(out, "%" PRId64 " of %" PRId64 " windows: ", m->windows, m->windows_all);
        print_text(out, m->partial, 0);
        putc('\n', out);
    }
    if (m->nonfinite > 0) {
        print_row(out, "NOT FINITE");
        fprintf(out, "nll of %" PRId64 " tokens: the perplexity means nothing\n", m->nonfinite);
    }
    print_row(out, "ppl");
    if (isfinite(m->ppl))
        fprintf(out, "%.4f", m->ppl);
    else
        fputs("not finite", out);
    print_error(out, m->se_iid, "tokens independent");
    print_error(out, m->se_block, "windows independent");
    putc('\n', out);
    print_row(out, "mean nll");
    fprintf(out, "%.7f nats per token\n", m->mean_nll);
    if (isfinite(m->word_perplexity)) {
        print_row(out, "rolling");
        fprintf(out, "word ppl %.4f, byte ppl %.6f, %.6f bits per byte\n", m->word_perplexity,
                m->byte_perplexity, m->bits_per_byte);
    }
}

static void print_conditions(const struct report_model *m, FILE *out)
{
    print_row(out, "scored");
    fprintf(out, "%" PRId64 " tokens in %" PRId64 " windows: ", m->tokens, m->windows);
    fprintf(out, "score %s, eval_len %d, eval_stride %d\n", m->score, m->eval_len, m->eval_stride);
    if (m->windows_restored > 0) {
        print_row(out, "resumed");
        fprintf(out, "%" PRId64 " of the windows were computed by earlier runs\n",
                m->windows_restored);
    }
    print_row(out, "text");
    fprintf(out, "%" PRId64 " ids, SHA-256 %.*s..., BOS %s\n", m->ids, SHORT_SHA, m->ids_sha256,
            m->bos);
    print_row(out, "model");
    print_text(out, m->model_dir, 0);
    fprintf(out, "\n%14sconfig %.*s..., weights %.*s...\n", "", SHORT_SHA, m->config_sha256,
            SHORT_SHA, m->weights_fingerprint);
    print_row(out, "arithmetic");
    fprintf(out, "%s, %s, softmax over %d, backend %s, isa %s, transport %s\n", m->arithmetic,
            m->dtype, m->softmax_width, m->backend, m->isa, m->transport);
    print_row(out, "time");
    fprintf(out, "%.2f s: load %.2f, compute %.2f, wait %.2f; %.1f tokens/s\n", m->seconds.total,
            m->seconds.load, m->seconds.compute, m->seconds.wait, m->tokens_per_second);
    if (m->link) {
        print_row(out, "link");
        fprintf(out, "%s\n", m->link);
    }
    if (isnan(m->predicted.seconds) || m->partial)
        return;
    print_row(out, "predicted");
    fprintf(out, "%.2f s of computing, of which %.2f waiting for layers; it took %.2f and %.2f\n",
            m->predicted.seconds, m->predicted.stall, m->scoring_seconds, m->seconds.stall);
}

enum { LAYERS_TEXT = 48 };

static const char *format_layers(const struct report_rank *r, char text[LAYERS_TEXT])
{
    if (r->last <= r->first)
        snprintf(text, LAYERS_TEXT, "none");
    else if (r->streamed > 0)
        snprintf(text, LAYERS_TEXT, "%d-%d, %d streamed", r->first, r->last - 1, r->streamed);
    else
        snprintf(text, LAYERS_TEXT, "%d-%d", r->first, r->last - 1);
    return text;
}

static int longer(int width, const char *text)
{
    int n = text_width(text);

    return n > width ? n : width;
}

static void print_ranks(const struct report_model *m, FILE *out)
{
    int host = 4, device = 6, layers = 6;
    char text[LAYERS_TEXT];

    for (int i = 0; i < m->n_ranks; i++) {
        host = longer(host, m->rank[i].host);
        device = longer(device, m->rank[i].device);
        layers = longer(layers, format_layers(&m->rank[i], text));
    }
    fprintf(out, "  rank  %-*s  %-*s  %-*s  %9s  %9s  %9s  %9s  %9s  %9s\n", host, "host", device,
            "device", layers, "layers", "cap", "planned", "peak", "read", "compute", "wait");
    for (int i = 0; i < m->n_ranks; i++) {
        const struct report_rank *r = &m->rank[i];
        char cap[SIZE_TEXT], planned[SIZE_TEXT], peak[SIZE_TEXT], read[SIZE_TEXT];

        fprintf(out, "  %4d  ", r->rank);
        print_text(out, r->host, host);
        fputs("  ", out);
        print_text(out, r->device, device);
        fprintf(out, "  %-*s  %9s  %9s  %9s  %9s  %7.2f s  %7.2f s\n", layers,
                format_layers(r, text), size_format(r->cap_bytes, cap),
                size_format(r->planned_bytes, planned), size_format(r->peak_bytes, peak),
                size_format(r->bytes_read, read), r->seconds.compute, r->seconds.wait);
    }
}

void report_print_model(const struct report_model *m, FILE *out)
{
    print_text(out, m->label, 0);
    putc('\n', out);
    print_result(m, out);
    print_conditions(m, out);
    if (m->n_ranks > 0)
        print_ranks(m, out);
}

/* What two perplexities must share to be compared. */
static const char *difference(const struct report_model *a, const struct report_model *b)
{
    if (strcmp(a->ids_sha256, b->ids_sha256) != 0)
        return "different ids";
    if (strcmp(a->score, b->score) != 0 || a->eval_len != b->eval_len ||
        a->eval_stride != b->eval_stride || strcmp(a->bos, b->bos) != 0)
        return "different windows";
    if (a->softmax_width != b->softmax_width)
        return "different softmax widths";
    if (a->windows != b->windows)
        return "different numbers of windows";
    return NULL;
}

static void print_number(FILE *out, int width, int decimals, double value)
{
    if (isfinite(value))
        fprintf(out, "  %*.*f", width, decimals, value);
    else
        fprintf(out, "  %*s", width, "-");
}

void report_print_comparison(const struct report *r, FILE *out)
{
    int width = 5;

    if (r->n_models < 2)
        return;
    for (int i = 0; i < r->n_models; i++)
        width = longer(width, r->model[i].label);
    width = width > LABEL_MAX ? LABEL_MAX : width;
    fprintf(out, "%-*s  %12s  %9s  %9s  %10s  %9s  %-9s  %s\n", width, "model", "ppl", "+/- iid",
            "+/- block", "mean nll", "tokens", "dtype", "arithmetic");
    for (int i = 0; i < r->n_models; i++) {
        const struct report_model *m = &r->model[i];
        const char *apart = difference(&r->model[0], m);

        print_text(out, m->label, width);
        print_number(out, 12, 4, m->ppl);
        print_number(out, 9, 4, m->se_iid);
        print_number(out, 9, 4, m->se_block);
        print_number(out, 10, 7, m->mean_nll);
        fprintf(out, "  %9" PRId64 "  %-9s  %s%s%s%s%s\n", m->tokens, m->dtype, m->arithmetic,
                m->nonfinite > 0 ? "  NOT FINITE" : "", m->partial ? "  PARTIAL" : "",
                apart ? "  not comparable to the first: " : "", apart ? apart : "");
    }
}
