/* Rotary position embedding: what config.json asks for, and inv_freq as Hugging Face computes it.
 * transformers works in float32 tensors with Python doubles as scalars; each line below rounds
 * where a tensor operation does. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "loader/config.h"

enum { ROPE_FIELDS_MAX = 64 }; /* comparing two objects takes time by the square */

static const double two_pi = 6.283185307179586;

/* ---- config.json ---- */

enum { /* bits: which kind knows the field */
       IN_DEFAULT = 1 << ROPE_DEFAULT,
       IN_LINEAR = 1 << ROPE_LINEAR,
       IN_LLAMA3 = 1 << ROPE_LLAMA3,
       IN_YARN = 1 << ROPE_YARN,
       IN_ALL = IN_DEFAULT | IN_LINEAR | IN_LLAMA3 | IN_YARN
};

static const struct {
    const char *name;
    int kinds;
} rope_fields[] = {
    {"rope_type", IN_ALL},
    {"type", IN_ALL},
    {"rope_theta", IN_ALL},
    {"partial_rotary_factor", IN_ALL}, /* must be 1 */
    {"factor", IN_LINEAR | IN_LLAMA3 | IN_YARN},
    {"original_max_position_embeddings", IN_LLAMA3 | IN_YARN},
    {"low_freq_factor", IN_LLAMA3},
    {"high_freq_factor", IN_LLAMA3},
    {"beta_fast", IN_YARN},
    {"beta_slow", IN_YARN},
    {"attention_factor", IN_YARN},
    {"mscale", IN_YARN},
    {"mscale_all_dim", IN_YARN},
    {"truncate", IN_YARN},
    {"finetuned", IN_YARN}, /* says how it was trained */
};

static const char *const kind_name[] = {[ROPE_DEFAULT] = "default",
                                        [ROPE_LINEAR] = "linear",
                                        [ROPE_LLAMA3] = "llama3",
                                        [ROPE_YARN] = "yarn"};

static enum status check_fields(const struct json *j, const cJSON *o, enum rope_kind kind,
                                struct err *e)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, o)
    {
        size_t i = 0, n = sizeof rope_fields / sizeof rope_fields[0];

        if (cJSON_IsNull(item) || cJSON_IsFalse(item))
            continue;
        while (i < n && (strcmp(rope_fields[i].name, item->string) != 0 ||
                         !(rope_fields[i].kinds & 1 << kind)))
            i++;
        if (i == n)
            return json_fail(j, item, e,
                             "'%s' is not known for rope type '%s' and could change "
                             "the result",
                             item->string, kind_name[kind]);
    }
    return OK;
}

/* A number of `o`; `standard` when it is absent or null. NaN as standard: it must be there. */
static enum status rope_number(const struct json *j, const cJSON *o, const char *name,
                               double standard, double least, double *out, struct err *e)
{
    const cJSON *item = json_member(o, name);

    if (!item || cJSON_IsNull(item)) {
        if (isnan(standard))
            return json_fail(j, o, e, "rope: '%s' is missing", name);
        *out = standard;
        return OK;
    }
    TRY(json_double(j, item, name, out, e));
    if (!(*out >= least && *out <= FLT_MAX))
        return json_fail(j, item, e, "'%s' is %g, want at least %g", name, *out, least);
    return OK;
}

static enum status rope_kind_of(const struct json *j, const cJSON *o, enum rope_kind *kind,
                                struct err *e)
{
    const cJSON *type = json_member(o, "rope_type"), *old = json_member(o, "type");
    const char *name = "default", *old_name = NULL;

    if (type && !cJSON_IsNull(type))
        TRY(json_string(j, type, "rope_type", &name, e));
    if (old && !cJSON_IsNull(old)) {
        TRY(json_string(j, old, "type", &old_name, e));
        if (!type || cJSON_IsNull(type))
            name = old_name;
        else if (strcmp(name, old_name) != 0)
            return json_fail(j, old, e, "rope type '%s' contradicts rope_type '%s'", old_name,
                             name);
    }
    for (int k = ROPE_DEFAULT; k <= ROPE_YARN; k++) {
        if (strcmp(kind_name[k], name) == 0) {
            *kind = k;
            return OK;
        }
    }
    return json_fail(j, old_name == name ? old : type, e,
                     "rope type '%s' is not supported (default, linear, llama3, yarn are)", name);
}

/* 0.1 mscale ln(factor) + 1 of the yarn paper */
static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static enum status read_yarn(const struct json *j, const cJSON *o, double max_len, struct rope *r,
                             struct err *e)
{
    const cJSON *truncate = json_member(o, "truncate");
    double mscale, mscale_all, standard;
    int yes = 1;

    TRY(rope_number(j, o, "original_max_position_embeddings", max_len > 0 ? max_len : NAN, 1,
                    &r->original_len, e));
    TRY(rope_number(j, o, "factor", max_len > 0 ? max_len / r->original_len : NAN, 1, &r->factor,
                    e));
    TRY(rope_number(j, o, "beta_fast", 0, 0, &r->beta_fast, e));
    TRY(rope_number(j, o, "beta_slow", 0, 0, &r->beta_slow, e));
    r->beta_fast = r->beta_fast != 0 ? r->beta_fast : 32; /* 0 is "not given" there, too */
    r->beta_slow = r->beta_slow != 0 ? r->beta_slow : 1;
    if (!(r->beta_fast > r->beta_slow))
        return json_fail(j, o, e, "rope: beta_fast %g is not above beta_slow %g", r->beta_fast,
                         r->beta_slow);
    TRY(rope_number(j, o, "mscale", 0, 0, &mscale, e));
    TRY(rope_number(j, o, "mscale_all_dim", 0, 0, &mscale_all, e));
    standard = mscale != 0 && mscale_all != 0
                   ? yarn_mscale(r->factor, mscale) / yarn_mscale(r->factor, mscale_all)
                   : yarn_mscale(r->factor, 1);
    TRY(rope_number(j, o, "attention_factor", standard, 1e-6, &r->attention_factor, e));
    if (!(r->attention_factor >= 1e-6 && r->attention_factor <= 1e6))
        return json_fail(j, o, e, "rope: an attention factor of %g", r->attention_factor);
    if (truncate && !cJSON_IsNull(truncate))
        TRY(json_bool(j, truncate, "truncate", &yes, e));
    r->truncate = yes;
    return OK;
}

static enum status read_llama3(const struct json *j, const cJSON *o, struct rope *r, struct err *e)
{
    TRY(rope_number(j, o, "factor", NAN, 1, &r->factor, e));
    TRY(rope_number(j, o, "low_freq_factor", NAN, 1e-6, &r->low_freq_factor, e));
    TRY(rope_number(j, o, "high_freq_factor", NAN, 1e-6, &r->high_freq_factor, e));
    TRY(rope_number(j, o, "original_max_position_embeddings", NAN, 1, &r->original_len, e));
    if (!(r->low_freq_factor < r->high_freq_factor))
        return json_fail(j, o, e, "rope: low_freq_factor %g is not below high_freq_factor %g",
                         r->low_freq_factor, r->high_freq_factor);
    return OK;
}

/* {"full_attention": {...}, "sliding_attention": {...}}: one for all layer types, or refused. */
static enum status unnest(const struct json *j, const cJSON **o, struct err *e)
{
    const cJSON *first = *o ? (*o)->child : NULL, *item;

    if (!cJSON_IsObject(first))
        return OK;
    cJSON_ArrayForEach(item, *o) if (!cJSON_Compare(first, item, 1)) return json_fail(
        j, item, e, "rope differs between layer types: not supported");
    *o = first;
    return OK;
}

static enum status object_or_null(const struct json *j, const char *name, const cJSON **out,
                                  struct err *e)
{
    const cJSON *o = json_member(json_root(j), name);

    *out = o && !cJSON_IsNull(o) ? o : NULL;
    if (*out && (!cJSON_IsObject(o) || cJSON_GetArraySize(o) > ROPE_FIELDS_MAX))
        return json_fail(j, o, e, "'%s' is no object of at most %d fields", name, ROPE_FIELDS_MAX);
    return OK;
}

enum status rope_read(const struct json *j, double max_len, struct rope *r, struct err *e)
{
    const cJSON *root = json_root(j), *old, *o, *theta = json_member(root, "rope_theta");
    double partial, outer = 10000;

    *r = (struct rope){.kind = ROPE_DEFAULT, .factor = 1, .attention_factor = 1};
    TRY(object_or_null(j, "rope_scaling", &old, e));
    TRY(object_or_null(j, "rope_parameters", &o, e));
    if (old && o && !cJSON_Compare(old, o, 1))
        return json_fail(j, old, e, "rope_scaling contradicts rope_parameters");
    o = o ? o : old;
    TRY(unnest(j, &o, e));
    if (theta && !cJSON_IsNull(theta))
        TRY(rope_number(j, root, "rope_theta", 10000, 1.001, &outer, e));
    r->theta = outer;
    if (!o)
        return OK;
    TRY(rope_number(j, o, "rope_theta", outer, 1.001, &r->theta, e));
    if (theta && !cJSON_IsNull(theta) && r->theta != outer)
        return json_fail(j, theta, e, "rope_theta %g contradicts rope_theta %g inside", outer,
                         r->theta);
    TRY(rope_number(j, o, "partial_rotary_factor", 1, 0, &partial, e));
    if (partial != 1)
        return json_fail(j, json_member(o, "partial_rotary_factor"), e,
                         "partial_rotary_factor is %g, only 1 is supported", partial);
    TRY(rope_kind_of(j, o, &r->kind, e));
    TRY(check_fields(j, o, r->kind, e));
    switch (r->kind) {
    case ROPE_DEFAULT:
        return OK;
    case ROPE_LINEAR:
        return rope_number(j, o, "factor", NAN, 1, &r->factor, e);
    case ROPE_LLAMA3:
        return read_llama3(j, o, r, e);
    case ROPE_YARN:
        return read_yarn(j, o, max_len, r, e);
    }
    CHECK(!"a rope kind");
    return ERR_INTERNAL;
}

/* ---- inv_freq ---- */

/* theta^(2i/dim) in f32: the power of the f32 base and the f32 exponent, rounded once */
static float theta_power(const struct rope *r, int i, int dim)
{
    float exponent = (float)(2 * i) / (float)dim;

    return (float)pow((double)(float)r->theta, (double)exponent);
}

static float llama3_freq(const struct rope *r, float inv)
{
    /* scalar / tensor is reciprocal(tensor) * scalar in torch */
    float wavelen = 1.0f / inv * (float)two_pi;
    float smooth;

    if (wavelen > (float)(r->original_len / r->low_freq_factor))
        return inv / (float)r->factor;
    if (wavelen < (float)(r->original_len / r->high_freq_factor))
        return inv;
    smooth = 1.0f / wavelen * (float)r->original_len - (float)r->low_freq_factor;
    smooth /= (float)(r->high_freq_factor - r->low_freq_factor);
    return (1.0f - smooth) * inv / (float)r->factor + smooth * inv;
}

/* The (real) index of the frequency that turns `rotations` times within the original length. */
static double yarn_dim(const struct rope *r, double rotations, int dim)
{
    return dim * log(r->original_len / (rotations * two_pi)) / (2 * log(r->theta));
}

static void yarn_freqs(const struct rope *r, int dim, float *inv)
{
    double low = yarn_dim(r, r->beta_fast, dim), high = yarn_dim(r, r->beta_slow, dim);

    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < dim / 2; i++) {
        float power = theta_power(r, i, dim);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float extrapolated = 1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f);

        inv[i] =
            1.0f / ((float)r->factor * power) * (1.0f - extrapolated) + 1.0f / power * extrapolated;
    }
}

double rope_inv_freq(const struct rope *r, int head_dim, float *inv_freq)
{
    if (r->kind == ROPE_YARN) {
        yarn_freqs(r, head_dim, inv_freq);
        return r->attention_factor;
    }
    for (int i = 0; i < head_dim / 2; i++) {
        float inv = 1.0f / theta_power(r, i, head_dim);

        if (r->kind == ROPE_LINEAR)
            inv /= (float)r->factor;
        inv_freq[i] = r->kind == ROPE_LLAMA3 ? llama3_freq(r, inv) : inv;
    }
    return 1.0;
}
