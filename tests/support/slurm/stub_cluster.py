"""Stub programs of Slurm for a cluster-free executor: the queue is a file, and every call is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.slurm.settings import slurm_settings

from nel_action.executors.interface import ExecutorContext
from nel_action.executors.slurm.executor import SlurmExecutor

__all__ = ["StubCluster"]

SQUEUE = """\
#!/bin/sh
echo "squeue $*" >>{root}/calls
[ ! -e {root}/down ] || {{ echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }}
case $* in
*"%j %i"*) awk -F '|' '{{ print $2, $1 }}' {root}/queue ;;
*) cat {root}/queue ;;
esac
"""

SBATCH = """\
#!/bin/sh
echo "sbatch $*" >>{root}/calls
case $* in *--test-only*) exit 0 ;; esac
[ ! -s {root}/sbatch_error ] || {{ cat {root}/sbatch_error >&2; exit 1; }}
exec 9>>{root}/lock && flock 9
[ ! -e {root}/limit ] || [ "$(grep -c . {root}/queue)" -lt "$(cat {root}/limit)" ] || {{
    echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)" >&2
    exit 1
}}
for script; do :; done
directory=${{script%/*}}
id=$((4711 + $(grep -c . {root}/queue)))
echo "$id|${{directory##*/}}|PENDING|Priority|2026-11-22T10:00:00|N/A|N/A|$directory" >>{root}/queue
echo "$id"
"""

SACCT = """\
#!/bin/sh
echo "Slurm accounting storage is disabled" >&2
exit 1
"""

OTHER = """\
#!/bin/sh
echo "$(basename "$0") $*" >>{root}/calls
"""


@dataclass
class StubCluster:
    """A directory with stub programs that executors on "this login node" call."""

    root: Path
    output_dir: Path = field(init=False)

    def __post_init__(self) -> None:
        self.output_dir = self.root / "runs"
        (self.root / "bin").mkdir(parents=True)
        scripts = {
            "squeue": SQUEUE,
            "sbatch": SBATCH,
            "sacct": SACCT,
            "scancel": OTHER,
            "scontrol": OTHER,
            "sinfo": OTHER,
        }
        for name, text in scripts.items():
            path = self.root / "bin" / name
            path.write_text(text.format(root=self.root))
            path.chmod(0o755)
        self.set_queue()

    def set_program(self, name: str, text: str) -> None:
        """Replace a program by a shell script."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def set_queue(self, *rows: str) -> None:
        """Set the output of `squeue`: rows of ID, name, state, reason, three times and directory, separated by `|`."""
        (self.root / "queue").write_text("".join(f"{row}\n" for row in rows))

    def set_submit_limit(self, limit: int) -> None:
        """Let `sbatch` reject jobs while the queue has that many."""
        (self.root / "limit").write_text(f"{limit}\n")

    def set_controller(self, *, up: bool) -> None:
        """Start or stop the controller."""
        if up:
            (self.root / "down").unlink(missing_ok=True)
        else:
            (self.root / "down").touch()

    def set_sbatch_error(self, text: str) -> None:
        """Set the error of every `sbatch`; empty for success."""
        (self.root / "sbatch_error").write_text(text)

    def calls(self, program: str) -> list[str]:
        """Return the recorded command lines of a program."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.split()[0] == program]

    def executor(self, **fields: Any) -> SlurmExecutor:  # noqa: ANN401 fields of the settings
        """Return an executor for this cluster."""
        defaults = {"output_dir": str(self.output_dir), "bin_dir": str(self.root / "bin"), "outage_timeout": 0}
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.root)}
        context = ExecutorContext(home=self.root, environ=environ, base_dir=self.root)
        return SlurmExecutor(slurm_settings(None, **(defaults | fields)), context)
