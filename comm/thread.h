/* thread.h - threads that a transport makes for itself. */
#ifndef COMM_THREAD_H
#define COMM_THREAD_H

#include <pthread.h>

/* pthread_create for a thread that takes no signals: those to the process are for the threads of
 * the rank; faults stay with the thread they hit. Returns 0 or an error number. */
int comm_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
