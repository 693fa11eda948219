/* fsyncbench DIR SECONDS: how long one 4 KiB write and fdatasync takes here, in milliseconds.
   Printed beside each run, because a rate says nothing without it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 100000 };
static double took[MOST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    char path[4096], block[4096];
    if (argc != 3) return 2;
    memset(block, 'x', sizeof block);
    snprintf(path, sizeof path, "%s/fsyncbench.tmp", argv[1]);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600), n = 0;
    if (fd < 0) return 1;
    for (double end = now() + atof(argv[2]); n < MOST && now() < end; n++) {
        double start = now();
        if (write(fd, block, sizeof block) != sizeof block || fdatasync(fd)) return 1;
        took[n] = now() - start;
    }
    unlink(path);
    qsort(took, n, sizeof *took, order);
    printf("{\"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", took[n / 2] * 1e3, took[n * 99 / 100] * 1e3);
}
