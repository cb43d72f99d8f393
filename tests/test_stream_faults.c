// links: spec run
// timeout: 200
/* Proves C7: a model file that is cut short or written to while its layers are streamed, a read that
 * fails, and a disk that stands still end the run with 74 and the file's name, in less than 30 s, and
 * no result is complete. A slow disk only makes it slow, and a file whose name is taken away or given
 * to another stays the one that was opened: the result is the same. */
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

static void remove_file(const char *path)
{
    EXPECT(unlink(path) == 0);
}

static void replace_file(const char *path)
{
    remove_file(path);
    file_printf(path, "another file");
}

enum { STALL_S = 4 }; /* without a byte: half of stall_timeout */

struct fault {
    const char *name;
    void (*break_file)(const char *path); /* once layers are streamed; or NULL */
    const char *call;                     /* NVFP4_PPL_FAULT; or NULL */
    const char *want[2];                  /* in the message; NULL: the run is to complete */
    double least_s;                       /* that it takes */
};

/* Opening the model takes some 115 calls of pread, a layer 16: the 140th is in the second layer. */
static const struct fault faults[] = {
    {"cut", cut_short, NULL, {"layer ", "cut short while in use?"}, 0},
    {"touched", touch, NULL, {"model.safetensors", "was changed while in use"}, 0},
    {"eio", NULL, "pread:140+:fail", {"layer ", ": Input/output error"}, 0},
    {"gone", NULL, "pread:140+:hang", {"layer ", "not a byte came for 4 s (is the disk still there?)"},
     STALL_S},
    {"slow", NULL, "pread:140+:slow", {NULL}, STALL_S + 1},
    {"removed", remove_file, NULL, {NULL}, 0},
    {"replaced", replace_file, NULL, {NULL}, 0},
};

static struct run *start(int np, const char *name, const char *model, bool slowly, const char *call)
{
    const char *spec = scratch_path("spec.json");
    struct args a = args_ppl(np);

    if (call)
        args_add_suffix(&a, "_fault");
    setenv("NVFP4_PPL_FAULT", call ? call : "", 1);
    file_printf(spec,
                "{ \"model_dir\": \"%s\", \"threads\": 1, \"microbatch\": 1, \"stream\": \"always\",\n"
                "  \"rates\": { \"compute\": 20, \"read\": \"500KB\", \"throttle\": %s },\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 21, \"max_rows\": 3 },\n"
                "  \"stall_timeout\": %d }\n",
                model, slowly ? "true" : "false", TEST_DATA, 2 * STALL_S);
    args_add(&a, "%s", spec);
    args_add(&a, "--json");
    args_add(&a, "%s", scratch_path("%s-%d.json", name, np));
    return run_start(&a);
}

static double perplexity(const char *name, int np)
{
    cJSON *root = json_file(scratch_path("%s-%d.json", name, np));
    double ppl = json_number(json_result(root), "ppl");

    EXPECT(strcmp(json_text(root, "status"), "complete") == 0);
    cJSON_Delete(root);
    return ppl;
}

static void meet(const struct fault *f, int np)
{
    const char *model = scratch_path("%s-%d", f->name, np);
    struct run *r;
    bool said = true;

    folder_copy(TEST_DATA "/models/llama-nvfp4", model);
    r = start(np, f->name, model, f->break_file != NULL, f->call);
    EXPECT(run_said(r, "streams", 20));
    if (f->break_file) {
        sleep(2); /* opening and loading take milliseconds, streaming 6 s and more */
        f->break_file(scratch_path("%s-%d/model.safetensors", f->name, np));
    }
    run_wait(r, 30);
    for (int i = 0; i < 2; i++)
        said = said && (!f->want[i] || strstr(r->err, f->want[i]));
    said = said && (!f->want[0] || strstr(r->err, "model.safetensors"));
    if (r->code != (f->want[0] ? 74 : 0) || !said || r->seconds < f->least_s)
        run_print(r);
    EXPECT(r->code == (f->want[0] ? 74 : 0) && said && r->seconds >= f->least_s);
    if (f->want[0])
        EXPECT(!file_exists(scratch_path("%s-%d.json", f->name, np)));
    else
        EXPECT(perplexity(f->name, np) == perplexity("whole", np));
    run_close(r);
}

int main(void)
{
    for (int np = 1; np <= 2; np++) {
        struct run *r = start(np, "whole", TEST_DATA "/models/llama-nvfp4", false, NULL);

        run_wait(r, 30);
        EXPECT(r->code == 0);
        run_close(r);
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
            meet(&faults[i], np);
            printf("%s, %d rank%s: as expected\n", faults[i].name, np, np > 1 ? "s" : "");
        }
    }
    return 0;
}
