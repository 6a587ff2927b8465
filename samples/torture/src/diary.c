// A helper whose needs are its own: nobody else changes anything in its folder.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    const char *path = "/data/diary/today", *note = "noted\n";
    char text[16] = "";
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, note, strlen(note)) < 0 || lseek(fd, 0, SEEK_SET) != 0) return 1;
    if (read(fd, text, sizeof text - 1) < 0 || unlink(path) != 0) return 1;
    printf("%s", text);
    return 0;
}
