// sseserver: what this machine can do. One thread, epoll, events rendered beforehand, no model behind it.
//
// Build: gcc -O2 -o sseserver sseserver.c
// Usage: sseserver PORT [joined]     joined: a burst leaves in one send() instead of one per event
//
//   POST /burst      200 events at once        POST /first      1 event
//   POST /paced/N    N events, one each 20 ms; each carries "@<ns>", the CLOCK_MONOTONIC time at which it was due
//
// Every stream ends with an event of the type "complete". The events look like Unspool's.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
enum { BURST = 200, PERIOD_NS = 20000000 };

typedef struct conn {
  int fd, in_bytes, left, n, queued;
  u64 due;
  struct conn *next;
  char in[4096];
} conn;

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static char events[BURST][160], last[160], whole[65536];
static int event_bytes[BURST], last_bytes, whole_bytes, ep, joined;
static conn *queue_head, *queue_tail;  // of paced streams, by due time: all have one period, so appending keeps order

static u64 now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void send_all(conn *c, const char *s, int n) {
  while (n > 0 && c->fd >= 0) {
    ssize_t r = send(c->fd, s, n, MSG_NOSIGNAL);
    if (r < 0 && errno == EAGAIN) {
      struct pollfd p = {.fd = c->fd, .events = POLLOUT};
      poll(&p, 1, 100);
    } else if (r < 0) {
      return;
    } else {
      s += r;
      n -= r;
    }
  }
}

static int chunk(char *to, int n, const char *json) {
  char event[128];
  int size = n ? sprintf(event, "id: 1-%d\ndata: %s\n\n", n, json) : sprintf(event, "data: %s\n\n", json);
  return sprintf(to, "%x\r\n%s\r\n", size, event);
}

static void render(void) {
  whole_bytes = sprintf(whole, "%s", HEAD);
  for (int i = 0; i < BURST; i++) {
    char json[96];
    sprintf(json, "{\"type\":\"output\",\"output\":\"token %d \",\"index\":0}", i);
    event_bytes[i] = chunk(events[i], i + 1, json);
    whole_bytes += sprintf(whole + whole_bytes, "%s", events[i]);
  }
  last_bytes = chunk(last, 0, "{\"type\":\"complete\",\"outputs\":[]}");
  last_bytes += sprintf(last + last_bytes, "0\r\n\r\n");
  whole_bytes += sprintf(whole + whole_bytes, "%s", last);
}

static void push(conn *c) {
  c->queued = 1;
  c->next = NULL;
  if (queue_tail) queue_tail->next = c;
  else queue_head = c;
  queue_tail = c;
}

static void answer(conn *c, const char *path) {
  int paced = 0;
  if (sscanf(path, "/paced/%d", &paced) == 1) {
    send_all(c, HEAD, sizeof HEAD - 1);
    c->left = paced;
    c->n = 0;
    c->due = now_ns() + PERIOD_NS;
    push(c);
  } else if (joined) {
    send_all(c, whole, whole_bytes);
  } else {
    int count = strncmp(path, "/first", 6) ? BURST : 1;
    send_all(c, HEAD, sizeof HEAD - 1);
    for (int i = 0; i < count; i++) send_all(c, events[i], event_bytes[i]);
    send_all(c, last, last_bytes);
  }
}

static void on_requests(conn *c) {
  for (;;) {
    char *end = memmem(c->in, c->in_bytes, "\r\n\r\n", 4);
    if (!end) return;
    char *length = strcasestr(c->in, "content-length:"), *path = memchr(c->in, ' ', end - c->in);
    int size = end + 4 - c->in + (length && length < end ? atoi(length + 15) : 0);
    if (c->in_bytes < size || !path) return;
    answer(c, path + 1);
    memmove(c->in, c->in + size, c->in_bytes - size);
    c->in_bytes -= size;
  }
}

static void on_readable(conn *c) {
  ssize_t r = recv(c->fd, c->in + c->in_bytes, sizeof c->in - 1 - c->in_bytes, 0);
  if (r < 0 && errno == EAGAIN) return;
  if (r <= 0) {
    close(c->fd);
    c->fd = -1;
    if (!c->queued) free(c);
    return;
  }
  c->in_bytes += r;
  c->in[c->in_bytes] = 0;
  on_requests(c);
}

static void accept_all(int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn *c = calloc(1, sizeof *c);
    c->fd = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
  }
}

static void send_due(void) {
  while (queue_head && queue_head->due <= now_ns()) {
    conn *c = queue_head;
    queue_head = c->next;
    if (!queue_head) queue_tail = NULL;
    c->queued = 0;
    if (c->fd < 0) {
      free(c);
    } else if (c->left-- > 0) {
      char json[96], out[160];
      sprintf(json, "{\"type\":\"output\",\"output\":\"@%llu\",\"index\":0}", (unsigned long long)c->due);
      send_all(c, out, chunk(out, ++c->n, json));
      c->due += PERIOD_NS;
      push(c);
    } else {
      send_all(c, last, last_bytes);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  signal(SIGPIPE, SIG_IGN);
  joined = argc > 2;
  render();
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096)) {
    perror("sseserver");
    return 1;
  }
  ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[512];
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
  for (;;) {
    u64 t = now_ns(), wait = !queue_head ? 1000000000ull : queue_head->due > t ? queue_head->due - t : 0;
    struct timespec ts = {wait / 1000000000ull, wait % 1000000000ull};
    int n = epoll_pwait2(ep, ready, 512, &ts, NULL);
    for (int i = 0; i < n; i++) {
      if (ready[i].data.ptr) on_readable(ready[i].data.ptr);
      else accept_all(listener);
    }
    send_due();
  }
}
