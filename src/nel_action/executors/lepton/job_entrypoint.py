"""The program inside a job: it runs the harness, holds the deadline, and sends home what came of it.

Handed over as one argument of `python3 -c`, so it needs nothing but Python's own library (3.8 or later) and knows
nothing of this package. Its own argument is the order, as JSON; further ones are a tar archive in base64.

Everything the harness prints goes through it: secrets are taken out, and no line can pass for one of ours, which
begin with `@nel:`. What the harness left is sent at the end, in numbered pieces with a digest, since a job has no
other way home.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

PIECE = 6000
"""Bytes of a line's payload: no collector of logs splits lines of 8,000 characters."""
SHORTEST = 4
"""A shorter value is no secret, and hiding it would make the log unreadable."""
OK, KILLED = 200, 137


class StoppedError(Exception):
    """Somebody asks this program to end."""


class Run:
    """One run of an order."""

    def __init__(self, order: dict[str, Any], chunks: list[str]) -> None:
        self.order, self.chunks = order, chunks
        self.home = Path(order["home"])
        self.began = int(time.time())
        self.me = os.urandom(4).hex()
        self.lock = threading.Lock()
        self.child: subprocess.Popen[bytes] | None = None
        held = [os.environ.get(name, "") for name in order["hidden"]]
        parts = {part.encode() for one in held for part in one.splitlines() if len(part) >= SHORTEST}
        self.hidden = sorted(parts, key=len, reverse=True)

    def say(self, text: str) -> None:
        """Tell whoever reads the log."""
        self.write(f"[nel-action] {text}\n".encode())

    def write(self, data: bytes) -> None:
        """Write whole lines."""
        with self.lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def send(self, kind: str, text: str) -> None:
        """Write a line that is meant for whoever ordered this."""
        self.write(f"@nel:{self.order['attempt']}:{self.me}:{kind}:{text}\n".encode())

    # ---- Before ------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folders, and put there what came along."""
        for name in ("work", "artifacts", "logs", "task", "sent"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        for name in ("work", "artifacts", "logs"):
            (self.home / name).mkdir(parents=True)
        packed = base64.b64decode("".join(self.chunks))
        if packed:
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                archive.extractall(self.home / "sent", **safe)  # noqa: S202 - made by whoever made the order
            for name, target in self.order["folders"].items():
                shutil.rmtree(target, ignore_errors=True)
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(str(self.home / "sent" / name), target)
        for name, text in self.order["files"].items():
            file = self.home / "work" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def await_endpoint(self) -> None:
        """Wait until the model's server answers.

        Raises:
            TimeoutError: it did not in time.
        """
        health = self.order.get("health")
        if not health:
            return
        self.say(f"waiting for {health['url']}")
        deadline = time.monotonic() + health["seconds"]
        while True:
            said = self.ask(health["url"], os.environ.get(health["key"], ""))
            if said is None:
                return
            if time.monotonic() > deadline:
                msg = f"the endpoint was not ready within {health['seconds']} s ({said})"
                raise TimeoutError(msg)
            time.sleep(self.order["pause"])

    def ask(self, url: str, key: str) -> str | None:
        """Return why the server is not ready, or None where it is."""
        request = urllib.request.Request(url)  # noqa: S310 - made by whoever made the order
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
                return None if answer.status == OK else f"status {answer.status}"
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except OSError as error:
            return str(getattr(error, "reason", error))

    # ---- The harness -------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return the harness's variables."""
        env = dict(os.environ)
        for name, holder in self.order["secret_env"].items():
            env[name] = os.environ.get(holder, "")
        env.update(self.order["env"])
        return env

    def run(self) -> int:
        """Run the harness and return its status.

        Raises:
            subprocess.TimeoutExpired: the deadline came first; nothing of it is left.
        """
        with (self.home / "logs" / "client.log").open("wb") as log:
            self.child = subprocess.Popen(
                self.order["argv"],
                cwd=str(self.home / "work"),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            reader = threading.Thread(target=self.copy, args=(self.child.stdout, log), daemon=True)
            reader.start()
            try:
                return self.child.wait(timeout=self.order["timeout"])
            finally:
                self.end_child()
                reader.join(timeout=10)

    def copy(self, stream: IO[bytes], log: IO[bytes]) -> None:
        """Pass the harness's words on, without secrets and without anything that looks like ours."""
        for raw in stream:
            line = raw
            for value in self.hidden:
                line = line.replace(value, b"***")
            log.write(line)
            log.flush()
            parts = line.replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
            self.write(b"".join((b" " if part.startswith(b"@nel:") else b"") + part + b"\n" for part in parts))

    def end_child(self) -> None:
        """Ask the harness and all that it started to end, and end them."""
        if self.child is None:
            return
        for number, patience in ((signal.SIGTERM, self.order["grace"]), (signal.SIGKILL, 10)):
            if self.child.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self.child.pid, number)
                    self.child.wait(timeout=patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)

    # ---- After -------------------------------------------------------------------------------------------------

    def pack(self) -> bytes:
        """Return the logs and artifacts as one archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
            for name in ("logs", "artifacts"):
                if (self.home / name).is_dir():
                    archive.add(str(self.home / name), name)
        return buffer.getvalue()

    def finish(self, status: int, reason: str, detail: str) -> int:
        """Send what there is and how it ended; return the status."""
        # NOTE: who is being stopped has little time left.
        packed = b"" if reason == "terminated" else self.pack()
        pieces = -(-len(packed) // PIECE) if len(packed) <= self.order["limit"] else 0
        record = {
            "status": status,
            "reason": reason,
            "detail": detail,
            "began": self.began,
            "ended": int(time.time()),
            "pieces": pieces,
            "bytes": len(packed),
            "sha256": hashlib.sha256(packed).hexdigest() if packed else "",
        }
        self.send_pieces(packed, pieces)
        if self.order["keep"] and packed:
            self.store("results.tar.gz", packed)
            self.store("end.json", json.dumps(record).encode())
        elif not self.order["keep"]:
            shutil.rmtree(self.home, ignore_errors=True)
        self.say(" ".join(part for part in (f"ended with status {status}", reason, detail) if part))
        self.send("end", base64.b64encode(json.dumps(record).encode()).decode())
        return status

    def send_pieces(self, packed: bytes, count: int) -> None:
        """Send the archive, a numbered line for each piece."""
        for number in range(1, count + 1):
            piece = packed[(number - 1) * PIECE : number * PIECE]
            self.send("part", f"{number}/{count}:{base64.b64encode(piece).decode()}")

    def store(self, name: str, data: bytes) -> None:
        """Leave a whole file on the mounted volume."""
        partial = self.home / f".{name}"
        partial.write_bytes(data)
        partial.replace(self.home / name)

    def earlier(self) -> bool:
        """Send again what has succeeded before on this volume; it is not done twice."""
        try:
            record = json.loads((self.home / "end.json").read_bytes())
            packed = (self.home / "results.tar.gz").read_bytes()
        except (OSError, ValueError):
            return False
        if record["status"] != 0 or hashlib.sha256(packed).hexdigest() != record["sha256"]:
            return False
        self.say("this has succeeded already; sending its results again")
        self.send_pieces(packed, record["pieces"])
        self.send("end", base64.b64encode(json.dumps(record).encode()).decode())
        return True


def out_of_memory() -> bool:
    """Whether the kernel ended something in this container for want of memory."""
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            words = Path(name).read_text(encoding="utf-8").split()
            if "oom_kill" in words and int(words[words.index("oom_kill") + 1]) > 0:
                return True
    return False


def attempt(run: Run) -> int:
    """Carry the order out."""
    try:
        if run.earlier():
            return 0
        run.prepare()
        run.await_endpoint()
        status = run.run()
    except subprocess.TimeoutExpired:
        return run.finish(124, "time_limit", f"not done within {run.order['timeout']} s")
    except TimeoutError as error:
        return run.finish(69, "endpoint", str(error))
    except FileNotFoundError as error:
        return run.finish(127, "start", f"cannot start {run.order['argv'][0]}: {error.strerror}: {error.filename}")
    except OSError as error:
        return run.finish(74, "infrastructure", str(error))
    status = 128 - status if status < 0 else status
    if status == KILLED and out_of_memory():
        return run.finish(status, "out_of_memory", "memory ran out")
    return run.finish(status, "", "")


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Say once that this must end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise StoppedError


def main() -> int:
    """Carry the order in the arguments out, or say that somebody stopped it."""
    run = Run(json.loads(sys.argv[1]), sys.argv[2:])
    try:
        signal.signal(signal.SIGTERM, stop)
        run.send("begin", str(run.began))
        return attempt(run)
    except StoppedError:
        run.end_child()
        return run.finish(143, "terminated", "asked to stop")


if __name__ == "__main__":
    sys.exit(main())
