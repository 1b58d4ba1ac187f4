/*
 * Faults between a program and its store, for `cargo xtask torture`: preloaded (LD_PRELOAD), it stands before write,
 * pwrite, fsync and fdatasync, and lets the n-th call on a file of the store fail, end the process, or cut the power.
 *
 * What it is to do stands in a file that the torture writes while the program runs (TORTURE_CONTROL): 64-bit words, of
 * which each slot has eight. src/shim.rs knows the same layout.
 *
 * A lie is a sync that answers as if it had been one. A cut of the power means: of what was written since the last sync
 * of its file, a part is gone. Where bytes are gone stands what stood there before; behind the old end of the file, zeros,
 * as a file system may leave them that knows of the new length only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The words of a slot. */
enum { COUNTDOWN, REPEAT, ACTION, FILES, FLAGS, CALLS, HITS, LOST, WORDS };
/* The slots. */
enum { WRITE, SYNC, SLOTS };
/* Actions that are no errno. */
enum { KILL = 1000, POWER = 1001, LIE = 1002 };
/* Flags: a write is done by half first; bytes that a failed sync should have kept are gone. */
enum { HALF = 1, LOSE = 2 };
/* Files, as bits. */
enum { LOG = 1, DATABASE = 2, INDEX = 4 };

struct range {
	off_t from;
	size_t length;
	/* What stood there before, up to the end of the file. */
	char *before;
	size_t known;
};
/* What was written to a file since its last sync, and how many ranges have been before these. */
struct unsynced { struct range *ranges; size_t count, room; uint64_t past; };

/* What a failed sync has not kept. It is still to be read until the process ends, as it would be from the page cache; what is
 * written again is not gone. */
static struct unsynced gone[2];
static char gone_path[2][4096];
/* Descriptors that are to hear of a failed sync of their file: Linux tells each that was open then, once. */
static unsigned char untold[1024];

static int64_t *control;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct unsynced unsynced[2];
static uint64_t chance = 0x9e3779b97f4a7c15u;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void prepare(void) {
	real_write = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
	real_pread = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
	real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	const char *path = getenv("TORTURE_CONTROL");
	int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (mapped != MAP_FAILED)
		control = mapped;
	chance ^= (uint64_t)getpid() << 20;
}

/* Which file of the store it is; 0 if it is none. */
static int file_of(int fd) {
	char link[32], path[4096];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	if (length <= 0)
		return 0;
	path[length] = 0;
	const char *name = strrchr(path, '/');
	if (!name)
		return 0;
	if (strcmp(name, "/store.db-wal") == 0)
		return LOG;
	if (strcmp(name, "/store.db") == 0)
		return DATABASE;
	return strcmp(name, "/store.db-shm") == 0 ? INDEX : 0;
}

static void add(struct unsynced *to, struct range range) {
	if (to->count == to->room) {
		size_t room = to->room ? 2 * to->room : 1024;
		struct range *ranges = realloc(to->ranges, room * sizeof *ranges);
		if (!ranges)
			return;
		to->ranges = ranges;
		to->room = room;
	}
	to->ranges[to->count++] = range;
}

/* The range that is about to be written. */
static struct range before(int fd, off_t from, size_t length) {
	struct range range = { from, length, malloc(length), 0 };
	ssize_t known = range.before ? real_pread(fd, range.before, length, from) : 0;
	range.known = known > 0 ? (size_t)known : 0;
	return range;
}

static void remember(int file, struct range range) {
	struct unsynced *of = &gone[file - 1];
	off_t end = range.from + (off_t)range.length;
	for (size_t i = 0; i < of->count;) {
		struct range *lost = &of->ranges[i];
		if (lost->from < range.from || lost->from + (off_t)lost->length > end) {
			i++;
			continue;
		}
		/* It is written again. Under it stands still what the medium had before it was lost. */
		size_t at = (size_t)(lost->from - range.from);
		if (at + lost->known <= range.known)
			memcpy(range.before + at, lost->before, lost->known);
		free(lost->before);
		of->count--;
		memmove(lost, lost + 1, (of->count - i) * sizeof *lost);
	}
	add(&unsynced[file - 1], range);
}

static uint64_t draw(void) {
	chance ^= chance << 13;
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return chance;
}

/* A descriptor through which this file can be written to; -1 if there is none. */
static int writable(int file) {
	/* The descriptors of the store's files are among the first. */
	for (int fd = 0; fd < 1024; fd++) {
		int mode = fcntl(fd, F_GETFL);
		if (mode >= 0 && (mode & O_ACCMODE) != O_RDONLY && file_of(fd) == file)
			return fd;
	}
	return -1;
}

static void put(int fd, const char *bytes, size_t length, off_t at) {
	while (fd >= 0 && length > 0) {
		ssize_t done = real_pwrite(fd, bytes, length, at);
		if (done <= 0)
			break;
		bytes += done, length -= (size_t)done, at += done;
	}
}

/* Puts back what stood there. */
static void wipe(int fd, const struct range *range) {
	static const char zeros[65536];
	put(fd, range->before, range->known, range->from);
	for (size_t done = range->known; done < range->length;) {
		size_t part = range->length - done < sizeof zeros ? range->length - done : sizeof zeros;
		put(fd, zeros, part, range->from + (off_t)done);
		done += part;
	}
}

/* The last one first: under it may be what stood there before an earlier one. */
static void wipe_all(int fd, const struct unsynced *of) {
	for (size_t i = of->count; i-- > 0;)
		wipe(fd, &of->ranges[i]);
}

/* Takes bytes away that no sync has kept: all from some moment on, or any. They go at once, or with the process. */
static void lose(int file, int at_once) {
	struct unsynced *of = &unsynced[file - 1];
	int fd = at_once && of->count ? writable(file) : -1;
	int any = draw() % 2;
	size_t first = draw() % 2 ? 0 : draw() % (of->count + 1), lost = 0;
	of->past += of->count;
	for (size_t i = 0; i < of->count; i++) {
		if (any ? draw() % 2 : i < first)
			free(of->ranges[i].before);
		else
			of->ranges[lost++] = of->ranges[i];
	}
	control[(SYNC + 1) * WORDS + LOST] += (int64_t)lost;
	for (size_t i = 0; !at_once && i < lost; i++)
		add(&gone[file - 1], of->ranges[i]);
	of->count = lost;
	if (at_once)
		wipe_all(fd, of);
	of->count = 0;
}

__attribute__((destructor)) static void finish(void) {
	/* For good: whoever still runs writes nothing behind this. */
	pthread_mutex_lock(&lock);
	for (int file = 0; file < 2; file++) {
		int fd = gone[file].count ? open(gone_path[file], O_WRONLY | O_CLOEXEC) : -1;
		wipe_all(fd, &gone[file]);
	}
}

/* Whether this call on this file is to fail; gives how. */
static int64_t due(int slot, int file) {
	int64_t *words = control + (slot + 1) * WORDS;
	if (!(words[FILES] & file))
		return 0;
	words[CALLS]++;
	if (words[COUNTDOWN] > 1) {
		words[COUNTDOWN]--;
		return 0;
	}
	if (words[COUNTDOWN] < 1 || words[REPEAT] == 0)
		return 0;
	if (words[REPEAT] > 0)
		words[REPEAT]--;
	if (words[REPEAT] == 0)
		words[COUNTDOWN] = 0;
	words[HITS]++;
	return words[ACTION];
}

static void end(int64_t action) {
	if (action == POWER) {
		lose(LOG, 1);
		lose(DATABASE, 1);
	}
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static ssize_t written(int fd, const void *bytes, size_t length, off_t at, int has_place) {
	int file = control ? file_of(fd) : 0;
	if (!file)
		return has_place ? real_pwrite(fd, bytes, length, at) : real_write(fd, bytes, length);
	pthread_mutex_lock(&lock);
	off_t from = has_place ? at : lseek(fd, 0, SEEK_CUR);
	int64_t action = due(WRITE, file);
	size_t part = length;
	if (action)
		part = control[(WRITE + 1) * WORDS + FLAGS] & HALF ? length / 2 : 0;
	ssize_t done = 0;
	int failed = 0;
	if (!action || part) {
		struct range range = file == INDEX ? (struct range){ 0 } : before(fd, from, part);
		done = has_place ? real_pwrite(fd, bytes, part, at) : real_write(fd, bytes, part);
		failed = errno;
		range.length = done > 0 ? (size_t)done : 0;
		range.known = range.known < range.length ? range.known : range.length;
		if (range.length > 0 && file != INDEX)
			remember(file, range);
		else
			free(range.before);
	}
	if (action >= KILL)
		end(action);
	pthread_mutex_unlock(&lock);
	if (!action) {
		errno = failed;
		return done;
	}
	errno = (int)action;
	return -1;
}

static int synced(int fd, int (*real)(int)) {
	int file = control ? file_of(fd) : 0;
	if (!file)
		return real(fd);
	pthread_mutex_lock(&lock);
	int64_t action = due(SYNC, file);
	if (action == LIE) {
		pthread_mutex_unlock(&lock);
		return 0;
	}
	if (action >= KILL)
		end(action);
	if (action && file != INDEX && control[(SYNC + 1) * WORDS + FLAGS] & LOSE) {
		char link[32];
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(link, gone_path[file - 1], sizeof gone_path[0] - 1);
		gone_path[file - 1][length < 0 ? 0 : length] = 0;
		lose(file, 0);
		for (int other = 0; other < 1024; other++)
			if (other != fd && file_of(other) == file)
				untold[other] = 1;
	} else if (!action && file != INDEX && fd < 1024 && untold[fd]) {
		untold[fd] = 0;
		action = EIO;
	}
	/* What is written while a sync runs may be kept by it or not: it counts as not kept. */
	uint64_t until = file == INDEX ? 0 : unsynced[file - 1].past + unsynced[file - 1].count;
	pthread_mutex_unlock(&lock);
	if (action) {
		errno = (int)action;
		return -1;
	}
	int answer = real(fd);
	int failed = errno;
	pthread_mutex_lock(&lock);
	/* Another sync of the file may have failed while this one ran: it hears of that now. */
	if (answer == 0 && file != INDEX && fd < 1024 && untold[fd]) {
		untold[fd] = 0;
		failed = EIO;
		answer = -1;
	}
	if (answer == 0 && file != INDEX) {
		struct unsynced *of = &unsynced[file - 1];
		/* Another sync may have kept some of them already. */
		size_t kept = until > of->past ? (size_t)(until - of->past) : 0;
		for (size_t i = 0; i < kept; i++)
			free(of->ranges[i].before);
		of->count -= kept, of->past += kept;
		memmove(of->ranges, of->ranges + kept, of->count * sizeof *of->ranges);
	}
	pthread_mutex_unlock(&lock);
	errno = failed;
	return answer;
}

ssize_t write(int fd, const void *bytes, size_t length) { return written(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return written(fd, bytes, length, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return written(fd, bytes, length, at, 1); }
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }
