#include "launch/roofline_report.h"

enum { NUMBER_TEXT = 32 };

/* "3.547 GB": four digits and a decimal prefix, as rates are given. */
static const char *number(double value, const char *unit, char out[NUMBER_TEXT])
{
    static const char *const prefix[] = {"", "k", "M", "G", "T", "P", "E"};
    size_t i = 0;

    while (value >= 999.95 && i + 1 < sizeof prefix / sizeof *prefix) {
        value /= 1000;
        i++;
    }
    snprintf(out, NUMBER_TEXT, "%.4g %s%s", value, prefix[i], unit);
    return out;
}

static void print_device(FILE *to, const struct roofline_device *d)
{
    char text[NUMBER_TEXT];

    fprintf(to, "roofline: %s, by assumed figures: matrices %s", d->name,
            number(d->fp4 > 0 ? d->fp4 : d->matrix, "FLOP/s", text));
    fprintf(to, ", attention %s", number(d->attention, "FLOP/s", text));
    fprintf(to, ", memory %s,\n", number(d->memory, "B/s", text));
    fprintf(to, "    next rank %s", number(d->link, "B/s", text));
    if (d->host > 0)
        fprintf(to, ", host %s", number(d->host, "B/s", text));
    fprintf(to, ", disk %s\n", number(d->disk, "B/s", text));
}

static void print_step(FILE *to, int rank, enum roofline_step i, const struct roofline_stage *s,
                       const struct plan_rank *k)
{
    const struct roofline_cost *c = &s->step[i];
    char bytes[NUMBER_TEXT], flops[NUMBER_TEXT];

    if (c->bytes <= 0)
        return;
    fprintf(to, "%5d  %-12s %12s %14s %11.3f ms", rank, roofline_step_name(i),
            number(c->bytes, "B", bytes), c->flops > 0 ? number(c->flops, "FLOP", flops) : "",
            1e3 * c->seconds);
    if (i < STEP_SEND)
        fprintf(to, " %7.1f %%\n", 100 * c->seconds / s->compute);
    else if (i == STEP_READ && k->wave > 1)
        fprintf(to, "   beside, once in %d microbatches\n", k->wave);
    else if (i == STEP_COPY)
        fprintf(to, "   beside, of %d in %d microbatches\n", k->parked, k->wave);
    else
        fprintf(to, "   beside\n");
}

static void print_stage(FILE *to, int rank, const struct roofline_stage *s,
                        const struct plan_rank *k, int tokens)
{
    for (enum roofline_step i = 0; i < ROOFLINE_STEPS; i++)
        print_step(to, rank, i, s, k);
    fprintf(to, "%5d  %-12s %27s %11.3f ms   a microbatch; %.1f s of work; binds: %s\n", rank,
            "all", "", 1e3 * s->compute, s->seconds, roofline_step_name(s->binds));
    if (s->tokens_hide_read > 0)
        fprintf(to, "%5d  waves of %.0f tokens hide the reading of %d layers; these have %lld\n",
                rank, s->tokens_hide_read, k->streamed, (long long)k->wave * tokens);
}

void roofline_print(FILE *to, const struct roofline *r, const struct plan *p)
{
    print_device(to, &r->device);
    fprintf(to, "%5s  %-12s %12s %14s %14s %9s\n", "rank", "step", "bytes", "FLOPs", "time",
            "share");
    for (int i = 0; i < r->stages; i++)
        print_stage(to, i, &r->stage[i], &p->rank[i], p->tokens);
    fprintf(to, "at best %.1f s, %.1f tokens/s; slowest: rank %d", r->seconds, r->tokens_per_second,
            r->slowest);
    if (r->stages > 1)
        fprintf(to, ", idle %.1f %% of it while the pipeline fills and drains", 100 * r->bubble);
    fprintf(to, "; binds: %s\n", roofline_step_name(r->stage[r->slowest].binds));
}

static cJSON *device_json(const struct roofline_device *d)
{
    cJSON *to = cJSON_CreateObject();

    cJSON_AddStringToObject(to, "name", d->name);
    cJSON_AddNumberToObject(to, "matrix_flops_per_second", d->matrix);
    cJSON_AddNumberToObject(to, "fp4_flops_per_second", d->fp4);
    cJSON_AddNumberToObject(to, "attention_flops_per_second", d->attention);
    cJSON_AddNumberToObject(to, "attention_f32_flops_per_second", d->attention_f32);
    cJSON_AddNumberToObject(to, "memory_bytes_per_second", d->memory);
    cJSON_AddNumberToObject(to, "host_bytes_per_second", d->host);
    cJSON_AddNumberToObject(to, "disk_bytes_per_second", d->disk);
    cJSON_AddNumberToObject(to, "link_bytes_per_second", d->link);
    cJSON_AddNumberToObject(to, "memory_bytes", d->bytes);
    return to;
}

static cJSON *stage_json(int rank, const struct roofline_stage *s)
{
    cJSON *to = cJSON_CreateObject(), *steps;

    cJSON_AddNumberToObject(to, "rank", rank);
    cJSON_AddNumberToObject(to, "microbatch_seconds", s->compute);
    cJSON_AddNumberToObject(to, "wave_seconds", s->wave);
    cJSON_AddNumberToObject(to, "seconds", s->seconds);
    cJSON_AddNumberToObject(to, "tokens_hide_read", s->tokens_hide_read);
    cJSON_AddStringToObject(to, "binds", roofline_step_name(s->binds));
    steps = cJSON_AddObjectToObject(to, "steps");
    for (enum roofline_step i = 0; i < ROOFLINE_STEPS; i++) {
        cJSON *one = cJSON_AddObjectToObject(steps, roofline_step_name(i));

        cJSON_AddNumberToObject(one, "bytes", s->step[i].bytes);
        cJSON_AddNumberToObject(one, "flops", s->step[i].flops);
        cJSON_AddNumberToObject(one, "seconds", s->step[i].seconds);
    }
    return to;
}

cJSON *roofline_json(const struct roofline *r)
{
    cJSON *root = cJSON_CreateObject(), *stages;

    cJSON_AddItemToObject(root, "device", device_json(&r->device));
    cJSON_AddNumberToObject(root, "seconds", r->seconds);
    cJSON_AddNumberToObject(root, "tokens_per_second", r->tokens_per_second);
    cJSON_AddNumberToObject(root, "bubble", r->bubble);
    cJSON_AddNumberToObject(root, "slowest", r->slowest);
    stages = cJSON_AddArrayToObject(root, "stages");
    for (int i = 0; i < r->stages; i++)
        cJSON_AddItemToArray(stages, stage_json(i, &r->stage[i]));
    return root;
}
