"""Entry point of a Lepton job: runs the harness, enforces the time limit and sends the results through the log.

A stand-alone script: its source is an argument of `python3 -c` in the harness's image. It needs Python 3.8 or later,
uses the standard library only and cannot import `nel_action`. Its arguments are the order as JSON (see
`LeptonJob.order`) and, optionally, the parts of a base64-encoded tar archive with directories of the task.

All output of the harness is relayed: secrets are redacted, and a line that starts with `@nel:`, which marks the lines
of this script, is indented. After the harness has exited, the results are written to the log as numbered parts of an
archive, followed by an exit record with the archive's digest, because a job has no other way to return files. The
format is described in `log_transport`.
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
import urllib.parse
import urllib.request
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

PART_SIZE = 6000
"""Bytes per part of the archive: base64-encoded, a part stays below the line length at which log collectors split."""
MIN_SECRET_LENGTH = 4
"""Shorter values are not redacted: the log would become unreadable."""
GATEWAY = "gateway.pyz"
"""Program of the gateway, a member of the archive."""
HTTP_OK = 200
SIGKILL_STATUS = 137
REQUEST_TIMEOUT = 10
KILL_TIMEOUT = 10
OUTPUT_TIMEOUT = 10


def encoded_forms(secret: str) -> set[str]:
    """Return a secret and its JSON, URL, hex and base64 encodings, the latter at each offset in a longer text."""
    data = secret.encode()
    forms = {secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret), urllib.parse.quote(secret, safe="")}
    forms |= {urllib.parse.quote_plus(secret), data.hex(), data.hex().upper()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset, start in enumerate((0, 2, 3)):
            # NOTE: the first and last characters also encode bits of the surrounding text.
            text = encode(b"\0" * offset + data).decode()
            rest = (offset + len(data)) % 3
            forms.add(text[start:] if rest == 0 else text[start : rest - 4])
        forms.add(encode(data).decode().rstrip("="))
    return {form for form in forms if len(form) >= MIN_SECRET_LENGTH}


class StoppedError(Exception):
    """The platform asks this process to stop."""


class Run:
    """One run of the job; the platform may run a job several times."""

    def __init__(self, order: dict[str, Any], archive_parts: list[str]) -> None:
        self.order, self.archive_parts = order, archive_parts
        self.home = Path(order["home"])
        self.started = int(time.time())
        self.id = os.urandom(4).hex()
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.record = ""
        values = [os.environ.get(name, "") for name in order["hidden"]]
        lines = {line for value in values for line in [value, *value.splitlines()] if len(line) >= MIN_SECRET_LENGTH}
        forms = {form.encode() for line in lines for form in encoded_forms(line) if "\n" not in form}
        self.secrets = sorted(forms, key=len, reverse=True)

    def report(self, text: str) -> None:
        """Write a line for the reader of the log."""
        self.write(f"[nel-action] {text}\n".encode())

    def write(self, data: bytes) -> None:
        """Write complete lines to the log."""
        with self.lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def send(self, kind: str, payload: str) -> None:
        """Write a transport line."""
        self.write(f"@nel:{self.order['attempt']}:{self.id}:{kind}:{payload}\n".encode())

    # ---- Before the harness -------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the attempt's directories and unpack the files that were sent with the job."""
        for name in ("work", "artifacts", "logs", "task", "sent"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        for name in ("work", "artifacts", "logs"):
            (self.home / name).mkdir(parents=True)
        packed = base64.b64decode("".join(self.archive_parts))
        if packed:
            options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                archive.extractall(self.home / "sent", **options)  # noqa: S202 - created by nel-action
            for name, target in self.order["folders"].items():
                shutil.rmtree(target, ignore_errors=True)
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(str(self.home / "sent" / name), target)
        if self.order["gateway"]:
            shutil.move(str(self.home / "sent" / GATEWAY), str(self.home / GATEWAY))
        for name, text in self.order["files"].items():
            file = self.home / "work" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def wait_for_endpoint(self) -> None:
        """Wait until the model server's health check succeeds.

        Raises:
            TimeoutError: it did not within the time limit.
        """
        health = self.order.get("health")
        if not health:
            return
        self.report(f"waiting for {health['url']}")
        deadline = time.monotonic() + health["seconds"]
        while True:
            problem = self.check_health(health["url"], os.environ.get(health["key"], ""))
            if problem is None:
                return
            if time.monotonic() > deadline:
                msg = f"the endpoint was not ready within {health['seconds']} s ({problem})"
                raise TimeoutError(msg)
            time.sleep(self.order["pause"])

    def check_health(self, url: str, token: str) -> str | None:
        """Return why the server is not ready, or None if it is."""
        request = urllib.request.Request(url)  # noqa: S310 - created by nel-action
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT) as response:  # noqa: S310 - as above
                return None if response.status == HTTP_OK else f"status {response.status}"
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except OSError as error:
            return str(getattr(error, "reason", error))

    # ---- The harness --------------------------------------------------------------------------------------------

    def harness_environment(self) -> dict[str, str]:
        """Return the harness's environment variables."""
        env = dict(os.environ)
        for name, source in self.order["secret_env"].items():
            env[name] = os.environ.get(source, "")
        env.update(self.order["env"])
        gateway = self.order["gateway"]
        if gateway and gateway["key"]:
            env[gateway["upstream_key"]] = os.environ.get(gateway["key"], "")
        return env

    def command(self) -> list[str]:
        """Return the harness's command line, behind the gateway if there is one."""
        argv: list[str] = self.order["argv"]
        gateway = self.order["gateway"]
        if not gateway:
            return argv
        record = open_record(gateway["record"], gateway["keep_days"]) if gateway["record"] else ""
        if not record:
            self.report("no volume is mounted: the requests of this job are not recorded")
        self.record = record
        config = self.home / "gateway.json"
        config.write_text(json.dumps({**gateway["config"], "record": record}), encoding="utf-8")
        program = [sys.executable, "-I", "-S", str(self.home / GATEWAY), "run", "--config", str(config)]
        return [*program, *gateway["options"], "--", *argv]

    def close_record(self) -> None:
        """Close the record after a success: another evaluation of the same job asks everything anew."""
        if self.record:
            with contextlib.suppress(OSError):
                Path(self.record, "closed").touch()

    def run_harness(self) -> int:
        """Run the harness and return its exit status.

        Raises:
            subprocess.TimeoutExpired: the time limit was exceeded; all processes of the harness were killed.
        """
        with (self.home / "logs" / "client.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=str(self.home / "work"),
                env=self.harness_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            reader = threading.Thread(target=self.relay_output, args=(self.process.stdout, log), daemon=True)
            reader.start()
            try:
                return self.process.wait(timeout=self.order["timeout"])
            finally:
                self.terminate_harness()
                reader.join(timeout=OUTPUT_TIMEOUT)

    def relay_output(self, stream: IO[bytes], log: IO[bytes]) -> None:
        """Copy the harness's output to the log, with secrets redacted and transport markers indented."""
        for raw in stream:
            line = raw
            for secret in self.secrets:
                line = line.replace(secret, b"***")
            log.write(line)
            log.flush()
            parts = line.replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
            self.write(b"".join((b" " if part.startswith(b"@nel:") else b"") + part + b"\n" for part in parts))

    def terminate_harness(self) -> None:
        """Terminate the harness's process group, then kill what remains of it."""
        if self.process is None:
            return
        for number, timeout in ((signal.SIGTERM, self.order["grace"]), (signal.SIGKILL, KILL_TIMEOUT)):
            if self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self.process.pid, number)
                    self.process.wait(timeout=timeout)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    # ---- After the harness --------------------------------------------------------------------------------------

    def pack_results(self) -> bytes:
        """Return logs and artifacts as a compressed tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
            for name in ("logs", "artifacts"):
                if (self.home / name).is_dir():
                    archive.add(str(self.home / name), name)
        return buffer.getvalue()

    def finish(self, status: int, reason: str, detail: str) -> int:
        """Send the results and the exit record.

        Args:
            status: exit status of the harness, or of this script where the harness did not run.
            reason: why the run failed; empty where the exit status says it all.
            detail: explanation for the reader.

        Returns:
            The exit status.
        """
        # NOTE: a run that is being stopped has only seconds left.
        packed = b"" if reason == "terminated" else self.pack_results()
        parts = -(-len(packed) // PART_SIZE) if len(packed) <= self.order["limit"] else 0
        # NOTE: other versions of nel-action read these keys; see `log_transport`.
        record = {
            "status": status,
            "reason": reason,
            "detail": detail,
            "began": self.started,
            "ended": int(time.time()),
            "pieces": parts,
            "bytes": len(packed),
            "sha256": hashlib.sha256(packed).hexdigest() if packed else "",
        }
        self.send_archive(packed, parts)
        if self.order["keep"] and packed:
            self.store("results.tar.gz", packed)
            self.store("end.json", json.dumps(record).encode())
        elif not self.order["keep"]:
            shutil.rmtree(self.home, ignore_errors=True)
        self.report(" ".join(part for part in (f"exited with status {status}", reason, detail) if part))
        self.send("end", base64.b64encode(json.dumps(record).encode()).decode())
        return status

    def send_archive(self, packed: bytes, parts: int) -> None:
        """Write the archive to the log, one numbered line per part."""
        for number in range(1, parts + 1):
            part = packed[(number - 1) * PART_SIZE : number * PART_SIZE]
            self.send("part", f"{number}/{parts}:{base64.b64encode(part).decode()}")

    def store(self, name: str, data: bytes) -> None:
        """Write a file to the attempt's directory atomically."""
        partial = self.home / f".{name}"
        partial.write_bytes(data)
        partial.replace(self.home / name)

    def resend_stored_results(self) -> bool:
        """Send the results of an earlier successful run that are stored on the volume; return whether there are any."""
        try:
            record = json.loads((self.home / "end.json").read_bytes())
            packed = (self.home / "results.tar.gz").read_bytes()
        except (OSError, ValueError):
            return False
        if record["status"] != 0 or hashlib.sha256(packed).hexdigest() != record["sha256"]:
            return False
        self.report("an earlier run has succeeded; sending its results")
        self.send_archive(packed, record["pieces"])
        self.send("end", base64.b64encode(json.dumps(record).encode()).decode())
        return True


def open_record(root: str, keep_days: int) -> str:
    """Return the directory of the open record of the job's requests; create it if there is none.

    Args:
        root: directory of all records of the job's key.
        keep_days: days after the last answer until a record is removed.
    """
    path = Path(root)
    remove_expired(path.parent)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = max((int(each.name) for each in path.iterdir() if each.name.isdigit()), default=0)
    if number == 0 or (path / str(number) / "closed").exists():
        number += 1
    record = path / str(number)
    record.mkdir(mode=0o700, exist_ok=True)
    (record / "keep_days").write_text(str(keep_days), encoding="ascii")
    return str(record)


def remove_expired(root: Path) -> None:
    """Remove records of all keys whose last answer is older than their number of days."""
    for record in root.glob("nel-*/*"):
        with contextlib.suppress(OSError, ValueError):
            last = max(each.stat().st_mtime for each in (record, *record.iterdir()))
            days = int((record / "keep_days").read_text(encoding="ascii"))
            if last + days * 86_400 < time.time():
                shutil.rmtree(record, ignore_errors=True)


def out_of_memory() -> bool:
    """Whether the kernel has killed a process of this container because of its memory limit."""
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            fields = Path(name).read_text(encoding="utf-8").split()
            if "oom_kill" in fields and int(fields[fields.index("oom_kill") + 1]) > 0:
                return True
    return False


def execute(run: Run) -> int:
    """Execute the order and return the exit status."""
    try:
        if run.resend_stored_results():
            return 0
        run.prepare()
        run.wait_for_endpoint()
        status = run.run_harness()
    except subprocess.TimeoutExpired:
        return run.finish(124, "time_limit", f"the time limit of {run.order['timeout']} s was exceeded")
    except TimeoutError as error:
        return run.finish(69, "endpoint", str(error))
    except FileNotFoundError as error:
        return run.finish(127, "start", f"cannot start {run.order['argv'][0]}: {error.strerror}: {error.filename}")
    except OSError as error:
        return run.finish(74, "infrastructure", str(error))
    status = 128 - status if status < 0 else status
    if status == 0:
        run.close_record()
    if status == SIGKILL_STATUS and out_of_memory():
        return run.finish(status, "out_of_memory", "a process was killed: out of memory")
    return run.finish(status, "", "")


def handle_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    """Raise `StoppedError` at the first SIGTERM; ignore further ones."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise StoppedError


def main() -> int:
    """Execute the order in the arguments; when stopped, terminate the harness and send an exit record."""
    run = Run(json.loads(sys.argv[1]), sys.argv[2:])
    try:
        signal.signal(signal.SIGTERM, handle_sigterm)
        run.send("begin", str(run.started))
        return execute(run)
    except StoppedError:
        run.terminate_harness()
        return run.finish(143, "terminated", "stopped by SIGTERM")


if __name__ == "__main__":
    sys.exit(main())
