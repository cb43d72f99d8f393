// links: spec run
// timeout: 240
// labels: slow
/* Proves C5: with 1 and 2 ranks, resident and streamed, a ulimit -v of a rank's plan and what the
 * process itself maps is enough; with a tenth of the plan less it is refused before loading. With
 * streaming allowed, what is too little for a resident run streams. The same for one rank in a memory
 * cgroup, where one can be made. Always the same bits. */
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/results.h"
#include "tests/test.h"

enum { MIB = 1 << 20, SLACK = 4 * MIB }; /* of what a process maps: not the same in every run */

static const double NO_LIMIT = -1;

static void add_words(struct args *a, int np, const char *stream, const char *name,
                      const char *extra)
{
    args_add(a, "%s", scratch_path("np%d.json", np));
    args_add(a, "--set");
    args_add(a, "stream=%s", stream);
    args_add(a, "--json");
    args_add(a, "%s", scratch_path("%s.out", name));
    args_add(a, "--nll");
    args_add(a, "%s", scratch_path("%s.npy", name));
    args_add(a, "%s", extra);
}

static struct run *run_limited(int np, double limit, const char *stream, const char *name,
                               const char *extra)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    const struct rlimit cut = {(rlim_t)limit, RLIM_INFINITY};
    struct args a = args_ppl(np);

    add_words(&a, np, stream, name, extra);
    if (limit != NO_LIMIT)
        EXPECT(setrlimit(RLIMIT_AS, &cut) == 0);
    struct run *r = run_start(&a);
    EXPECT(setrlimit(RLIMIT_AS, &all) == 0);
    run_wait(r, 60);
    return r;
}

static void expect_complete(struct run *r)
{
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
}

static void expect_same(const char *name)
{
    size_t na, nb;
    char *one = file_read(scratch_path("want.npy"), &na);
    char *two = file_read(scratch_path("%s.npy", name), &nb);

    EXPECT(one && two && na == nb && memcmp(one, two, na) == 0);
    free(one);
    free(two);
}

static void make_model(void)
{
    struct args a = args_tool("make_checkpoint");

    args_add(&a, "--out");
    args_add(&a, "%s", scratch_path("model"));
    for (const char *const *w = (const char *const[]){"--layers", "20", "--hidden", "1024", "--ffn",
                                                      "4096", "--heads", "16", "--kv-heads", "4",
                                                      "--head-dim", "64", "--vocab", "32768", NULL};
         *w; w++)
        args_add(&a, "%s", *w);
    expect_complete(run_program(&a, 60));
    for (int np = 1; np <= 2; np++)
        file_printf(scratch_path("np%d.json", np),
                    "{ \"model_dir\": \"%s\", \"tokenizer_dir\": \"%s/demo\", \"threads\": 2,\n"
                    "  \"microbatch\": 1, \"rates\": { \"compute\": 100, \"read\": \"2GB\" }, %s\n"
                    "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 33, "
                    "\"max_rows\": 3 } }\n",
                    scratch_path("model"), TEST_DATA, np == 2 ? "\"layers\": [10, 10]," : "",
                    TEST_DATA);
}

/* The most of any rank of what `key` says in the output; `plans` of --plan, `results` of a run. */
static double most(const char *name, const char *list, const char *key)
{
    cJSON *root = json_file(scratch_path("%s.out", name));
    const cJSON *rank;
    double bytes = 0;

    cJSON_ArrayForEach(rank, json_at(cJSON_GetArrayItem(json_at(root, list), 0), "ranks"))
        bytes = fmax(bytes, json_number(rank, key));
    cJSON_Delete(root);
    return bytes;
}

/* What a rank's process maps besides its plan: the limit less what it says it may use. */
static double constant(int np)
{
    const double limit = 4e9;

    expect_complete(run_limited(np, limit, "never", "constant", "--strict-memory"));
    expect_same("constant");
    return limit - most("constant", "results", "cap_bytes");
}

static void check(int np, const char *stream, double planned, double beside)
{
    struct run *r;

    printf("%d rank%s, %s: plan %.1f MiB, the process %.1f MiB\n", np, np > 1 ? "s" : "", stream,
           planned / MIB, beside / MIB);
    expect_complete(run_limited(np, planned + beside + SLACK, stream, "enough", "--strict-memory"));
    expect_same("enough");
    EXPECT(most("enough", "results", "planned_bytes") <= planned + 2 * SLACK);
    r = run_limited(np, 0.9 * planned + beside, stream, "less", "--strict-memory");
    if (r->code != 71 || !strstr(r->err, "plan refused"))
        run_print(r);
    EXPECT(r->code == 71 && strstr(r->err, "plan refused") && !file_exists(scratch_path("less.npy")));
    run_close(r);
}

/* A memory cgroup inside this process's own, and its file that holds the limit: version 1
 * ("4:memory:/group") or 2 ("0::/group"). */
struct cgroup {
    char dir[PATH_MAX], limit[PATH_MAX + 32];
};

static bool try_cgroup(struct cgroup *g, const char *root, const char *own, const char *file)
{
    snprintf(g->dir, sizeof g->dir, "%s%s/nvfp4_ppl-test-%d", root, strcmp(own, "/") ? own : "",
             (int)getpid());
    if (mkdir(g->dir, 0755) != 0)
        return false;
    snprintf(g->limit, sizeof g->limit, "%s/%s", g->dir, file);
    if (access(g->limit, W_OK) == 0)
        return true;
    rmdir(g->dir);
    return false;
}

static bool make_cgroup(struct cgroup *g)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[PATH_MAX / 2];
    bool made = false;

    while (f && !made && fgets(line, sizeof line, f)) {
        char *own = strchr(line, '/');

        line[strcspn(line, "\n")] = 0;
        if (own && strstr(line, ":memory:"))
            made = try_cgroup(g, "/sys/fs/cgroup/memory", own, "memory.limit_in_bytes");
        else if (own && strncmp(line, "0::", 3) == 0)
            made = try_cgroup(g, "/sys/fs/cgroup", own, "memory.max");
    }
    if (f)
        fclose(f);
    return made;
}

static struct run *run_in_cgroup(const struct cgroup *g, double limit, const char *stream,
                                 const char *name)
{
    struct args a = args_none();

    file_printf(g->limit, "%.0f\n", limit);
    args_add(&a, "sh");
    args_add(&a, "-c");
    args_add(&a, "echo $$ >'%s/cgroup.procs' && exec \"$@\"", g->dir);
    args_add(&a, "sh");
    args_add_ppl(&a, 1);
    add_words(&a, 1, stream, name, "--strict-memory");
    return run_program(&a, 60);
}

/* One rank alone in it: its plan and what it holds besides are enough. `streamed`: the least cap that
 * streams. */
static void check_cgroup(const struct cgroup *g, double streamed)
{
    const double plenty = 4e9;
    double beside, resident;
    struct run *r;

    expect_complete(run_in_cgroup(g, plenty, "never", "group"));
    beside = plenty - most("group", "results", "cap_bytes");
    resident = most("group", "results", "planned_bytes");
    printf("cgroup: plan %.1f MiB, streamed %.1f MiB, the process %.1f MiB\n", resident / MIB,
           streamed / MIB, beside / MIB);
    expect_complete(run_in_cgroup(g, resident + beside + SLACK, "never", "group"));
    expect_same("group");
    expect_complete(run_in_cgroup(g, streamed + beside + SLACK, "auto", "group"));
    expect_same("group");
    EXPECT(most("group", "results", "streamed") > 0);
    r = run_in_cgroup(g, 0.9 * streamed + beside, "auto", "less");
    if (r->code != 71 || !strstr(r->err, "plan refused"))
        run_print(r);
    EXPECT(r->code == 71 && strstr(r->err, "plan refused") && !file_exists(scratch_path("less.npy")));
    run_close(r);
}

int main(void)
{
    struct cgroup group;
    double alone = 0; /* the least cap with which one rank streams */

    if (getenv("ASAN_OPTIONS") || getenv("TSAN_OPTIONS"))
        SKIP("sanitizers map more than any ulimit");
    make_model();
    expect_complete(run_limited(1, NO_LIMIT, "never", "want", "--strict-memory"));
    for (int np = 1; np <= 2; np++) {
        double beside = constant(np), resident = most("constant", "results", "planned_bytes");

        check(np, "never", resident, beside);
        expect_complete(run_limited(np, 0.9 * resident + beside, "auto", "streamed",
                                    "--strict-memory"));
        expect_same("streamed");
        EXPECT(most("streamed", "results", "streamed") > 0);
        expect_complete(run_limited(np, NO_LIMIT, "auto", "plan", "--plan"));
        double streamed = most("plan", "plans", "smallest_cap_bytes");
        check(np, "auto", streamed, beside);
        alone = np == 1 ? streamed : alone;
        EXPECT(most("enough", "results", "streamed") > 0);
    }
    if (make_cgroup(&group)) {
        check_cgroup(&group, alone);
        rmdir(group.dir);
    } else {
        printf("no memory cgroup can be made here: only ulimits were tried\n");
    }
    return 0;
}
