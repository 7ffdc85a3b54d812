"""A minimal OpenAI-compatible server, run as a program: HOST PORT DIRECTORY [MODE].

It appends its process ID to DIRECTORY/starts. MODE is `good`, `late` (healthy once DIRECTORY/go exists), `dumb` (never
healthy) or `dead` (exits at once).
"""

from __future__ import annotations

import json
import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PLACEMENT = {"job": "SLURM_JOB_ID", "node": "SLURMD_NODENAME", "rank": "PROC_ID", "gpus": "CUDA_VISIBLE_DEVICES"}
"""Field of an answer → variable that describes the server's placement in an allocation."""


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until terminated."""
    host, port, directory, mode = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), [*sys.argv[4:], "good"][0]
    with (directory / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if mode == "dead":
        sys.exit("no weights in the checkpoint")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = mode == "good" or (mode == "late" and (directory / "go").exists())
            self._answer(200 if ready else 503, {"ready": ready})

        def do_POST(self) -> None:
            placement = {name: os.environ[variable] for name, variable in PLACEMENT.items() if variable in os.environ}
            self._answer(200, {"path": self.path, "key": os.environ.get("SERVER_KEY"), **placement})

        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *fields: object) -> None:
            sys.stdout.write(f"request {fields}\n")

    sys.stdout.write("loading\n")
    sys.stdout.flush()
    ThreadingHTTPServer((host, port), Handler).serve_forever()


if __name__ == "__main__":
    main()
