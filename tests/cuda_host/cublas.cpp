/* cublas.cpp - the twin of cuBLASLt: D = alpha * A^T B + beta * C, column-major, A and B in 16 bits.
 *
 * An element is the f32 sum of its products, k ascending, times alpha, plus beta * C, rounded once to
 * D's type. 4-bit operands: the products of a group are summed as codes, times both scales.
 * CUDA_HOST_FP4_NONE = 1: none are offered, as below CUDA_HOST_COMPUTE = 100; CUDA_HOST_FP4_WRONG = 1:
 * their sums keep 14 bits, as those of FP8 on sm_90 do; both as faults, see twin.h. What the program must not do fails here: the workspace is overwritten with NaN, an
 * algorithm works only for the shape it was chosen for, none is offered that may split K, matrices
 * must lie in device memory to their last element. */
#include "kernels/cuda/cublas.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "kernels/cpu/convert.h"
#include "runtime.h"

namespace {

enum {
    ALLOC_FAILED = 3,
    INVALID_VALUE = 7,
    NOT_SUPPORTED = 15,
    COLUMNS = 32,
    GROUP = 16,
    WORKSPACE = 1 << 20,
    ALGORITHM_BYTES = 256 << 10 /* that the kernels of one take when it is first used */
};

struct description {
    int compute, scale_type, transposed_a;
    int32_t scale_mode[2]; /* of A, B */
    const uint8_t *scale[2];
};

struct layout {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};

struct preference {
    uint64_t workspace;
    uint32_t reduction, align;
};

struct call {
    float alpha, beta;
    const void *A, *B, *C;
    void *D, *workspace;
    layout a, b, d;
    const uint8_t *a_scale, *b_scale;
};

size_t bits_of(int type)
{
    return type == CUBLAS_REAL_F32 ? 32 : type == CUBLAS_REAL_FP4 ? 4 : 16;
}

float read(const void *p, int type, size_t i)
{
    if (type == CUBLAS_REAL_F32)
        return ((const float *)p)[i];
    if (type == CUBLAS_REAL_FP4)
        return e2m1_to_f32(((const uint8_t *)p)[i / 2] >> (i % 2 * 4) & 15);
    uint16_t bits = ((const uint16_t *)p)[i];
    return type == CUBLAS_REAL_BF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

void write(void *p, int type, size_t i, float v)
{
    if (type == CUBLAS_REAL_F32)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = type == CUBLAS_REAL_BF16 ? f32_to_bf16(v) : f32_to_f16(v);
}

/* COLUMNS columns of A (rows of the weights) from n0 on, as f32 [k][COLUMNS]; 0 beyond the last. */
void unpack(const call &c, size_t n0, std::vector<float> &out)
{
    size_t K = c.a.rows;

    out.assign(K * COLUMNS, 0);
    for (size_t n = n0; n < std::min<size_t>(c.a.columns, n0 + COLUMNS); n++)
        for (size_t k = 0; k < K; k++)
            out[k * COLUMNS + n - n0] = read(c.A, c.a.type, n * (size_t)c.a.stride + k);
}

/* Padding: its sums are 0 whatever the weights, which are finite. */
bool is_zero(const std::vector<float> &x)
{
    return std::all_of(x.begin(), x.end(), [](float v) { return v == 0; });
}

void store(const call &c, size_t token, size_t n0, const float *sum)
{
    for (size_t n = n0; n < std::min<size_t>(c.d.rows, n0 + COLUMNS); n++) {
        size_t at = token * (size_t)c.d.stride + n;
        float v = c.alpha * sum[n - n0];

        if (c.beta != 0)
            v += c.beta * read(c.C, c.d.type, at);
        write(c.D, c.d.type, at, v);
    }
}

/* ---- 4-bit operands. The scales of a matrix lie in pieces of 512 bytes, each of 128 rows and 4
 * groups, groups first. In a piece come 32 lines of 16 bytes; line l has the rows l, 32 + l, 64 + l
 * and 96 + l, and of each 4 groups. */

size_t padded_groups(size_t K)
{
    return (K + 4 * GROUP - 1) / (4 * GROUP) * 4;
}

size_t scale_bytes(const layout &l)
{
    return (l.columns + 127) / 128 * 128 * padded_groups(l.rows);
}

/* As [rows][padded_groups]: walked in the order of memory. */
std::vector<float> unpack_scales(const uint8_t *scale, const layout &l)
{
    size_t groups = padded_groups(l.rows), rows = (l.columns + 127) / 128 * 128;
    std::vector<float> out(rows * groups);

    for (size_t row0 = 0; row0 < rows; row0 += 128)
        for (size_t group0 = 0; group0 < groups; group0 += 4)
            for (size_t line = 0; line < 32; line++)
                for (size_t quarter = 0; quarter < 4; quarter++)
                    for (size_t g = 0; g < 4; g++, scale++)
                        out[(row0 + quarter * 32 + line) * groups + group0 + g] =
                            e4m3_to_f32(*scale);
    return out;
}

/* With 14 bits where the fault asks for it. */
float kept(float sum, bool wrong)
{
    return wrong ? f32_from_bits(f32_bits(sum) & 0xfffffc00) : sum;
}

/* Row t of x against rows of w: codes [K] and scales [groups] of both. */
float sum_of_groups(const float *x, const float *x_scale, const float *w, const float *w_scale,
                    size_t K, bool wrong)
{
    float sum = 0;

    for (size_t g = 0; g < padded_groups(K); g++) {
        float group = 0;

        for (size_t k = g * GROUP; k < std::min(K, (g + 1) * GROUP); k++)
            group += x[k] * w[k];
        sum = kept(sum + group * (x_scale[g] * w_scale[g]), wrong);
    }
    return sum;
}

std::vector<float> unpack_codes(const void *p, const layout &l)
{
    std::vector<float> out(l.columns * l.rows);

    for (size_t i = 0; i < l.columns; i++)
        for (size_t k = 0; k < l.rows; k++)
            out[i * l.rows + k] = read(p, CUBLAS_REAL_FP4, i * (size_t)l.stride + k);
    return out;
}

void multiply_fp4(const call &c, bool wrong)
{
    size_t K = c.b.rows, groups = padded_groups(K);
    std::vector<float> x = unpack_codes(c.B, c.b), x_scale = unpack_scales(c.b_scale, c.b);
    std::vector<float> w = unpack_codes(c.A, c.a), w_scale = unpack_scales(c.a_scale, c.a);

    memset(c.workspace, 0xff, WORKSPACE);
    for (size_t t = 0; t < c.b.columns; t++) {
        bool zero = std::all_of(&x[t * K], &x[t * K] + K, [](float v) { return v == 0; });

        for (size_t n0 = 0; n0 < c.a.columns; n0 += COLUMNS) {
            float sum[COLUMNS] = {0};

            for (size_t n = n0; n < std::min<size_t>(c.a.columns, n0 + COLUMNS) && !zero; n++)
                sum[n - n0] = sum_of_groups(&x[t * K], &x_scale[t * groups], &w[n * K],
                                            &w_scale[n * groups], K, wrong);
            store(c, t, n0, sum);
        }
    }
}

void multiply(const call &c)
{
    size_t K = c.b.rows, tokens = c.b.columns;
    std::vector<std::vector<float>> x(tokens, std::vector<float>(K));
    std::vector<bool> zero(tokens);
    std::vector<float> w;

    memset(c.workspace, 0xff, WORKSPACE);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t k = 0; k < K; k++)
            x[t][k] = read(c.B, c.b.type, t * (size_t)c.b.stride + k);
        zero[t] = is_zero(x[t]);
    }
    for (size_t n0 = 0; n0 < c.a.columns; n0 += COLUMNS) {
        unpack(c, n0, w);
        for (size_t t = 0; t < tokens; t++) {
            float sum[COLUMNS] = {0};

            for (size_t k = 0; k < K && !zero[t]; k++)
                for (int n = 0; n < COLUMNS; n++)
                    sum[n] += x[t][k] * w[k * COLUMNS + n];
            store(c, t, n0, sum);
        }
    }
}

/* What an algorithm is tied to. */
cublas_algorithm algorithm_for(const layout &a, const layout &b, const layout &d)
{
    return {{a.rows, a.columns, b.columns, (uint64_t)a.type, (uint64_t)d.type, 0, 0, 0}};
}

template <class T> int make(void **out, T value)
{
    *out = new T(value);
    return CUBLAS_OK;
}

template <class T> int destroy(void *p)
{
    delete (T *)p;
    return CUBLAS_OK;
}

int desc_set(void *desc, int attribute, const void *value, size_t bytes)
{
    auto *d = (description *)desc;

    if (attribute == CUBLAS_DESC_TRANSA && bytes == sizeof d->transposed_a)
        memcpy(&d->transposed_a, value, bytes);
    else if (attribute == CUBLAS_DESC_A_SCALE_MODE && bytes == sizeof d->scale_mode[0])
        memcpy(&d->scale_mode[0], value, bytes);
    else if (attribute == CUBLAS_DESC_B_SCALE_MODE && bytes == sizeof d->scale_mode[1])
        memcpy(&d->scale_mode[1], value, bytes);
    else if (attribute == CUBLAS_DESC_A_SCALE && bytes == sizeof d->scale[0])
        memcpy(&d->scale[0], value, bytes);
    else if (attribute == CUBLAS_DESC_B_SCALE && bytes == sizeof d->scale[1])
        memcpy(&d->scale[1], value, bytes);
    else
        return INVALID_VALUE;
    return CUBLAS_OK;
}

int preference_set(void *to, int attribute, const void *value, size_t bytes)
{
    auto *p = (preference *)to;
    uint32_t align;

    if (attribute == CUBLAS_PREFER_WORKSPACE && bytes == sizeof p->workspace) {
        memcpy(&p->workspace, value, bytes);
    } else if (attribute == CUBLAS_PREFER_REDUCTION && bytes == sizeof p->reduction) {
        memcpy(&p->reduction, value, bytes);
    } else if (attribute >= CUBLAS_PREFER_ALIGN_A && attribute <= CUBLAS_PREFER_ALIGN_D &&
               bytes == sizeof align) {
        memcpy(&align, value, bytes);
        p->align = std::min(p->align, align);
    } else {
        return INVALID_VALUE;
    }
    return CUBLAS_OK;
}

/* What cuBLAS asks of 4-bit operands before it offers an algorithm. */
bool fp4_offered(const description &what, const layout &a)
{
    return runtime::compute_capability() >= 100 && !runtime::fault("CUDA_HOST_FP4_NONE") &&
           what.scale_mode[0] == CUBLAS_SCALE_E4M3_PER_16 &&
           what.scale_mode[1] == CUBLAS_SCALE_E4M3_PER_16 && what.scale[0] && what.scale[1] &&
           a.rows % 32 == 0;
}

int choose(void *, void *desc, void *a, void *b, void *, void *d, void *wanted, int,
           cublas_choice *out, int *found)
{
    auto *what = (const description *)desc;
    auto *la = (const layout *)a, *lb = (const layout *)b, *ld = (const layout *)d;
    auto *p = (const preference *)wanted;

    *found = 0;
    if (what->compute != CUBLAS_SUM_F32 || what->scale_type != CUBLAS_REAL_F32 ||
        what->transposed_a != CUBLAS_TRANSPOSED || la->type != lb->type || la->rows != lb->rows ||
        ld->rows != la->columns || ld->columns != lb->columns || p->workspace < WORKSPACE ||
        p->reduction != 0 || (la->type == CUBLAS_REAL_FP4 && !fp4_offered(*what, *la)))
        return NOT_SUPPORTED;
    *out = {algorithm_for(*la, *lb, *ld), WORKSPACE, CUBLAS_OK, 1, {}};
    *found = 1;
    return CUBLAS_OK;
}

/* Does the whole matrix lie in device memory, aligned? */
bool lies_on_device(const void *p, const layout &l)
{
    size_t values = (l.columns - 1) * (size_t)l.stride + l.rows;

    return (uintptr_t)p % 16 == 0 && runtime::is_device(p, values * bits_of(l.type) / 8);
}

/* As a library whose kernels the driver loads when they are first launched. */
bool load_algorithm(const cublas_algorithm &a)
{
    static std::set<std::array<uint64_t, 8>> loaded;
    std::array<uint64_t, 8> key;

    static_assert(sizeof key == sizeof a, "an algorithm is its own key");
    memcpy(&key, &a, sizeof key);
    return loaded.count(key) > 0 || (runtime::take_memory(ALGORITHM_BYTES) && loaded.insert(key).second);
}

bool scales_lie_on_device(const call &c)
{
    return ((uintptr_t)c.a_scale | (uintptr_t)c.b_scale) % 16 == 0 &&
           runtime::is_device(c.a_scale, scale_bytes(c.a)) &&
           runtime::is_device(c.b_scale, scale_bytes(c.b));
}

int multiply_later(void *, void *desc, const void *alpha, const void *A, void *a, const void *B,
                   void *b, const void *beta, const void *C, void *, void *D, void *d,
                   const cublas_algorithm *algorithm, void *workspace, size_t workspace_bytes,
                   cudaStream_t stream)
{
    auto *what = (const description *)desc;
    call c = {*(const float *)alpha, *(const float *)beta, A, B, C, D, workspace,
              *(const layout *)a,    *(const layout *)b,   *(const layout *)d,
              what->scale[0],        what->scale[1]};
    cublas_algorithm fits = algorithm_for(c.a, c.b, c.d);
    bool fp4 = c.a.type == CUBLAS_REAL_FP4, wrong = runtime::fault("CUDA_HOST_FP4_WRONG");

    if (memcmp(&fits, algorithm, sizeof fits) != 0 || workspace_bytes < WORKSPACE ||
        !runtime::is_device(workspace, workspace_bytes) || !lies_on_device(A, c.a) ||
        !lies_on_device(B, c.b) || !lies_on_device(D, c.d) || (fp4 && !scales_lie_on_device(c)))
        return INVALID_VALUE;
    if (!load_algorithm(fits))
        return ALLOC_FAILED;
    runtime::enqueue(stream, [=]() {
        fp4 ? multiply_fp4(c, wrong) : multiply(c);
        return true;
    });
    return CUBLAS_OK;
}

} // namespace

enum status cublas_load(struct cublas *c, struct err *)
{
    *c = {};
    c->create = [](void **handle) { return make<int>(handle, 0); };
    c->destroy = destroy<int>;
    c->desc_create = [](void **desc, int compute, int scale_type) {
        return make<description>(desc, {compute, scale_type, 0, {0, 0}, {NULL, NULL}});
    };
    c->desc_destroy = destroy<description>;
    c->desc_set = desc_set;
    c->layout_create = [](void **out, int type, uint64_t rows, uint64_t columns, int64_t stride) {
        return make<layout>(out, {type, rows, columns, stride});
    };
    c->layout_destroy = destroy<layout>;
    c->preference_create = [](void **out) { return make<preference>(out, {0, 0xffffffff, 256}); };
    c->preference_destroy = destroy<preference>;
    c->preference_set = preference_set;
    c->choose = choose;
    c->multiply = multiply_later;
    return OK;
}

void cublas_unload(struct cublas *c)
{
    *c = {};
}
