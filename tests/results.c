#include "tests/results.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((noreturn)) void bad_file(const char *path, const char *why)
{
    printf("FAIL %s: %s\n", path, why);
    exit(1);
}

/* Header: magic, version 1.0, u16 length, a Python dict as text; then the values in C order. */
struct array *array_open(const char *path)
{
    size_t bytes, header, rows, cols;
    char *data = file_read(path, &bytes), *shape;
    struct array *a = calloc(1, sizeof *a);

    if (!data || !a)
        bad_file(path, "cannot read it");
    if (bytes < 10 || memcmp(data, "\x93NUMPY\x01\x00", 8) != 0)
        bad_file(path, "is not a .npy file of version 1.0");
    header = 10 + ((unsigned char)data[8] | (size_t)(unsigned char)data[9] << 8);
    if (header > bytes)
        bad_file(path, "ends in its header");
    data[header - 1] = 0; /* the newline that ends the header */
    shape = strstr(data + 10, "'shape': (");
    if (!shape || sscanf(shape, "'shape': (%zu, %zu)", &rows, &cols) != 2)
        bad_file(path, "does not have two dimensions");
    size_t width = strstr(data + 10, "'<f8'") ? 8 : strstr(data + 10, "'<f4'") ? 4 : 0;
    if (!width || bytes - header != rows * cols * width)
        bad_file(path, "is neither float32 nor float64, or has another size than its shape");
    a->rows = rows;
    a->cols = cols;
    a->value = malloc(rows * cols * sizeof *a->value + 1);
    for (size_t i = 0; i < rows * cols; i++) {
        float narrow;

        memcpy(width == 8 ? (void *)&a->value[i] : (void *)&narrow, data + header + i * width, width);
        if (width == 4)
            a->value[i] = (double)narrow;
    }
    free(data);
    return a;
}

void array_close(struct array *a)
{
    if (a)
        free(a->value);
    free(a);
}

size_t array_scored(const struct array *a)
{
    size_t n = 0;

    for (size_t i = 0; i < a->rows * a->cols; i++)
        n += !isnan(a->value[i]);
    return n;
}

double array_mean(const struct array *a)
{
    double sum = 0;

    for (size_t i = 0; i < a->rows * a->cols; i++)
        sum += isnan(a->value[i]) ? 0 : a->value[i];
    return sum / (double)array_scored(a);
}

double array_distance(const struct array *a, const struct array *b)
{
    double most = 0;

    if (a->rows != b->rows || a->cols != b->cols)
        return NAN;
    for (size_t i = 0; i < a->rows * a->cols; i++) {
        double d = fabs(a->value[i] - b->value[i]);

        if (isnan(a->value[i]) && isnan(b->value[i]))
            continue;
        if (!(d <= most))
            most = d;
        if (isnan(d))
            return d;
    }
    return most;
}

double array_correlation(const struct array *a, const struct array *b, const struct array *base)
{
    double n = 0, x1 = 0, y1 = 0, xx = 0, yy = 0, xy = 0;

    if (a->rows != b->rows || a->cols != b->cols || a->rows != base->rows || a->cols != base->cols)
        return NAN;
    for (size_t i = 0; i < a->rows * a->cols; i++) {
        double x = a->value[i] - base->value[i], y = b->value[i] - base->value[i];

        n += 1;
        x1 += x;
        y1 += y;
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    return (n * xy - x1 * y1) / sqrt((n * xx - x1 * x1) * (n * yy - y1 * y1));
}

cJSON *json_file(const char *path)
{
    char *text = file_read(path, NULL);
    cJSON *root = text ? cJSON_Parse(text) : NULL;

    if (!root)
        bad_file(path, text ? "is not JSON" : "cannot read it");
    free(text);
    return root;
}

const cJSON *json_at(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (!item)
        bad_file(key, "no such key in the JSON");
    return item;
}

double json_number(const cJSON *object, const char *key)
{
    const cJSON *item = json_at(object, key);

    if (!cJSON_IsNumber(item))
        bad_file(key, "is not a number in the JSON");
    return item->valuedouble;
}

const char *json_text(const cJSON *object, const char *key)
{
    const cJSON *item = json_at(object, key);

    if (!cJSON_IsString(item))
        bad_file(key, "is not a text in the JSON");
    return item->valuestring;
}

const cJSON *json_result(const cJSON *root)
{
    const cJSON *first = cJSON_GetArrayItem(json_at(root, "results"), 0);

    if (!first)
        bad_file("results", "is empty in the JSON");
    return first;
}

/* File: u64 bytes of the header, the header (JSON), then the data that its offsets count from. */
void tensor_patch(const char *path, const char *tensor, size_t at, const void *bytes, size_t n)
{
    size_t size;
    uint64_t header;
    char *file = file_read(path, &size);

    if (!file || size < 8)
        bad_file(path, "cannot read it");
    memcpy(&header, file, 8);
    cJSON *json = cJSON_ParseWithLength(file + 8, header);
    const cJSON *span = json_at(json_at(json, tensor), "data_offsets");
    double begin = cJSON_GetArrayItem(span, 0)->valuedouble;
    memcpy(file + 8 + header + (size_t)begin + at, bytes, n);
    file_write(path, file, size);
    cJSON_Delete(json);
    free(file);
}

struct measurement measure(struct args *a, double limit_s)
{
    struct measurement m = {0};
    const char *json = scratch_path("measured.json"), *nll = scratch_path("measured.npy");

    remove(json);
    remove(nll);
    args_add(a, "--json");
    args_add(a, "%s", json);
    args_add(a, "--nll");
    args_add(a, "%s", nll);
    if (PLANNED_MEMORY)
        args_add(a, "--strict-memory");
    m.run = run_program(a, limit_s);
    if (m.run->code == 0) {
        m.json = json_file(json);
        m.result = json_result(m.json);
        m.nll = array_open(nll);
    }
    return m;
}

struct measurement must_measure(struct args *a, double limit_s)
{
    struct measurement m = measure(a, limit_s);

    if (m.run->code != 0) {
        printf("FAIL: the program did not run to its end\n");
        run_print(m.run);
        exit(1);
    }
    return m;
}

void measurement_close(struct measurement *m)
{
    run_close(m->run);
    cJSON_Delete(m->json);
    array_close(m->nll);
    *m = (struct measurement){0};
}
