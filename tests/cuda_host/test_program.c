/* The whole program on the emulated GPU: the same bits whatever the ranks, the microbatch, and the
 * order of threads and streams, also kept in the middle of a wave and gone on from; the CPU backend's
 * mean within 1e-5 in float32; each rank takes the GPU that is shown to it; without a device "cuda" is
 * an error, and "auto" takes the CPU. */
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

/* Hidden states of buffers of the GPU, and those parked on its host. */
static void kept(void)
{
    enum { STATE = 79 * 128 * 2 };
    static const char *const name[] = {"kept", "kept-parked"};
    const char *want = scratch_path("whole");
    double cap = 2e9, planned = 0;
    size_t n, m;

    run_close(keeping(want, cap, false));
    for (int i = 0; i < 2; i++) {
        const char *out = scratch_path("%s", name[i]);

        run_close(keeping(out, cap, true));
        EXPECT(file_exists(scratch_path("%s/journal.wave-0", name[i])));
        struct run *r = keeping(out, cap, false);
        if (r->code != 0)
            run_print(r);
        EXPECT(r->code == 0);
        run_close(r);
        cJSON *json = json_file(scratch_path("%s/result.json", name[i]));
        const cJSON *rank = cJSON_GetArrayItem(json_at(json_result(json), "ranks"), 0);
        EXPECT(json_number(rank, "first_wave_layer") == 2);
        EXPECT((json_number(rank, "parked_peak_bytes") > 0) == (i > 0));
        planned = json_number(rank, "planned_bytes");
        cJSON_Delete(json);
        char *x = file_read(scratch_path("whole/nll.npy"), &n);
        char *y = file_read(scratch_path("%s/nll.npy", name[i]), &m);
        EXPECT(x && y && n == m && memcmp(x, y, n) == 0);
        free(x);
        free(y);
        cap = planned - 2 * STATE; /* room for one window */
    }
}

static double mean_nll(const char *backend)
{
    struct args a = program(1, "float32", backend, 2);
    struct measurement m = measure(&a, 120);
    double mean;

    if (!m.nll)
        run_print(m.run);
    EXPECT(m.nll);
    EXPECT_TEXT(json_text(m.result, "backend"), backend);
    mean = json_number(m.result, "mean_nll");
    measurement_close(&m);
    return mean;
}

static bool said_gpu(const struct run *r, int rank, const char *bus_id)
{
    const char *line, *end, *at;
    char head[32];

    snprintf(head, sizeof head, "rank %d (", rank);
    line = strstr(r->err, head);
    end = line ? strchr(line, '\n') : NULL;
    at = line ? strstr(line, bus_id) : NULL;
    return at && end && at < end && strstr(at, "driver 580.00, ECC off: ") < end;
}

/* A launcher that shows each rank one GPU: that is its GPU, number 0 of those it sees. */
static void visible_gpus(void)
{
    struct args a = args_ppl(2);
    char *path = a.word[--a.n];
    struct run *r;

    args_add(&a, "sh");
    args_add(&a, "-c");
    args_add(&a, "CUDA_VISIBLE_DEVICES=$((1 - OMPI_COMM_WORLD_LOCAL_RANK)) exec \"$0\" \"$@\"");
    args_add(&a, "%s", path);
    args_add(&a, "%s", spec_for("bfloat16"));
    for (const char *const *w = (const char *const[]){"--backend", "cuda", "--set", "stages=2",
                                                      "--transport", "nccl", NULL};
         *w; w++)
        args_add(&a, "%s", *w);
    setenv("CUDA_HOST_DEVICES", "2", 1);
    r = run_program(&a, 60);
    unsetenv("CUDA_HOST_DEVICES");
    if (r->code != 0 || !said_gpu(r, 0, "0000:01:00.0") || !said_gpu(r, 1, "0000:00:00.0"))
        run_print(r);
    EXPECT(r->code == 0 && said_gpu(r, 0, "0000:01:00.0") && said_gpu(r, 1, "0000:00:00.0"));
    run_close(r);
    free(path);
}

static void no_gpu_to_use(void)
{
    struct args a = program(1, "bfloat16", "cuda", 1);
    struct run *r;

    setenv("CUDA_HOST_DEVICES", "0", 1);
    r = run_program(&a, 30);
    unsetenv("CUDA_HOST_DEVICES");
    if (r->code != 69 || !strstr(r->err, "cuda: no GPU to use"))
        run_print(r);
    EXPECT(r->code == 69 && strstr(r->err, "cuda: no GPU to use"));
    run_close(r);
}

static void no_gpu_is_no_failure(void)
{
    struct args a = program(1, "float32", "auto", 2);
    struct measurement m;

    setenv("CUDA_HOST_DEVICES", "0", 1);
    m = measure(&a, 60);
    unsetenv("CUDA_HOST_DEVICES");
    EXPECT(m.nll);
    EXPECT_TEXT(json_text(m.result, "backend"), "cpu");
    measurement_close(&m);
}

int main(void)
{
    same_bits();
    kept();
    EXPECT_NEAR(mean_nll("cuda"), mean_nll("cpu"), 1e-5);
    visible_gpus();
    no_gpu_to_use();
    no_gpu_is_no_failure();
    return 0;
}
