/* report_json.c - the JSON of design §10. */
#include "launch/report.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "launch/json_write.h"
#include "launch/version.h"
#include "spec/outfile.h"

static void write_seconds(struct json_writer *w, const struct report_seconds *s)
{
    json_write_begin(w, "seconds", '{');
    json_write_double(w, "load", s->load);
    json_write_double(w, "compute", s->compute);
    json_write_double(w, "wait", s->wait);
    json_write_double(w, "total", s->total);
    json_write_double(w, "stall", s->stall);
    json_write_end(w, '}');
}

static void write_prediction(struct json_writer *w, const struct report_prediction *p)
{
    if (isnan(p->seconds))
        return;
    json_write_begin(w, "predicted", '{');
    json_write_double(w, "seconds", p->seconds);
    json_write_double(w, "stall", p->stall);
    json_write_end(w, '}');
}

static void write_rank(struct json_writer *w, const struct report_rank *r)
{
    json_write_begin(w, NULL, '{');
    json_write_int(w, "rank", r->rank);
    json_write_text(w, "host", r->host);
    json_write_text(w, "device", r->device);
    json_write_begin(w, "layers", '[');
    if (r->last > r->first) {
        json_write_int(w, NULL, r->first);
        json_write_int(w, NULL, r->last - 1);
    }
    json_write_end(w, ']');
    json_write_int(w, "streamed", r->streamed);
    json_write_int(w, "cap_bytes", (int64_t)r->cap_bytes);
    json_write_int(w, "planned_bytes", (int64_t)r->planned_bytes);
    json_write_int(w, "peak_bytes", (int64_t)r->peak_bytes);
    json_write_int(w, "parked_bytes", (int64_t)r->parked_bytes);
    json_write_int(w, "parked_peak_bytes", (int64_t)r->parked_peak_bytes);
    json_write_int(w, "bytes_owned", (int64_t)r->bytes_owned);
    json_write_int(w, "bytes_read", (int64_t)r->bytes_read);
    json_write_int(w, "first_wave_layer", r->begin);
    json_write_int(w, "waves_kept", r->kept);
    json_write_double(w, "keep_seconds", r->keep);
    write_seconds(w, &r->seconds);
    write_prediction(w, &r->predicted);
    json_write_end(w, '}');
}

static void write_numbers(struct json_writer *w, const struct report_model *m)
{
    json_write_double(w, "ppl", m->ppl);
    json_write_double(w, "mean_nll", m->mean_nll);
    json_write_int(w, "tokens", m->tokens);
    json_write_int(w, "windows", m->windows);
    json_write_int(w, "windows_all", m->windows_all);
    json_write_int(w, "windows_restored", m->windows_restored);
    json_write_double(w, "se_iid", m->se_iid);
    json_write_double(w, "se_block", m->se_block);
    json_write_int(w, "nonfinite", m->nonfinite);
    if (isfinite(m->word_perplexity)) {
        json_write_double(w, "word_perplexity", m->word_perplexity);
        json_write_double(w, "byte_perplexity", m->byte_perplexity);
        json_write_double(w, "bits_per_byte", m->bits_per_byte);
        json_write_int(w, "words", m->words);
        json_write_int(w, "bytes", m->bytes);
    }
}

static void write_model(struct json_writer *w, const struct report_model *m)
{
    json_write_begin(w, NULL, '{');
    json_write_text(w, "label", m->label);
    json_write_text(w, "model_dir", m->model_dir);
    json_write_text(w, "status", m->partial ? "partial" : "complete");
    json_write_text(w, "reason", m->partial);
    write_numbers(w, m);
    json_write_text(w, "score", m->score);
    json_write_int(w, "eval_len", m->eval_len);
    json_write_int(w, "eval_stride", m->eval_stride);
    json_write_text(w, "bos", m->bos);
    json_write_int(w, "softmax_width", m->softmax_width);
    json_write_text(w, "dtype", m->dtype);
    json_write_text(w, "arithmetic", m->arithmetic);
    json_write_text(w, "backend", m->backend);
    json_write_text(w, "isa", m->isa);
    json_write_text(w, "transport", m->transport);
    json_write_int(w, "ids", m->ids);
    json_write_text(w, "ids_sha256", m->ids_sha256);
    json_write_text(w, "config_sha256", m->config_sha256);
    json_write_text(w, "weights_fingerprint", m->weights_fingerprint);
    write_seconds(w, &m->seconds);
    json_write_double(w, "scoring_seconds", m->scoring_seconds);
    write_prediction(w, &m->predicted);
    json_write_double(w, "tokens_per_second", m->tokens_per_second);
    if (m->link)
        json_write_text(w, "link", m->link);
    json_write_begin(w, "ranks", '[');
    for (int i = 0; i < m->n_ranks; i++)
        write_rank(w, &m->rank[i]);
    json_write_end(w, ']');
    json_write_end(w, '}');
}

void report_print_json(const struct report *r, FILE *out)
{
    struct json_writer w = {.f = out};

    json_write_begin(&w, NULL, '{');
    json_write_text(&w, "schema", NVFP4_PPL_SCHEMA);
    json_write_text(&w, "version", r->version);
    json_write_text(&w, "status", r->complete ? "complete" : "partial");
    json_write_begin(&w, "results", '[');
    for (int i = 0; i < r->n_models; i++)
        write_model(&w, &r->model[i]);
    json_write_end(&w, ']');
    json_write_end(&w, '}');
}

static enum status print_to_stdout(const struct report *r, struct err *e)
{
    errno = 0;
    report_print_json(r, stdout);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return OK;
    return fail(e, ERR_IO, "standard output: cannot be written: %s",
                errno ? strerror(errno) : "write error");
}

enum status report_write_json(const struct report *r, const char *path, struct err *e)
{
    struct outfile out;

    if (strcmp(path, "-") == 0)
        return print_to_stdout(r, e);
    TRY(outfile_open(path, &out, e));
    report_print_json(r, out.f);
    return outfile_close(&out, e);
}
