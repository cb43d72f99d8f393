// links: spec kernels_cpu run
// timeout: 400
// labels: slow
// processors: 2
/* Proves A4 (design N4): in float32 the nll file is the same, byte for byte, whatever the number of
 * ranks, replicas, their layers, threads, windows in a microbatch, the instruction set, and the other
 * windows. */
#include "kernels/cpu/cpu.h"
#include "tests/results.h"
#include "tests/test.h"

enum { EVAL_LEN = 130 };

/* Two models, and an uneven split of their layers over two ranks. */
static const struct {
    const char *name, *layers;
} models[] = {{"llama-nvfp4", "\"layers\": [1, 7],"}, {"qwen3-mixed", "\"layers\": [1, 3],"}};

/* How a run is carried out: none of it may show in the result. */
struct way {
    int np, stages, threads, microbatch, rows; /* stages: 0 = the plan decides */
    const char *isa, *layers; /* layers: a line of the spec, or nothing */
};

static char *nll_bytes(const char *model, const struct way *w, size_t *bytes)
{
    const char *nll = scratch_path("nll.npy");
    struct args a = args_ppl(w->np);

    printf("  np %d, stages %d, %d threads, microbatch %d, isa %s, %d windows %s\n", w->np, w->stages,
           w->threads, w->microbatch, w->isa, w->rows, w->layers);
    fflush(stdout);
    file_printf(
        scratch_path("spec.json"),
        "{ \"model_dir\": \"%s/models/%s\", \"dtype\": \"float32\", \"threads\": %d,\n"
        "  \"stages\": %d, \"microbatch\": %d, \"isa\": \"%s\", %s \"data\": { \"text\":"
        " \"%s/text/demo.txt\", \"eval_len\": %d, \"eval_stride\": 70, \"max_rows\": %d } }\n",
        TEST_DATA, model, w->threads, w->stages, w->microbatch, w->isa, w->layers, TEST_DATA,
        EVAL_LEN, w->rows);
    remove(nll);
    args_add(&a, "%s", scratch_path("spec.json"));
    args_add(&a, "--nll");
    args_add(&a, "%s", nll);
    struct run *r = run_program(&a, 60);
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    char *data = file_read(nll, bytes);
    EXPECT(data != NULL);
    return data;
}

static void expect_same(const char *model, const struct way *w, const char *want, size_t want_bytes)
{
    size_t bytes;
    char *got = nll_bytes(model, w, &bytes);

    EXPECT(bytes == want_bytes && memcmp(got, want, bytes) == 0);
    free(got);
}

/* Fewer windows: their rows are those of the longer run. `table` is that run's, past the header. */
static void expect_same_rows(const char *model, const struct way *w, const char *table,
                             size_t row_bytes)
{
    size_t bytes, rows_bytes = (size_t)w->rows * row_bytes;
    char *got = nll_bytes(model, w, &bytes);

    EXPECT(bytes > rows_bytes && memcmp(got + bytes - rows_bytes, table, rows_bytes) == 0);
    free(got);
}

static void check_model(const char *model, const char *layers)
{
    const struct way one = {
        .np = 1, .threads = 1, .microbatch = 1, .rows = 7, .isa = "auto", .layers = ""};
    const int microbatches[] = {1, 2, 5};
    size_t bytes;

    printf("%s\n", model);
    char *want = nll_bytes(model, &one, &bytes);
    for (int np = 1; np <= 4; np++)
        for (int threads = 1; threads <= 2; threads++)
            for (int i = 0; i < 3; i++) {
                struct way w = one;

                w.np = w.stages = np;
                w.threads = threads;
                w.microbatch = microbatches[i];
                expect_same(model, &w, want, bytes);
            }
    for (const struct isa *isa = cpu_isas; isa->name; isa++) {
        struct way w = one;

        w.isa = isa->name;
        w.threads = 2;
        w.microbatch = 2;
        if (isa->dot)
            printf("  %s sums in another order and is refused in float32\n", isa->name);
        else if (isa->usable())
            expect_same(model, &w, want, bytes);
        else
            printf("  %s: this processor does not have it\n", isa->name);
    }
    for (int stages = 1; stages <= 2; stages++) { /* four ranks as 4 x 1, then 2 x 2 */
        struct way w = one;

        w.np = 4;
        w.stages = stages;
        w.microbatch = stages;
        expect_same(model, &w, want, bytes);
    }
    struct way by_hand = one, fewer = one;
    by_hand.np = 2;
    by_hand.layers = layers;
    expect_same(model, &by_hand, want, bytes);
    fewer.rows = 3;
    fewer.microbatch = 2;
    const size_t row_bytes = (EVAL_LEN - 1) * sizeof(double);
    expect_same_rows(model, &fewer, want + bytes - (size_t)one.rows * row_bytes, row_bytes);
    free(want);
}

int main(void)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        check_model(models[i].name, models[i].layers);
    return 0;
}
