// sseload: a load client for HTTP streams of Server-Sent Events on 127.0.0.1. One thread, epoll.
//
// Build: gcc -O2 -o sseload sseload.c
//
//   -p port   -u path   -m method   -H "Name: value" (may repeat)   -b body
//   -c connections   -n requests, then stop | -d seconds measured   -w seconds before them that do not count
//   -1 each connection makes one request   -r a new connection for each request
//   -R ms over which the first requests are spread   -T seconds after which it stops whatever happens
//   -e text   only events with this text count ("events"); without it all do
//   -E count  a stream with another number of counted events is an error
//   -t text   a stream in which no event has this text is an error
//
// An event is a line that begins with "data:". A counted one with "@<ns>" in it carries the CLOCK_MONOTONIC time
// at which it was due; "late" is the time from then until the bytes were read here. "first" is the time from the
// start of the request to the first event of any kind, "counted" to the first counted one, "total" to the end.
// Prints one JSON object; times are in microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
typedef unsigned long long ull;

static u64 now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// ---- histogram: steps of 100 ns, then 64 steps per octave (1.6 %) ----

typedef struct {
  u64 n, max, sum;
  u64 bucket[64 * 64];
} hist;

static int bucket_of(u64 v) {
  if (v < 64) return v;
  int e = 63 - __builtin_clzll(v);
  return (e - 5) * 64 + ((v >> (e - 6)) & 63);
}

static u64 bucket_floor(int i) {
  if (i < 64) return i;
  int e = i / 64 + 5;
  return (1ull << e) + ((u64)(i & 63) << (e - 6));
}

static void record(hist *h, u64 ns) {
  u64 v = ns / 100;
  h->n++;
  h->sum += v;
  if (v > h->max) h->max = v;
  h->bucket[bucket_of(v)]++;
}

static double percentile(hist *h, double p) {
  if (!h->n) return 0;
  u64 k = p * h->n, seen = 0;
  if (k >= h->n) k = h->n - 1;
  for (int i = 0; i < 64 * 64; i++) {
    seen += h->bucket[i];
    if (seen > k) return bucket_floor(i) / 10.0;
  }
  return h->max / 10.0;
}

static void print_hist(const char *name, hist *h) {
  printf("\"%s_us\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f},", name, (ull)h->n,
         h->n ? h->sum / 10.0 / h->n : 0, percentile(h, .5), percentile(h, .9), percentile(h, .99), h->max / 10.0);
}

// ---- connections ----

enum { IDLE, CONNECTING, HEADERS, BODY };
enum { UNTIL_CLOSE, BY_LENGTH, CHUNKED };
enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, TRAILERS };
#define LINE_MAX_BYTES 1024  // the start of a longer line is kept; what is looked for stands there

typedef struct {
  int fd, state, framing, chunk_state, status, must_close, reused, any_byte, saw_marker, trailer_bytes;
  u64 start_at, began, first, counted_at, left;
  long counted;
  int sent, head_bytes, line_bytes;
  char head[8192], line[LINE_MAX_BYTES];
} conn;

static int port = 8000, n_conns = 1, reconnect, once;
static long max_requests = 0, expected = -1;
static double measured_s = 0, warm_s = 0, timeout_s = 60, ramp_ms = 0;
static const char *path = "/", *method = "POST", *body = "", *marker, *counted_text;
static char headers[4096], *request;
static int request_bytes, ep;

static hist first_us, counted_us, total_us, late_us;
static u64 n_started, n_done, n_events, n_reads, n_bytes, n_connects;
static u64 e_status, e_marker, e_count, e_io, e_connect;
static int measuring;
static long inflight;
static char buffer[262144];

static void start_request(conn *c);

static void close_conn(conn *c) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
}

static void end_request(conn *c) {
  c->state = IDLE;
  inflight--;
}

static void fail(conn *c, u64 *kind) {
  if (measuring) {
    (*kind)++;
    n_done++;
  }
  close_conn(c);
  end_request(c);
  // After a refused connection nothing is tried again, so a server that is gone ends the run and not the machine.
  if (!once && kind != &e_connect) start_request(c);
}

// A kept-alive connection may have been closed by the server in the meantime: that is not an error of the stream.
static void retry_on_new_connection(conn *c) {
  close_conn(c);
  end_request(c);
  n_started--;
  start_request(c);
}

static void send_request(conn *c) {
  while (c->sent < request_bytes) {
    ssize_t r = send(c->fd, request + c->sent, request_bytes - c->sent, MSG_NOSIGNAL);
    if (r < 0 && errno == EAGAIN) return;  // CONNECTING: EPOLLOUT is still asked for
    if (r < 0) {
      if (c->reused) return retry_on_new_connection(c);
      return fail(c, &e_io);
    }
    c->sent += r;
  }
  if (c->state == CONNECTING) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
  }
  c->state = HEADERS;
}

static void start_request(conn *c) {
  if (max_requests && (long)n_started >= max_requests) return;
  n_started++;
  inflight++;
  c->began = now_ns();
  c->first = c->counted_at = c->left = 0;
  c->counted = c->saw_marker = c->sent = c->head_bytes = c->line_bytes = c->any_byte = c->must_close = c->status = 0;
  c->chunk_state = CHUNK_SIZE;
  if (c->fd >= 0 && !reconnect) {
    c->reused = 1;
    return send_request(c);
  }
  close_conn(c);
  c->reused = 0;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) {
    perror("socket");
    exit(2);
  }
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  n_connects++;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->state = CONNECTING;
  if (connect(c->fd, (void *)&a, sizeof a) < 0 && errno != EINPROGRESS) return fail(c, &e_connect);
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

// ---- answers ----

static void finish(conn *c) {
  u64 t = now_ns();
  if (measuring) {
    n_done++;
    if (c->status < 200 || c->status > 299) {
      e_status++;
      if (getenv("SSE_DEBUG")) fprintf(stderr, "status %d %.400s\n", c->status, c->head);
    } else if (marker && !c->saw_marker) {
      e_marker++;
    } else if (expected >= 0 && c->counted != expected) {
      e_count++;
      if (getenv("SSE_DEBUG")) fprintf(stderr, "%ld events instead of %ld\n", c->counted, expected);
    } else {
      record(&total_us, t - c->began);
    }
  }
  if (reconnect || c->must_close) close_conn(c);
  end_request(c);
  if (!once) start_request(c);
}

static void on_event(conn *c, const char *s, int n, u64 t) {
  if (!c->first) {
    c->first = t;
    if (measuring) record(&first_us, t - c->began);
  }
  if (!counted_text || memmem(s, n, counted_text, strlen(counted_text))) {
    c->counted++;
    if (measuring) {
      n_events++;
      if (!c->counted_at) record(&counted_us, t - c->began);
      const char *q = memchr(s, '@', n);
      u64 due = q ? strtoull(q + 1, NULL, 10) : 0;
      if (due) record(&late_us, t > due ? t - due : 0);
    }
    if (!c->counted_at) c->counted_at = t;
  } else if (marker && memmem(s, n, marker, strlen(marker))) {
    c->saw_marker = 1;
  }
}

static void on_line(conn *c, const char *s, int n, u64 t) {
  if (n >= 5 && !memcmp(s, "data:", 5)) on_event(c, s, n, t);
}

static void keep_for_later(conn *c, const char *s, int n) {
  if (c->line_bytes + n >= LINE_MAX_BYTES) n = LINE_MAX_BYTES - 1 - c->line_bytes;
  memcpy(c->line + c->line_bytes, s, n);
  c->line_bytes += n;
  c->line[c->line_bytes] = 0;
}

static void on_body(conn *c, const char *s, size_t n, u64 t) {
  const char *end = s + n;
  while (s < end) {
    const char *newline = memchr(s, '\n', end - s);
    if (!newline) return keep_for_later(c, s, end - s);
    if (c->line_bytes) {
      keep_for_later(c, s, newline - s);
      on_line(c, c->line, c->line_bytes, t);
      c->line_bytes = 0;
    } else {
      on_line(c, s, newline - s, t);
    }
    s = newline + 1;
  }
}

// Takes body bytes out of their HTTP framing. Returns 1 when the answer is complete.
static int unframe(conn *c, const char *s, size_t n, u64 t) {
  if (c->framing == UNTIL_CLOSE) {
    on_body(c, s, n, t);
    return 0;
  }
  if (c->framing == BY_LENGTH) {
    size_t k = n < c->left ? n : c->left;
    on_body(c, s, k, t);
    c->left -= k;
    return c->left == 0;
  }
  const char *end = s + n;
  while (s < end) {
    char ch = *s;
    switch (c->chunk_state) {
      case CHUNK_SIZE:
      case CHUNK_EXTENSION:
        s++;
        if (ch == '\n') {
          c->chunk_state = c->left ? CHUNK_DATA : TRAILERS;
          c->trailer_bytes = 0;
        } else if (ch == ';') {
          c->chunk_state = CHUNK_EXTENSION;
        } else if (c->chunk_state == CHUNK_SIZE && isxdigit((unsigned char)ch)) {
          c->left = c->left * 16 + (ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10);
        }
        break;
      case CHUNK_DATA: {
        size_t k = (size_t)(end - s) < c->left ? (size_t)(end - s) : c->left;
        on_body(c, s, k, t);
        s += k;
        c->left -= k;
        if (!c->left) c->chunk_state = CHUNK_END;
        break;
      }
      case CHUNK_END:
        s++;
        if (ch == '\n') c->chunk_state = CHUNK_SIZE;
        break;
      case TRAILERS:
        s++;
        if (ch == '\n' && c->trailer_bytes == 0) return 1;
        if (ch == '\n') c->trailer_bytes = 0;
        else if (ch != '\r') c->trailer_bytes++;
        break;
    }
  }
  return 0;
}

// Returns how many of the n bytes belonged to the head, or -1 if it is too long. The state is BODY once it is whole.
static int on_head(conn *c, const char *s, int n) {
  int before = c->head_bytes, room = (int)sizeof c->head - 1 - before, k = n < room ? n : room;
  memcpy(c->head + before, s, k);
  c->head_bytes += k;
  c->head[c->head_bytes] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) return k < n ? -1 : n;
  end[2] = 0;
  c->status = atoi(c->head + 9);
  c->framing = UNTIL_CLOSE;
  c->left = 0;
  char *length = strcasestr(c->head, "\r\ncontent-length:");
  if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
    c->framing = CHUNKED;
  } else if (length) {
    c->framing = BY_LENGTH;
    c->left = strtoull(length + 17, NULL, 10);
  }
  if (strcasestr(c->head, "\r\nconnection: close")) c->must_close = 1;
  c->state = BODY;
  return end + 4 - c->head - before;
}

static void on_end_of_file(conn *c, u64 t) {
  if (c->state == IDLE) return close_conn(c);
  if (c->state == BODY && c->framing == UNTIL_CLOSE) {
    if (c->line_bytes) on_line(c, c->line, c->line_bytes, t);
    c->must_close = 1;
    return finish(c);
  }
  if (c->reused && !c->any_byte) return retry_on_new_connection(c);
  fail(c, &e_io);
}

static void on_readable(conn *c) {
  while (c->fd >= 0) {
    ssize_t n = recv(c->fd, buffer, sizeof buffer - 1, 0);
    if (n < 0 && errno == EAGAIN) return;
    u64 t = now_ns();
    if (n < 0 && c->reused && !c->any_byte) return retry_on_new_connection(c);
    if (n < 0) return c->state == IDLE ? close_conn(c) : fail(c, &e_io);
    if (n == 0) return on_end_of_file(c, t);
    n_reads++;
    n_bytes += n;
    c->any_byte = 1;
    buffer[n] = 0;
    int used = 0;
    if (c->state == HEADERS) {
      used = on_head(c, buffer, n);
      if (used < 0) return fail(c, &e_io);
    }
    if (c->state == BODY) {
      int empty = c->framing == BY_LENGTH && c->left == 0;
      if (empty || unframe(c, buffer + used, n - used, t)) return finish(c);
    }
    if ((size_t)n < sizeof buffer - 1) return;  // level-triggered: epoll tells if there is more
  }
}

static void on_ready(conn *c, unsigned events) {
  if (c->fd < 0) return;
  if (c->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return fail(c, &e_connect);
    send_request(c);
  } else {
    on_readable(c);
  }
}

// ---- the run ----

static void read_options(int argc, char **argv) {
  int o, h = 0;
  while ((o = getopt(argc, argv, "p:u:m:H:b:c:n:d:w:rR:1t:e:E:T:")) != -1) {
    switch (o) {
      case 'p': port = atoi(optarg); break;
      case 'u': path = optarg; break;
      case 'm': method = optarg; break;
      case 'H': h += snprintf(headers + h, sizeof headers - h, "%s\r\n", optarg); break;
      case 'b': body = optarg; break;
      case 'c': n_conns = atoi(optarg); break;
      case 'n': max_requests = atol(optarg); break;
      case 'd': measured_s = atof(optarg); break;
      case 'w': warm_s = atof(optarg); break;
      case 'r': reconnect = 1; break;
      case 'R': ramp_ms = atof(optarg); break;
      case '1': once = 1; break;
      case 't': marker = optarg; break;
      case 'e': counted_text = optarg; break;
      case 'E': expected = atol(optarg); break;
      case 'T': timeout_s = atof(optarg); break;
      default: exit(2);
    }
    if (h >= (int)sizeof headers) exit(2);
  }
  if (once) max_requests = n_conns;
  if (!max_requests && !measured_s) {
    fprintf(stderr, "sseload: give -n, -d or -1\n");
    exit(2);
  }
  request_bytes = asprintf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%sContent-Length: %zu\r\n\r\n%s", method,
                           path, port, headers, reconnect ? "Connection: close\r\n" : "", strlen(body), body);
}

static double cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  read_options(argc, argv);
  ep = epoll_create1(0);
  conn *conns = calloc(n_conns, sizeof *conns);
  u64 began = now_ns(), measure_at = began + (u64)(warm_s * 1e9);
  u64 end_at = measured_s ? measure_at + (u64)(measured_s * 1e9) : UINT64_MAX;
  u64 stop_at = began + (u64)(timeout_s * 1e9);
  if (stop_at < end_at) end_at = stop_at;
  for (int i = 0; i < n_conns; i++) {
    conns[i].fd = -1;
    conns[i].start_at = began + (u64)(ramp_ms * 1e6 * i / n_conns);
  }
  int next = 0;
  double cpu_before = 0;
  struct epoll_event ready[1024];
  for (;;) {
    u64 t = now_ns();
    if (!measuring && t >= measure_at) {
      measuring = 1;
      measure_at = t;
      cpu_before = cpu_s();
      n_reads = n_bytes = 0;
    }
    while (next < n_conns && conns[next].start_at <= t) start_request(&conns[next++]);
    if (t >= end_at) break;
    if (next == n_conns && inflight <= 0) break;
    int n = epoll_wait(ep, ready, 1024, next < n_conns ? 1 : 5);
    for (int i = 0; i < n; i++) on_ready(ready[i].data.ptr, ready[i].events);
  }
  double wall = (now_ns() - measure_at) / 1e9;
  u64 errors = e_status + e_marker + e_count + e_io + e_connect;
  printf("{\"connections\":%d,\"wall_s\":%.3f,\"requests\":%llu,\"errors\":%llu,\"error_status\":%llu,"
         "\"error_marker\":%llu,\"error_count\":%llu,\"error_io\":%llu,\"error_connect\":%llu,",
         n_conns, wall, (ull)n_done, (ull)errors, (ull)e_status, (ull)e_marker, (ull)e_count, (ull)e_io, (ull)e_connect);
  print_hist("first", &first_us);
  print_hist("counted", &counted_us);
  print_hist("total", &total_us);
  print_hist("late", &late_us);
  printf("\"events\":%llu,\"events_per_s\":%.0f,\"requests_per_s\":%.1f,\"reads\":%llu,\"bytes\":%llu,"
         "\"connects\":%llu,\"unfinished\":%ld,\"client_cpu_s\":%.3f}\n",
         (ull)n_events, n_events / wall, n_done / wall, (ull)n_reads, (ull)n_bytes, (ull)n_connects, inflight,
         cpu_s() - cpu_before);
  return 0;
}
