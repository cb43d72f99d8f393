#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void comm_close(struct comm *c)
{
    if (c)
        c->ops->close(c);
}

void comm_note(struct comm *c, const char *doing, int64_t step)
{
    while (c->inner) /* the transport that others know of */
        c = c->inner;
    atomic_store_explicit(&c->doing, doing, memory_order_relaxed);
    atomic_store_explicit(&c->step, step, memory_order_relaxed);
}

void comm_name_device(struct comm *c, const char *name)
{
    if (atomic_load(&c->device)) /* the lifeline may be reading it */
        return;
    snprintf(c->device_name, sizeof c->device_name, "%s", name);
    atomic_store(&c->device, c->device_name);
}

const char *comm_channel_name(enum comm_channel ch)
{
    switch (ch) {
    case COMM_HIDDEN:
        return "hidden states";
    case COMM_CONTROL:
        return "control";
    case COMM_NLL:
        return "nll";
    case COMM_CHANNELS:
        break;
    }
    return "collective"; /* the transports' own */
}

int comm_launched_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            return atoi(getenv(names[i]));
    return 0;
}

void comm_launched_hosts(char *out, size_t size)
{
    static const char *const names[] = {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST",
                                        "OMPI_MCA_orte_node_regex"};

    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names && !*out; i++)
        if (getenv(names[i]))
            snprintf(out, size, "%s", getenv(names[i]));
    out[strcspn(out, "@")] = '\0'; /* numbers of Open MPI's daemons follow */
}

bool comm_launched(void)
{
    /* Set for every process by mpirun, by srun with a PMI plugin, and by MPICH's starters. Slurm's
     * own variables do not count: a batch script has them too. */
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            return true;
    return false;
}
