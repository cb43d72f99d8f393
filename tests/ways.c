#include "tests/ways.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void put(struct args *a, const char *name, const char *value)
{
    args_add(a, "%s", name);
    args_add(a, "%s", value);
}

static void put_int(struct args *a, const char *name, const char *key, int value)
{
    args_add(a, "%s", name);
    args_add(a, "%s%d", key, value);
}

/* Ids, so that a run reads no tokenizer: made once by the program itself. */
static const char *ids(void)
{
    const char *path = scratch_path("ids.npy");
    struct args a;
    struct run *r;

    if (file_exists(path))
        return path;
    a = args_ppl(1);
    put(&a, "--tokenize", WAYS_DATA "/models/llama-nvfp4");
    put(&a, "--out", path);
    args_add(&a, WAYS_DATA "/text/demo.txt");
    r = run_program(&a, 60);
    if (r->code != 0) {
        run_print(r);
        exit(1);
    }
    run_close(r);
    return path;
}

static struct args words(const char *out, const struct way *w)
{
    struct args a = args_none();
    const char *spec = scratch_path("spec.json");

    if (w->shell) {
        put(&a, "sh", "-c");
        put(&a, w->shell, "sh");
    }
    args_add_ppl(&a, w->np);
    if (w->fault)
        args_add_suffix(&a, "_fault");
    file_printf(spec,
                "{ %s \"model_dir\": \"%s/models/llama-nvfp4\", \"threads\": 1,\n"
                "  \"data\": { \"tokens\": \"%s\", \"eval_len\": 100, \"eval_stride\": 20 } }\n",
                w->spec ? w->spec : "", WAYS_DATA, ids());
    args_add(&a, "%s", spec);
    args_add(&a, "--set");
    args_add(&a, "dtype=%s", w->dtype ? w->dtype : "float32");
    put_int(&a, "--set", "data.max_rows=", w->rows);
    put_int(&a, "--microbatch", "", w->microbatch);
    put_int(&a, "--set", "stages=", w->stages ? w->stages : w->np);
    put(&a, "--out", out);
    if (w->extra)
        args_add(&a, "%s", w->extra);
    return a;
}

struct run *way_start(const char *out, const struct way *w)
{
    struct args a = words(out, w);

    remove(scratch_path("mark"));
    setenv("NVFP4_PPL_FAULT_MARK", scratch_path("mark"), 1);
    setenv("NVFP4_PPL_FAULT", w->fault ? w->fault : "", 1);
    return run_start(&a);
}

struct run *way_run(const char *out, const struct way *w)
{
    struct run *r = way_start(out, w);

    run_wait(r, WAY_LIMIT_S);
    return r;
}

struct run *way_expect(const char *out, const struct way *w, int code)
{
    struct run *r = way_run(out, w);

    if (r->code != code) {
        printf("FAIL: want exit code %d\n", code);
        run_print(r);
        exit(1);
    }
    return r;
}

/* Does the process carry the mark of this test's runs in its environment? */
static bool is_ours(const char *pid)
{
    const char *mark = scratch_path("mark");
    char path[300], text[1 << 16];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    f = fopen(path, "r");
    if (!f)
        return false;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    return n > 0 && atoi(pid) != getpid() && memmem(text, n, mark, strlen(mark));
}

int way_processes(void)
{
    DIR *folder = opendir("/proc");
    int n = 0;

    for (struct dirent *entry; folder && (entry = readdir(folder));)
        n += entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_ours(entry->d_name);
    if (folder)
        closedir(folder);
    return n;
}

int way_waves(const char *out)
{
    DIR *folder = opendir(out);
    int n = 0;

    for (struct dirent *entry; folder && (entry = readdir(folder));)
        n += strstr(entry->d_name, "journal.wave-") != NULL;
    if (folder)
        closedir(folder);
    return n;
}

bool way_fault_met(void)
{
    return file_exists(scratch_path("mark"));
}

double way_fault_age(void)
{
    struct timespec t;
    struct stat s;

    if (stat(scratch_path("mark"), &s) != 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)(t.tv_sec - s.st_mtim.tv_sec) + 1e-9 * (double)(t.tv_nsec - s.st_mtim.tv_nsec);
}

int way_lines(const struct run *r)
{
    static const char *const other[] = {"warning: ", "llama-nvfp4: ",
                                        "hidden states go by mpi, not nccl: "};
    int n = 0;

    for (const char *at = r->err; (at = strstr(at, "nvfp4_ppl: ")); at++) {
        bool failure = at == r->err || at[-1] == '\n';

        for (size_t i = 0; i < sizeof other / sizeof *other; i++)
            if (strncmp(at + strlen("nvfp4_ppl: "), other[i], strlen(other[i])) == 0)
                failure = false;
        n += failure;
    }
    return n;
}

const char *way_file(const char *out, const char *name)
{
    return scratch_path("%s/%s", strrchr(out, '/') + 1, name);
}

bool same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = file_read(a, &n), *y = file_read(b, &m);
    bool same = x && y && n == m && memcmp(x, y, n) == 0;

    free(x);
    free(y);
    return same;
}

int way_numbers_differ(const char *want, const char *out)
{
    static const char *const keys[] = {"ppl",     "mean_nll", "se_iid",     "se_block",
                                       "windows", "tokens",   "windows_all"};
    cJSON *x = json_file(way_file(want, "result.json"));
    cJSON *y = json_file(way_file(out, "result.json"));
    int n = 0;

    if (strcmp(json_text(y, "status"), "complete") != 0) {
        printf("  result.json is not complete\n");
        n++;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!(json_number(json_result(x), keys[i]) == json_number(json_result(y), keys[i]))) {
            printf("  %s differs\n", keys[i]);
            n++;
        }
    cJSON_Delete(x);
    cJSON_Delete(y);
    return n;
}

int way_differs(const char *want, const char *out)
{
    int n = way_numbers_differ(want, out);

    if (!same_file(way_file(want, "nll.npy"), way_file(out, "nll.npy"))) {
        printf("  nll.npy differs\n");
        n++;
    }
    return n;
}

double way_rank_number(const char *out, int rank, const char *key)
{
    cJSON *json = json_file(way_file(out, "result.json"));
    double n = json_number(cJSON_GetArrayItem(json_at(json_result(json), "ranks"), rank), key);

    cJSON_Delete(json);
    return n;
}

int way_restored(const char *out)
{
    cJSON *json = json_file(way_file(out, "result.json"));
    int n = (int)json_number(json_result(json), "windows_restored");

    cJSON_Delete(json);
    return n;
}

int way_status_windows(const char *out)
{
    cJSON *json;
    int n;

    if (!file_exists(way_file(out, "status.json")))
        return -1;
    json = json_file(way_file(out, "status.json"));
    n = (int)json_number(json, "windows_done");
    cJSON_Delete(json);
    return n;
}
