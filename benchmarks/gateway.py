"""CPU per request and rate of the gateway, beside the adapter of nemo-evaluator 0.3 and a compiled endpoint.

    .venv/bin/python benchmarks/gateway.py --nemo /path/to/python    # of an environment with nemo-evaluator 0.3

Needs a C compiler for the endpoint, which must be faster than everything that is measured. All variants receive the
same requests (1 KB prompt, every one new unless it is a replay) over the same number of connections, one variant after
the other, in each round. CPU per request is user and system time of the measured process; a loaded machine changes it
less than the rate. Prints the best of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

ENDPOINT = r"""
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
enum { SIZE = 65536, FILES = 4096 };
static char *buffers[FILES];
static int used[FILES];
static char reply[4096];
int main(void) {
    char text[1024];
    memset(text, 'y', 700);
    text[700] = 0;
    char body[2048];
    int length = snprintf(body, sizeof body,
        "{\"id\":\"1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
        "{\"role\":\"assistant\",\"content\":\"%s\"}}],"
        "\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":100}}", text);
    int size = snprintf(reply, sizeof reply,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", length, body);
    struct rlimit files = {FILES, FILES};
    setrlimit(RLIMIT_NOFILE, &files);
    int server = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t width = sizeof address;
    if (bind(server, (struct sockaddr *)&address, width) || listen(server, 1024)) return 1;
    getsockname(server, (struct sockaddr *)&address, &width);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    int queue = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = server}, events[256];
    epoll_ctl(queue, EPOLL_CTL_ADD, server, &event);
    for (;;) {
        int count = epoll_wait(queue, events, 256, -1);
        for (int n = 0; n < count; n++) {
            int file = events[n].data.fd;
            if (file == server) {
                int client = accept(server, 0, 0);
                if (client < 0 || client >= FILES) continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                if (!buffers[client]) buffers[client] = malloc(SIZE + 1);
                used[client] = 0;
                event.data.fd = client;
                epoll_ctl(queue, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            int got = read(file, buffers[file] + used[file], SIZE - used[file]);
            if (got <= 0) { close(file); continue; }
            used[file] += got;
            buffers[file][used[file]] = 0;
            char *end = strstr(buffers[file], "\r\n\r\n");
            char *header = end ? strcasestr(buffers[file], "content-length:") : 0;
            if (!end) continue;
            int needed = end + 4 - buffers[file] + (header && header < end ? atoi(header + 15) : 0);
            if (used[file] < needed) continue;
            used[file] = 0;
            if (write(file, reply, size) != size) close(file);
        }
    }
}
"""
NEMO = """
import json, sys, time
from nemo_evaluator.adapters.proxy import start_adapter_proxy
url, specs = sys.argv[1], json.loads(sys.argv[2])
handle = start_adapter_proxy(upstream_url=url, model_id="m", interceptor_specs=specs)
print(handle.url, flush=True)
time.sleep(3600)
"""
TICKS = os.sysconf("SC_CLK_TCK")


class Client(asyncio.Protocol):
    """One connection, which sends its requests one after the other."""

    def __init__(self, requests: list[bytes], latencies: list[float], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._latencies = latencies
        self._done = done
        self._data = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        if not self._requests:
            self._transport.close()
            self._done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(self._requests.pop())

    def data_received(self, data: bytes) -> None:
        """Send the next request when the response is complete."""
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        if b" 200 " not in head[:20]:
            self._done.set_exception(RuntimeError(self._data[:300].decode("latin-1")))
            self._transport.close()
            return
        self._latencies.append(time.perf_counter() - self._sent)
        self._data = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Report a connection that was closed too early."""
        if not self._done.done():
            self._done.set_exception(error or RuntimeError("the connection was closed"))


def request(number: int, path: str, text: str) -> bytes:
    """Return one request; `number` makes it different from all others."""
    body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": f"{text} {number} {'x' * 1000}"}]}
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def load(url: str, count: int, connections: int, text: str) -> tuple[float, list[float]]:
    """Send requests; return the wall time and the latencies in seconds."""
    address, _, path = url.partition("://")[2].partition("/")
    host, _, port = address.partition(":")
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    clients = []
    start = time.perf_counter()
    for index in range(connections):
        requests = [request(number, f"/{path}", text) for number in range(index, count, connections)]
        done = loop.create_future()
        await loop.create_connection(lambda r=requests, d=done: Client(r, latencies, d), host, int(port))  # type: ignore[misc]
        clients.append(done)
    await asyncio.gather(*clients)
    return time.perf_counter() - start, latencies


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """Return the largest resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextmanager
def program(argv: list[str], **options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program that prints a line when it is ready."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, **options) as process:  # type: ignore[call-overload]
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def measure(
    name: str, process: subprocess.Popen[str], url: str, options: argparse.Namespace, text: str
) -> dict[str, float]:
    """Send all requests to a URL; return rate, CPU per request, latency and memory."""
    before = cpu(process.pid)
    seconds, latencies = asyncio.run(load(url, options.requests, options.connections, text))
    used = cpu(process.pid) - before
    latencies.sort()
    result = {
        "rate": options.requests / seconds,
        "cpu": 1e6 * used / options.requests,
        "p50": 1e3 * latencies[len(latencies) // 2],
        "memory": memory(process.pid),
    }
    print(f"  {name}: {result['rate']:,.0f}/s, {result['cpu']:.0f} us", file=sys.stderr)
    return result


def gateway_argv(url: str, *extra: str) -> list[str]:
    """Return the command line of the gateway."""
    return [sys.executable, "-m", "nel_action", "gateway", "--upstream", url, *extra]


def one_round(
    folder: Path, url: str, endpoint: subprocess.Popen[str], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Measure every variant once."""
    results = {"endpoint alone": measure("endpoint alone", endpoint, url, options, "a")}
    passing = folder / "passing.json"
    passing.write_text(json.dumps({"upstream": url}))
    address = folder / "address"
    argv = [
        sys.executable,
        "-m",
        "nel_action.gateway",
        "serve",
        "--config",
        str(passing),
        "--address-file",
        str(address),
    ]
    with subprocess.Popen(argv, text=True) as process:
        while not address.exists():
            time.sleep(0.05)
        path = url.partition("://")[2].partition("/")[2]
        target = f"http://{address.read_text().split()[0]}/{path}"
        results["gateway, no record"] = measure("gateway, no record", process, target, options, "b")
        process.kill()
    address.unlink()
    record = folder / "record"
    for name in ("gateway, recording", "gateway, replay"):
        with program(gateway_argv(url, "--record", str(record))) as (process, target):
            results[name] = measure(name, process, target, options, "c")
    if options.nemo:
        caching = [{"name": "caching", "config": {"cache_dir": str(folder / "cache")}}]
        for name, specs in (
            ("adapter, no cache", []),
            ("adapter, cache miss", caching),
            ("adapter, cache hit", caching),
        ):
            with program([options.nemo, "-c", NEMO, url, json.dumps(specs)], stderr=subprocess.DEVNULL) as (
                process,
                base,
            ):
                target = f"{base.rstrip('/')}/v1/chat/completions" if "/v1" not in base else f"{base}/chat/completions"
                results[name] = measure(name, process, target, options, "d" if "cache" in name[9:] else "e")
    return results


def main() -> None:
    """Measure all rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nemo", help="Python of an environment with nemo-evaluator 0.3")
    options = parser.parse_args()
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("a C compiler is missing")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "endpoint.c").write_text(ENDPOINT)
        command = [compiler, "-O2", "-D_GNU_SOURCE", "-o", str(folder / "endpoint"), str(folder / "endpoint.c")]
        subprocess.run(command, check=True)
        with program([str(folder / "endpoint")]) as (endpoint, port):
            for number in range(options.rounds):
                (folder / str(number)).mkdir()
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                for variant, result in one_round(folder / str(number), url, endpoint, options).items():
                    old = best.setdefault(variant, result)
                    best[variant] = {
                        key: max(old[key], value) if key == "rate" else min(old[key], value)
                        for key, value in result.items()
                    }
    print(f"{'':22} {'requests/s':>10} {'CPU us':>8} {'p50 ms':>8} {'MB':>6}")
    for variant, result in best.items():
        print(f"{variant:22} {result['rate']:10,.0f} {result['cpu']:8.0f} {result['p50']:8.2f} {result['memory']:6.0f}")


if __name__ == "__main__":
    main()
