// links: spec run
// timeout: 100
/* Proves a part of C7: a model file that is cut short or written to while its layers are streamed
 * ends the run with 74 and its name, in less than 30 s, and no result is complete. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/results.h"
#include "tests/test.h"

static void cut_short(const char *path)
{
    EXPECT(truncate(path, 4096) == 0);
}

static void touch(const char *path)
{
    const struct timespec at[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    EXPECT(utimensat(AT_FDCWD, path, at, 0) == 0);
}

static void fault(int np, void (*break_file)(const char *), const char *name, const char *want)
{
    const char *json = scratch_path("%s-%d.json", name, np), *model = scratch_path("%s-%d", name, np);
    const char *spec = scratch_path("spec.json");
    struct args a = args_ppl(np);

    folder_copy(TEST_DATA "/models/llama-nvfp4", model);
    file_printf(spec,
                "{ \"model_dir\": \"%s\", \"threads\": 1, \"microbatch\": 1, \"stages\": %d, \"stream\": \"always\",\n"
                "  \"rates\": { \"compute\": 20, \"read\": \"1MB\", \"throttle\": true },\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 21, \"max_rows\": 3 } }\n",
                model, np, TEST_DATA);
    args_add(&a, "%s", spec);
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    struct run *r = run_start(&a);
    EXPECT(run_said(r, "streams", 20));
    break_file(scratch_path("%s-%d/model.safetensors", name, np));
    run_wait(r, 30);
    if (r->code != 74 || !strstr(r->err, want))
        run_print(r);
    EXPECT(r->code == 74 && strstr(r->err, "model.safetensors") && strstr(r->err, want));
    EXPECT(!file_exists(json));
    run_close(r);
}

int main(void)
{
    for (int np = 1; np <= 2; np++) {
        fault(np, cut_short, "cut", "cut short while in use?");
        fault(np, touch, "touched", "was changed while in use");
    }
    return 0;
}
