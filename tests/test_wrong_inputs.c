// links: spec run
// timeout: 240
// processors: 2
/* Proves A9 end to end: a wrong input gives one line, word for word, also from several ranks, and
 * its exit code; nothing stands on stdout, nor a plan before the line where there was no need to
 * plan. (The modules' own tests hold the finer cases.) In specs and lines @ stands for the scratch folder, $
 * for the test data, HOST for this machine. */
#include <unistd.h>

#include "spec/err.h"
#include "tests/results.h"
#include "tests/test.h"

#define DATA  "\"data\": { \"text\": \"$/text/demo.txt\", \"eval_len\": 64, \"max_rows\": 2 }"
#define MODEL "\"model_dir\": \"$/models/qwen3-mixed\""
#define GOOD  "{ " MODEL ",\n  " DATA " }"

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
    {"nothing", 1, NULL, "", ERR_USAGE,
     "command line: got no spec, want a spec file, or -d DATA -m MODEL"},
    {"unknown option", 1, NULL, "--jsn out.json @/spec.json", ERR_USAGE,
     "command line: unknown option --jsn: the nearest known one is --json"},
    {"option without its value", 1, NULL, "@/spec.json --json", ERR_USAGE,
     "command line: --json: got no value, want --json FILE"},
    {"half of the pair", 1, NULL, "-d @/data.json", ERR_USAGE,
     "command line: got -d without -m, want a spec file, or -d DATA -m MODEL"},
    {"two forms at once", 1, NULL, "@/spec.json -d @/data.json -m @/model.json", ERR_USAGE,
     "command line: got a spec and -d or -m, want one spec, or -d DATA -m MODEL"},
    {"ranks that are no number", 1, GOOD, "@/spec.json --plan --ranks two", ERR_USAGE,
     "command line: --ranks: got two, want 1 to 1024"},

    /* The spec. */
    {"no such spec", 1, NULL, "@/absent.json", ERR_NO_INPUT,
     "@/absent.json: cannot be opened: No such file or directory"},
    {"not JSON", 1, "{ \"model_dir\": }", "@/spec.json", ERR_SPEC,
     "@/spec.json:1:16: got '}', want a value"},
    {"unknown key", 1, "{ " MODEL ",\n  \"data\": { \"evallen\": 64 } }", "@/spec.json", ERR_SPEC,
     "@/spec.json:2:13: unknown key \"evallen\" here: the nearest known one is "
     "\"eval_len\""},
    {"wrong type", 1, "{ " MODEL ",\n  \"data\": { \"eval_len\": \"many\" } }", "@/spec.json",
     ERR_SPEC, "@/spec.json:2:13: eval_len: got \"many\", want an integer"},
    {"out of range", 1, GOOD, "@/spec.json --set data.eval_len=1", ERR_SPEC,
     "command line: data.eval_len: got 1, want 2 to 1048576"},
    {"unknown dtype", 1, "{ " MODEL ",\n  " DATA ",\n  \"dtype\": \"float8\" }", "@/spec.json",
     ERR_SPEC, "@/spec.json:3:3: dtype: got \"float8\", want bfloat16, float16 or float32"},
    {"unknown size", 1, "{ " MODEL ",\n  " DATA ",\n  \"max_memory\": { \"0\": \"38GX\" } }",
     "@/spec.json", ERR_SPEC,
     "@/spec.json:3:19: max_memory.0: got \"38GX\", want a size such as \"38GiB\", "
     "\"38.5GB\", \"512MiB\" or bytes"},
    {"two texts", 1, "{ " MODEL ",\n  \"data\": { \"text\": \"a\", \"jsonl\": \"b\" } }",
     "@/spec.json", ERR_SPEC,
     "@/spec.json:2:26: jsonl: \"text\" is given too, want one of text, jsonl, tokens and "
     "dataset"},
    {"no text", 1, "{ " MODEL " }", "@/spec.json", ERR_SPEC,
     "@/spec.json:1:1: no text to score: want \"text\", \"jsonl\", \"tokens\" or "
     "\"dataset\" in \"data\""},
    {"no model", 1, "{ " DATA " }", "@/spec.json", ERR_SPEC,
     "@/spec.json:1:1: no \"model_dir\": want the model's folder"},
    {"override of an unknown key", 1, GOOD, "@/spec.json --set dtyp=float32", ERR_SPEC,
     "command line: unknown key \"dtyp\": the nearest known one is \"dtype\""},
    {"layers for other ranks", 2, "{ " MODEL ",\n  " DATA ",\n  \"layers\": [2, 1, 1] }",
     "@/spec.json", ERR_SPEC, "\"layers\" names 3 stages, but 2 ranks are no multiple of it"},
    {"stages for other ranks", 2, "{ " MODEL ",\n  " DATA ",\n  \"stages\": 3 }", "@/spec.json",
     ERR_SPEC, "\"stages\" is 3, but 2 ranks are no multiple of it"},
    {"layers that do not add up", 2, "{ " MODEL ",\n  " DATA ",\n  \"layers\": [2, 3] }",
     "@/spec.json", ERR_SPEC, "\"layers\" adds up to 5, but the model has 4 layers"},
    {"unknown variant", 1, "{ " MODEL ",\n  " DATA ",\n  \"isa\": \"avx3\" }", "@/spec.json",
     ERR_SPEC, "isa: got \"avx3\", want one of auto, avx512bf16, avx512, avx2, portable"},
    {"no such backend here", 1, "{ " MODEL ",\n  " DATA ",\n  \"backend\": \"cuda\" }",
     "@/spec.json", ERR_UNAVAILABLE,
     "backend: cuda is not built into this program (try \"cpu\" or \"auto\")"},

    /* The model. */
    {"no such model", 1, "{ \"model_dir\": \"absent\", " DATA " }", "@/spec.json", ERR_NO_INPUT,
     "@/absent/config.json: cannot be opened: No such file or directory"},
    {"unknown architecture", 1, "{ \"model_dir\": \"mamba\", " DATA " }", "@/spec.json", ERR_DATA,
     "config.json:3:5: architecture 'MambaForCausalLM' is not supported "
     "(LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM are)"},
    {"cut safetensors", 1, "{ \"model_dir\": \"cut\", " DATA " }", "@/spec.json", ERR_DATA,
     "model.safetensors: 'model.embed_tokens.weight': data_offsets end at 1573040, the "
     "file holds 1382012 bytes of data (truncated download?)"},
    {"a NaN scale", 1, "{ \"model_dir\": \"nan\", " DATA " }", "@/spec.json", ERR_DATA,
     "layer 2: model.safetensors: 'model.layers.2.mlp.up_proj.weight_scale': row 2, group "
     "1: the scale is NaN (0x7f), want a number above 0"},
    {"a NaN scale on the second rank", 2, "{ \"model_dir\": \"nan\", \"stages\": 2, " DATA " }",
     "@/spec.json", ERR_DATA,
     "rank 1 of 2 (HOST): layer 2: model.safetensors: "
     "'model.layers.2.mlp.up_proj.weight_scale': row 2, group 1: the scale is NaN (0x7f), "
     "want a number above 0"},
    {"a shard that is missing", 1, "{ \"model_dir\": \"hole\", " DATA " }", "@/spec.json",
     ERR_NO_INPUT, "@/hole/model-00002-of-00003.safetensors: No such file or directory"},
    {"no tokenizer", 1, "{ \"model_dir\": \"mute\", " DATA " }", "@/spec.json", ERR_NO_INPUT,
     "@/mute/tokenizer.json: cannot be opened: No such file or directory"},

    /* The text. */
    {"no such text", 1, "{ " MODEL ",\n  \"data\": { \"text\": \"absent.txt\" } }", "@/spec.json",
     ERR_NO_INPUT, "@/absent.txt: cannot be opened: No such file or directory"},
    {"not UTF-8", 1, "{ " MODEL ",\n  \"data\": { \"text\": \"latin1.txt\" } }", "@/spec.json",
     ERR_DATA, "@/latin1.txt: byte 3 (0xe9): not valid UTF-8"},
    {"a broken row", 1, "{ " MODEL ",\n  \"data\": { \"jsonl\": \"rows.jsonl\" } }", "@/spec.json",
     ERR_DATA, "@/rows.jsonl:2:10: got the end of the text, want a value"},
    {"a missing column", 1,
     "{ " MODEL ",\n  \"data\": { \"jsonl\": \"$/text/docs.jsonl\", \"text_column\": \"body\" } }",
     "@/spec.json", ERR_DATA,
     "$/text/docs.jsonl:1:1: no \"body\": want the text under this key (or another text_column)"},
    {"an empty text", 1, "{ " MODEL ",\n  \"data\": { \"text\": \"empty.txt\" } }", "@/spec.json",
     ERR_DATA, "@/empty.txt: got 0 bytes, want text"},
    {"one word", 1, "{ " MODEL ",\n  \"data\": { \"text\": \"word.txt\", \"eval_len\": 64 } }",
     "@/spec.json", ERR_DATA,
     "the text has 4 tokens: no window of eval_len 64 fits (score \"window\" needs at "
     "least 65; a smaller eval_len would do)"},
    {"ids that are not an array", 1, "{ " MODEL ",\n  \"data\": { \"tokens\": \"latin1.txt\" } }",
     "@/spec.json", ERR_DATA,
     "@/latin1.txt: got another kind of file, want ids in .npy or .safetensors"},
    {"unknown dataset", 1, "{ " MODEL ",\n  \"data\": { \"dataset\": \"wiki3\" } }", "@/spec.json",
     ERR_SPEC,
     "@/spec.json:2:13: dataset: got \"wiki3\", want \"wiki2\" (for a file of yours: "
     "\"text\", \"jsonl\" or \"tokens\" in its place)"},
    {"the dataset's file is not there", 1, "{ " MODEL ",\n  \"data\": { \"dataset\": \"wiki2\" } }",
     "@/spec.json --data-dir @", ERR_NO_INPUT,
     "dataset \"wiki2\": @/wiki.test.raw is not there (put the raw test split of "
     "WikiText-2 there, or name the file or its folder with --data-dir or NVFP4_PPL_DATA)"},

    /* Caps and outputs. */
    {"a cap that is too small", 1,
     "{ " MODEL ",\n  " DATA ",\n  \"max_memory\": { \"0\": \"1MiB\" } }", "@/spec.json", ERR_FIT,
     "plan refused: 4 layers in windows of 64 tokens do not fit 1 rank with 1.000 MiB in "
     "all: a cap of 4 MiB would do"},
    {"the same when only planning", 1,
     "{ " MODEL ",\n  " DATA ",\n  \"max_memory\": { \"0\": \"3MiB\", \"1\": \"2MiB\" } }",
     "@/spec.json --plan --ranks 2", ERR_FIT,
     "plan refused: 4 layers in windows of 64 tokens do not fit 2 ranks with 5.000 MiB in all: a "
     "cap of 4 MiB for each rank that has less would do"},
    {"no place for the JSON", 1, GOOD, "@/spec.json --json @/absent/out.json", ERR_OUTPUT,
     "@/absent/out.json: cannot be created: No such file or directory"},
    {"a folder in place of the JSON", 1, GOOD, "@/spec.json --json @", ERR_OUTPUT,
     "@: cannot be created: Is a directory"},
    {"no place for the nll", 2, GOOD, "@/spec.json --nll @/absent/nll.npy", ERR_OUTPUT,
     "rank 0 of 2 (HOST): @/absent/nll.npy: cannot be created: No such file or directory"},
    {"no place for the run's folder", 1, GOOD, "@/spec.json --out @/absent/run", ERR_OUTPUT,
     "@/absent/run: cannot make the folder: No such file or directory"},
    {"no place for the ids", 1, NULL, "--tokenize $/models/qwen3-mixed --out @/absent/ids.npy $/text/demo.txt",
     ERR_OUTPUT, "@/absent/ids.npy: cannot be created: No such file or directory"},
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
    char host[80] = "(";

    gethostname(host + 1, 64);
    strcat(host, ")");
    char *some = replace(text, scratch_folder(), "@");
    char *more = replace(some, TEST_DATA, "$");
    char *all = replace(more, host, "(HOST)");
    free(some);
    free(more);
    return all;
}

/* Broken copies of good models, and texts that are none. */
static void make_inputs(void)
{
    const unsigned char nan = 0x7f; /* e4m3 */
    const char *const name[] = {"mamba", "cut", "nan", "hole", "mute"};
    const char *from[] = {"llama3-head", "llama3-head", "llama3-head", "qwen3-mixed",
                          "llama3-head"};
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
    tensor_patch(scratch_path("nan/model.safetensors"), "model.layers.2.mlp.up_proj.weight_scale",
                 25, &nan, 1);
    remove(scratch_path("hole/model-00002-of-00003.safetensors"));
    remove(scratch_path("mute/tokenizer.json"));
    file_write(scratch_path("latin1.txt"), "caf\xe9 au lait", 12);
    file_printf(scratch_path("rows.jsonl"), "{\"text\": \"a row\"}\n{\"text\": \n");
    file_printf(scratch_path("empty.txt"), "%s", "");
    file_printf(scratch_path("word.txt"), "kettle");
}

/* The line that begins with the program's name, without it; NULL where there is not exactly one, or
 * where a launcher added words of its own. Before it there may be the plan. */
static char *find_line(const char *err)
{
    static const char name[] = "nvfp4_ppl: ";
    const char *line = strstr(err, name);

    if (!line || (line > err && line[-1] != '\n') || strstr(line + 1, name) ||
        strchr(line, '\n') != line + strlen(line) - 1)
        return NULL;
    line += strlen(name);
    return strndup(line, strlen(line) - 1);
}

static struct run *run_case(const struct wrong *c)
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
    free(words);
    return run_program(&a, 30);
}

static bool check_case(const struct wrong *c)
{
    struct run *r = run_case(c);
    char *err = shorten(r->err), *line = find_line(err);
    bool good = r->code == (int)c->code && line && strcmp(line, c->said) == 0 &&
                r->out_bytes == 0;

    if (!good)
        printf(
            "FAIL %s: want exit code %d and\n%s\n  got exit code %d, %zu bytes on stdout and\n%s\n",
            c->name, c->code, c->said, r->code, r->out_bytes, err);
    free(err);
    free(line);
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
