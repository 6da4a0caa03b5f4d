/*
 * Load for an HTTP server on loopback, at a steady rate and at little cost: posts bodies of many sizes on connections that
 * are kept, and checks that every answer is the body.
 *
 *   load PORT REQUESTS_A_SECOND SECONDS      prints `SENT requests, FAILED failed, the slowest took N ms`
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 32, MOST_BODY = 8192, MOST_MESSAGE = MOST_BODY + 1024, TICK = 5, PATIENCE = 30000 };

typedef struct connection {
    int socket;
    bool waiting;       /* for an answer */
    char fill;          /* the byte that the body is made of */
    size_t body, got;   /* bytes of the body; of the answer so far */
    double begun;       /* milliseconds */
    char answer[MOST_MESSAGE];
} connection;

static connection all[CONNECTIONS];
static int port;
static unsigned long sent, failed;
static double slowest;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void open_connection(connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->waiting = false;
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&address, sizeof address)) die("cannot connect");
    int on = 1;
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(c->socket, F_SETFL, O_NONBLOCK)) die("cannot set a socket");
}

static void fail(connection *c, const char *why) {
    if (failed++ < 20) fprintf(stderr, "load: request %lu: %s\n%.*s\n", sent, why, (int)(c->got < 300 ? c->got : 300), c->answer);
    close(c->socket);
    open_connection(c);
}

static void post(connection *c) {
    char message[MOST_MESSAGE];
    c->body = 1 + sent * 7919 % MOST_BODY;
    c->fill = (char)('a' + sent % 26);
    c->got = 0;
    c->begun = now();
    c->waiting = true;
    sent++;
    int head = snprintf(message, sizeof message, "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %zu\r\n\r\n", c->body);
    memset(message + head, c->fill, c->body);
    size_t bytes = (size_t)head + c->body, done = 0;
    while (done < bytes) {
        ssize_t wrote = write(c->socket, message + done, bytes - done);
        if (wrote > 0) {
            done += (size_t)wrote;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {c->socket, POLLOUT, 0};
            if (poll(&writable, 1, PATIENCE) != 1) return fail(c, "it is not read");
        } else {
            return fail(c, "the connection is closed");
        }
    }
}

/* True where the whole answer is there. */
static bool check(connection *c) {
    char *end = memmem(c->answer, c->got, "\r\n\r\n", 4);
    if (!end) return false;
    if (strncmp(c->answer, "HTTP/1.1 200", 12)) return fail(c, "it is not 200"), false;
    long length = -1;
    *end = 0;
    for (char *line = strstr(c->answer, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, "content-length:", 15)) length = atol(line + 17);
    *end = '\r';
    if (length != (long)c->body) return fail(c, "the length is wrong"), false;
    char *body = end + 4;
    size_t have = c->got - (size_t)(body - c->answer);
    if (have < c->body) return false;
    for (size_t i = 0; i < c->body; i++)
        if (body[i] != c->fill) return fail(c, "the body is wrong"), false;
    return have == c->body ? true : (fail(c, "there is more than the body"), false);
}

static void receive(connection *c) {
    ssize_t got = read(c->socket, c->answer + c->got, sizeof c->answer - c->got);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return fail(c, "the connection is closed");
    c->got += (size_t)got;
    if (!check(c)) return;
    double took = now() - c->begun;
    if (took > slowest) slowest = took;
    c->waiting = false;
}

int main(int count, char **arguments) {
    if (count != 4) return fprintf(stderr, "usage: load PORT REQUESTS_A_SECOND SECONDS\n"), 2;
    port = atoi(arguments[1]);
    double rate = atof(arguments[2]), seconds = atof(arguments[3]);
    for (int i = 0; i < CONNECTIONS; i++) open_connection(&all[i]);
    double begun = now();
    int turn = 0;
    for (bool waiting = true; waiting;) {
        double passed = (now() - begun) / 1000;
        unsigned long due = (unsigned long)((passed < seconds ? passed : seconds) * rate);
        struct pollfd polled[CONNECTIONS];
        waiting = passed < seconds || sent < due;
        /* In turns: servers close connections that nobody uses. */
        for (int i = 0; i < CONNECTIONS && sent < due; i++, turn = (turn + 1) % CONNECTIONS)
            if (!all[turn].waiting) post(&all[turn]);
        for (int i = 0; i < CONNECTIONS; i++) {
            connection *c = &all[i];
            if (c->waiting && now() - c->begun > PATIENCE) fail(c, "there is no answer");
            waiting |= c->waiting;
            polled[i] = (struct pollfd){c->socket, c->waiting ? POLLIN : 0, 0};
        }
        poll(polled, CONNECTIONS, TICK);
        for (int i = 0; i < CONNECTIONS; i++)
            if (polled[i].revents && all[i].waiting) receive(&all[i]);
    }
    printf("%lu requests, %lu failed, the slowest took %.0f ms\n", sent, failed, slowest);
    return 0;
}
