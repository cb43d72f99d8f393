// links: spec run
// timeout: 240
// processors: 2
/* Proves A9 end to end: a wrong input gives one line on stderr, word for word, nothing on stdout, and
 * its exit code. (The modules' own tests hold the finer cases.) In specs and lines @ stands for the
 * scratch folder and $ for the test data. */
#include "spec/err.h"
#include "tests/results.h"
#include "tests/test.h"

#define DATA "\"data\": { \"text\": \"$/text/demo.txt\", \"eval_len\": 64, \"max_rows\": 2 }"
#define MODEL "\"model_dir\": \"$/models/qwen3-mixed\""

struct wrong {
    const char *name;
    int np;
    const char *spec;  /* contents of @/spec.json, or NULL: none is written */
    const char *words; /* the command line */
    enum status code;
    const char *said;
};

static const struct wrong cases[] = {
    /* The command line. */
    {"nothing", 1, NULL, "", ERR_USAGE, ""},
    {"unknown option", 1, NULL, "--jsn out.json @/spec.json", ERR_USAGE, ""},
    {"option without its value", 1, NULL, "@/spec.json --json", ERR_USAGE, ""},
    {"half of the pair", 1, NULL, "-d @/data.json", ERR_USAGE, ""},
    {"two forms at once", 1, NULL, "@/spec.json -d @/data.json -m @/model.json", ERR_USAGE, ""},
    {"ranks that are no number", 1, "{ " MODEL ", " DATA " }", "@/spec.json --plan --ranks two",
     ERR_USAGE, ""},

    /* The spec. */
    {"no such spec", 1, NULL, "@/absent.json", ERR_NO_INPUT, ""},
    {"not JSON", 1, "{ \"model_dir\": }", "@/spec.json", ERR_SPEC, ""},
    {"unknown key", 1, "{ " MODEL ",\n  \"data\": { \"evallen\": 64 } }", "@/spec.json", ERR_SPEC, ""},
    {"wrong type", 1, "{ " MODEL ",\n  \"data\": { \"eval_len\": \"many\" } }", "@/spec.json",
     ERR_SPEC, ""},
    {"out of range", 1, "{ " MODEL ", " DATA " }", "@/spec.json --set data.eval_len=1", ERR_SPEC, ""},
    {"unknown dtype", 1, "{ " MODEL ", " DATA ", \"dtype\": \"float8\" }", "@/spec.json", ERR_SPEC, ""},
    {"unknown size", 1, "{ " MODEL ", " DATA ", \"max_memory\": { \"0\": \"38GX\" } }", "@/spec.json",
     ERR_SPEC, ""},
    {"two texts", 1, "{ " MODEL ", \"data\": { \"text\": \"a\", \"jsonl\": \"b\" } }", "@/spec.json",
     ERR_SPEC, ""},
    {"no text", 1, "{ " MODEL " }", "@/spec.json", ERR_SPEC, ""},
    {"no model", 1, "{ " DATA " }", "@/spec.json", ERR_SPEC, ""},
    {"override of an unknown key", 1, "{ " MODEL ", " DATA " }", "@/spec.json --set dtyp=float32",
     ERR_SPEC, ""},
    {"layers for other ranks", 2, "{ " MODEL ", " DATA ", \"layers\": [4] }", "@/spec.json", ERR_SPEC,
     ""},
    {"layers that do not add up", 2, "{ " MODEL ", " DATA ", \"layers\": [2, 3] }", "@/spec.json",
     ERR_SPEC, ""},
    {"unknown variant", 1, "{ " MODEL ", " DATA ", \"isa\": \"avx3\" }", "@/spec.json",
     ERR_UNAVAILABLE, ""},
    {"no such backend here", 1, "{ " MODEL ", " DATA ", \"backend\": \"cuda\" }", "@/spec.json",
     ERR_UNAVAILABLE, ""},

    /* The model. */
    {"no such model", 1, "{ \"model_dir\": \"absent\", " DATA " }", "@/spec.json", ERR_NO_INPUT, ""},
    {"unknown architecture", 1, "{ \"model_dir\": \"mamba\", " DATA " }", "@/spec.json", ERR_DATA, ""},
    {"cut safetensors", 1, "{ \"model_dir\": \"cut\", " DATA " }", "@/spec.json", ERR_DATA, ""},
    {"a NaN scale", 1, "{ \"model_dir\": \"nan\", " DATA " }", "@/spec.json", ERR_DATA, ""},
    {"a NaN scale on the second rank", 2, "{ \"model_dir\": \"nan\", " DATA " }", "@/spec.json",
     ERR_DATA, ""},
    {"a shard that is missing", 1, "{ \"model_dir\": \"hole\", " DATA " }", "@/spec.json",
     ERR_NO_INPUT, ""},
    {"no tokenizer", 1, "{ \"model_dir\": \"mute\", " DATA " }", "@/spec.json", ERR_NO_INPUT, ""},

    /* The text. */
    {"no such text", 1, "{ " MODEL ", \"data\": { \"text\": \"absent.txt\" } }", "@/spec.json",
     ERR_NO_INPUT, ""},
    {"not UTF-8", 1, "{ " MODEL ", \"data\": { \"text\": \"latin1.txt\" } }", "@/spec.json", ERR_DATA,
     ""},
    {"a broken row", 1, "{ " MODEL ", \"data\": { \"jsonl\": \"rows.jsonl\" } }", "@/spec.json",
     ERR_DATA, ""},
    {"a missing column", 1,
     "{ " MODEL ", \"data\": { \"jsonl\": \"$/text/docs.jsonl\", \"text_column\": \"body\" } }",
     "@/spec.json", ERR_DATA, ""},
    {"an empty text", 1, "{ " MODEL ", \"data\": { \"text\": \"empty.txt\" } }", "@/spec.json",
     ERR_DATA, ""},
    {"one word", 1, "{ " MODEL ", \"data\": { \"text\": \"word.txt\", \"eval_len\": 64 } }",
     "@/spec.json", ERR_DATA, ""},
    {"ids that are not an array", 1, "{ " MODEL ", \"data\": { \"tokens\": \"latin1.txt\" } }",
     "@/spec.json", ERR_DATA, ""},
    {"unknown dataset", 1, "{ " MODEL ", \"data\": { \"dataset\": \"wiki3\" } }", "@/spec.json",
     ERR_SPEC, ""},
    {"the dataset's file is not there", 1, "{ " MODEL ", \"data\": { \"dataset\": \"wiki2\" } }",
     "@/spec.json --data-dir @", ERR_NO_INPUT, ""},

    /* Caps and outputs. */
    {"a cap that is too small", 1, "{ " MODEL ", " DATA ", \"max_memory\": { \"0\": \"3MiB\" } }",
     "@/spec.json", ERR_FIT, ""},
    {"the same when only planning", 1,
     "{ " MODEL ", " DATA ", \"max_memory\": { \"0\": \"3MiB\", \"1\": \"2MiB\" } }",
     "@/spec.json --plan --ranks 2", ERR_FIT, ""},
    {"no place for the JSON", 1, "{ " MODEL ", " DATA " }", "@/spec.json --json @/absent/out.json",
     ERR_OUTPUT, ""},
    {"no place for the nll", 2, "{ " MODEL ", " DATA " }", "@/spec.json --nll @/absent/nll.npy",
     ERR_OUTPUT, ""},
};

/* Every `from` in a text becomes `to`; the caller frees. */
static char *replace(const char *text, const char *from, const char *to)
{
    size_t n = 0, from_n = strlen(from), to_n = strlen(to);
    char *out = malloc(strlen(text) * (to_n + 1) + 1);

    EXPECT(out != NULL);
    while (*text) {
        bool here = strncmp(text, from, from_n) == 0;

        memcpy(out + n, here ? to : text, here ? to_n : 1);
        n += here ? to_n : 1;
        text += here ? from_n : 1;
    }
    out[n] = 0;
    return out;
}

static char *expand(const char *text)
{
    char *half = replace(text, "@", scratch_folder());
    char *whole = replace(half, "$", TEST_DATA);

    free(half);
    return whole;
}

static char *shorten(const char *text)
{
    char *half = replace(text, scratch_folder(), "@");
    char *whole = replace(half, TEST_DATA, "$");

    free(half);
    return whole;
}

/* Broken copies of good models, and texts that are none. */
static void make_inputs(void)
{
    const unsigned char nan = 0x7f; /* e4m3 */
    const char *const name[] = {"mamba", "cut", "nan", "hole", "mute"};
    const char *from[] = {"llama3-head", "llama3-head", "llama3-head", "qwen3-mixed", "llama3-head"};
    char path[4096];
    size_t bytes;

    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, from[i]);
        folder_copy(path, scratch_path("%s", name[i]));
    }
    char *config = file_read(scratch_path("mamba/config.json"), NULL);
    char *renamed = replace(config, "LlamaForCausalLM", "MambaForCausalLM");
    file_write(scratch_path("mamba/config.json"), renamed, strlen(renamed));
    free(config);
    free(renamed);
    char *weights = file_read(scratch_path("cut/model.safetensors"), &bytes);
    file_write(scratch_path("cut/model.safetensors"), weights, bytes / 2);
    free(weights);
    tensor_patch(scratch_path("nan/model.safetensors"), "model.layers.2.mlp.up_proj.weight_scale", 25,
                 &nan, 1);
    remove(scratch_path("hole/model-00002-of-00003.safetensors"));
    remove(scratch_path("mute/tokenizer.json"));
    file_write(scratch_path("latin1.txt"), "caf\xe9 au lait", 12);
    file_printf(scratch_path("rows.jsonl"), "{\"text\": \"a row\"}\n{\"text\": \n");
    file_printf(scratch_path("empty.txt"), "%s", "");
    file_printf(scratch_path("word.txt"), "kettle");
}

static bool check_case(const struct wrong *c)
{
    struct args a = args_ppl(c->np);
    char *words = expand(c->words), *rest = words;

    remove(scratch_path("spec.json"));
    if (c->spec) {
        char *spec = expand(c->spec);
        file_write(scratch_path("spec.json"), spec, strlen(spec));
        free(spec);
    }
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            args_add(&a, "%s", word);
    struct run *r = run_program(&a, 30);
    char *line = shorten(r->err), *want;
    EXPECT(asprintf(&want, "nvfp4_ppl: %s\n", c->said) > 0);
    bool good = r->code == (int)c->code && strcmp(line, want) == 0 && r->out_bytes == 0;
    if (!good)
        printf("FAIL %s: want exit code %d and\n  %s  got exit code %d, %zu bytes on stdout and\n  %s",
               c->name, c->code, want, r->code, r->out_bytes, line);
    free(line);
    free(want);
    free(words);
    run_close(r);
    return good;
}

int main(void)
{
    int failed = 0;

    make_inputs();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        failed += !check_case(&cases[i]);
    printf("%d of %zu failed\n", failed, sizeof cases / sizeof cases[0]);
    return failed > 0;
}
