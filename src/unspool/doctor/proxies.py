"""Which proxy shows itself by what, and which of its lines to change: data.

A sign is a header of an answer, or of the request as it arrived at the server, and a pattern for its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from unspool.doctor.report import Advice

Topic = Literal["buffering", "compression", "silence", "duration", "delay", "body", "redirect", "address"]
Side = Literal["answer", "request"]


@dataclass(frozen=True)
class Kind:
    """One make of proxy."""

    name: str
    where: str
    """Where its configuration is."""
    signs: tuple[tuple[Side, str, str], ...]
    lines: Mapping[Topic, str]
    keeps_accel_header: bool = False
    """It takes `X-Accel-Buffering` for itself and does not pass it on."""


NGINX = Kind(
    "nginx",
    "the server or location block of nginx",
    (("answer", "server", r"^(nginx|openresty|tengine)"),),
    {
        "buffering": "proxy_buffering off; proxy_http_version 1.1;   and no X-Accel-Buffering in proxy_ignore_headers",
        "compression": "gzip off;   (brotli off;) or take text/event-stream out of gzip_types",
        "silence": "proxy_read_timeout 60s;   more than UNSPOOL_KEEP_ALIVE_S, which is <keep-alive> s",
        "duration": "proxy_read_timeout 60s; send_timeout 60s;   nginx has no limit for a whole answer: look behind it",
        "delay": "proxy_read_timeout 620s;   for submits that wait for their result",
        "body": "client_max_body_size 0;   Unspool has limits of its own",
        "redirect": "return 308 https://$host$request_uri;   in place of 301 or rewrite … permanent",
        "address": "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;",
    },
    keeps_accel_header=True,
)
CADDY = Kind(
    "Caddy",
    "the Caddyfile",
    (("answer", "server", r"^Caddy"), ("answer", "via", r"\bCaddy\b")),
    {
        "buffering": "reverse_proxy: take out buffer_responses (response_buffers). Caddy passes text/event-stream on "
        "as it comes; flush_interval -1 is only for where something changes the content type",
        "compression": "encode: name in match { header Content-Type … } what to compress, without text/event-stream",
        "silence": "reverse_proxy: transport http { read_timeout 60s }   more than <keep-alive> s, or take it out",
        "duration": "servers { timeouts { write 0 } }   in the global options: a limit cuts every long stream",
        "delay": "reverse_proxy: transport http { response_header_timeout 620s }   or take it out",
        "body": "request_body { max_size 500MB }   or take it out: Unspool has limits of its own",
        "redirect": "redir https://{host}{uri} 308",
        "address": "reverse_proxy: take out header_up Host, so that Caddy passes the host on as it came",
    },
)
TRAEFIK = Kind(
    "Traefik",
    "Traefik's middlewares and entry points",
    (("request", "x-forwarded-server", r"(?i)traefik"),),
    {
        "buffering": "take the buffering middleware off this router",
        "compression": "compress middleware: excludedContentTypes: [text/event-stream]",
        "silence": "Traefik has no limit on the silence of an answer: look behind it, and before it",
        "duration": "entryPoints.*.transport.respondingTimeouts.writeTimeout: 0",
        "delay": "serversTransport: forwardingTimeouts: responseHeaderTimeout: 620s",
        "body": "buffering middleware: maxRequestBodyBytes: 0, or take it off this router",
        "redirect": "redirectScheme answers 308 to a POST with permanent: true; look for another redirect",
        "address": "loadBalancer: passHostHeader: true",
    },
)
APACHE = Kind(
    "Apache",
    "the VirtualHost of Apache",
    (("answer", "server", r"^Apache"),),
    {
        "buffering": "ProxyPass / http://127.0.0.1:8080/ flushpackets=on",
        "compression": "SetEnvIfNoCase Request_URI /api/ no-gzip   or AddOutputFilterByType without it",
        "silence": "ProxyTimeout 60   more than <keep-alive> s",
        "duration": "ProxyTimeout 60; mod_reqtimeout does not touch answers: look behind it",
        "delay": "ProxyTimeout 620",
        "body": "LimitRequestBody 0",
        "redirect": "Redirect 308 / https://your-name/",
        "address": "ProxyPreserveHost On, and RequestHeader set X-Forwarded-Proto https",
    },
)
HAPROXY = Kind(
    "HAProxy",
    "haproxy.cfg",
    (("answer", "server", r"(?i)^haproxy"), ("answer", "via", r"(?i)haproxy")),
    {
        "buffering": "take out option http-buffer-request and http-response wait-for-body",
        "compression": "compression type without text/event-stream",
        "silence": "timeout server 60s, timeout client 60s   more than <keep-alive> s",
        "duration": "timeout server 60s: HAProxy has no limit for a whole answer; look behind it",
        "delay": "timeout server 620s",
        "body": "take out the http-request deny rule on req.body_size",
        "redirect": "http-request redirect scheme https code 308",
        "address": "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
    },
)
CLOUDFLARE = Kind(
    "Cloudflare",
    "the zone at Cloudflare",
    (("answer", "cf-ray", r"."), ("answer", "server", r"(?i)^cloudflare")),
    {
        "buffering": "turn Response Buffering off for this host; a Worker in front must pass the body on as a stream",
        "compression": "a Compression Rule that disables compression for the path /api/*; no-transform is sent already",
        "silence": "Cloudflare ends an answer after 100 s without a byte (524): keep UNSPOOL_KEEP_ALIVE_S below that",
        "duration": "raise the limit of the plan, or a DNS-only record for the API",
        "delay": "no answer may wait 100 s for its head: use stream or polling in place of enable_sync_mode",
        "body": "bodies above 100 MB are refused on most plans: upload by ticket to a DNS-only name",
        "redirect": "a redirect rule with 308 in place of Always Use HTTPS",
        "address": "Origin Rules: no Host Header override",
    },
)
ALB = Kind(
    "AWS load balancer",
    "the attributes of the load balancer",
    (("request", "x-amzn-trace-id", r"."), ("answer", "server", r"(?i)^awselb")),
    {
        "buffering": "the load balancer does not buffer, but API Gateway and Lambda targets do: leave them out",
        "compression": "compression is not the load balancer's: look behind it",
        "silence": "idle_timeout.timeout_seconds = 60   more than <keep-alive> s",
        "duration": "API Gateway ends every answer after 29 s: let clients reach the load balancer",
        "delay": "idle_timeout.timeout_seconds = 620",
        "body": "AWS WAF: a body size limit of its own rule group; Lambda targets take 1 MB",
        "redirect": "the listener's redirect knows 301 and 302 only: give clients the https URL",
        "address": "routing.http.preserve_host_header.enabled = true",
    },
)
CLOUDFRONT = Kind(
    "CloudFront",
    "the distribution's behavior",
    (("answer", "x-amz-cf-id", r"."), ("answer", "via", r"(?i)cloudfront")),
    {
        "buffering": "cache policy CachingDisabled for /api/*",
        "compression": "Compress objects automatically: No, for /api/*",
        "silence": "origin response timeout 60   more than <keep-alive> s",
        "duration": "origin response completion timeout: not set",
        "delay": "origin response timeout 60 is the most: use stream or polling in place of enable_sync_mode",
        "body": "upload by ticket to another name",
        "redirect": "viewer protocol policy: HTTPS only, and give clients the https URL",
        "address": "origin request policy AllViewer",
    },
)
ENVOY = Kind(
    "Envoy",
    "Envoy's route and filters",
    (("answer", "server", r"(?i)envoy"), ("answer", "x-envoy-upstream-service-time", r".")),
    {
        "buffering": "take the buffer filter off this route",
        "compression": "compressor filter: content_type without text/event-stream",
        "silence": "route: idle_timeout: 60s, stream_idle_timeout: 60s   more than <keep-alive> s",
        "duration": "route: timeout: 0s   its default of 15 s ends every longer answer",
        "delay": "route: timeout: 0s",
        "body": "buffer filter: max_request_bytes",
        "redirect": "redirect: response_code: PERMANENT_REDIRECT",
        "address": "take out host_rewrite_literal",
    },
)
KINDS = (NGINX, CADDY, TRAEFIK, APACHE, HAPROXY, CLOUDFLARE, CLOUDFRONT, ALB, ENVOY)

ANY: Mapping[Topic, str] = {
    "buffering": "turn off the buffering of answers; X-Accel-Buffering: no is sent for those who heed it",
    "compression": "do not compress text/event-stream; Cache-Control: no-transform is sent for those who heed it",
    "silence": "allow a silence of 60 s; Unspool breaks it every <keep-alive> s (UNSPOOL_KEEP_ALIVE_S)",
    "duration": "set no limit on how long an answer may take, or one in hours",
    "delay": "allow 620 s before the head of an answer to a submit",
    "body": "raise the limit of request bodies, or leave limits to Unspool (UNSPOOL_MAX_BODY_BYTES)",
    "redirect": "redirect with 308, which keeps POST a POST; or give clients the final URL",
    "address": "pass Host and X-Forwarded-Proto on",
}
"""For what does not show its make."""


def recognise(answer: Mapping[str, str], request: Mapping[str, str]) -> list[Kind]:
    """Every make that shows itself.

    Args:
        answer: the headers of an answer, by name in lower case.
        request: the headers of a request as it arrived at the server.
    """
    sides = {"answer": answer, "request": request}
    return [
        kind for kind in KINDS if any(re.search(text, sides[side].get(name, "")) for side, name, text in kind.signs)
    ]


def advise(topic: Topic, kinds: Iterable[Kind], keep_alive_s: float) -> tuple[Advice, ...]:
    """Which line to change, for each proxy that is known; for an unknown one, what to look for."""
    found = [(kind.where, kind.lines[topic]) for kind in kinds] or [("whatever proxy stands between", ANY[topic])]
    return tuple(Advice(where, line.replace("<keep-alive>", f"{keep_alive_s:g}")) for where, line in found)
