"""What is sent for an attempt: its directory as one archive, whose last member tells that it is whole."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nel_action.errors import UsageError
from nel_action.executors.slurm.script import script
from nel_action.executors.slurm.secrets import secrets_text
from nel_action.executors.slurm.slurm_job import BoundJob
from nel_action.version import __version__

__all__ = ["COMPLETE", "payload"]

COMPLETE: Final = "state/complete"
"""The archive's last member: an archive that was cut off has none."""


def payload(bound: BoundJob, invocation: str, environ: Mapping[str, str]) -> bytes:
    """Return the attempt's directory as a tar archive.

    Raises:
        SecretError: a variable that the job needs has no value here.
        UsageError: a folder that the spec names cannot be read.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("files", "logs", "run", "run/artifacts", "run/work", "state"):
            _add(archive, name, None, mode=0o700)
        _add(archive, bound.script_name, script(bound).encode(), mode=0o700)
        _add(archive, "job.json", _about(bound, invocation).encode())
        _add(archive, ".secrets.env", secrets_text(bound, environ).encode())
        for name, text in bound.files.items():
            if name.startswith("/") or ".." in Path(name).parts:
                msg = f"the command's file {name} would lie outside its directory"
                raise UsageError(msg)
            _add(archive, f"files/{name}", text.encode())
        for name, folder in _folders(bound).items():
            _add_tree(archive, name, folder)
        _add(archive, COMPLETE, b"yes\n")
    return buffer.getvalue()


def _folders(bound: BoundJob) -> dict[str, Path]:
    folders = {"run/task": bound.job.task.task_dir} if bound.job.task.task_dir else {}
    if bound.copied_dataset is not None:
        folders["run/dataset"] = bound.copied_dataset
    return folders


def _add(archive: tarfile.TarFile, name: str, data: bytes | None, *, mode: int = 0o600) -> None:
    member = tarfile.TarInfo(name)
    member.mode = mode
    member.mtime = int(time.time())
    if data is None:
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    else:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _add_tree(archive: tarfile.TarFile, name: str, folder: Path) -> None:
    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    try:
        archive.add(folder, name, filter=plain)
    except OSError as error:
        msg = f"cannot read {error.filename or folder}: {error.strerror}"
        raise UsageError(msg) from error


def _about(bound: BoundJob, invocation: str) -> str:
    job = bound.job
    about = {
        "key": str(job.key),
        "attempt": bound.number,
        "invocation": f"{invocation}.{job.index}",
        "task": job.task.display,
        "harness": job.harness,
        "model": job.model,
        "image": job.image,
        "tool_version": __version__,
    }
    return json.dumps(about, indent=2) + "\n"
