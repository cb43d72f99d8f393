/* The whole program on emulated GPUs, where it takes their twin: the same bits whatever the ranks, the
 * microbatch, and the order of threads and streams, also kept in the middle of a wave and gone on from.
 * What holds on any GPU is in tests/cuda/program.c. */
#include "tests/results.h"
#include "tests/test.h"

static const char *spec_for(const char *dtype)
{
    const char *path = scratch_path("spec.json");

    file_printf(path,
                "{ \"model_dir\": \"%s/models/qwen3-mixed\", \"dtype\": \"%s\",\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 40, \"max_rows\": 3 } "
                "}\n",
                TEST_DATA, dtype, TEST_DATA);
    return path;
}

static struct args program(int np, const char *dtype, const char *backend, int microbatch)
{
    struct args a = args_ppl(np);

    args_add(&a, "%s", spec_for(dtype));
    args_add(&a, "--backend");
    args_add(&a, "%s", backend);
    args_add(&a, "--set");
    args_add(&a, "microbatch=%d", microbatch);
    args_add(&a, "--set");
    args_add(&a, "stages=%d", np);
    return a;
}

static char *nll_bytes(int np, int microbatch, size_t *bytes)
{
    struct args a = program(np, "bfloat16", "cuda", microbatch);
    const char *nll = scratch_path("nll.npy");
    struct run *r;
    char *data;

    args_add(&a, "--nll");
    args_add(&a, "%s", nll);
    remove(nll);
    r = run_program(&a, 120);
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    data = file_read(nll, bytes);
    EXPECT(data);
    return data;
}

static void same_bits(void)
{
    static const struct {
        int np, microbatch;
        const char *order, *seed;
    } ways[] = {{1, 3, "reverse", "2"}, {1, 2, "random:1", "3"}, {2, 1, "random:2", "4"},
                {3, 1, "forward", "5"}, {3, 2, "random:3", "6"}};
    size_t want_bytes, bytes;
    char *want = nll_bytes(1, 1, &want_bytes);

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        setenv("CUDA_HOST_ORDER", ways[i].order, 1);
        setenv("CUDA_HOST_SEED", ways[i].seed, 1);
        setenv("CUDA_HOST_DEVICES", "3", 1); /* each rank has a GPU of its own */
        char *got = nll_bytes(ways[i].np, ways[i].microbatch, &bytes);

        EXPECT(bytes == want_bytes && memcmp(got, want, bytes) == 0);
        free(got);
    }
    unsetenv("CUDA_HOST_ORDER");
    unsetenv("CUDA_HOST_SEED");
    unsetenv("CUDA_HOST_DEVICES");
    free(want);
}

/* A streamed run in a folder, at rates by which one window computes a layer in less time than the layer
 * is read, three take longer, and the wave is kept after half of the layers; killed in its ninth
 * microbatch-layer, or to its end. */
static struct run *keeping(const char *out, double cap, bool killed)
{
    struct args a = args_ppl(1);

    if (killed)
        args_add_suffix(&a, "_fault");
    setenv("NVFP4_PPL_FAULT", "stage_layer:9:kill", 1); /* what the other program knows nothing of */
    args_add(&a, "%s", spec_for("bfloat16"));
    args_add(&a, "--backend=cuda");
    args_add(&a, "--set=microbatch=1");
    args_add(&a, "--set=data.eval_len=80");
    args_add(&a, "--set=stream=always");
    args_add(&a, "--set=rates={\"compute\":0.001,\"read\":2280}");
    args_add(&a, "--set=max_memory={\"0\":%.0f,\"cpu\":\"%s\"}", cap, cap < 1e9 ? "1MiB" : "0");
    args_add(&a, "--out=%s", out);
    return run_program(&a, 120);
}

/* Hidden states of buffers of the GPU, and those parked on its host, also where a copy is only made once
 * it is waited for. */
static void kept(void)
{
    enum { STATE = 79 * 128 * 2 };
    static const char *const name[] = {"kept", "kept-parked", "kept-lazy"};
    const char *want = scratch_path("whole");
    double cap = 2e9;
    size_t n, m;

    run_close(keeping(want, cap, false));
    for (int i = 0; i < 3; i++) {
        const char *out = scratch_path("%s", name[i]);

        setenv("CUDA_HOST_SEED", i < 2 ? "1" : "0", 1);
        run_close(keeping(out, cap, true));
        EXPECT(file_exists(scratch_path("%s/journal.wave-0-0", name[i])));
        struct run *r = keeping(out, cap, false);
        if (r->code != 0)
            run_print(r);
        EXPECT(r->code == 0);
        run_close(r);
        cJSON *json = json_file(scratch_path("%s/result.json", name[i]));
        const cJSON *rank = cJSON_GetArrayItem(json_at(json_result(json), "ranks"), 0);
        EXPECT(json_number(rank, "first_wave_layer") == 2);
        EXPECT((json_number(rank, "parked_peak_bytes") > 0) == (i > 0));
        if (i == 0)
            cap = json_number(rank, "planned_bytes") - 2 * STATE; /* room for one window */
        cJSON_Delete(json);
        char *x = file_read(scratch_path("whole/nll.npy"), &n);
        char *y = file_read(scratch_path("%s/nll.npy", name[i]), &m);
        EXPECT(x && y && n == m && memcmp(x, y, n) == 0);
        free(x);
        free(y);
    }
    unsetenv("CUDA_HOST_SEED");
}

int main(void)
{
    same_bits();
    kept();
    return 0;
}
