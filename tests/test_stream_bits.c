// links: spec run
// timeout: 300
// labels: slow
/* Proves C1 (design N4): streamed = resident, byte for byte of the nll file. Every model of the tree
 * and of the golden folder, 1 to 4 ranks in every number of stages, caps in six steps from the least
 * that runs to everything resident, the lower ones also with hidden states parked on the host; each
 * rank alone at the least cap that --plan names for it; and all layers streamed. */
#include <dirent.h>

#include "tests/results.h"
#include "tests/test.h"

enum { STEPS = 6, PARKED_STEPS = 3, MODELS_MAX = 16, RANKS_MAX = 4, PAGE = 4096 };

struct zoo {
    int n;
    const char *dir[MODELS_MAX], *name[MODELS_MAX];
};

/* The golden folder holds what the tree holds, and more. */
static void zoo_find(struct zoo *z)
{
    char path[4096];
    DIR *d;

    snprintf(path, sizeof path, "%s/models", golden_dir());
    if (!(d = opendir(path)))
        snprintf(path, sizeof path, "%s/models", TEST_DATA);
    if (!d && !(d = opendir(path)))
        SKIP("no models at %s", path);
    for (struct dirent *entry; (entry = readdir(d)) && z->n < MODELS_MAX;)
        if (entry->d_name[0] != '.') {
            z->name[z->n] = strdup(entry->d_name);
            EXPECT(asprintf((char **)&z->dir[z->n], "%s/%s", path, entry->d_name) > 0);
            z->n++;
        }
    closedir(d);
    EXPECT(z->n >= 5);
}

/* A spec of several "models": each one folder under one set of caps. */
struct list {
    FILE *f;
    char *text;
    size_t bytes;
    int n;
};

static void list_begin(struct list *l)
{
    *l = (struct list){0};
    l->f = open_memstream(&l->text, &l->bytes);
    EXPECT(l->f);
    fprintf(l->f,
            "{ \"threads\": 1, \"microbatch\": 1, \"dtype\": \"bfloat16\", \"stall_timeout\": 60,\n"
            "  \"rates\": { \"compute\": 1000, \"read\": \"10MB\" },\n"
            "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 21, \"max_rows\": 5 },\n"
            "  \"models\": [",
            TEST_DATA);
}

/* How the ranks are arranged. */
struct grid {
    int ranks, stages;
};

/* caps[ranks], 0 = none; cpu: what hidden states may be parked in. */
static void list_add(struct list *l, const char *dir, const char *label, int ranks,
                     const uint64_t *caps, const char *cpu)
{
    fprintf(l->f, "%s\n    { \"model_dir\": \"%s\", \"label\": \"%s\", \"max_memory\": { \"cpu\": \"%s\"",
            l->n++ ? "," : "", dir, label, cpu);
    for (int r = 0; r < ranks; r++)
        if (caps[r])
            fprintf(l->f, ", \"%d\": %llu", r, (unsigned long long)caps[r]);
    fprintf(l->f, " } }");
}

static const char *list_end(struct list *l, const char *name)
{
    const char *path = scratch_path("%s", name);

    fprintf(l->f, "\n  ] }\n");
    fclose(l->f);
    file_write(path, l->text, l->bytes);
    free(l->text);
    return path;
}

static void add_stages(struct args *a, struct grid g)
{
    args_add(a, "--set");
    args_add(a, "stages=%d", g.stages);
}

/* --plan of one model with these caps; NULL when it is refused. */
static cJSON *plan_of(const char *dir, struct grid g, const uint64_t *caps)
{
    const char *json = scratch_path("plan.json");
    struct args a = args_ppl(1);
    struct list l;
    cJSON *plan = NULL;

    list_begin(&l);
    list_add(&l, dir, "one", g.ranks, caps, "0");
    add_stages(&a, g);
    args_add(&a, "--plan");
    args_add(&a, "--ranks");
    args_add(&a, "%d", g.ranks);
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    args_add(&a, "%s", list_end(&l, "plan-spec.json"));
    struct run *r = run_program(&a, 60);
    if (r->code != 71 && r->code != 0)
        run_print(r);
    EXPECT(r->code == 0 || r->code == 71);
    if (r->code == 0)
        plan = json_file(json);
    run_close(r);
    return plan;
}

static const cJSON *ranks_of(const cJSON *plan)
{
    return json_at(cJSON_GetArrayItem(json_at(plan, "plans"), 0), "ranks");
}

/* The least cap that does for every rank at once, to a page. `high` does. */
static uint64_t least_for_all(const char *dir, struct grid g, uint64_t high)
{
    uint64_t low = 0;

    while (high - low > PAGE) {
        uint64_t middle = low + (high - low) / 2, caps[RANKS_MAX];

        for (int r = 0; r < g.ranks; r++)
            caps[r] = middle;
        cJSON *plan = plan_of(dir, g, caps);
        *(plan ? &high : &low) = middle;
        cJSON_Delete(plan);
    }
    return high;
}

/* Adds all caps of one model to the list. */
static void add_caps(struct list *l, const char *dir, const char *name, struct grid g)
{
    const uint64_t none[RANKS_MAX] = {0};
    cJSON *plan = plan_of(dir, g, none), *one;
    uint64_t most = 0, least;
    char label[64];

    EXPECT(plan);
    cJSON_ArrayForEach(one, ranks_of(plan))
    {
        int rank = (int)json_number(one, "rank");
        uint64_t caps[RANKS_MAX] = {0}, planned = (uint64_t)json_number(one, "planned_bytes");

        most = planned > most ? planned : most;
        caps[rank] = (uint64_t)json_number(one, "smallest_cap_bytes");
        EXPECT(caps[rank] > 0);
        snprintf(label, sizeof label, "%s rank %d", name, rank);
        list_add(l, dir, label, g.ranks, caps, "0");
    }
    least = g.ranks == 1 ? (uint64_t)json_number(cJSON_GetArrayItem(ranks_of(plan), 0),
                                               "smallest_cap_bytes")
                       : least_for_all(dir, g, most);
    for (int i = 0; i < STEPS; i++) {
        uint64_t caps[RANKS_MAX], cap = least + (most - least) * (uint64_t)i / (STEPS - 1);

        for (int r = 0; r < g.ranks; r++)
            caps[r] = cap;
        snprintf(label, sizeof label, "%s step %d", name, i);
        list_add(l, dir, label, g.ranks, caps, "0");
        if (i >= PARKED_STEPS)
            continue;
        snprintf(label, sizeof label, "%s parked %d", name, i);
        list_add(l, dir, label, g.ranks, caps, i % 2 ? "1MiB" : "64KiB");
    }
    cJSON_Delete(plan);
}

static void run_list(const char *spec, struct grid g, const char *stream, const char *json,
                     const char *nll)
{
    struct args a = args_ppl(g.ranks);

    args_add(&a, "%s", spec);
    add_stages(&a, g);
    args_add(&a, "--set");
    args_add(&a, "stream=%s", stream);
    args_add(&a, "--strict-memory");
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    args_add(&a, "--nll");
    args_add(&a, "%s", nll);
    struct run *r = run_program(&a, 200);
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
}

static const char *nll_of(const char *stem, const char *label)
{
    return scratch_path("%s.%s.npy", stem, label);
}

static bool same_files(const char *a, const char *b)
{
    size_t na, nb;
    char *one = file_read(a, &na), *two = file_read(b, &nb);

    EXPECT(one && two);
    bool same = na == nb && memcmp(one, two, na) == 0;
    free(one);
    free(two);
    return same;
}

/* Every result of a run against its model's reference; returns how many streamed. */
static int compare(const char *json_path, struct grid g, int *parks)
{
    cJSON *json = json_file(json_path), *result, *rank;
    int streamed = 0, parked = 0, n = 0;

    cJSON_ArrayForEach(result, json_at(json, "results"))
    {
        const char *label = json_text(result, "label");
        char name[64];
        bool any = false, any_parked = false;

        snprintf(name, sizeof name, "%.*s", (int)strcspn(label, " "), label);
        if (!same_files(nll_of("got", label), nll_of("want", name))) {
            printf("FAIL: %d ranks, %d stages, %s: other bits than resident on one rank\n", g.ranks,
                   g.stages, label);
            exit(1);
        }
        cJSON_ArrayForEach(rank, json_at(result, "ranks"))
        {
            any = any || json_number(rank, "streamed") > 0;
            any_parked = any_parked || json_number(rank, "parked_bytes") > 0;
            EXPECT(json_number(rank, "parked_peak_bytes") <= json_number(rank, "parked_bytes"));
            EXPECT(json_number(rank, "peak_bytes") <= json_number(rank, "planned_bytes"));
            EXPECT(json_number(rank, "planned_bytes") <= json_number(rank, "cap_bytes"));
        }
        streamed += any;
        parked += any_parked;
        n++;
    }
    cJSON_Delete(json);
    printf("%d ranks, %d stages: %d ways, %d of them streamed, %d parked\n", g.ranks, g.stages, n,
           streamed, parked);
    *parks += parked;
    fflush(stdout);
    return streamed;
}

int main(void)
{
    static const struct grid one = {1, 1}, grid[] = {{1, 1}, {2, 2}, {2, 1}, {3, 3},
                                                    {3, 1}, {4, 4}, {4, 2}, {4, 1}};
    const uint64_t none[RANKS_MAX] = {0};
    struct zoo z = {0};
    struct list l;
    const char *all;
    int parks = 0;

    zoo_find(&z);
    list_begin(&l);
    for (int i = 0; i < z.n; i++)
        list_add(&l, z.dir[i], z.name[i], 1, none, "0");
    all = list_end(&l, "want.json");
    run_list(all, one, "never", scratch_path("want-result.json"), scratch_path("want.npy"));
    for (size_t k = 0; k < sizeof grid / sizeof *grid; k++) {
        list_begin(&l);
        for (int i = 0; i < z.n; i++)
            add_caps(&l, z.dir[i], z.name[i], grid[k]);
        run_list(list_end(&l, "got.json"), grid[k], "auto", scratch_path("got-result.json"),
                 scratch_path("got.npy"));
        EXPECT(compare(scratch_path("got-result.json"), grid[k], &parks) > 0);
        run_list(all, grid[k], "always", scratch_path("got-result.json"), scratch_path("got.npy"));
        EXPECT(compare(scratch_path("got-result.json"), grid[k], &parks) == z.n);
    }
    EXPECT(parks > 2 * z.n); /* it was really tried */
    return 0;
}
