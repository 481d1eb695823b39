/*
 * Records what a process writes below one folder, so that a power cut can be played afterwards.
 *
 * Loaded with LD_PRELOAD. Every change to a file below POWERCUT_FOLDER is carried out as usual, so that the process sees
 * its own files, and is also appended to POWERCUT_LOG. fsync and fdatasync reach no device: they are records of the log,
 * with the number of the newest record that existed when the call began. Whoever plays the cut takes the folder as it was
 * before the start, applies the log, and is free to lose, tear and reorder what no later sync covers
 * (tests/crash/powercut.rs).
 *
 *   POWERCUT_FOLDER       absolute path without links; what lies below it is recorded
 *   POWERCUT_LOG          the log; outside of the folder
 *   POWERCUT_AFTER        the process kills itself behind this many records
 *   POWERCUT_SYNC_US      time that a sync takes
 *   POWERCUT_IGNORE_SYNC  set: a sync says that it worked and is not recorded, as a lying device would
 *
 * A record is a struct record and then `length` + `second` bytes: data, or one or two paths. The log is written after the
 * change, under one lock, and it is complete up to the last record when the process is killed: what was written and not
 * recorded is at most one call old and counts as lost.
 *
 * Not modelled: names. Creation, rename and removal of files count as durable at once, in order; a file system may lose
 * them without an fsync of the folder. Not modelled either: faults of the device behind an fsync that succeeded, errors of
 * fsync, links, and writes through a shared mapping. The -shm file of SQLite is such a mapping and holds nothing that
 * outlives the process, so it is passed over; for every other file a shared writable mapping ends the process, and
 * whoever plays the log finds out by comparing it with the folder whether anything went past it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPENED = 1, WRITTEN = 2, TRUNCATED = 3, SYNCED = 4, RENAMED = 5, REMOVED = 6 };
enum { TRUNCATES = 1 };

struct record {
    uint32_t kind;
    uint32_t handle;
    uint64_t offset;
    uint32_t length;
    uint32_t second;
};

#define DESCRIPTORS 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t handle_of[DESCRIPTORS];
static unsigned char synchronous[DESCRIPTORS];
static uint32_t handles;
static uint64_t records;
static int log_file = -1;
static const char *folder;
static size_t folder_length;
static uint64_t records_max;
static useconds_t sync_time;
static int syncs_ignored;

#define REAL(type, name, ...)                                    \
    static type (*real)(__VA_ARGS__);                            \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void fail(const char *text) {
    (void)!syscall(SYS_write, 2, text, strlen(text));
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *text;
    folder = getenv("POWERCUT_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    if ((text = getenv("POWERCUT_AFTER"))) records_max = strtoull(text, NULL, 10);
    if ((text = getenv("POWERCUT_SYNC_US"))) sync_time = (useconds_t)strtoul(text, NULL, 10);
    syncs_ignored = getenv("POWERCUT_IGNORE_SYNC") != NULL;
}

static int is_below(const char *path) {
    size_t length;
    if (!folder || strncmp(path, folder, folder_length) != 0 || path[folder_length] != '/') return 0;
    length = strlen(path);
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static int is_kept(int fd) { return fd >= 0 && fd < DESCRIPTORS && handle_of[fd] != 0; }

static void put(const void *data, size_t length) {
    const char *next = data;
    while (length > 0) {
        ssize_t count = syscall(SYS_write, log_file, next, length);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) fail("powercut: the log cannot be written\n");
        next += count;
        length -= (size_t)count;
    }
}

/* The lock is held. One call of write for small records, so that a kill leaves whole ones. */
static void append(enum kind kind, uint32_t handle, uint64_t offset, const void *first, size_t length, const void *second,
                   size_t second_length) {
    static char buffer[sizeof(struct record) + 3 * 65536];
    struct record record = {kind, handle, offset, (uint32_t)length, (uint32_t)second_length};
    size_t total = sizeof record + length + second_length;
    int saved = errno;
    if (log_file < 0) {
        const char *path = getenv("POWERCUT_LOG");
        if (!path) fail("powercut: POWERCUT_LOG is not set\n");
        log_file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_file < 0) fail("powercut: the log cannot be opened\n");
    }
    if (total <= sizeof buffer) {
        memcpy(buffer, &record, sizeof record);
        memcpy(buffer + sizeof record, first, length);
        memcpy(buffer + sizeof record + length, second, second_length);
        put(buffer, total);
    } else {
        put(&record, sizeof record);
        put(first, length);
        put(second, second_length);
    }
    records += 1;
    if (records_max && records >= records_max) syscall(SYS_kill, getpid(), SIGKILL);
    errno = saved;
}

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    pthread_mutex_lock(&lock);
    handle_of[fd] = 0;
    if (is_below(path) && (flags & O_DIRECTORY) == 0) {
        /* A file that is only read is known too: SQLite syncs through descriptors of its own. */
        handle_of[fd] = ++handles;
        synchronous[fd] = (flags & (O_SYNC | O_DSYNC)) != 0;
        append(OPENED, handle_of[fd], (flags & O_TRUNC) ? TRUNCATES : 0, path, strlen(path), "", 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static mode_t mode_of(int flags, va_list list) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
}

#define OPEN(name)                                               \
    int name(const char *path, int flags, ...) {                 \
        va_list list;                                            \
        mode_t mode;                                             \
        REAL(int, #name, const char *, int, ...);                \
        va_start(list, flags);                                   \
        mode = mode_of(flags, list);                             \
        va_end(list);                                            \
        return opened(real(path, flags, mode), path, flags);     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                     \
    int name(int at, const char *path, int flags, ...) {                 \
        va_list list;                                                    \
        mode_t mode;                                                     \
        REAL(int, #name, int, const char *, int, ...);                   \
        va_start(list, flags);                                           \
        mode = mode_of(flags, list);                                     \
        va_end(list);                                                    \
        return opened(real(at, path, flags, mode), path, flags);         \
    }
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    int result;
    REAL(int, "close", int);
    if (!is_kept(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    handle_of[fd] = 0;
    result = real(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

/* The lock is held. */
static void written(int fd, uint64_t offset, const void *data, ssize_t count) {
    if (count <= 0) return;
    append(WRITTEN, handle_of[fd], offset, data, (size_t)count, "", 0);
    if (synchronous[fd]) append(SYNCED, handle_of[fd], records, "", 0, "", 0);
}

ssize_t write(int fd, const void *data, size_t length) {
    ssize_t count;
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!is_kept(fd)) return real(fd, data, length);
    pthread_mutex_lock(&lock);
    count = real(fd, data, length);
    if (count > 0) written(fd, (uint64_t)(lseek(fd, 0, SEEK_CUR) - count), data, count);
    pthread_mutex_unlock(&lock);
    return count;
}

#define PWRITE(name, offset_type)                                                \
    ssize_t name(int fd, const void *data, size_t length, offset_type offset) {  \
        ssize_t count;                                                           \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type);            \
        if (!is_kept(fd)) return real(fd, data, length, offset);                 \
        pthread_mutex_lock(&lock);                                               \
        count = real(fd, data, length, offset);                                  \
        written(fd, (uint64_t)offset, data, count);                              \
        pthread_mutex_unlock(&lock);                                             \
        return count;                                                            \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t total = 0;
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (!is_kept(fd)) return real(fd, parts, count);
    for (int index = 0; index < count; index++) {
        ssize_t done = write(fd, parts[index].iov_base, parts[index].iov_len);
        if (done < 0) return total > 0 ? total : done;
        total += done;
        if ((size_t)done < parts[index].iov_len) break;
    }
    return total;
}

#define PWRITEV(name, offset_type)                                                       \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) {     \
        ssize_t total = 0;                                                               \
        REAL(ssize_t, #name, int, const struct iovec *, int, offset_type);               \
        if (!is_kept(fd)) return real(fd, parts, count, offset);                         \
        for (int index = 0; index < count; index++) {                                    \
            ssize_t done = pwrite64(fd, parts[index].iov_base, parts[index].iov_len,     \
                                    (off64_t)offset + total);                            \
            if (done < 0) return total > 0 ? total : done;                               \
            total += done;                                                               \
            if ((size_t)done < parts[index].iov_len) break;                              \
        }                                                                                \
        return total;                                                                    \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define FTRUNCATE(name, offset_type)                                             \
    int name(int fd, offset_type size) {                                         \
        int result;                                                              \
        REAL(int, #name, int, offset_type);                                      \
        if (!is_kept(fd)) return real(fd, size);                                 \
        pthread_mutex_lock(&lock);                                               \
        result = real(fd, size);                                                 \
        if (result == 0) append(TRUNCATED, handle_of[fd], (uint64_t)size, "", 0, "", 0); \
        pthread_mutex_unlock(&lock);                                             \
        return result;                                                           \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

/* The lock is held: the file has got as long as it is now. */
static void lengthened(int fd) {
    struct stat state;
    if (fstat(fd, &state) == 0) append(TRUNCATED, handle_of[fd], (uint64_t)state.st_size, "", 0, "", 0);
}

#define FALLOCATE(name, offset_type)                                                     \
    int name(int fd, int mode, offset_type offset, offset_type length) {                 \
        int result;                                                                      \
        REAL(int, #name, int, int, offset_type, offset_type);                            \
        if (!is_kept(fd)) return real(fd, mode, offset, length);                         \
        if (mode & ~FALLOC_FL_KEEP_SIZE) { errno = EOPNOTSUPP; return -1; }              \
        pthread_mutex_lock(&lock);                                                       \
        result = real(fd, mode, offset, length);                                         \
        if (result == 0) lengthened(fd);                                                 \
        pthread_mutex_unlock(&lock);                                                     \
        return result;                                                                   \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

#define POSIX_FALLOCATE(name, offset_type)                                       \
    int name(int fd, offset_type offset, offset_type length) {                   \
        int result;                                                              \
        REAL(int, #name, int, offset_type, offset_type);                         \
        if (!is_kept(fd)) return real(fd, offset, length);                       \
        pthread_mutex_lock(&lock);                                               \
        result = real(fd, offset, length);                                       \
        if (result == 0) lengthened(fd);                                         \
        pthread_mutex_unlock(&lock);                                             \
        return result;                                                           \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

static int sync_kept(int fd) {
    uint64_t through;
    pthread_mutex_lock(&lock);
    through = records;
    pthread_mutex_unlock(&lock);
    if (sync_time) usleep(sync_time);
    if (syncs_ignored) return 0;
    pthread_mutex_lock(&lock);
    append(SYNCED, handle_of[fd], through, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return is_kept(fd) ? sync_kept(fd) : real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return is_kept(fd) ? sync_kept(fd) : real(fd);
}

/* The lock is held. */
static void renamed(const char *from, const char *to) {
    if (is_below(from) && is_below(to)) {
        append(RENAMED, 0, 0, from, strlen(from), to, strlen(to));
    } else if (is_below(from)) {
        append(REMOVED, 0, 0, from, strlen(from), "", 0);
    } else if (is_below(to)) {
        fail("powercut: a file that was not recorded is moved into the folder\n");
    }
}

int rename(const char *from, const char *to) {
    int result;
    REAL(int, "rename", const char *, const char *);
    pthread_mutex_lock(&lock);
    result = real(from, to);
    if (result == 0) renamed(from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    int result;
    REAL(int, "renameat", int, const char *, int, const char *);
    pthread_mutex_lock(&lock);
    result = real(from_at, from, to_at, to);
    if (result == 0) renamed(from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    int result;
    REAL(int, "unlink", const char *);
    pthread_mutex_lock(&lock);
    result = real(path);
    if (result == 0 && is_below(path)) append(REMOVED, 0, 0, path, strlen(path), "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    int result;
    REAL(int, "unlinkat", int, const char *, int);
    pthread_mutex_lock(&lock);
    result = real(at, path, flags);
    if (result == 0 && is_below(path)) append(REMOVED, 0, 0, path, strlen(path), "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

/* Copies inside the kernel are refused; everybody falls back to read and write. */
ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length, unsigned int flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned int);
    if (!is_kept(out)) return real(in, in_offset, out, out_offset, length, flags);
    errno = ENOSYS;
    return -1;
}

#define SENDFILE(name, offset_type)                                              \
    ssize_t name(int out, int in, offset_type *offset, size_t length) {          \
        REAL(ssize_t, #name, int, int, offset_type *, size_t);                   \
        if (!is_kept(out)) return real(out, in, offset, length);                 \
        errno = EINVAL;                                                          \
        return -1;                                                               \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define MMAP(name, offset_type)                                                                  \
    void *name(void *address, size_t length, int protection, int flags, int fd, offset_type offset) { \
        if (is_kept(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE))                    \
            fail("powercut: a file is written through a mapping, which cannot be recorded\n");   \
        return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);        \
    }
#if defined(__x86_64__) || defined(__aarch64__)
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)
#endif
