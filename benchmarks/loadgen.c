/* loadgen: puts load on one server on 127.0.0.1, and checks every byte that it answers.
 *
 *   cc -O2 -o loadgen loadgen.c
 *   loadgen MODE -p PORT [-n CONNECTIONS] [-s SIZE] [-d DEPTH] [-t SECONDS] [-w WARMUP] [-x SHARE]
 *
 *   echo     CONNECTIONS stay open, each with DEPTH requests under way
 *   mix      as echo, but SHARE of the requests begin with the marker 'S', which
 *            asks the server to take its time over them
 *   connect  connect, one request, its reply, the server closes; CONNECTIONS under way
 *   udp      CONNECTIONS sockets, one request under way on each; one that isn't
 *            answered within 200 ms is sent again, and counted
 *   idle     opens CONNECTIONS, has one request answered on each, prints its line,
 *            and holds them until something comes on standard input, or its end
 *
 * A request is SIZE bytes, of which the last is a line feed except in udp; the
 * reply must be the request in upper case. What the server answers wrongly, not at
 * all, or by closing is an error, and its connection is given up.
 *
 * Theory of operation: one thread and one epoll. What each connection has under way
 * is a ring of DEPTH requests, of which the oldest is the one that the next byte
 * received belongs to. Requests are sent straight from two templates by writev, as
 * many as may be under way at once, so that a generator on the same machine costs as
 * little as it can. Nothing is counted before the warm-up has passed.
 *
 * It prints one line of JSON. Times are in microseconds unless named otherwise.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_CONNECTIONS = 19000,
    MOST_SECONDS = 60,
    DEEPEST = 64,
    LARGEST = 60000,
    SMALLEST = 17,            /* a datagram's number, and a byte */
    HOLD_SECONDS = 120,    /* how long idle connections are held at most */
    SILENCE_MS = 5000,     /* how long a connection may take in connect mode */
    RESEND_MS = 200,
    FINISH_MS = 2000,      /* how long the last replies are waited for */
    RECEIVE = 256 * 1024,
    EVENTS = 512,
};

typedef uint64_t nanoseconds;

struct request {
    nanoseconds begun;
    bool marked;
};

struct connection {
    int fd;
    bool waits_to_send;       /* registered for EPOLLOUT */
    size_t sent_of_next;      /* bytes sent of requests[sent] */
    size_t received_of_oldest;
    uint64_t oldest, sent, posted;  /* counts; modulo depth, places in the ring */
    nanoseconds begun;
    uint64_t sequence;        /* of the datagram under way */
    struct request *requests;
};

static const char *mode;
static int port, wanted = 50, depth = 1;
static size_t size = 64;
static double duration = 1.0, warmup = 0.2, share = 0.0;

static struct sockaddr_in server;
static int poller;
static struct connection *connections;
static int open_connections;
static char *plain, *marked, *plain_reply, *marked_reply;
static char received[RECEIVE];
static nanoseconds counted_from, counted_until;
static uint64_t requests_counted, requests_all, errors, resent;
static double owed;           /* fractions of a marked request */

static nanoseconds now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (nanoseconds)t.tv_sec * 1000000000u + (nanoseconds)t.tv_nsec;
}

/* Ends the program with a reason; the caller reads it from the JSON. */
__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    char reason[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    printf("{\"mode\": \"%s\", \"failed\": \"%s\"}\n", mode, reason);
    exit(1);
}

static void *allocate(size_t count, size_t each)
{
    void *memory = calloc(count, each);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

/* Latencies are counted in buckets, 64 for each power of two: 1.6 % wide. */
static uint64_t buckets[64 * 64], latencies;

static void count_latency(nanoseconds latency)
{
    unsigned bucket = (unsigned)latency;
    if (latency >= 64) {
        unsigned power = 63u - (unsigned)__builtin_clzll(latency);
        bucket = (power - 5) * 64 + (unsigned)((latency >> (power - 6)) & 63);
    }
    buckets[bucket]++;
    latencies++;
}

static double percentile(double share_below)
{
    uint64_t rank = (uint64_t)((double)latencies * share_below), seen = 0;
    for (unsigned bucket = 0; bucket < sizeof buckets / sizeof *buckets; bucket++) {
        seen += buckets[bucket];
        if (seen > rank) {
            if (bucket < 64)
                return bucket / 1e3;
            return (double)((nanoseconds)(64 + bucket % 64) << (bucket / 64 - 1)) / 1e3;
        }
    }
    return 0;
}

static void count_request(nanoseconds begun, nanoseconds ended)
{
    requests_all++;
    if (ended >= counted_from && ended < counted_until) {
        requests_counted++;
        count_latency(ended - begun);
    }
}

static void report(double seconds)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"mode\": \"%s\", \"connections\": %d, \"size\": %zu, \"depth\": %d, \"share\": %g,"
           " \"requests\": %llu, \"requests_with_warmup\": %llu, \"seconds\": %.6f,"
           " \"rate\": %.1f, \"errors\": %llu, \"resent\": %llu,"
           " \"p50_us\": %.1f, \"p99_us\": %.1f, \"generator_cpu_seconds\": %.3f}\n",
           mode, wanted, size, depth, share, (unsigned long long)requests_counted,
           (unsigned long long)requests_all, seconds,
           seconds > 0 ? (double)requests_counted / seconds : 0.0,
           (unsigned long long)errors, (unsigned long long)resent,
           percentile(0.50), percentile(0.99), cpu);
    fflush(stdout);
}

/* The two requests that there are, and their replies. */
static void make_templates(bool lines)
{
    char **templates[] = {&plain, &marked, &plain_reply, &marked_reply};
    for (int i = 0; i < 4; i++) {
        char *text = *templates[i] = allocate(size, 1);
        for (size_t k = 0; k < size; k++)
            text[k] = (char)((i < 2 ? 'a' : 'A') + (int)(k % 26));
        if (i % 2)
            text[0] = 'S';
        if (lines)
            text[size - 1] = '\n';
    }
}

static int open_socket(int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    if ((type & ~SOCK_NONBLOCK) == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void watch(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

static void give_up(struct connection *c)
{
    errors++;
    close(c->fd);
    c->fd = -1;
    open_connections--;
}

/* Connects, waiting for it; with one request answered, so that the server has met it. */
static int open_connection(void)
{
    struct timeval patience = {.tv_sec = 10};
    int fd = open_socket(SOCK_STREAM);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&server, sizeof server))
        fail("connect: %s", strerror(errno));
    if (send(fd, plain, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail("the first request could not be sent: %s", strerror(errno));
    for (size_t got = 0; got < size;) {
        ssize_t n = recv(fd, received + got, size - got, 0);
        if (n <= 0)
            fail("the first request was not answered: %s", n ? strerror(errno) : "closed");
        got += (size_t)n;
    }
    if (memcmp(received, plain_reply, size))
        fail("the first request was answered wrongly");
    return fd;
}

static void begin_counting(void)
{
    counted_from = now() + (nanoseconds)(warmup * 1e9);
    counted_until = counted_from + (nanoseconds)(duration * 1e9);
}

/* Sends what is posted as far as the system takes it; false when the connection is gone. */
static bool send_posted(struct connection *c)
{
    while (c->sent < c->posted) {
        struct iovec parts[DEEPEST];
        int count = 0;
        for (uint64_t i = c->sent; i < c->posted; i++) {
            char *text = c->requests[i % (unsigned)depth].marked ? marked : plain;
            size_t skipped = i == c->sent ? c->sent_of_next : 0;
            parts[count].iov_base = text + skipped;
            parts[count++].iov_len = size - skipped;
        }
        ssize_t n = writev(c->fd, parts, count);
        if (n < 0) {
            if (errno != EAGAIN)
                return false;
            if (!c->waits_to_send)
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->waits_to_send = true;
            return true;
        }
        c->sent_of_next += (size_t)n;
        c->sent += c->sent_of_next / size;
        c->sent_of_next %= size;
    }
    if (c->waits_to_send)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->waits_to_send = false;
    return true;
}

static void post(struct connection *c, nanoseconds moment)
{
    struct request *r = &c->requests[c->posted++ % (unsigned)depth];
    r->begun = moment;
    r->marked = false;
    owed += share;
    if (owed >= 1) {
        owed -= 1;
        r->marked = true;
    }
}

/* Compares what came with what must come; false when it differs. */
static bool take(struct connection *c, const char *data, size_t length, nanoseconds moment)
{
    while (length) {
        if (c->oldest == c->sent)
            return false;  /* a reply to what was not asked */
        struct request *r = &c->requests[c->oldest % (unsigned)depth];
        size_t missing = size - c->received_of_oldest, part = length < missing ? length : missing;
        if (memcmp(data, (r->marked ? marked_reply : plain_reply) + c->received_of_oldest, part))
            return false;
        data += part;
        length -= part;
        c->received_of_oldest += part;
        if (c->received_of_oldest == size) {
            c->received_of_oldest = 0;
            c->oldest++;
            count_request(r->begun, moment);
        }
    }
    return true;
}

static bool serve_echo(struct connection *c, uint32_t events, bool goes_on)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = recv(c->fd, received, sizeof received, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        nanoseconds moment = now();
        if (n > 0 && !take(c, received, (size_t)n, moment))
            return false;
        while (goes_on && c->posted - c->oldest < (unsigned)depth)
            post(c, moment);
    }
    return send_posted(c);
}

/* How many connections still wait for a reply. */
static int waiting(void)
{
    int count = 0;
    for (int i = 0; i < wanted; i++)
        count += connections[i].fd >= 0 && connections[i].oldest < connections[i].posted;
    return count;
}

static void run_echo(void)
{
    struct epoll_event ready[EVENTS];
    for (int i = 0; i < wanted; i++) {
        connections[i].requests = allocate((size_t)depth, sizeof(struct request));
        connections[i].fd = open_connection();
    }
    open_connections = wanted;
    begin_counting();
    for (int i = 0; i < wanted; i++) {
        struct connection *c = &connections[i];
        while (c->posted < (unsigned)depth)
            post(c, now());
        /* The blocking socket of the set-up goes on without waiting. */
        fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
        if (!send_posted(c))
            give_up(c);
    }
    while (open_connections) {
        nanoseconds moment = now();
        bool goes_on = moment < counted_until;
        /* A connection closed with replies under way would be reset: a failure to the server. */
        if (!goes_on && !waiting())
            break;
        if (moment > counted_until + FINISH_MS * (nanoseconds)1000000) {
            errors += (uint64_t)waiting();
            break;
        }
        int count = epoll_wait(poller, ready, EVENTS, 20);
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c->fd >= 0 && !serve_echo(c, ready[i].events, goes_on))
                give_up(c);
        }
    }
    report(duration);
}

static void begin_connection(struct connection *c)
{
    c->fd = open_socket(SOCK_STREAM | SOCK_NONBLOCK);
    c->begun = now();
    c->sent_of_next = c->received_of_oldest = 0;
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* One step of a short connection: 0 it goes on, 1 it is complete, -1 it went wrong. */
static int step_connection(struct connection *c)
{
    if (c->sent_of_next < size) {
        ssize_t n = send(c->fd, plain + c->sent_of_next, size - c->sent_of_next, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
        c->sent_of_next += (size_t)n;
        if (c->sent_of_next == size)
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
        return 0;
    }
    for (;;) {
        ssize_t n = recv(c->fd, received, sizeof received, 0);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        if (n == 0)
            return c->received_of_oldest == size ? 1 : -1;
        if (c->received_of_oldest + (size_t)n > size
            || memcmp(received, plain_reply + c->received_of_oldest, (size_t)n))
            return -1;
        c->received_of_oldest += (size_t)n;
    }
}

static void end_connection(struct connection *c, bool complete)
{
    if (complete)
        count_request(c->begun, now());
    else
        errors++;
    close(c->fd);
    if (errors > 10000)
        fail("too many connections went wrong");
    begin_connection(c);
}

static void run_connect(void)
{
    struct epoll_event ready[EVENTS];
    nanoseconds looked = now();
    begin_counting();
    for (int i = 0; i < wanted; i++)
        begin_connection(&connections[i]);
    while (now() < counted_until) {
        int count = epoll_wait(poller, ready, EVENTS, 20);
        for (int i = 0; i < count; i++) {
            int outcome = step_connection(ready[i].data.ptr);
            if (outcome)
                end_connection(ready[i].data.ptr, outcome > 0);
        }
        if (now() - looked < 100000000u)
            continue;
        looked = now();
        for (int i = 0; i < wanted; i++)
            if (looked > connections[i].begun + SILENCE_MS * (nanoseconds)1000000)
                end_connection(&connections[i], false);
    }
    report(duration);
}

/* A datagram begins with its number, so that a late reply to an earlier one is known. */
static void send_datagram(struct connection *c, char *text)
{
    char number[17];
    snprintf(number, sizeof number, "%015llu ", (unsigned long long)c->sequence);
    memcpy(text, number, 16);
    c->begun = now();
    /* What the system can't take now is sent again like what was lost. */
    if (send(c->fd, text, size, 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
        errors++;
}

static void take_datagrams(struct connection *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, received, sizeof received, 0);
        if (n < 0) {
            if (errno != EAGAIN)
                errors++;
            return;
        }
        if (n != (ssize_t)size || memcmp(received + 16, plain_reply + 16, size - 16)) {
            errors++;
            continue;
        }
        if (strtoull(received, NULL, 10) != c->sequence)
            continue;
        count_request(c->begun, now());
        c->sequence++;
        send_datagram(c, plain);
    }
}

static void run_udp(void)
{
    struct epoll_event ready[EVENTS];
    nanoseconds looked = now();
    begin_counting();
    for (int i = 0; i < wanted; i++) {
        struct connection *c = &connections[i];
        c->fd = open_socket(SOCK_DGRAM | SOCK_NONBLOCK);
        if (connect(c->fd, (struct sockaddr *)&server, sizeof server))
            fail("connect: %s", strerror(errno));
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
        send_datagram(c, plain);
    }
    while (now() < counted_until && errors < 10000) {
        int count = epoll_wait(poller, ready, EVENTS, 10);
        for (int i = 0; i < count; i++)
            take_datagrams(ready[i].data.ptr);
        if (now() - looked < 10000000u)
            continue;
        looked = now();
        for (int i = 0; i < wanted; i++)
            if (looked > connections[i].begun + RESEND_MS * (nanoseconds)1000000) {
                resent++;
                send_datagram(&connections[i], plain);
            }
    }
    report(duration);
}

static void run_idle(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    nanoseconds begun = now();
    for (int i = 0; i < wanted; i++) {
        connections[i].fd = open_connection();
        requests_all++;
    }
    report((double)(now() - begun) / 1e9);
    poll(&input, 1, HOLD_SECONDS * 1000);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {
        {"echo", run_echo}, {"mix", run_echo}, {"connect", run_connect},
        {"udp", run_udp},   {"idle", run_idle},
    };
    void (*run)(void) = NULL;
    mode = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(mode, modes[i].name))
            run = modes[i].run;
    optind = 2;
    for (int option; run && (option = getopt(argc, argv, "p:n:s:d:t:w:x:")) != -1;)
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'n': wanted = atoi(optarg); break;
        case 's': size = strtoul(optarg, NULL, 10); break;
        case 'd': depth = atoi(optarg); break;
        case 't': duration = atof(optarg); break;
        case 'w': warmup = atof(optarg); break;
        case 'x': share = atof(optarg); break;
        default: run = NULL;
        }
    if (!run || port < 1 || port > 65535) {
        fprintf(stderr, "usage: loadgen echo|mix|connect|udp|idle -p PORT [-n CONNECTIONS]"
                        " [-s SIZE] [-d DEPTH] [-t SECONDS] [-w WARMUP] [-x SHARE]\n");
        return 2;
    }
    if (wanted < 1 || wanted > MOST_CONNECTIONS || depth < 1 || depth > DEEPEST || size < SMALLEST
        || size > LARGEST || !(duration > 0 && warmup >= 0 && duration + warmup <= MOST_SECONDS)
        || !(share >= 0 && share <= 1))
        fail("out of bounds: at most %d connections, %d deep, %d to %d bytes, %d seconds",
             MOST_CONNECTIONS, DEEPEST, SMALLEST, LARGEST, MOST_SECONDS);

    struct rlimit descriptors;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll_create1: %s", strerror(errno));
    connections = allocate((size_t)wanted, sizeof *connections);
    make_templates(run != run_udp);
    run();
    return 0;
}
