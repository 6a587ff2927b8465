// A CGI program against musl: what it knows of its system.
#include <iconv.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *word(void);

int main(void) {
    time_t noon = 1719835200;
    struct passwd *user = getpwuid(getuid());
    char hour[32], bytes[8] = "", text[] = "\xc3\xbc", *in = text, *out = bytes;
    size_t left = 2, room = sizeof bytes;
    strftime(hour, sizeof hour, "%H:%M %Z", localtime(&noon));
    iconv(iconv_open("ISO-8859-1", "UTF-8"), &in, &left, &out, &room);
    printf("Content-Type: application/json\r\n\r\n");
    printf("{\"library\":\"%s\",\"user\":\"%s\",\"hour\":\"%s\",\"bytes\":\"%02x\",\"query\":\"%s\"}\n", word(),
        user ? user->pw_name : "", hour, (unsigned char)bytes[0], getenv("QUERY_STRING") ? getenv("QUERY_STRING") : "");
    return 0;
}
