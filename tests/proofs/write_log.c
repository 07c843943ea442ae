/* Test only: logs what a process writes to its database files, and what it syncs, so that any power cut can be replayed.
 *
 * LD_PRELOAD. WRITE_LOG: the file to log to. WRITE_LOG_OF: start of the paths that are logged (a database and its "-wal").
 * FSYNC_FAILS_AT: N, the N-th sync of a logged file, and all later ones, fail with EIO.
 * A record is: kind (1 write, 2 truncate, 3 sync), file (0 the database, 1 its log), offset, size, then `size` bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, MAX_FD = 4096 };
struct record { uint64_t kind, file, offset, size; };

static signed char file_of[MAX_FD]; /* 0: not logged; else 1 + file */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static long syncs, fails_at;

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int is_logged(int fd) { return fd >= 0 && fd < MAX_FD && file_of[fd]; }

static void note(uint64_t kind, int fd, uint64_t offset, const void *data, uint64_t size) {
    struct record head = {kind, (uint64_t)file_of[fd] - 1, offset, size};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, size}};
    if (writev(log_fd, parts, 2) != (ssize_t)(sizeof head + size)) abort();
}

static int opened(const char *path, int fd) {
    const char *of = getenv("WRITE_LOG_OF"), *to = getenv("WRITE_LOG"), *fails = getenv("FSYNC_FAILS_AT");
    if (fd < 0 || fd >= MAX_FD || !of || !to) return fd;
    file_of[fd] = 0;
    if (strncmp(path, of, strlen(of))) return fd;
    const char *rest = path + strlen(of);
    /* A new database gets its name when it is complete: what is written under the other name is written to the database. */
    const char *name = strrchr(of, '/'), *end = strrchr(rest, '/');
    int is_new = strstr(rest, ".partial/") && name && end && !strcmp(name, end);
    if (*rest && strcmp(rest, "-wal") && !is_new) return fd;
    if (log_fd < 0) {
        log_fd = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        fails_at = fails ? atol(fails) : 0;
    }
    file_of[fd] = strcmp(rest, "-wal") ? 1 : 2;
    return fd;
}

#define OPEN(name) int name(const char *path, int flags, ...) { \
    REAL(name); va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    return opened(path, real(path, flags, mode)); }
OPEN(open)
OPEN(open64)

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < MAX_FD) file_of[fd] = 0;
    return real(fd);
}

#define PWRITE(name, off_type) ssize_t name(int fd, const void *data, size_t size, off_type offset) { \
    REAL(name); \
    if (!is_logged(fd)) return real(fd, data, size, offset); \
    pthread_mutex_lock(&mutex); \
    ssize_t written = real(fd, data, size, offset); \
    if (written > 0) note(WRITE, fd, (uint64_t)offset, data, (uint64_t)written); \
    pthread_mutex_unlock(&mutex); \
    return written; }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define FTRUNCATE(name, off_type) int name(int fd, off_type size) { \
    REAL(name); \
    if (!is_logged(fd)) return real(fd, size); \
    pthread_mutex_lock(&mutex); \
    int result = real(fd, size); \
    if (result == 0) note(TRUNCATE, fd, (uint64_t)size, "", 0); \
    pthread_mutex_unlock(&mutex); \
    return result; }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define FSYNC(name) int name(int fd) { \
    REAL(name); \
    if (!is_logged(fd)) return real(fd); \
    pthread_mutex_lock(&mutex); \
    int result; \
    if (fails_at && ++syncs >= fails_at) { result = -1; errno = EIO; } \
    else if ((result = real(fd)) == 0) note(SYNC, fd, 0, "", 0); \
    int error = errno; \
    pthread_mutex_unlock(&mutex); \
    errno = error; \
    return result; }
FSYNC(fsync)
FSYNC(fdatasync)
