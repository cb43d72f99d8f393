// links: loader spec
// timeout: 120
/* What make_checkpoint writes is a model: every architecture and format opens, with good scales;
 * and the 123B geometry, all holes, has the 70.13 GB that its shapes add up to. */
#include <libgen.h>
#include <sys/wait.h>

#include "folder.h"
#include "loader/model.h"

static void make(const char *options)
{
    char self[512], command[2048];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    int status;

    EXPECT(n > 0);
    self[n] = 0;
    snprintf(command, sizeof command, "%s/make_checkpoint --out %s %s", dirname(self), folder,
             options);
    status = system(command);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("FAIL %s\n", command);
        exit(1);
    }
}

static struct model *open_made(const char *options)
{
    struct model *m;
    struct err e;

    make(options);
    if (model_open(folder, &m, &e) != OK) {
        printf("FAIL %s: %s\n", options, e.msg);
        exit(1);
    }
    EXPECT(m->n_warnings == 0);
    return m;
}

static void check_scales(const struct model *m, const struct linear *l)
{
    struct err e;
    uint8_t *scale;

    if (l->format != WEIGHT_NVFP4)
        return;
    EXPECT((scale = malloc(l->scale->bytes)));
    EXPECT(checkpoint_read(m->checkpoint, l->scale, 0, l->scale->bytes, scale, &e) == OK);
    EXPECT(scales_check(m, l, 0, l->scale->bytes, scale, &e) == OK);
    free(scale);
}

static void check_formats(void)
{
    static const struct {
        const char *options;
        enum weight_format layers, head;
        int inputs;
    } cases[] = {
        {"--arch llama --format ct", WEIGHT_NVFP4, WEIGHT_BF16, 1},
        {"--arch llama --format ct --bias --head-format nvfp4", WEIGHT_NVFP4, WEIGHT_NVFP4, 1},
        {"--arch llama --format ct-a16 --tied", WEIGHT_NVFP4, WEIGHT_BF16, 0},
        {"--arch mistral --format modelopt --head-dim 48", WEIGHT_NVFP4, WEIGHT_BF16, 1},
        {"--arch mistral --format modelopt --head-format nvfp4", WEIGHT_NVFP4, WEIGHT_NVFP4, 1},
        {"--arch qwen2 --format ct --sliding-window 32", WEIGHT_NVFP4, WEIGHT_BF16, 1},
        {"--arch qwen2 --format bf16", WEIGHT_BF16, WEIGHT_BF16, 0},
        {"--arch qwen3 --format f16 --bias", WEIGHT_F16, WEIGHT_F16, 0},
        {"--arch qwen3 --format f32 --tied", WEIGHT_F32, WEIGHT_F32, 0},
        {"--arch qwen3 --format ct --shard-bytes 300000", WEIGHT_NVFP4, WEIGHT_BF16, 1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model *m = open_made(cases[i].options);

        EXPECT(m->n_layers == 2 && m->hidden == 128 && m->ffn == 256);
        EXPECT(m->layer[1].down.format == cases[i].layers && m->head.format == cases[i].head);
        EXPECT(m->quantizes_input == cases[i].inputs);
        check_scales(m, &m->layer[0].q);
        check_scales(m, &m->layer[1].down);
        check_scales(m, &m->head);
        model_close(m);
        folder_clear();
    }
}

/* The same tensor holds the same bytes in other shards; another seed makes other bytes. */
static void check_seed(void)
{
    static const char *const options[] = {"--seed 7", "--seed 7 --shard-bytes 200000", "--seed 8"};
    uint8_t data[3][64];

    for (int i = 0; i < 3; i++) {
        struct model *m = open_made(options[i]);
        struct err e;

        EXPECT(checkpoint_read(m->checkpoint, m->layer[1].up.data, 100, 64, data[i], &e) == OK);
        model_close(m);
        folder_clear();
    }
    EXPECT(memcmp(data[0], data[1], 64) == 0);
    EXPECT(memcmp(data[0], data[2], 64) != 0);
}

static void check_sparse(void)
{
    struct model *m = open_made("--preset 123b --sparse all");
    double bytes = 0;

    for (int i = 0; i < checkpoint_tensors(m->checkpoint); i++)
        bytes += (double)checkpoint_tensor(m->checkpoint, i)->bytes;
    EXPECT(m->n_layers == 88 && m->hidden == 12288 && m->ffn == 28672);
    /* 88 layers of 1,384,120,320 weights at 4.5 bits, embedding and head of 32768 in bf16, and per
     * layer 2 norms and 14 f32 scalars */
    EXPECT_NEAR(bytes,
                88 * (1384120320.0 * 0.5625 + 2 * 12288 * 2 + 14 * 4) + 2 * 32768.0 * 12288 * 2 +
                    12288 * 2,
                0);
    EXPECT_NEAR(bytes / 1e9, 70.13, 0.005);
    model_close(m);
    folder_clear();
}

int main(void)
{
    folder_make();
    check_formats();
    check_seed();
    check_sparse();
    return 0;
}
