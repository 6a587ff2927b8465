/* A stranger in a container: tries what no hardened image's program does, and says how it went. Static, so that it runs
   in any image: cc -static -O1 -o stranger scripts/lib/stranger.c

   stranger shell | mount | ptrace | module | user-namespace | wait

   Exit status 0 and "refused": it could not; 1 and "done": it could. `shell` is refused where the image has none, or where
   it may not be run. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/module.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int told(const char *what, int done) {
    printf("%s %s: %s\n", what, done ? "done" : "refused", done ? "no error" : strerror(errno));
    return done ? 1 : 0;
}

/* A child that may be killed for it. */
static int in_child(int (*attempt)(void)) {
    int channel[2];
    if (pipe(channel) != 0) return 0;
    pid_t child = fork();
    if (child < 0) return 0;
    if (child == 0) {
        close(channel[0]);
        int done = attempt();
        int report[2] = {done, errno};
        if (write(channel[1], report, sizeof report) < 0) _exit(2);
        _exit(0);
    }
    close(channel[1]);
    int report[2] = {0, EPERM};
    ssize_t got = read(channel[0], report, sizeof report);
    waitpid(child, NULL, 0);
    errno = report[1];
    return got == (ssize_t)sizeof report && report[0];
}

static int trace(void) {
    pid_t victim = fork();
    if (victim == 0) for (;;) pause();
    int done = victim > 0 && ptrace(PTRACE_ATTACH, victim, NULL, NULL) == 0;
    int error = errno;
    if (victim > 0) { kill(victim, SIGKILL); waitpid(victim, NULL, 0); }
    errno = error;
    return done;
}

static int mounts(void) { return mount("none", "/", "tmpfs", 0, "") == 0; }
static int loads(void) { return syscall(SYS_finit_module, 0, "", 0) == 0 || (errno != EPERM && errno != ENOSYS); }
static int separates(void) { return unshare(CLONE_NEWUSER) == 0; }

static const char *const shells[] = {"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/dash", "/bin/ash"};

static int shell(void) {
    for (size_t index = 0; index < sizeof shells / sizeof *shells; index++) {
        pid_t child = fork();
        if (child < 0) continue;
        if (child == 0) {
            execl(shells[index], "sh", "-c", "exit 42", (char *)NULL);
            _exit(1);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 42) return 1;
    }
    errno = ENOENT;
    return 0;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (strcmp(what, "wait") == 0) for (;;) pause();
    if (strcmp(what, "shell") == 0) return told(what, shell());
    if (strcmp(what, "mount") == 0) return told(what, in_child(mounts));
    if (strcmp(what, "ptrace") == 0) return told(what, in_child(trace));
    if (strcmp(what, "module") == 0) return told(what, in_child(loads));
    if (strcmp(what, "user-namespace") == 0) return told(what, in_child(separates));
    fprintf(stderr, "no such attempt: %s\n", what);
    return 2;
}
