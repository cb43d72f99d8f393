/* make_checkpoint - writes a model folder of any geometry with seeded weights: for benchmarks, plans
 * and tests.
 *
 *     make_checkpoint --out DIR --preset llama-3.2-1b --format modelopt
 *     make_checkpoint --out DIR --preset 123b --sparse all
 *     make_checkpoint --out DIR --arch qwen3 --layers 2 --hidden 128 --ffn 256 --heads 4 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/tools/made_checkpoint.h"

static const char usage[] =
    "make_checkpoint --out DIR [options]\n"
    "  --preset NAME        a known geometry; options after it change it (--preset list: all)\n"
    "  --arch NAME          llama, mistral, qwen2, qwen3\n"
    "  --layers N --hidden N --ffn N --heads N --kv-heads N --head-dim N --vocab N\n"
    "  --rope-theta X       default 10000\n"
    "  --sliding-window N   mistral, qwen2, qwen3; default none\n"
    "  --format NAME        ct, ct-a16, modelopt, bf16, f16, f32; default ct\n"
    "  --head-format NAME   nvfp4, bf16, f16, f32; default bf16 (f16, f32 where --format is)\n"
    "  --tied, --untied     the head is the embedding, or not\n"
    "  --bias               attention (and for llama MLP) biases\n"
    "  --shard-bytes N      start a new file before one grows over N; default 5000000000\n"
    "  --seed N             default 1\n"
    "  --sparse weights     holes for all weights; scales, norms and biases are written\n"
    "  --sparse all         holes for scales, too: for plans only, a loader refuses zero scales\n"
    "  --tokenizer DIR      copies DIR/tokenizer.json (and tokenizer_config.json)\n";

void die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "make_checkpoint: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    exit(1);
}

static const struct geometry presets[] = {
    {"tiny", "llama", 2, 128, 256, 4, 2, 32, 4096, 1e4, 1e-5, false, false, 0},
    {"llama-3.2-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 5e5, 1e-5, true, true, 32},
    {"llama-3.2-3b", "llama", 28, 3072, 8192, 24, 8, 128, 128256, 5e5, 1e-5, true, true, 32},
    {"llama-3.1-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 5e5, 1e-5, false, true, 8},
    {"qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 1e6, 1e-6, false, false, 0},
    {"mistral-nemo-12b", "mistral", 40, 5120, 14336, 32, 8, 128, 131072, 1e6, 1e-5, false, false,
     0},
    {"qwen3-14b", "qwen3", 40, 5120, 17408, 40, 8, 128, 151936, 1e6, 1e-6, false, false, 0},
    {"qwen3-32b", "qwen3", 64, 5120, 25600, 64, 8, 128, 151936, 1e6, 1e-6, false, false, 0},
    {"llama-3.1-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 5e5, 1e-5, false, true, 8},
    {"qwen2.5-72b", "qwen2", 80, 8192, 29568, 64, 8, 128, 152064, 1e6, 1e-6, false, false, 0},
    {"123b", "mistral", 88, 12288, 28672, 96, 8, 128, 32768, 1e6, 1e-5, false, false, 0},
    {"405b", "llama", 126, 16384, 53248, 128, 8, 128, 128256, 5e5, 1e-5, false, true, 8},
};
enum { N_PRESETS = sizeof presets / sizeof presets[0] };

bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

bool packs(const struct job *j) /* are the linear layers NVFP4? */
{
    return is(j->format, "ct") || is(j->format, "ct-a16") || is(j->format, "modelopt");
}

const char *plain_format(const struct job *j)
{
    return packs(j) ? "bf16" : j->format;
}

static void take_preset(struct job *j, const char *name)
{
    for (int i = 0; i < N_PRESETS; i++) {
        if (is(name, presets[i].preset)) {
            j->g = presets[i];
            return;
        }
    }
    for (int i = 0; i < N_PRESETS; i++)
        printf("%s\n", presets[i].preset);
    if (!is(name, "list"))
        die("--preset %s: not one of these", name);
    exit(0);
}

static long to_number(const char *option, const char *text, long least)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < least)
        die("%s %s: want a number of at least %ld", option, text, least);
    return v;
}

static const char *one_of(const char *option, const char *text, const char *names)
{
    char list[128], *rest = list;

    snprintf(list, sizeof list, "%s", names);
    for (char *name; (name = strsep(&rest, " "));)
        if (is(name, text))
            return text;
    die("%s %s: want one of %s", option, text, names);
}

static bool take_geometry(struct job *j, const char *option, const char *value)
{
    const struct {
        const char *name;
        long *to;
    } number[] = {
        {"--layers", &j->g.layers},     {"--hidden", &j->g.hidden},
        {"--ffn", &j->g.ffn},           {"--heads", &j->g.heads},
        {"--kv-heads", &j->g.kv_heads}, {"--head-dim", &j->g.head_dim},
        {"--vocab", &j->g.vocab},       {"--sliding-window", &j->window},
        {"--seed", &j->seed},           {"--shard-bytes", &j->shard_bytes},
    };

    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        if (is(option, number[i].name)) {
            *number[i].to = to_number(option, value, 1);
            return true;
        }
    }
    return false;
}

static void take_option(struct job *j, const char *option, const char *value)
{
    if (is(option, "--out"))
        j->out = value;
    else if (is(option, "--preset"))
        take_preset(j, value);
    else if (is(option, "--arch"))
        j->g.arch = one_of(option, value, "llama mistral qwen2 qwen3");
    else if (is(option, "--format"))
        j->format = one_of(option, value, "ct ct-a16 modelopt bf16 f16 f32");
    else if (is(option, "--head-format"))
        j->head_format = one_of(option, value, "nvfp4 bf16 f16 f32");
    else if (is(option, "--rope-theta"))
        j->g.theta = (double)to_number(option, value, 2);
    else if (is(option, "--sparse"))
        j->sparse = is(one_of(option, value, "weights all"), "all") ? SPARSE_ALL : SPARSE_WEIGHTS;
    else if (is(option, "--tokenizer"))
        j->tokenizer = value;
    else if (!take_geometry(j, option, value))
        die("%s: no such option (--help)", option);
}

static void take_options(struct job *j, int argc, char **argv)
{
    bool head_dim_given = false;

    for (int i = 1; i < argc; i++) {
        if (is(argv[i], "--help")) {
            printf("%s", usage);
            exit(0);
        } else if (is(argv[i], "--tied")) {
            j->g.tied = true;
        } else if (is(argv[i], "--untied")) {
            j->g.tied = false;
        } else if (is(argv[i], "--bias")) {
            j->bias = true;
        } else if (i + 1 == argc) {
            die("%s: wants a value, or is no option (--help)", argv[i]);
        } else {
            head_dim_given |= is(argv[i], "--head-dim") || is(argv[i], "--preset");
            take_option(j, argv[i], argv[i + 1]);
            i++;
        }
    }
    if (!j->out)
        die("--out is missing (--help)");
    if (!head_dim_given)
        j->g.head_dim = j->g.hidden / j->g.heads;
    if (!j->head_format)
        j->head_format = plain_format(j);
    if (is(j->head_format, "nvfp4") && !packs(j))
        die("--head-format nvfp4 goes with --format ct, ct-a16 or modelopt");
    if (j->bias && is(j->g.arch, "mistral"))
        die("--bias: mistral has none");
    if (j->window && is(j->g.arch, "llama"))
        die("--sliding-window: llama has none");
}

int main(int argc, char **argv)
{
    struct job j = {.format = "ct", .seed = 1, .shard_bytes = 5000000000, .g = presets[0]};
    struct list l = {0};

    take_options(&j, argc, argv);
    if (mkdir(j.out, 0755) != 0 && errno != EEXIST)
        die("%s: %s", j.out, strerror(errno));
    list_tensors(&l, &j);
    place_tensors(&l, &j);
    for (int shard = 0; shard < l.n_shards; shard++)
        write_shard(&l, &j, shard);
    if (l.n_shards > 1)
        write_index(&l, &j);
    write_config(&j);
    if (j.tokenizer)
        copy_tokenizer(&j);
    free(l.tensor);
    return 0;
}
