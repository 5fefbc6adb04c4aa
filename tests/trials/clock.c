/* A clock that can be set back: to be loaded before libc, by LD_PRELOAD.
 *
 * $CLOCK = "AFTER BY SPEED": once AFTER seconds have passed in a process, its wall clock is BY seconds back, and from
 * then on it goes backwards, SPEED seconds for each that passes. Without $CLOCK it is the clock that it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

typedef int (*reading)(clockid_t, struct timespec *);

static double seconds(struct timespec one) { return one.tv_sec + one.tv_nsec / 1e9; }

int clock_gettime(clockid_t clock, struct timespec *found) {
    static reading real;
    static double first;
    double after, by, speed, passed;
    struct timespec now;
    if (!real) real = (reading)dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, found);
    const char *set = getenv("CLOCK");
    if (result || !set || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    if (sscanf(set, "%lf %lf %lf", &after, &by, &speed) != 3) return result;
    real(CLOCK_MONOTONIC, &now);
    if (first == 0) first = seconds(now);
    if ((passed = seconds(now) - first) < after) return result;
    double shown = seconds(*found) - by - speed * (passed - after);
    found->tv_sec = (time_t)shown;
    found->tv_nsec = (long)((shown - (double)found->tv_sec) * 1e9);
    return result;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
