// Ids of the tokenizers in the tree equal those of Hugging Face `tokenizers`, text by text.
// links: loader
#include "tests/tokenizer_cases.h"

int main(void)
{
    static const char *const name[] = {"ours-4096", "synth-gpt2", "synth-llama3", "synth-qwen35",
                                       "synth-tekken"};
    char folder[4096], texts[4096];

    snprintf(texts, sizeof texts, "%s/text", golden_dir());
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        snprintf(folder, sizeof folder, "%s/tokenizers/%s", TEST_DATA, name[i]);
        check_tokenizer(folder, texts);
    }
    return 0;
}
