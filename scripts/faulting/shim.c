/* Loaded before libc (LD_PRELOAD): a wall clock that is wrong, and a disk that is slow.
 * FAULT_KNOBS names a file of two 64-bit numbers that may change at any time:
 * seconds to add to the wall clock, and milliseconds to wait before each fsync. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long long none[2];
static const volatile long long *knobs = none;

__attribute__((constructor)) static void open_knobs(void) {
    const char *path = getenv("FAULT_KNOBS");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) knobs = page;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int code = syscall(SYS_clock_gettime, id, now);
    if (code == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += knobs[0];
    return code;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *copy) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    if (copy) *copy = exact.tv_sec;
    return exact.tv_sec;
}

static int slowly(long number, int file) {
    usleep(knobs[1] * 1000);
    return syscall(number, file);
}

int fsync(int file) { return slowly(SYS_fsync, file); }
int fdatasync(int file) { return slowly(SYS_fdatasync, file); }
