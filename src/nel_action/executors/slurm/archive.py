"""Archive of the directories of attempts, which is sent to the cluster in one command.

Its last member marks it as complete. Values of variables are sent as shell functions in a file that only the user can
read. They are functions so that only the steps export the values: the batch shell's own environment would be copied
into the queue by every `sbatch` that it runs.
"""

from __future__ import annotations

import io
import json
import shlex
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import SecretError, UsageError
from nel_action.executors.gateway import config_text, gateway_config, pack_gateway
from nel_action.executors.slurm.script import batch_script
from nel_action.executors.slurm.slurm_job import GATEWAY_CONFIG, SlurmJob, gateway_member
from nel_action.files import is_generated
from nel_action.model.env_ref import EnvRef, EnvSource, host_names, runtime_names
from nel_action.redaction import Redactor, secret_values
from nel_action.version import __version__

__all__ = ["attempts_archive", "secrets_text"]

COMPLETE: Final = "complete"
"""The last member; missing in a truncated archive."""

LIST: Final = "list"
"""Member with a line for each attempt: its name and the file name of its script."""


def attempts_archive(slurm_jobs: Sequence[SlurmJob], invocation: str, environ: Mapping[str, str]) -> bytes:
    """Return the directories of attempts as one tar archive.

    Args:
        slurm_jobs: the attempts.
        invocation: ID of the invocation.
        environ: values of variables.

    Raises:
        SecretError: a variable is not set.
        UsageError: a folder that the spec names cannot be read.
    """
    buffer = io.BytesIO()
    # NOTE: the fastest level; the scripts of many jobs are nearly equal.
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        lines = [f"{each.directory.name} {each.script_name}\n" for each in slurm_jobs]
        _add(archive, LIST, "".join(lines).encode())
        if any(each.gateway for each in slurm_jobs):
            _add(archive, "gateway", None, mode=0o700)
            _add(archive, gateway_member(), pack_gateway())
        for each in slurm_jobs:
            _add_attempt(archive, each, invocation, environ)
        _add(archive, COMPLETE, b"yes\n")
    return buffer.getvalue()


def _add_attempt(archive: tarfile.TarFile, slurm_job: SlurmJob, invocation: str, environ: Mapping[str, str]) -> None:
    """Add the directory of one attempt.

    Args:
        archive: the archive.
        slurm_job: the attempt.
        invocation: ID of the invocation.
        environ: values of variables.
    """
    root = slurm_job.directory.name
    for name in ("", "/files", "/logs", "/run", "/run/artifacts", "/run/work", "/state"):
        _add(archive, f"{root}{name}", None, mode=0o700)
    _add(archive, f"{root}/{slurm_job.script_name}", batch_script(slurm_job).encode(), mode=0o700)
    _add(archive, f"{root}/job.json", _job_json(slurm_job, invocation).encode())
    _add(archive, f"{root}/.secrets.env", secrets_text(slurm_job, environ).encode())
    for name, text in slurm_job.files.items():
        if name.startswith("/") or ".." in Path(name).parts:
            msg = f"file {name} of the command is outside its working directory; use a relative path without .."
            raise UsageError(msg)
        _add(archive, f"{root}/files/{name}", text.encode())
    if slurm_job.gateway:
        _add(archive, f"{root}/files/{GATEWAY_CONFIG}", _gateway_config(slurm_job, invocation).encode())
    for name, folder in _folders(slurm_job).items():
        _add_tree(archive, f"{root}/{name}", folder, source=name == TASK)


def _gateway_config(slurm_job: SlurmJob, invocation: str) -> str:
    """Return the gateway's configuration; the job adds the path of its record."""
    config = gateway_config(
        slurm_job.job,
        url=slurm_job.url,
        record=None,
        counters=str(slurm_job.counters),
        attempt=slurm_job.number,
        invocation=invocation,
    )
    return config_text(config)


TASK: Final = "run/task"
"""Name of the copy of `task_dir`."""


def _folders(slurm_job: SlurmJob) -> dict[str, Path]:
    task_dir = slurm_job.job.task.task_dir
    folders = {TASK: task_dir} if task_dir else {}
    if slurm_job.copied_dataset is not None:
        folders["run/dataset"] = slurm_job.copied_dataset
    return folders


def _add(archive: tarfile.TarFile, name: str, data: bytes | None, *, mode: int = 0o600) -> None:
    """Add a file, or a directory if `data` is None."""
    member = tarfile.TarInfo(name)
    member.mode = mode
    member.mtime = int(time.time())
    if data is None:
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    else:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _add_tree(archive: tarfile.TarFile, name: str, folder: Path, *, source: bool) -> None:
    """Add a folder, without generated files if it is source code."""

    def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inner = Path(member.name).relative_to(name)
        if source and member.name != name and is_generated(folder / inner):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    try:
        archive.add(folder, name, filter=without_owner)
    except OSError as error:
        msg = f"cannot read {error.filename or folder}: {error.strerror}"
        raise UsageError(msg) from error


def _job_json(slurm_job: SlurmJob, invocation: str) -> str:
    job = slurm_job.job
    data = {
        "key": str(job.key),
        "attempt": slurm_job.number,
        "invocation": f"{invocation}.{job.index}",
        "task": job.task.display,
        "harness": job.harness,
        "model": job.model,
        "image": job.image,
        "tool_version": __version__,
    }
    return json.dumps(data, indent=2) + "\n"


def secrets_text(slurm_job: SlurmJob, environ: Mapping[str, str]) -> str:
    """Return the contents of `.secrets.env`: one shell function per step, which exports its variables, and comments.

    The comments contain every form in which a secret may occur in a log. Literal values are written in the spec and
    therefore not secret; logs are easier to read with them.

    Raises:
        SecretError: a variable that the job needs is not set.
    """
    for name in slurm_job.command.secret_env.values():
        if name not in slurm_job.job.env:
            msg = f"{slurm_job.job.name} needs the variable {name}, which the spec does not pass on"
            raise SecretError(msg, hint=f"add {name}: host:{name} to env_vars")
    servers = {each.label: each.deployment.env_vars for each in slurm_job.servers}
    variables: dict[str, Mapping[str, EnvRef]] = {"evaluation": slurm_job.job.env, **servers}
    functions = "".join(_export_function(f"secrets_of_{step}", each, environ) for step, each in variables.items())
    references = [reference for each in variables.values() for reference in each.values()]
    redactor = Redactor(secret_values(environ, host_names(references)).values())
    forms = "".join(f"#form {form}\n" for form in sorted(redactor.forms, key=lambda form: (-len(form), form)))
    return f'{functions}NEL_RUNTIME_SECRETS="{" ".join(runtime_names(references))}"\n{forms}'


def _export_function(name: str, references: Mapping[str, EnvRef], environ: Mapping[str, str]) -> str:
    lines = [f"export {variable}={shlex.quote(value)}" for variable, value in _values(references, environ).items()]
    return _function(name, [*lines, ":"])


def _values(references: Mapping[str, EnvRef], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of `host:` and `lit:` references; `runtime:` ones are resolved on the compute node.

    Raises:
        SecretError: variables are not set.
    """
    if missing := [name for name in host_names(references.values()) if name not in environ]:
        msg = f"{'variable' if len(missing) == 1 else 'variables'} {', '.join(missing)} not set"
        raise SecretError(msg, hint="the spec refers to it as host:NAME; set it where nel-action runs")
    return {
        name: environ[reference.value] if reference.source is EnvSource.HOST else reference.value
        for name, reference in references.items()
        if reference.source is not EnvSource.RUNTIME
    }


def _function(name: str, lines: Sequence[str]) -> str:
    # NOTE: not indented, since a value may have several lines, which must not change.
    body = "\n".join(lines)
    return f"{name}() {{\n{body}\n}}\n"
