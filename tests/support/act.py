"""Run workflows with `act`, on this machine or in containers, against the GitHub double."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.support.workplace import Workplace

__all__ = ["ROOT", "Act", "Ran", "act_binary", "copy_action", "jobs_of", "used_actions"]

ROOT = Path(__file__).parents[2]
REPLACEMENTS = ROOT / "tests/doubles/actions"
OWN = "ORG/nel-action@v1"
SUCCESS, CANCELLED = 0, 130


def act_binary() -> str | None:
    """Return the path of act, next to this Python or on the path; None if it is not installed."""
    sibling = Path(sys.executable).with_name("act")
    return str(sibling) if sibling.exists() else shutil.which("act")


def used_actions(text: str) -> list[str]:
    """Return all `uses:` of a workflow or an action."""
    return re.findall(r"^\s*(?:- )?uses:\s*([^\s#]+)", text, re.MULTILINE)


def copy_action(into: Path, *more: str) -> Path:
    """Copy the action with uncommitted changes, as a checkout of it.

    Args:
        into: directory of the copy.
        more: further top-level directories to copy.
    """
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        source = ROOT / name
        needed = name.split("/")[0] in {"command", "src", "scripts", "requirements", *more} or source.parent == ROOT
        if needed and source.is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, into / name)
    return into


@dataclass(frozen=True)
class Ran:
    """The result of a workflow run."""

    code: int
    log: str
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The summaries of all steps."""
        return "".join(str(record.get("content", "")) for record in self.records if record.get("command") == "summary")


@dataclass
class Act:
    """A repository whose workflows are run."""

    workplace: Workplace
    action: Path
    cache: Path
    source: Path = ROOT / "workflows"
    """Directory of the workflows."""
    timeout: float = 280
    """Seconds."""
    platform: str = "-self-hosted"
    """`-self-hosted` for jobs on this machine; otherwise the image of a container per job."""

    @property
    def artifacts(self) -> Path:
        return self.workplace.root / "artifacts"

    def command(
        self, workflow: str, event: str, payload: Mapping[str, Any], secrets: Mapping[str, str], options: Sequence[str]
    ) -> list[str]:
        """Return the command line that runs a workflow.

        Args:
            workflow: file name in `source`.
            event: name of the event.
            payload: of the event.
            secrets: names and values.
            options: further options of act.
        """
        source = self.source / workflow
        folder = self.workplace.work / ".github/workflows"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / workflow)
        path = self.workplace.root / "event.json"
        repository = payload.get("repository", {}) | {"default_branch": self.workplace.hub.store.default_branch}
        path.write_text(json.dumps({**payload, "repository": repository}))
        text = source.read_text() + (self.action / "action.yml").read_text()
        mapped = {OWN: self.action}
        for name in ("cache", "checkout", "upload-artifact"):
            mapped |= {uses: REPLACEMENTS / name for uses in used_actions(text) if uses.startswith(f"actions/{name}@")}
        hub = self.workplace.hub
        environ = hub.environ() | {
            "NEL_ACTION_HOME": str(self.workplace.home),
            "NEL_TEST_CACHE": str(self.cache),
            "NEL_TEST_ARTIFACTS": str(self.artifacts),
            "NEL_TEST_REPOSITORY": str(self.workplace.work),
            "GITHUB_RUN_ID": "4242",
        }
        argv = [str(act_binary()), event, "-W", f".github/workflows/{workflow}", "-e", str(path), "--json"]
        argv += ["-P", f"ubuntu-latest={self.platform}", "-s", f"GITHUB_TOKEN={hub.token}"]
        argv += ["--env-file", str(self._env_file())]
        argv += ["--cache-server-addr", "127.0.0.1", "--artifact-server-addr", "127.0.0.1"]
        argv += [*self._containers(), *options]
        for name, value in environ.items():
            argv += ["--env", f"{name}={value}"]
        for name, value in secrets.items():
            argv += ["-s", f"{name}={value}"]
        for uses, local in mapped.items():
            argv += ["--local-repository", f"{uses}={local}"]
        return argv

    def _containers(self) -> list[str]:
        """Return the options for jobs in containers: mounts of the test's directories, and no registry access."""
        if self.platform == "-self-hosted":
            return []
        shared = [self.workplace.root, self.cache.parent]
        mounts = " ".join(f"--volume {folder}:{folder}" for folder in shared)
        offline = ["--pull=false", "--action-offline-mode", "--rm", "--container-daemon-socket", "-"]
        return [*offline, "--container-options", f"--init {mounts}"]

    def _env_file(self) -> Path:
        """Write the configuration of package indexes to a file, because URLs may contain passwords."""
        names = [name for name in os.environ if re.match(r"(UV|PIP|SSL|REQUESTS|CURL)_|.*_PROXY$", name, re.IGNORECASE)]
        path = self.workplace.root / "registry.env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={os.environ[name]}\n" for name in names))
        return path

    def environ(self) -> dict[str, str]:
        home = self.workplace.root / "act"
        variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "DOCKER_HOST") if name in os.environ}
        variables |= {"DOCKER_HOST": ""} if self.platform == "-self-hosted" else {}
        return variables | {"XDG_CONFIG_HOME": str(home / "config"), "XDG_CACHE_HOME": str(home / "cache")}

    def start(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv,
            cwd=self.workplace.work,
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def result(self, process: subprocess.Popen[str]) -> Ran:
        """Wait until act exits, and parse its output."""
        out = process.communicate(timeout=self.timeout)[0]
        records = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        plain = [line for line in out.splitlines() if not line.startswith("{")]
        log = "\n".join([*plain, *(str(record.get("msg", "")).rstrip() for record in records)])
        return Ran(process.returncode, log, records)

    def run(
        self,
        workflow: str,
        event: str,
        payload: Mapping[str, Any] | None = None,
        *,
        secrets: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Ran:
        """Run a workflow and wait until it exits.

        Args:
            workflow: file name in `source`.
            event: name of the event.
            payload: of the event.
            secrets: names and values.
            options: further options of act.
        """
        return self.result(self.start(self.command(workflow, event, payload or {}, secrets or {}, options)))

    def cancel(self, process: subprocess.Popen[str]) -> None:
        """Cancel the run."""
        process.send_signal(signal.SIGINT)


def jobs_of(workflow: str) -> dict[str, Any]:
    """Return the jobs of a workflow in `workflows/`."""
    data = yaml.safe_load((ROOT / "workflows" / workflow).read_text())
    return dict(data["jobs"])
