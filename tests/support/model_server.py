"""A tiny server in the shape of an OpenAI-compatible one; run as a program: HOST PORT FOLDER [HOW].

It adds its process id to FOLDER/starts. HOW is `good`, `late` (healthy once FOLDER/go is there), `dumb` (never
healthy) or `dead` (ends at once).
"""

from __future__ import annotations

import json
import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOLD = {"job": "SLURM_JOB_ID", "node": "SLURMD_NODENAME", "rank": "PROC_ID", "gpus": "CUDA_VISIBLE_DEVICES"}
"""What an answer tells of a server's place in an allocation."""


def free_port() -> int:
    """Return a port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until ended."""
    host, port, folder, how = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), [*sys.argv[4:], "good"][0]
    with (folder / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if how == "dead":
        sys.exit("no weights in the checkpoint")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = how == "good" or (how == "late" and (folder / "go").exists())
            self._answer(200 if ready else 503, {"ready": ready})

        def do_POST(self) -> None:
            told = {name: os.environ[variable] for name, variable in TOLD.items() if variable in os.environ}
            self._answer(200, {"path": self.path, "key": os.environ.get("SERVER_KEY"), **told})

        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: object) -> None:
            sys.stdout.write(f"request {words}\n")

    sys.stdout.write("loading\n")
    sys.stdout.flush()
    ThreadingHTTPServer((host, port), Handler).serve_forever()


if __name__ == "__main__":
    main()
