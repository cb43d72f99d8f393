// links: run spec
// timeout: 400
// labels: slow faults
// processors: 3
/* D1, the faults of one host that need no Slurm and no GPU: each is injected, ends within its bound
 * with a code that fits, at most one line and no process left, and is followed by a run to the same
 * bits. Prints the table with the measured seconds. F7-F10 are in tests/net/run, F13 in
 * test_fault_kill, the rest of F15 in test_journal and test_resume, F20 in cuda_host_program, F22 in
 * tests/slurm/run. */
#include <fcntl.h>
#include <linux/types.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/ways.h"

/* The bound of a run that goes through all the same: what it is waited for. It takes a second on an idle
 * machine; 33 were seen where thirty loops kept two cores busy. */
enum { ROWS = 6, RANKS = 3, ALL_OF_IT = 60 };

/* Steps of a fault that happens from outside, while a run is scoring; it goes on from there. */
typedef void inject(struct run *r, const char *out);

struct fault {
    const char *name, *site, *extra;
    int np;
    double bound; /* seconds from the fault, of which mpirun takes two to end; of what is none,
                     from the start */
    int code;     /* -1: any but 0 */
    inject *from_outside;
    const char *shell; /* see struct way */
    bool silent;       /* there may be no line: nobody has met yet, or the launcher took it along */
};

static inject to_launcher_term, to_launcher_usr1, to_launcher_kill, to_rank_0_term, remove_journal,
    start_again;

/* Every layer of rank 0 takes 0.3 s longer: time to inject something. */
#define SLOW "0/stage_layer:2+:slow"

static const struct fault faults[] = {
    {"F1  rank 1 killed before they meet", "1/MPI_Comm_dup:1:kill", NULL, RANKS, 6, .code = -1, .silent = true},
    {"F1  rank 0 killed in compute", "0/stage_layer:9:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 1 killed in compute", "1/stage_layer:9:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 2 killed in compute", "2/stage_layer:5:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 1 killed while opening", "1/pread:3:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 1 killed while loading", "1/mmap:1:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 1 killed in a send", "1/MPI_Isend:20:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 0 killed in the journal", "0/fdatasync:1:kill", NULL, RANKS, 6, .code = -1},
    {"F1  rank 0 killed while reporting", "0/rename:2:kill", NULL, RANKS, 6, .code = -1},
    {"F2  rank 1 aborts", "1/stage_layer:9:abort", NULL, RANKS, 6, .code = -1},
    {"F2  rank 1 exits with 0", "1/stage_layer:9:exit0", NULL, RANKS, 6, .code = -1},
    {"F2  rank 1 exits with 3", "1/stage_layer:9:exit3", NULL, RANKS, 6, .code = -1},
    {"F3  rank 1 stopped", "1/stage_layer:9:stop", NULL, RANKS, 20, .code = -1},
    {"F4  rank 1 slow: no abort", "1/stage_layer:1+:slow", NULL, RANKS, 40, .code = 0},
    {"F5  SIGTERM to mpirun", SLOW, NULL, RANKS, 4, .code = 1, .from_outside = to_launcher_term},
    {"F5  SIGUSR1 to mpirun", SLOW, NULL, RANKS, 4, .code = 75, .from_outside = to_launcher_usr1},
    {"F5  SIGTERM to rank 0", SLOW, NULL, RANKS, 4, .code = 75, .from_outside = to_rank_0_term},
    {"F6  SIGKILL to mpirun", SLOW, NULL, RANKS, 5, .code = 137, .from_outside = to_launcher_kill, .silent = true},
    {"F11 disk full in the journal", "0/write:2+:full", NULL, 2, 5, .code = 74},
    {"F11 write error in the journal", "0/write:2:fail", NULL, 1, 2, .code = 74},
    {"F11 files limited to 2 KiB", "", NULL, 1, 5, .code = 74, .shell = "ulimit -f 2; exec \"$@\""},
    {"F12 sync error in the journal", "0/fdatasync:1:fail", NULL, 2, 5, .code = 74},
    {"F12 syncs delayed by 0.3 s", "0/fdatasync:1+:slow", NULL, 1, ALL_OF_IT, .code = 0},
    {"F15 the journal is removed", SLOW, NULL, 2, 7, .code = 74, .from_outside = remove_journal},
    {"F16 no memory for the arena", "1/mmap:1:fail", NULL, 2, 5, .code = 71},
    {"F16 data limited to 20 MB", "", NULL, 1, 5, .code = 71, .shell = "ulimit -d 20000; exec \"$@\""},
    {"F17 a cap that is too small", "", "--set=max_memory.0=1MiB", 1, 5, .code = 71},
    {"F18 read error in the weights", "1/pread:60:fail", NULL, 2, 5, .code = 74},
    {"F23 standard output is full", "", NULL, 2, ALL_OF_IT, .code = 0, .shell = "exec \"$@\" >/dev/full"},
    {"F23 standard error is full", "", NULL, 2, ALL_OF_IT, .code = 0, .shell = "exec \"$@\" 2>/dev/full"},
    {"F23 no standard files at all", "", NULL, 1, ALL_OF_IT, .code = 0, .shell = "exec \"$@\" <&- >&- 2>&-"},
    {"F23 no home, no folder for files", "", NULL, 1, ALL_OF_IT, .code = 0,
     .shell = "unset HOME; TMPDIR=/nonexistent exec \"$@\""},
    {"F23 the clock jumps to 1970", "0/time:4+:fail", NULL, 2, ALL_OF_IT, .code = 0},
    {"F24 four ranks on these cores", "", NULL, 4, ALL_OF_IT, .code = 0},
    {"F25 a second run in its folder", SLOW, NULL, 2, 40, .code = 0, .from_outside = start_again},
};

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void to_launcher_term(struct run *r, const char *out)
{
    (void)out;
    EXPECT(kill(r->pid, SIGTERM) == 0);
}

static void to_launcher_usr1(struct run *r, const char *out)
{
    (void)out;
    EXPECT(kill(r->pid, SIGUSR1) == 0);
}

static void to_launcher_kill(struct run *r, const char *out)
{
    (void)out;
    EXPECT(kill(r->pid, SIGKILL) == 0);
}

static void to_rank_0_term(struct run *r, const char *out)
{
    cJSON *status = json_file(way_file(out, "status.json"));

    (void)r;
    EXPECT(kill((pid_t)json_number(status, "pid"), SIGTERM) == 0);
    cJSON_Delete(status);
}

static void remove_journal(struct run *r, const char *out)
{
    (void)r;
    EXPECT(unlink(way_file(out, "journal")) == 0);
}

/* Is refused within a second; the first run goes on. */
static void start_again(struct run *r, const char *out)
{
    struct run *second = way_expect(out, &plain, 73);

    (void)r;
    EXPECT(strstr(second->err, "another run writes here: host ") && second->seconds <= 1);
    run_close(second);
}

/* Until `windows` of the run are said to be on the disk. */
static void await_windows(struct run *r, const char *out, int windows)
{
    for (double end = now() + 20; way_status_windows(out) < windows; usleep(5000))
        if (now() > end) {
            run_wait(r, 0);
            run_print(r);
            EXPECT(!"a run that scores");
        }
}

/* Seconds until no process of the run is left; its time when it ended before that was looked at. */
static double seconds_until_gone(const struct run *r, double since)
{
    double ended = r->started + r->seconds;

    while (way_processes() > 0 && now() < ended + 20) {
        usleep(20000);
        ended = now();
    }
    return ended - since;
}

/* Injects and waits; *seconds as the bound counts them. */
static struct run *meet(const struct fault *f, const char *out, double *seconds)
{
    const struct way w = {.np = f->np, .microbatch = 1, .rows = ROWS, .extra = f->extra,
                          .fault = f->site, .shell = f->shell};
    struct run *r = way_start(out, &w);
    double since = r->started;

    if (f->from_outside) {
        await_windows(r, out, 1);
        since = now();
        f->from_outside(r, out);
    }
    run_wait(r, ALL_OF_IT);
    if (!f->from_outside && way_fault_met() && !strstr(f->site, "+:"))
        since = now() - way_fault_age();
    *seconds = seconds_until_gone(r, since);
    return r;
}

/* status.json, if there is one, says that it has ended. */
static bool is_told(const char *out)
{
    char *text = file_read(way_file(out, "status.json"), NULL);
    bool told = !text || !strstr(text, "\"state\": \"running\"");

    free(text);
    return told;
}

static bool ended_well(const struct fault *f, const struct run *r, const char *out, double seconds)
{
    int lines = way_lines(r), left = way_processes();
    bool told = is_told(out), lines_fit = r->code == 0 ? lines == 0
                                                       : lines == 1 || (lines == 0 && f->silent);
    bool code_fits = f->code == -1 ? r->code > 0 : r->code == f->code;

    if (told && lines_fit && code_fits && left == 0 && seconds <= f->bound)
        return true;
    printf("  %s: code %d, %d lines, %d processes left, status.json %s, %.2f s\n", f->name, r->code,
           lines, left, told ? "has its end" : "says running", seconds);
    return false;
}

/* Goes on after the fault, prints the row of the table, and returns whether all was well. */
static bool conclude(const char *want, const char *out, const char *name, int code, double seconds,
                     double bound, bool good)
{
    run_close(way_expect(out, &plain, 0));
    good = way_differs(want, out) == 0 && good;
    printf("%-36s %5d %9.2f %9.0f  %d of %d%s\n", name, code, seconds, bound, way_restored(out),
           ROWS, good ? "" : "  FAIL");
    fflush(stdout);
    return good;
}

static bool try_fault(const char *want, const struct fault *f, const char *out)
{
    double seconds;
    struct run *r = meet(f, out, &seconds);
    bool good = ended_well(f, r, out, seconds);

    if (!good)
        run_print(r);
    good = conclude(want, out, f->name, r->code, seconds, f->bound, good);
    run_close(r);
    return good;
}

#define EXT4_SHUTDOWN _IOR('X', 125, __u32) /* not in the kernel's public headers */
enum { NO_LOG_FLUSH = 2 };

static const char *disk; /* where it is mounted; NULL = it is not */

static bool shell(const char *fmt, const char *a, const char *b)
{
    char command[1024];

    snprintf(command, sizeof command, fmt, a, b);
    return system(command) == 0;
}

static void unmount(void)
{
    if (disk)
        shell("umount -l %s 2>/dev/null", disk, "");
    disk = NULL;
}

static bool mount_disk(const char *image, const char *out)
{
    atexit(unmount);
    if (!shell("truncate -s 32M %s && mkfs.ext4 -q -F %s >/dev/null 2>&1", image, image) ||
        mkdir(out, 0755) != 0 || !shell("mount -o loop %s %s 2>/dev/null", image, out))
        return false;
    disk = out;
    return true;
}

/* F14. The file system stops at once, and loses what was not synced: every window that status.json
 * had counted must be there afterwards. */
static bool cut_power(const char *want)
{
    const char *image = scratch_path("disk.img"), *out = scratch_path("disk");
    const struct way w = {.np = 1, .microbatch = 1, .rows = ROWS, .fault = SLOW};
    __u32 how = NO_LOG_FLUSH;

    if (!mount_disk(image, out)) {
        printf("%-36s not tried: no ext4 on a loop device here\n", "F14 power cut");
        return true;
    }
    struct run *r = way_start(out, &w);
    await_windows(r, out, 3);
    int kept = way_status_windows(out), folder = open(out, O_RDONLY | O_DIRECTORY);
    double since = now();
    EXPECT(folder >= 0 && ioctl(folder, EXT4_SHUTDOWN, &how) == 0);
    close(folder);
    run_wait(r, 60);
    double seconds = now() - since;
    EXPECT(shell("umount %s", out, "") && shell("mount -o loop %s %s", image, out));
    bool good = r->code == 74 && way_lines(r) == 1 && seconds <= 5;
    if (!good)
        run_print(r);
    good = conclude(want, out, "F14 power cut", r->code, seconds, 5, good);
    if (way_restored(out) < kept)
        printf("  %d windows had been counted\n", kept);
    run_close(r);
    return good && way_restored(out) >= kept;
}

/* Where the data of a tensor begin in a safetensors file. */
static size_t tensor_place(const char *file, const char *name)
{
    uint64_t header;

    memcpy(&header, file, sizeof header);
    cJSON *json = cJSON_ParseWithLength(file + 8, header);
    const cJSON *at = cJSON_GetObjectItem(cJSON_GetObjectItem(json, name), "data_offsets");
    EXPECT(at);
    size_t begin = (size_t)cJSON_GetArrayItem(at, 0)->valuedouble;
    cJSON_Delete(json);
    return 8 + header + begin;
}

/* F19. A NaN in the weights is found; the journal of such a model is not gone on with. */
static bool spoil_weights(const char *want)
{
    const char *model = scratch_path("spoiled"), *out = scratch_path("nan");
    const char *path = scratch_path("spoiled/model.safetensors");
    char set[4200];
    struct way w = plain;
    size_t bytes;

    folder_copy(TEST_DATA "/models/llama-nvfp4", model);
    char *data = file_read(path, &bytes);
    memset(data + tensor_place(data, "model.norm.weight"), 0xff, 2); /* bfloat16 or float16 */
    file_write(path, data, bytes);
    free(data);
    snprintf(set, sizeof set, "--set=model_dir=%s", model);
    w.extra = set;
    struct run *r = way_run(out, &w);
    bool good = r->code == 76 && way_lines(r) == 1 && r->seconds <= 5;
    if (!good)
        run_print(r);
    run_close(way_expect(out, &plain, 73)); /* of other weights */
    w.extra = "--restart";
    run_close(way_expect(out, &w, 0));
    good = conclude(want, out, "F19 a NaN in the weights", r->code, r->seconds, 5, good);
    run_close(r);
    return good;
}

int main(void)
{
    const char *want = scratch_path("want");
    int bad = 0;

    run_close(way_expect(want, &plain, 0));
    printf("%-36s %5s %9s %9s  %s\n", "fault", "code", "seconds", "bound", "resumed");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (faults[i].np == 1 || *MPIRUN != '\0')
            bad += !try_fault(want, &faults[i], scratch_path("fault%zu", i));
    bad += !cut_power(want);
    bad += !spoil_weights(want);
    EXPECT(bad == 0);
    return 0;
}
