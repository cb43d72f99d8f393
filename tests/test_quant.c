// links: loader spec
/* What the quantization config says about the input of a matrix: compressed-tensors groups by exact
 * name, pattern and class, ignored ones, presets, ModelOpt's algorithms for all and by layer. */
#include "folder.h"
#include "loader/quant.h"

#define FP4       "\"num_bits\":4,\"type\":\"float\",\"group_size\":16"
#define WEIGHTS   "\"weights\":{" FP4 ",\"dynamic\":false}"
#define LOCAL     "\"input_activations\":{" FP4 ",\"dynamic\":\"local\",\"scale_dtype\":\"f8\"}"
#define OLD_LOCAL "\"input_activations\":{" FP4 ",\"dynamic\":\"local\"}"
#define CT        "{\"quant_method\":\"compressed-tensors\","

static const struct {
    const char *config, *module, *want; /* "none", "weight", "input", "input f32" or a message */
} cases[] = {
    {CT "\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS "," LOCAL "}}}", "a.up",
     "input"},
    {CT "\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS "," OLD_LOCAL "}}}", "a.up",
     "input f32"},
    {CT "\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS
        ",\"input_activations\":null}}}",
     "a.up", "weight"},
    {CT "\"ignore\":[\"a.up\"],\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS "}}}",
     "a.up", "none"},
    {CT "\"ignore\":[\"a\"],\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS "}}}",
     "a.up", "weight"}, /* a parent's name ignores nothing */
    {CT "\"ignore\":[\"re:.*up$\"],\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS
        "}}}",
     "a.up", "none"},
    {CT "\"ignore\":[\"re:up\"],\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS "}}}",
     "a.up", "weight"}, /* a pattern matches from the start */
    {CT "\"config_groups\":{\"g\":{\"targets\":[\"Conv2d\"]," WEIGHTS "}}}", "a.up", "none"},
    /* the exact name beats the pattern, whatever the order; the pattern beats the class */
    {CT "\"config_groups\":{\"x\":{\"targets\":[\"a.up\"]," WEIGHTS "," LOCAL
        "},\"y\":{\"targets\":[\"re:a.*\"]," WEIGHTS "}}}",
     "a.up", "input"},
    {CT "\"config_groups\":{\"x\":{\"targets\":[\"Linear\"]," WEIGHTS "," LOCAL
        "},\"y\":{\"targets\":[\"re:a.*\"]," WEIGHTS "}}}",
     "a.up", "weight"},
    {CT "\"config_groups\":{\"x\":{\"targets\":[\"Linear\"]," WEIGHTS "," LOCAL
        "},\"y\":{\"targets\":[\"re:b.*\"]," WEIGHTS "}}}",
     "a.up", "input"},
    {CT "\"config_groups\":{\"NVFP4\":[\"Linear\"]}}", "a.up", "input"},
    {CT "\"config_groups\":{\"NVFP4A16\":[\"Linear\"]}}", "a.up", "weight"},
    {CT "\"config_groups\":{\"FP8\":[\"Linear\"]}}", "a.up",
     "c:1:55: quantization preset 'FP8' is not supported (NVFP4, NVFP4A16 are)"},
    {CT "\"config_groups\":{\"g\":{\"targets\":\"Linear\"," WEIGHTS "}}}", "a.up",
     "c:1:60: want an array of modules"},
    {CT "\"ignore\":[1],\"config_groups\":{}}", "a.up",
     "c:1:48: a list of modules holds something that is no string"},
    {CT "\"ignore\":[\"re:(a*)*(a*)*(a*)*[xy]$\"],\"config_groups\":{}}",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "quantization_config: pattern 're:(a*)*(a*)*(a*)*[xy]$' cannot be matched with "
     "'aaaaaaaaaaaaaaaaaaaaaaaaaaaa' (PCRE2 error -47)"},
    {CT "\"config_groups\":[]}", "a.up", "c:1:38: config_groups is no object of at most 64 groups"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\"}", "a.up", "input"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A16_NVFP4\"}", "a.up", "weight"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4_SVD\"}", "a.up",
     "c:1:28: quant_algo 'NVFP4_SVD' is not supported (NVFP4, NVFP4_AWQ, W4A16_NVFP4, "
     "MIXED_PRECISION are)"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":"
     "{\"a.up\":{\"quant_algo\":\"NVFP4\"}}}",
     "a.up", "input"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":"
     "{\"a.up\":{\"quant_algo\":\"W4A16_NVFP4\"}}}",
     "a.up", "weight"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":"
     "{\"b.up\":{\"quant_algo\":\"NVFP4\"}}}",
     "a.up", "none"},
    {"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":"
     "{\"a.up\":{\"quant_algo\":\"FP8\"}}}",
     "a.up", "c:1:87: 'a.up' has quant_algo 'FP8', but is stored as NVFP4"},
    {"{\"quant_method\":\"modelopt\",\"config_groups\":{\"g\":{\"targets\":[\"Linear\"]," WEIGHTS
     ",\"input_activations\":{" FP4 ",\"dynamic\":false}}}}",
     "a.up", "input"}, /* an export without quant_algo */
    {"{\"quant_method\":\"awq\"}", "a.up",
     "c:1:2: quant_method 'awq' is not supported (compressed-tensors, modelopt are)"},
};

static const char *outcome(const char *config, const char *module, struct err *e)
{
    struct json *j;
    struct quant *q = NULL;
    struct input_rule rule = {0};
    enum status s = json_parse("c", config, strlen(config), JSON_STRICT, ERR_DATA, &j, e);

    EXPECT(s == OK);
    s = quant_parse(j, json_root(j), &q, e);
    if (s == OK)
        s = quant_input(q, module, "Linear", &rule, e);
    quant_close(q);
    json_close(j);
    return s != OK           ? e->msg
           : !rule.known     ? "none"
           : !rule.quantized ? "weight"
           : rule.unrounded  ? "input f32"
                             : "input";
}

/* Older ModelOpt exports say it in hf_quant_config.json alone; config.json wins where both speak.
 */
static void test_own_file(void)
{
    static const char own[] =
        "{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{\"quant_algo\":"
        "\"NVFP4\",\"kv_cache_quant_algo\":\"FP8\",\"group_size\":16,"
        "\"exclude_modules\":[\"lm_head\"]}}";
    static const char *const config[] = {
        "{\"quantization_config\":null}",
        "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A16_NVFP4\"}}"};

    for (int i = 0; i < 2; i++) {
        struct config c = {0};
        struct quant *q;
        struct input_rule rule;
        struct err e;

        folder_write("hf_quant_config.json", own, strlen(own));
        EXPECT(json_parse("c", config[i], strlen(config[i]), JSON_STRICT, ERR_DATA, &c.json, &e) ==
               OK);
        EXPECT(quant_open(folder, &c, &q, &e) == OK && q);
        EXPECT(quant_input(q, "a.up", "Linear", &rule, &e) == OK);
        EXPECT(rule.known && rule.quantized == (i == 0));
        EXPECT(quant_has_kv_cache(q) == (i == 0));
        quant_close(q);
        folder_clear();
        EXPECT(quant_open(folder, &c, &q, &e) == OK && (q == NULL) == (i == 0));
        quant_close(q);
        config_close(&c);
    }
}

int main(void)
{
    int failures = 0;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e;
        const char *got = outcome(cases[i].config, cases[i].module, &e);

        if (strcmp(got, cases[i].want) != 0) {
            printf("FAIL %s\n  got  %s\n  want %s\n", cases[i].config, got, cases[i].want);
            failures++;
        }
    }
    folder_make();
    test_own_file();
    quant_close(NULL);
    return failures > 0;
}
