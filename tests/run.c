#include "tests/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static __attribute__((noreturn, format(printf, 1, 2))) void broken(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("FAIL: the test itself: ");
    vprintf(fmt, ap);
    printf(": %s\n", strerror(errno));
    va_end(ap);
    exit(1);
}

static char *format_text(const char *fmt, va_list ap)
{
    char *text;

    if (vasprintf(&text, fmt, ap) < 0)
        broken("out of memory");
    return text;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

struct args args_none(void)
{
    return (struct args){.n = 0};
}

void args_add(struct args *a, const char *fmt, ...)
{
    va_list ap;

    if (a->n >= ARGS_MAX)
        broken("more than %d arguments", ARGS_MAX);
    va_start(ap, fmt);
    a->word[a->n++] = format_text(fmt, ap);
    va_end(ap);
}

struct args args_ppl(int np)
{
    struct args a = args_none();

    args_add_ppl(&a, np);
    return a;
}

void args_add_ppl(struct args *a, int np)
{
    if (np > 1) {
        /* Tests share few cores: any number of ranks, none bound to a core. -q: no word of its own
         * when a rank ends with an exit code. */
        args_add(a, "mpirun");
        args_add(a, "-q");
        args_add(a, "--oversubscribe");
        args_add(a, "--bind-to");
        args_add(a, "none");
        args_add(a, "-np");
        args_add(a, "%d", np);
    }
    args_add(a, "%s", PROGRAM);
}

struct args args_tool(const char *name)
{
    struct args a = args_none();

    args_add(&a, "%.*s/%s", (int)(strrchr(PROGRAM, '/') - PROGRAM), PROGRAM, name);
    return a;
}

void args_add_suffix(struct args *a, const char *suffix)
{
    char *word = a->word[--a->n];

    args_add(a, "%s%s", word, suffix);
    free(word);
}

static void child_exec(struct run *r)
{
    int null = open("/dev/null", O_RDONLY);

    dup2(null, 0);
    dup2(r->out_file, 1);
    dup2(r->err_file, 2);
    /* mpirun refuses root without these; in a container there is only root. */
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    /* Sanitizer builds: MPI_Finalize unloads the modules whose leaks lsan.supp could name. */
    if (strcmp(r->args.word[0], "mpirun") == 0)
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    setpgid(0, 0);
    execvp(r->args.word[0], r->args.word);
    dprintf(2, "cannot start %s: %s\n", r->args.word[0], strerror(errno));
    _exit(127);
}

struct run *run_start(struct args *a)
{
    struct run *r = calloc(1, sizeof *r);

    if (!r)
        broken("out of memory");
    r->args = *a;
    *a = args_none();
    r->out_file = memfd_create("stdout", MFD_CLOEXEC);
    r->err_file = memfd_create("stderr", MFD_CLOEXEC);
    if (r->out_file < 0 || r->err_file < 0)
        broken("memfd_create");
    fflush(stdout);
    r->started = now();
    r->pid = fork();
    if (r->pid < 0)
        broken("fork");
    if (r->pid == 0)
        child_exec(r);
    setpgid(r->pid, r->pid); /* here too: whoever is first, so that a kill meets the whole group */
    return r;
}

static char *read_all(int file, size_t *bytes)
{
    struct stat st;
    char *text;

    if (fstat(file, &st) != 0 || !(text = malloc((size_t)st.st_size + 1)))
        broken("reading an output");
    ssize_t n = pread(file, text, (size_t)st.st_size, 0);
    if (n < 0)
        broken("reading an output");
    text[n] = 0;
    if (bytes)
        *bytes = (size_t)n;
    return text;
}

void run_wait(struct run *r, double limit_s)
{
    double end = r->started + limit_s;
    bool killed = false;
    int state;

    for (pid_t got; (got = waitpid(r->pid, &state, WNOHANG)) != r->pid; nap()) {
        if (got < 0)
            broken("waitpid");
        if (now() < end)
            continue;
        kill(-r->pid, SIGKILL);
        killed = true;
    }
    r->seconds = now() - r->started;
    r->code = killed ? -1 : WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
    r->out = read_all(r->out_file, &r->out_bytes);
    r->err = read_all(r->err_file, &r->err_bytes);
}

struct run *run_program(struct args *a, double limit_s)
{
    struct run *r = run_start(a);

    run_wait(r, limit_s);
    return r;
}

bool run_said(struct run *r, const char *text, double limit_s)
{
    siginfo_t ended;

    for (double end = now() + limit_s; now() < end; nap()) {
        ended.si_pid = 0;
        waitid(P_PID, (id_t)r->pid, &ended, WEXITED | WNOHANG | WNOWAIT);
        char *err = read_all(r->err_file, NULL);
        bool found = strstr(err, text) != NULL;
        free(err);
        if (found)
            return true;
        if (ended.si_pid == r->pid)
            return false;
    }
    return false;
}

void run_print(const struct run *r)
{
    printf("  command:");
    for (int i = 0; i < r->args.n; i++)
        printf(" %s", r->args.word[i]);
    printf("\n  exit code %d after %.2f s\n  stdout:\n%s\n  stderr:\n%s\n", r->code, r->seconds,
           r->out, r->err);
}

/* The rank that its launcher gave a process, or -1. */
static int rank_of(int pid)
{
    static const char name[] = "OMPI_COMM_WORLD_RANK=";
    char path[64], text[65536];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    f = fopen(path, "r");
    if (!f)
        return -1;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    for (char *at = text; at < text + n; at += strlen(at) + 1)
        if (strncmp(at, name, strlen(name)) == 0)
            return atoi(at + strlen(name));
    return -1;
}

pid_t run_rank(const struct run *r, int rank)
{
    char path[64];
    int pid, found = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)r->pid, (int)r->pid);
    f = fopen(path, "r");
    while (f && found == 0 && fscanf(f, "%d", &pid) == 1)
        if (rank_of(pid) == rank)
            found = pid;
    if (f)
        fclose(f);
    return found;
}

void run_close(struct run *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->args.n; i++)
        free(r->args.word[i]);
    close(r->out_file);
    close(r->err_file);
    free(r->out);
    free(r->err);
    free(r);
}

static char scratch[PATH_MAX];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void scratch_remove(void)
{
    nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_folder(void)
{
    const char *tmp = getenv("TMPDIR");

    if (scratch[0])
        return scratch;
    snprintf(scratch, sizeof scratch, "%s/nvfp4_ppl-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(scratch))
        broken("mkdtemp %s", scratch);
    atexit(scratch_remove);
    return scratch;
}

const char *scratch_path(const char *fmt, ...)
{
    static struct path {
        struct path *next;
        char *text;
    } *paths; /* all that were given out: they live as long as the test */
    struct path *p = malloc(sizeof *p);
    va_list ap;

    va_start(ap, fmt);
    char *name = format_text(fmt, ap);
    va_end(ap);
    if (!p || asprintf(&p->text, "%s/%s", scratch_folder(), name) < 0)
        broken("out of memory");
    free(name);
    p->next = paths;
    paths = p;
    return p->text;
}

char *file_read(const char *path, size_t *bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file < 0)
        return NULL;
    char *text = read_all(file, bytes);
    close(file);
    return text;
}

void file_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");

    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0)
        broken("writing %s", path);
}

void file_printf(const char *path, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = format_text(fmt, ap);
    va_end(ap);
    file_write(path, text, strlen(text));
    free(text);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void folder_copy(const char *from, const char *to)
{
    DIR *folder = opendir(from);
    char a[PATH_MAX], b[PATH_MAX];

    if (!folder || mkdir(to, 0755) != 0)
        broken("copying %s to %s", from, to);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t bytes;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(a, sizeof a, "%s/%s", from, entry->d_name);
        snprintf(b, sizeof b, "%s/%s", to, entry->d_name);
        char *data = file_read(a, &bytes);
        if (!data)
            broken("reading %s", a);
        file_write(b, data, bytes);
        free(data);
    }
    closedir(folder);
}
