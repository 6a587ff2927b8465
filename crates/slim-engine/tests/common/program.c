/* The program in the test images: does what its first argument says. Static, needs no file of the image. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void told(int number) {
    char text[] = "signal 00\n";
    text[7] = '0' + number / 10;
    text[8] = '0' + number % 10;
    if (write(1, text, sizeof text - 1)) {}
    _exit(40 + number);
}

static int copy(void) {
    static char buffer[1 << 16];
    ssize_t got;
    while ((got = read(0, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, wrote; done < got; done += wrote)
            if ((wrote = write(1, buffer + done, got - done)) < 0) return 1;
    fprintf(stderr, "input ended\n");
    return got < 0;
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int socket_ = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(socket_, (void *)&address, sizeof address) || listen(socket_, 9)) return 9;
    for (;;) {
        int peer = accept(socket_, 0, 0);
        if (write(peer, "hello\n", 6)) {}
        close(peer);
    }
}

int main(int count, char **words) {
    char *verb = count > 1 ? words[1] : "sleep", *value = count > 2 ? words[2] : "0";
    setvbuf(stdout, 0, _IONBF, 0);
    if (!strcmp(verb, "exit")) return atoi(value);
    if (!strcmp(verb, "copy")) return copy();
    if (!strcmp(verb, "listen")) return listen_on(atoi(value));
    if (!strcmp(verb, "env")) return printf("%s\n", getenv(value) ? getenv(value) : "(none)"), 0;
    if (!strcmp(verb, "words")) {
        for (int word = 2; word < count; word++) printf("[%s]", words[word]);
        return 0;
    }
    if (!strcmp(verb, "who")) {
        char folder[4096];
        printf("%d:%d %s\n", getuid(), getgid(), getcwd(folder, sizeof folder));
        return 0;
    }
    if (!strcmp(verb, "both")) {
        for (int line = 0; line < atoi(value); line++) {
            dprintf(1, "out %d\n", line);
            usleep(3000); /* The engine reads the two pipes apart: order is told only with time between. */
            dprintf(2, "err %d\n", line);
            usleep(3000);
        }
        return 3;
    }
    if (!strcmp(verb, "trap"))
        for (int number = 1; number < 32; number++) signal(number, told);
    if (!strcmp(verb, "deaf")) signal(SIGTERM, SIG_IGN);
    dprintf(1, "ready\n");
    for (;;) pause();
}
