// One assertion a trait, so that a failure names itself: `torture all` prints one line each, `ok TRAIT` or
// `not ok TRAIT`, then waits until it is told to stop. `torture TRAIT` asks for one; `torture healthy` is its health check.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES "/data/files/"

// Whether a descriptor gives exactly these bytes.
static bool gives(int fd, const char *expected) {
    char text[256];
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    return length == (ssize_t)strlen(expected) && memcmp(text, expected, length) == 0;
}

static bool holds(const char *path, const char *expected) { return gives(open(path, O_RDONLY), expected); }

// Whether a command's standard output is exactly this.
static bool says(const char *command, const char *expected) {
    char text[256] = "";
    FILE *pipe = popen(command, "r");
    if (!pipe) return false;
    size_t length = fread(text, 1, sizeof text - 1, pipe);
    return pclose(pipe) == 0 && length == strlen(expected) && strcmp(text, expected) == 0;
}

static bool has_numeric_user(void) { return getuid() == 12345 && getgid() == 23456; }
static bool has_no_name(void) {
    char line[256];
    FILE *names = fopen("/etc/passwd", "r");
    bool found = false;
    while (names && fgets(line, sizeof line, names)) found |= strstr(line, ":12345:") != NULL;
    if (names) fclose(names);
    return names && !found;
}
static bool reads_by_group(void) { return holds(FILES "group-only", "group\n"); }
static bool setuid_is_kept(void) { return says("torture-setuid", "0 1 8\n"); }
static bool capability_is_kept(void) { return says("torture-capable", "12345 1 8\n"); }
static bool thirty_two_bit_runs(void) { return says("torture-32", "12345 0 4\n"); }
static bool hard_links_are_one(void) {
    struct stat one, two;
    return stat(FILES "linked", &one) == 0 && stat(FILES "twin", &two) == 0 && one.st_ino == two.st_ino && one.st_nlink == 2;
}
static bool absolute_directory_link(void) { return holds("/data/absolute/deep/file", "deep\n"); }
static bool chained_links(void) { return holds(FILES "chained", "deep\n"); }
static bool working_directory(void) {
    char path[256];
    return getcwd(path, sizeof path) && strcmp(path, "/data/real") == 0 && holds("deep/file", "deep\n");
}
static bool dangling_link(void) {
    char target[16] = "";
    return readlink(FILES "dangling", target, sizeof target - 1) == 7 && strcmp(target, "nowhere") == 0;
}
// Read, then deleted: the image must have it nevertheless. (A second start of the same container finds it gone.)
static bool used_then_deleted(void) {
    if (access("/data/seeds/deleted", F_OK) == 0) return true;
    bool good = holds(FILES "before-delete", "before-delete\n");
    int mark = open("/data/seeds/deleted", O_CREAT | O_WRONLY, 0644);
    if (mark >= 0) close(mark);
    return good && unlink(FILES "before-delete") == 0;
}
static bool unlinked_while_open(void) {
    if (access("/data/seeds/unlinked", F_OK) == 0) return true;
    int fd = open(FILES "while-open", O_RDONLY);
    int mark = open("/data/seeds/unlinked", O_CREAT | O_WRONLY, 0644);
    if (mark >= 0) close(mark);
    return unlink(FILES "while-open") == 0 && gives(fd, "while-open\n");
}
static bool stat_only(void) {
    struct stat data;
    return stat(FILES "stat-only", &data) == 0 && data.st_size == 10;
}
static bool access_only(void) { return access(FILES "access-only", R_OK) == 0; }
static bool date_is_kept(void) {
    struct stat data;
    return stat(FILES "dated", &data) == 0 && data.st_mtime == 981173106;
}
static bool by_sendfile(void) {
    int in = open(FILES "sendfile", O_RDONLY), ends[2];
    if (in < 0 || pipe(ends) != 0) return false;
    ssize_t sent = sendfile(ends[1], in, NULL, 64);
    close(ends[1]);
    close(in);
    return sent == 9 && gives(ends[0], "sendfile\n");
}
static bool by_mapping(void) {
    int fd = open(FILES "mapped", O_RDONLY);
    char *text = fd < 0 ? MAP_FAILED : mmap(NULL, 7, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0) close(fd);
    return text != MAP_FAILED && memcmp(text, "mapped\n", 7) == 0;
}
static void *read_in_thread(void *result) {
    *(bool *)result = holds(FILES "thread", "thread\n");
    return NULL;
}
static bool in_a_thread(void) {
    pthread_t thread;
    bool result = false;
    return pthread_create(&thread, NULL, read_in_thread, &result) == 0 && pthread_join(thread, NULL) == 0 && result;
}
static bool relative_to_a_directory(void) {
    int folder = open("/data/files", O_PATH | O_DIRECTORY);
    bool good = folder >= 0 && gives(openat(folder, "opened-relative", O_RDONLY), "opened-relative\n");
    if (folder >= 0) close(folder);
    return good;
}
static bool name_is_not_utf8(void) { return holds(FILES "caf\351", "latin\n"); }
static bool name_has_a_newline(void) { return holds(FILES "two\nlines", "lines\n"); }
static bool name_is_long(void) {
    char path[sizeof FILES + 255] = FILES;
    memset(path + strlen(FILES), 'n', 255);
    return holds(path, "long\n");
}
static bool sparse_file_is_whole(void) {
    struct stat data;
    int fd = open(FILES "sparse", O_RDONLY);
    return fd >= 0 && fstat(fd, &data) == 0 && data.st_size == (8 << 20) + 3 && lseek(fd, -3, SEEK_END) > 0 && gives(fd, "end");
}
static bool empty_file(void) { return holds(FILES "nothing", ""); }
static bool named_pipe(void) {
    struct stat data;
    return stat(FILES "pipe", &data) == 0 && S_ISFIFO(data.st_mode);
}
static bool empty_directory(void) {
    struct stat data;
    DIR *folder = opendir("/data/empty");
    int count = 0;
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count == 2 && stat("/data/empty", &data) == 0 && (data.st_mode & 07777) == 02750 && data.st_uid == 12345;
}
static bool sticky_directory(void) {
    struct stat data;
    return stat("/tmp", &data) == 0 && (data.st_mode & 07777) == 01777;
}
static bool writes_temporary_files(void) {
    char name[] = "/tmp/torture-XXXXXX";
    int fd = mkstemp(name);
    return fd >= 0 && close(fd) == 0 && unlink(name) == 0;
}
static bool volume_is_seeded(void) { return holds("/volume/seed", "seed\n") && holds("/volume/folder/seed", "seed\n"); }
static bool volume_is_writable(void) {
    int fd = open("/volume/folder/written", O_CREAT | O_WRONLY, 0644);
    return fd >= 0 && close(fd) == 0;
}
static bool empty_variable(void) { return getenv("TORTURE_EMPTY") && *getenv("TORTURE_EMPTY") == 0; }
static bool spaced_variable(void) { return getenv("TORTURE_SPACED") && strcmp(getenv("TORTURE_SPACED"), "two  words") == 0; }
static bool is_process_one(void) { return getpid() == 1; }
static const char *name_of(const char *path) {
    void *plugin = dlopen(path, RTLD_NOW);
    const char *(*name)(void) = NULL;
    if (plugin) *(void **)&name = dlsym(plugin, "plugin_name");
    return name ? name() : "";
}
static bool lazily_loaded(void) { return strcmp(name_of("/opt/torture/lazy/lazy.so"), "lazy") == 0; }
static bool plugins_by_listing(void) {
    DIR *folder = opendir("/opt/torture/plugins");
    struct dirent *entry;
    bool one = false, two = false;
    while (folder && (entry = readdir(folder))) {
        char path[512];
        snprintf(path, sizeof path, "/opt/torture/plugins/%s", entry->d_name);
        if (entry->d_name[0] == '.') continue;
        one |= strcmp(name_of(path), "one") == 0;
        two |= strcmp(name_of(path), "two") == 0;
    }
    if (folder) closedir(folder);
    return one && two;
}
static bool script_by_its_first_line(void) { return says("script", "bash child\n"); }
static bool script_by_env(void) { return says("torture-env-script", "the second line\n"); }
static bool helper_with_needs_of_its_own(void) { return says("torture-diary", "noted\n"); }
static bool own_program(void) {
    char path[256] = "";
    return readlink("/proc/self/exe", path, sizeof path - 1) > 0 && strcmp(path, "/usr/local/bin/torture") == 0;
}
static bool started_by_descriptor(void) {
    pid_t child = fork();
    if (child == 0) {
        char *words[] = {"/bin/true", NULL}, *environment[] = {NULL};
        int fd = open("/bin/true", O_PATH | O_CLOEXEC);
        fexecve(fd, words, environment);
        _exit(1);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}
static bool local_time(void) {
    time_t noon = 1719835200;
    setenv("TZ", "Europe/Berlin", 1);
    tzset();
    struct tm *local = localtime(&noon);
    return local && local->tm_hour == 14;
}
// A secret that was mounted during the exercise must not lie on the image's own file system.
static bool secret_stays_out(void) {
    struct stat secret, around;
    if (stat("/run/secrets/token", &secret) != 0) return true;
    return stat("/run", &around) == 0 && secret.st_dev != around.st_dev;
}

static const struct {
    const char *name;
    bool (*holds)(void);
} traits[] = {
    {"numeric-user", has_numeric_user}, {"user-without-name", has_no_name}, {"group-only-file", reads_by_group},
    {"setuid", setuid_is_kept}, {"file-capability", capability_is_kept}, {"32-bit", thirty_two_bit_runs},
    {"hard-links", hard_links_are_one}, {"absolute-directory-link", absolute_directory_link},
    {"chained-links", chained_links}, {"dangling-link", dangling_link}, {"working-directory-behind-link", working_directory},
    {"used-then-deleted", used_then_deleted}, {"unlinked-while-open", unlinked_while_open}, {"stat-only", stat_only},
    {"access-only", access_only}, {"date", date_is_kept}, {"sendfile", by_sendfile}, {"mapped", by_mapping},
    {"thread", in_a_thread}, {"relative-to-directory", relative_to_a_directory}, {"name-not-utf8", name_is_not_utf8},
    {"name-with-newline", name_has_a_newline}, {"long-name", name_is_long}, {"sparse-file", sparse_file_is_whole},
    {"empty-file", empty_file}, {"named-pipe", named_pipe}, {"empty-directory", empty_directory},
    {"sticky-tmp", sticky_directory}, {"temporary-files", writes_temporary_files}, {"volume-seeded", volume_is_seeded},
    {"volume-writable", volume_is_writable}, {"empty-variable", empty_variable}, {"spaced-variable", spaced_variable},
    {"shell-form-entrypoint", is_process_one}, {"lazily-loaded", lazily_loaded}, {"plugins-by-listing", plugins_by_listing},
    {"script", script_by_its_first_line}, {"script-by-env", script_by_env}, {"own-program", own_program},
    {"helper-with-own-needs", helper_with_needs_of_its_own},
    {"started-by-descriptor", started_by_descriptor}, {"local-time", local_time}, {"secret-stays-out", secret_stays_out},
};

static volatile sig_atomic_t stopped;
static void stop(int number) { (void)number, stopped = 1; }

static bool assert_trait(size_t index) {
    errno = 0;
    bool good = traits[index].holds();
    printf("%s %s\n", good ? "ok" : "not ok", traits[index].name);
    fflush(stdout);
    return good;
}

int main(int count, char **words) {
    const char *wanted = count > 1 ? words[1] : "all";
    if (strcmp(wanted, "healthy") == 0) return holds(FILES "read", "read\n") ? 0 : 1;
    signal(SIGTERM, stop);
    size_t good = 0, asked = 0;
    for (size_t index = 0; index < sizeof traits / sizeof *traits; index++) {
        if (strcmp(wanted, "all") != 0 && strcmp(wanted, traits[index].name) != 0) continue;
        asked++;
        good += assert_trait(index);
    }
    if (strcmp(wanted, "all") != 0) return asked == 1 && good == 1 ? 0 : 1;
    printf("all %zu\n", asked);
    fflush(stdout);
    while (!stopped) usleep(20000);
    // Read only now: a run that is never stopped does not see it.
    bool farewell = holds(FILES "farewell", "farewell\n");
    printf("%s read-on-stop\n", farewell ? "ok" : "not ok");
    return farewell ? 0 : 1;
}
