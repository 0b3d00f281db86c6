/* listings: the application that the lab's hosts run, once as blue and once as green.
 *
 * It answers HTTP/1.1 with one thread for each connection, says who it is, and can be told to be ill:
 *
 *   /               200, body "COLOUR\n", header X-Instance: COLOUR-PID   (GET, HEAD, POST)
 *   /health         200 "ok\n"; 503 while STATE/COLOUR.unhealthy exists
 *   /health/db      the same
 *   /slow?ms=N      sleeps N milliseconds (default 4000), then answers like /
 *   /stream?ms=N    a byte each 100 ms for N milliseconds (default 1000), chunked
 *   /private        401
 *   /old            301 to /
 *   /die            closes the connection without an answer
 *   anything else   404
 *
 * STATE/COLOUR.noisy     each request also writes a realistic error into the log, one of them with a password
 * STATE/COLOUR.stubborn  SIGTERM is ignored
 *
 * SIGTERM otherwise: stops accepting, finishes what is in flight, exits 0.
 *
 * Usage: listings-COLOUR [--colour C] [--port N] [--bind ADDRESS] [--log FILE] [--state DIR]
 * Exit codes: 0 stopped by a signal, 1 cannot listen or write its log, 2 bad flags.
 *
 * It is a static C program, not a script, so that /proc/PID/exe differs between blue and green as it does for
 * real releases, and so that it runs in a container image that holds nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A request's head; nginx forwards at most 8 kB of headers by default. */
#define HEAD_BYTES 16384
/* nginx closes its idle upstream connections after 60 s: we must not be the first to hang up. */
#define IDLE_MS 75000
/* A client that stops in the middle of a request must not hold up an orderly stop for ever. */
#define STALLED_SECONDS 30
/* What a client had already sent when SIGTERM came still counts as in flight. */
#define LAST_CHANCE_MS 100
#define LONGEST_SLEEP_MS 600000

static const char *colour;
static const char *state_dir = "/opt/listings";
static int log_fd = -1;
static int stop_fd = -1; /* an eventfd that becomes readable, for all threads at once, when we stop */
static atomic_bool stopping;
static atomic_int connections;
static atomic_uint noise;

static void stamp(char *out, size_t size) {
    struct timespec now;
    struct tm utc;
    char seconds[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out, size, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
}

/* One write for each line, on a descriptor opened with O_APPEND: lines of two threads never mix. */
__attribute__((format(printf, 1, 2))) static void log_line(const char *format, ...) {
    char line[2048];
    stamp(line, sizeof line);
    size_t used = strlen(line);
    line[used++] = ' ';
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    used += (size_t)length;
    if (used > sizeof line - 2) used = sizeof line - 2;
    line[used++] = '\n';
    ssize_t ignored = write(log_fd, line, used); /* a full disk must not take the service down */
    (void)ignored;
}

static bool flagged(const char *what) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.%s", state_dir, colour, what);
    return access(path, F_OK) == 0;
}

static void log_noise(const char *path) {
    static const char *const lines[] = {
        "ERROR query failed: pq: relation \"listing_prices\" does not exist",
        "ERROR request failed: timeout after 5000ms",
        "ERROR panic: runtime error: invalid memory address or nil pointer dereference",
        "ERROR connect failed: postgres://listings:hunter2@127.0.0.1:5432/listings_prod password=hunter2: too many connections",
        "WARN slow query: 4812ms SELECT * FROM listings WHERE city = $1",
    };
    unsigned n = atomic_fetch_add(&noise, 1);
    log_line("%s path=%s", lines[n % (sizeof lines / sizeof *lines)], path);
}

static bool send_all(int fd, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        bytes += sent;
        count -= (size_t)sent;
    }
    return true;
}

static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, (ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

struct request {
    char method[16];
    char target[1024]; /* as sent; path and query */
    bool http_1_1;
    bool keep_alive;
    bool expects_continue;
    bool chunked;
    unsigned long long body_bytes;
};

/* Parses the head in place (it ends with a NUL after the blank line). False: not HTTP. */
static bool parse(char *head, struct request *request) {
    char version[16];
    memset(request, 0, sizeof *request);
    char *line_end = strstr(head, "\r\n");
    if (line_end == NULL) return false;
    *line_end = '\0';
    if (sscanf(head, "%15s %1023s %15s", request->method, request->target, version) != 3) return false;
    if (strncmp(version, "HTTP/1.", 7) != 0) return false;
    request->http_1_1 = strcmp(version, "HTTP/1.0") != 0;
    request->keep_alive = request->http_1_1;
    for (char *line = line_end + 2; *line != '\0';) {
        char *end = strstr(line, "\r\n");
        if (end == NULL || end == line) break;
        *end = '\0';
        char *value = strchr(line, ':');
        if (value != NULL) {
            *value++ = '\0';
            value += strspn(value, " \t");
            if (strcasecmp(line, "Content-Length") == 0) request->body_bytes = strtoull(value, NULL, 10);
            if (strcasecmp(line, "Transfer-Encoding") == 0) request->chunked = true;
            if (strcasecmp(line, "Expect") == 0) request->expects_continue = true;
            if (strcasecmp(line, "Connection") == 0) {
                if (strcasestr(value, "close") != NULL) request->keep_alive = false;
                else if (strcasestr(value, "keep-alive") != NULL) request->keep_alive = true;
            }
        }
        line = end + 2;
    }
    return true;
}

static long asked_ms(const char *target, long otherwise) {
    const char *query = strchr(target, '?');
    const char *ms = query != NULL ? strstr(query, "ms=") : NULL;
    long value = ms != NULL ? strtol(ms + 3, NULL, 10) : otherwise;
    if (value < 0) return 0;
    return value > LONGEST_SLEEP_MS ? LONGEST_SLEEP_MS : value;
}

static bool answer(int fd, const struct request *request, int status, const char *body) {
    const char *word = status == 200   ? "OK"
                       : status == 301 ? "Moved Permanently"
                       : status == 401 ? "Unauthorized"
                       : status == 404 ? "Not Found"
                       : status == 503 ? "Service Unavailable"
                                       : "Bad Request";
    char text[1024];
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 %d %s\r\nServer: listings\r\nX-Instance: %s-%d\r\n"
                          "Content-Type: text/plain\r\n%sContent-Length: %zu\r\nConnection: %s\r\n\r\n%s",
                          status, word, colour, (int)getpid(), status == 301 ? "Location: /\r\n" : "", strlen(body),
                          request->keep_alive ? "keep-alive" : "close",
                          strcmp(request->method, "HEAD") == 0 ? "" : body);
    return send_all(fd, text, (size_t)length);
}

static bool stream(int fd, struct request *request, long ms) {
    char head[256];
    /* HTTP/1.0 knows no chunks: there the end of the connection ends the body. */
    if (!request->http_1_1) request->keep_alive = false;
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 200 OK\r\nServer: listings\r\nX-Instance: %s-%d\r\n"
                          "Content-Type: text/plain\r\n%sConnection: %s\r\n\r\n",
                          colour, (int)getpid(), request->http_1_1 ? "Transfer-Encoding: chunked\r\n" : "",
                          request->keep_alive ? "keep-alive" : "close");
    if (!send_all(fd, head, (size_t)length)) return false;
    if (strcmp(request->method, "HEAD") == 0) return true;
    for (long sent_ms = 0; sent_ms < ms; sent_ms += 100) {
        const char *piece = request->http_1_1 ? "1\r\n.\r\n" : ".";
        if (!send_all(fd, piece, strlen(piece))) return false;
        sleep_ms(100);
    }
    return !request->http_1_1 || send_all(fd, "0\r\n\r\n", 5);
}

/* Answers one request and logs it. False: the connection is over. */
static bool serve(int fd, struct request *request) {
    char path[1024], body[64];
    snprintf(path, sizeof path, "%s", request->target);
    path[strcspn(path, "?")] = '\0';
    bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    bool posts = strcmp(request->method, "POST") == 0;
    snprintf(body, sizeof body, "%s\n", colour);
    if (flagged("noisy")) log_noise(path);

    int status = 404;
    bool alive;
    if (request->chunked) {
        /* nginx always sends a length upstream; a body of unknown end is refused, not misread. */
        status = 400;
        request->keep_alive = false;
        alive = answer(fd, request, status, "chunked bodies are not taken\n");
    } else if (reads && strcmp(path, "/die") == 0) {
        log_line("ERROR %s %s -", request->method, request->target);
        return false;
    } else if (strcmp(path, "/") == 0 && (reads || posts)) {
        alive = answer(fd, request, status = 200, body);
    } else if (reads && (strcmp(path, "/health") == 0 || strcmp(path, "/health/db") == 0)) {
        bool ill = flagged("unhealthy");
        alive = answer(fd, request, status = ill ? 503 : 200, ill ? "unhealthy\n" : "ok\n");
    } else if ((reads || posts) && strcmp(path, "/slow") == 0) {
        sleep_ms(asked_ms(request->target, 4000));
        if (atomic_load(&stopping)) request->keep_alive = false;
        alive = answer(fd, request, status = 200, body);
    } else if (reads && strcmp(path, "/stream") == 0) {
        status = 200;
        alive = stream(fd, request, asked_ms(request->target, 1000));
    } else if (strcmp(path, "/private") == 0) {
        alive = answer(fd, request, status = 401, "who are you?\n");
    } else if (strcmp(path, "/old") == 0) {
        alive = answer(fd, request, status = 301, "elsewhere\n");
    } else {
        alive = answer(fd, request, status, "not found\n");
    }
    log_line("%s %s %s %d", status >= 500 ? "ERROR" : "INFO", request->method, request->target, status);
    return alive && request->keep_alive;
}

/* Waits for the next request on an idle connection. False: it never came, or we are stopping. */
static bool wait_for_request(int fd) {
    struct pollfd both[2] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    int ready = poll(both, 2, IDLE_MS);
    if (ready <= 0) return ready < 0 && errno == EINTR;
    if (both[0].revents != 0) return true;
    return poll(both, 1, LAST_CHANCE_MS) > 0;
}

static void *connection(void *argument) {
    int fd = (int)(long)argument;
    char buffer[HEAD_BYTES + 1];
    size_t held = 0;

    for (;;) {
        char *end;
        buffer[held] = '\0';
        while ((end = memmem(buffer, held, "\r\n\r\n", 4)) == NULL) {
            if (held == HEAD_BYTES) goto over;
            if (held == 0 && !wait_for_request(fd)) goto over;
            ssize_t got = recv(fd, buffer + held, HEAD_BYTES - held, 0);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) goto over;
            held += (size_t)got;
            buffer[held] = '\0';
        }
        size_t head_bytes = (size_t)(end - buffer) + 4;
        char head[HEAD_BYTES + 1];
        memcpy(head, buffer, head_bytes);
        head[head_bytes] = '\0';
        held -= head_bytes;
        memmove(buffer, buffer + head_bytes, held);

        struct request request;
        if (!parse(head, &request)) {
            answer(fd, &(struct request){0}, 400, "not HTTP\n");
            goto over;
        }
        if (request.expects_continue && !send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) goto over;
        /* The body is read to its end and forgotten: the next request begins after it. */
        unsigned long long left = request.body_bytes;
        size_t here = left < held ? (size_t)left : held;
        held -= here;
        memmove(buffer, buffer + here, held);
        left -= here;
        while (left > 0) {
            ssize_t got = recv(fd, head, left < HEAD_BYTES ? (size_t)left : HEAD_BYTES, 0);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) goto over;
            left -= (unsigned long long)got;
        }
        if (atomic_load(&stopping)) request.keep_alive = false;
        if (!serve(fd, &request)) goto over;
    }
over:
    /* Closing alone, with bytes unread, sends a reset that may overtake the answer. */
    shutdown(fd, SHUT_WR);
    close(fd);
    atomic_fetch_sub(&connections, 1);
    return NULL;
}

static void take(int fd, const pthread_attr_t *attributes) {
    int yes = 1;
    struct timeval stalled = {.tv_sec = STALLED_SECONDS};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &stalled, sizeof stalled);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &stalled, sizeof stalled);
    pthread_t thread;
    atomic_fetch_add(&connections, 1);
    if (pthread_create(&thread, attributes, connection, (void *)(long)fd) != 0) {
        atomic_fetch_sub(&connections, 1);
        close(fd);
    }
}

static int refuse(const char *what, const char *thing) {
    fprintf(stderr, "listings: %s %s: %s\n", what, thing, strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    static const struct option flags[] = {
        {"colour", required_argument, NULL, 'c'}, {"port", required_argument, NULL, 'p'},
        {"bind", required_argument, NULL, 'b'},   {"log", required_argument, NULL, 'l'},
        {"state", required_argument, NULL, 's'},  {NULL, 0, NULL, 0},
    };
    const char *bind_to = "0.0.0.0", *log_path = NULL;
    long port = 0;
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (flag) {
        case 'c': colour = optarg; break;
        case 'p': port = strtol(optarg, NULL, 10); break;
        case 'b': bind_to = optarg; break;
        case 'l': log_path = optarg; break;
        case 's': state_dir = optarg; break;
        default: return 2;
        }
    }
    if (colour == NULL) {
        const char *dash = strrchr(argv[0], '-');
        colour = dash != NULL ? dash + 1 : "";
    }
    if (optind != argc || *colour == '\0' || strchr(colour, '/') != NULL) {
        fprintf(stderr, "usage: listings-COLOUR [--colour C] [--port N] [--bind ADDRESS] [--log FILE] [--state DIR]\n");
        return 2;
    }
    if (port == 0) port = strcmp(colour, "green") == 0 ? 8081 : 8080;

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    if (port < 1 || port > 65535 || inet_pton(AF_INET, bind_to, &address.sin_addr) != 1) {
        fprintf(stderr, "listings: not an address: %s:%ld\n", bind_to, port);
        return 2;
    }

    char default_log[PATH_MAX];
    if (log_path == NULL) {
        snprintf(default_log, sizeof default_log, "%s/logs/%s.log", state_dir, colour);
        log_path = default_log;
    }
    log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) return refuse("cannot write", log_path);

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }

    /* Blocked, not handled: a blocked signal also reaches a PID 1, which is what we are in a container. */
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signal_fd = signalfd(-1, &stops, SFD_CLOEXEC);
    stop_fd = eventfd(0, EFD_CLOEXEC);
    if (signal_fd < 0 || stop_fd < 0) return refuse("cannot wait for", "signals");

    char place[64];
    snprintf(place, sizeof place, "%s:%ld", bind_to, port);
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0) return refuse("cannot listen on", place);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0)
        return refuse("cannot listen on", place);

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);

    log_line("INFO %s listens on %s as %d", colour, place, (int)getpid());
    fprintf(stderr, "listings %s listens on %s as %d\n", colour, place, (int)getpid());

    while (!atomic_load(&stopping)) {
        struct pollfd both[2] = {{.fd = listener, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
        if (poll(both, 2, -1) < 0 && errno != EINTR) return refuse("cannot wait on", place);
        if (both[1].revents != 0) {
            struct signalfd_siginfo which;
            if (read(signal_fd, &which, sizeof which) == sizeof which) {
                if (which.ssi_signo == SIGTERM && flagged("stubborn")) log_line("WARN SIGTERM ignored: %s is stubborn", colour);
                else atomic_store(&stopping, true);
            }
        }
        /* Also once more when stopping: who is in the queue has been promised an answer by the kernel. */
        for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR;)
            if (fd >= 0) take(fd, &attributes);
        if (errno == EMFILE || errno == ENFILE) sleep_ms(10); /* else poll returns at once, for ever */
    }
    close(listener);
    eventfd_write(stop_fd, 1);
    while (atomic_load(&connections) > 0) sleep_ms(5);
    log_line("INFO %s stopped", colour);
    fprintf(stderr, "listings %s stopped\n", colour);
    return 0;
}
