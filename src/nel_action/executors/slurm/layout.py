"""Where everything lies on the cluster: one directory for each attempt, found by its name alone.

<output_dir>/<key>-<n>/
    sbatch_<task>.sh    what Slurm runs
    job.json            what it is: key, task, model, invocation
    .secrets.env        values of variables, 0600; gone when the last job of the attempt has ended
    files/              templates of files that commands read
    run/                what programs see (`/nel` or `/mnt` in a container)
        artifacts/      what the harness leaves
        work/           where it runs
        task/ dataset/  copies of the spec's own folders
    logs/               client.log, server-0.log, slurm-<job>.log …
    state/              intent, submitted, owner, turn, links, exit.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from nel_action.model.job import Attempt, Key, attempt_name

__all__ = ["JobDir", "split_name"]


def split_name(name: str) -> tuple[Key, int] | None:
    """Take an attempt's name apart; None where it is no such name."""
    key, _, number = name.rpartition("-")
    return (Key(key), int(number)) if key.startswith("nel-") and number.isdigit() else None


@dataclass(frozen=True, slots=True)
class JobDir:
    """One attempt's directory on the cluster."""

    path: PurePosixPath

    @classmethod
    def of(cls, output_dir: str, key: Key, number: int) -> JobDir:
        """Return the directory that an attempt has, or would have."""
        return cls(PurePosixPath(output_dir) / attempt_name(key, number))

    @classmethod
    def of_attempt(cls, output_dir: str, attempt: Attempt) -> JobDir:
        """Return an attempt's directory."""
        return cls.of(output_dir, attempt.key, attempt.number)

    @property
    def name(self) -> str:
        """`<key>-<n>`, which is also the name of its Slurm jobs."""
        return self.path.name

    @property
    def secrets(self) -> PurePosixPath:
        """Values of variables."""
        return self.path / ".secrets.env"

    @property
    def run(self) -> PurePosixPath:
        """What programs see."""
        return self.path / "run"

    @property
    def logs(self) -> PurePosixPath:
        """All logs."""
        return self.path / "logs"

    @property
    def client_log(self) -> PurePosixPath:
        """What the harness says."""
        return self.logs / "client.log"

    @property
    def state(self) -> PurePosixPath:
        """What the jobs write down for whoever looks."""
        return self.path / "state"

    @property
    def exit_record(self) -> PurePosixPath:
        """How it ended; there once it has."""
        return self.state / "exit.json"
