/* Products of 4-bit operands on an emulated Blackwell: on where they are offered and prove right on
 * every rank, else off on all, with one line that says which and why, and the isa beside the number; the
 * same bits then for any number of ranks and windows in a microbatch. */
#include "tests/results.h"
#include "tests/test.h"

struct way {
    const char *compute, *fault; /* of the twin; fault NULL: none */
    int fault_rank, np, microbatch;
    const char *model, *dtype, *arithmetic, *isa_wanted;
    const char *said, *isa; /* said NULL: nothing about them */
};

#define ON "nvfp4_ppl: fp4 products: on\n"
#define OFF "nvfp4_ppl: fp4 products: off: rank "
#define LLAMA "llama-nvfp4"

static const struct way reference = {"100", NULL, 0, 1, 3, LLAMA, "float32", "w4a4-vllm", "auto",
                                     ON, "sm_100-fp4"};
static const struct way without = {"100", NULL, 0, 1, 3, LLAMA, "float32", "w4a4-vllm", "sm_100",
                                   OFF "0: isa is \"sm_100\"\n", "sm_100"};

/* The same numbers as the reference. */
static const struct way on[] = {
    {"100", NULL, 0, 1, 1, LLAMA, "float32", "w4a4-vllm", "auto", ON, "sm_100-fp4"},
    {"120", NULL, 0, 2, 1, LLAMA, "float32", "w4a4-vllm", "auto", ON, "sm_120-fp4"},
    {"100", NULL, 0, 3, 2, LLAMA, "float32", "w4a4-vllm", "auto", ON, "sm_100-fp4"},
};

/* The same numbers as without: also where a single rank cannot. */
static const struct way off[] = {
    {"90", NULL, 0, 1, 3, LLAMA, "float32", "w4a4-vllm", "auto", OFF "0: sm_90 has none\n", "sm_90"},
    {"100", "CUDA_HOST_FP4_NONE", 1, 2, 1, LLAMA, "float32", "w4a4-vllm", "auto",
     OFF "1: cuda: cuBLAS has no 4-bit product of [1024][256] and [256][256] (status 15)\n", "sm_100"},
    {"100", "CUDA_HOST_FP4_WRONG", 2, 3, 1, LLAMA, "float32", "w4a4-vllm", "auto",
     OFF "2: the float32 product of [1024][256] and [256][256] differs from that in 16 bits\n",
     "sm_100"},
};

/* One way each. */
static const struct way others[] = {
    {"100", "CUDA_HOST_FP4_WRONG", 0, 1, 1, "qwen2-nvfp4", "bfloat16", "w4a4-vllm", "auto",
     OFF "0: the bfloat16 product of [1024][128] and [128][128] differs from that in 16 bits\n",
     "sm_100"},
    {"100", NULL, 0, 1, 1, "mistral-nvfp4", "bfloat16", "w4a4-vllm", "auto", /* 432 is not 32 n */
     OFF "0: cuda: cuBLAS has no 4-bit product of [1024][432] and [160][432] (status 15)\n",
     "sm_100"},
    {"103", NULL, 0, 1, 1, "qwen2-nvfp4", "float16", "w4a4-vllm", "auto", ON, "sm_103-fp4"},
    {"100", NULL, 0, 1, 1, "qwen3-mixed", "bfloat16", "w4a4-vllm", "auto", ON, "sm_100-fp4"},
    {"100", NULL, 0, 1, 1, "llama3-head", "bfloat16", "w4a4-vllm", "auto", ON, "sm_100-fp4"},
    {"100", NULL, 0, 1, 1, "qwen2-nvfp4", "bfloat16", "w4a4-hf", "auto", NULL, "sm_100"},
    {"100", NULL, 0, 1, 1, "qwen2-nvfp4", "bfloat16", "w4a16", "auto", NULL, "sm_100"},
};

static struct args command(const struct way *w)
{
    const char *spec = scratch_path("spec.json");
    struct args a = args_ppl(w->np);

    file_printf(spec,
                "{ \"model_dir\": \"%s/models/%s\", \"dtype\": \"%s\", \"arithmetic\": \"%s\",\n"
                "  \"backend\": \"cuda\", \"isa\": \"%s\", \"stages\": %d, \"microbatch\": %d,\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 20, \"max_rows\": 3 } }\n",
                TEST_DATA, w->model, w->dtype, w->arithmetic, w->isa_wanted, w->np, w->microbatch,
                TEST_DATA);
    args_add(&a, "%s", spec);
    return a;
}

static void disturb(const struct way *w)
{
    char text[16];

    setenv("CUDA_HOST_COMPUTE", w->compute, 1);
    snprintf(text, sizeof text, "%d", w->np); /* each rank has a GPU of its own */
    setenv("CUDA_HOST_DEVICES", text, 1);
    snprintf(text, sizeof text, "%d", w->fault_rank);
    setenv("CUDA_HOST_FAULT_RANK", text, 1);
    if (w->fault)
        setenv(w->fault, "1", 1);
}

static struct measurement run(const struct way *w)
{
    struct args a = command(w);
    struct measurement m;
    bool right;

    disturb(w);
    m = must_measure(&a, 120);
    if (w->fault)
        unsetenv(w->fault);
    right = strcmp(json_text(m.result, "isa"), w->isa) == 0 &&
            (w->said ? strstr(m.run->err, w->said) != NULL : !strstr(m.run->err, "fp4 products"));
    printf("%s np %d, microbatch %d, %s %s %s: isa %s\n", right ? "pass" : "FAIL", w->np,
           w->microbatch, w->model, w->dtype, w->arithmetic, json_text(m.result, "isa"));
    fflush(stdout);
    if (!right)
        run_print(m.run);
    EXPECT(right);
    return m;
}

static bool same_bits(const struct array *a, const struct array *b)
{
    return a->rows == b->rows && a->cols == b->cols &&
           memcmp(a->value, b->value, a->rows * a->cols * sizeof *a->value) == 0;
}

static void all_like(const struct way *ways, size_t n, const struct array *want)
{
    for (size_t i = 0; i < n; i++) {
        struct measurement m = run(&ways[i]);

        EXPECT(same_bits(m.nll, want));
        measurement_close(&m);
    }
}

int main(void)
{
    struct measurement with = run(&reference), plain = run(&without);

    EXPECT(!same_bits(with.nll, plain.nll)); /* they sum in another order: it was not the same path */
    EXPECT_NEAR(json_number(with.result, "mean_nll"), json_number(plain.result, "mean_nll"), 1e-5);
    all_like(on, sizeof on / sizeof *on, with.nll);
    all_like(off, sizeof off / sizeof *off, plain.nll);
    measurement_close(&with);
    measurement_close(&plain);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct measurement m = run(&others[i]);

        measurement_close(&m);
    }
    return 0;
}
