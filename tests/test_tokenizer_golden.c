// The same for real tokenizers (GPT-2, Llama 2 and 3, Phi-3, Qwen, Mistral), which the tree does
// not carry: every folder of the golden data, all texts and the whole of WikiText-2's test file.
// links: loader
#include <dirent.h>

#include "tests/tokenizer_cases.h"

int main(void)
{
    char folder[4096], path[8192], texts[4096];
    int count = 0;
    DIR *dir;

    snprintf(folder, sizeof folder, "%s/tokenizers", golden_dir());
    snprintf(texts, sizeof texts, "%s/text", golden_dir());
    dir = opendir(folder);
    if (!dir)
        SKIP("no golden tokenizers in %s (set NVFP4_PPL_GOLDEN)", folder);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        FILE *f;

        snprintf(path, sizeof path, "%s/%s/golden.json", folder, d->d_name);
        if (d->d_name[0] == '.' || !(f = fopen(path, "rb")))
            continue;
        fclose(f);
        snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
        check_tokenizer(path, texts);
        count++;
    }
    closedir(dir);
    EXPECT(count > 0);
    return 0;
}
