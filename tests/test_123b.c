// links: spec run
// timeout: 900
// processors: 2
// labels: slow
/* Proves C4: a model of 123B parameters, 70 GB, runs on one CPU rank under a cap of 6 GB: all of its
 * layers are streamed, as many bytes are read as the rank owns, no more memory is taken than planned,
 * and a machine that cannot hold the model in its page cache has nothing of it there afterwards. It is
 * planned for 2 x 96 GB and for one card of 8 GB in less than a second.
 *
 * The checkpoint's weights are holes, its headers and its 7.6 GB of scales are real. With weights of
 * zero every logit is 0, so every nll is ln 32768: the perplexity is the size of the vocabulary. */
#include <fcntl.h>
#include <glob.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/results.h"
#include "tests/test.h"

static const double GB = 1e9;

/* Is there room, and can a file have holes? */
static void look_at_disk(void)
{
    const char *path = scratch_path("hole");
    struct statvfs room;
    struct statfs kind;
    struct stat hole;

    EXPECT(statvfs(scratch_folder(), &room) == 0 && statfs(scratch_folder(), &kind) == 0);
    if (kind.f_type == TMPFS_MAGIC)
        SKIP("%s is in memory (set TMPDIR to a disk)", scratch_folder());
    if ((double)room.f_bavail * (double)room.f_frsize < 10 * GB)
        SKIP("less than 10 GB are free in %s", scratch_folder());
    file_write(path, "", 0);
    EXPECT(truncate(path, 1 << 30) == 0 && stat(path, &hole) == 0);
    if (hole.st_blocks > 2048)
        SKIP("files in %s cannot have holes", scratch_folder());
}

static const char *make_model(void)
{
    const char *folder = scratch_path("model");
    struct args a = args_tool("make_checkpoint");

    args_add(&a, "--out");
    args_add(&a, "%s", folder);
    args_add(&a, "--preset");
    args_add(&a, "123b");
    args_add(&a, "--sparse");
    args_add(&a, "weights");
    struct run *r = run_program(&a, 400);
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    return folder;
}

static struct args words(const char *caps)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s", scratch_path("spec.json"));
    args_add(&a, "--set");
    args_add(&a, "max_memory=%s", caps);
    return a;
}

/* The best of three: other programs may be at work, too. */
static void plan(int ranks, const char *caps, const char *want)
{
    double seconds = INFINITY;

    for (int i = 0; i < 3; i++) {
        struct args a = words(caps);

        args_add(&a, "--plan");
        args_add(&a, "--ranks");
        args_add(&a, "%d", ranks);
        args_add(&a, "--set");
        args_add(&a, "data.eval_len=2048");
        struct run *r = run_program(&a, 20);
        if (r->code != 0 || !strstr(r->out, want))
            run_print(r);
        EXPECT(r->code == 0 && strstr(r->out, want));
        seconds = fmin(seconds, r->seconds);
        run_close(r);
    }
    printf("planned for %s in %.2f s\n", caps, seconds);
    EXPECT(seconds < 1);
}

/* Bytes of the model's files in the page cache. */
static double cached(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    double bytes = 0;
    glob_t files;

    EXPECT(glob(scratch_path("model/*.safetensors"), 0, NULL, &files) == 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        int file = open(files.gl_pathv[i], O_RDONLY | O_CLOEXEC);
        struct stat st;

        EXPECT(file >= 0 && fstat(file, &st) == 0);
        size_t size = (size_t)st.st_size, pages = (size + page - 1) / page;
        unsigned char *in = malloc(pages);
        void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
        EXPECT(in && map != MAP_FAILED && mincore(map, size, in) == 0);
        for (size_t k = 0; k < pages; k++)
            bytes += in[k] & 1 ? (double)page : 0;
        munmap(map, size);
        free(in);
        close(file);
    }
    globfree(&files);
    return bytes;
}

static void run(void)
{
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    struct args a = words("{\"0\": \"6GB\"}");
    double before, after;

    sync(); /* pages yet to be written cannot be given back */
    before = cached();
    struct measurement m = must_measure(&a, 600);
    const cJSON *rank = cJSON_GetArrayItem(json_at(m.result, "ranks"), 0);
    double owned = json_number(rank, "bytes_owned"), planned = json_number(rank, "planned_bytes");
    after = cached();
    printf("%.1f GB read of %.1f owned, %.2f GB of memory, in %.0f s; in the page cache %.1f GB, before "
           "%.1f\n",
           json_number(rank, "bytes_read") / GB, owned / GB, json_number(rank, "peak_bytes") / GB,
           m.run->seconds, after / GB, before / GB);
    EXPECT_NEAR(json_number(m.result, "ppl"), 32768, 0.01);
    EXPECT(owned > 70 * GB && json_number(rank, "bytes_read") <= 1.01 * owned);
    EXPECT(json_number(rank, "streamed") >= 80);
    EXPECT(json_number(rank, "peak_bytes") <= planned && planned <= 6 * GB);
    EXPECT(memory > 90 * GB || after <= before + GB);
    measurement_close(&m);
}

int main(void)
{
    look_at_disk();
    const char *folder = make_model();
    file_printf(scratch_path("spec.json"),
                "{ \"model_dir\": \"%s\", \"tokenizer_dir\": \"%s/demo\", \"dtype\": \"bfloat16\",\n"
                "  \"rates\": { \"compute\": 100, \"read\": \"2GB\" },\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 9, \"max_rows\": 1 } }\n",
                folder, TEST_DATA, TEST_DATA);
    plan(2, "{\"0\": \"96GB\", \"1\": \"96GB\"}", "44-87, head");
    plan(1, "{\"0\": \"8GB\"}", "streams");
    run();
    return 0;
}
