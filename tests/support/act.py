"""Runs workflows with `act`, in host mode or in containers, against the GitHub double."""

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

__all__ = ["ROOT", "Act", "Ran", "act_binary", "copy_of_the_action", "pinned"]

ROOT = Path(__file__).parents[2]
STAND_INS = ROOT / "tests/doubles/actions"
OWN = "ORG/nel-action@v1"
SUCCESS, CANCELLED = 0, 130


def act_binary() -> str | None:
    """Return act beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("act")
    return str(beside) if beside.exists() else shutil.which("act")


def pinned(text: str) -> list[str]:
    """Return every `uses:` of a workflow or an action."""
    return re.findall(r"^\s*(?:- )?uses:\s*([^\s#]+)", text, re.MULTILINE)


def copy_of_the_action(into: Path, *more: str) -> Path:
    """Copy what the repository holds, changes included, as a checkout of the action would be; and more top folders."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        source = ROOT / name
        needed = name.split("/")[0] in {"src", "scripts", "requirements", *more} or source.parent == ROOT
        if needed and source.is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, into / name)
    return into


@dataclass(frozen=True)
class Ran:
    """What one run of a workflow left."""

    code: int
    log: str
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """Everything that steps wrote to their summaries."""
        return "".join(str(one.get("content", "")) for one in self.records if one.get("command") == "summary")

    def said(self, text: str) -> bool:
        return text in self.log


@dataclass
class Act:
    """One repository whose workflows are run."""

    place: Workplace
    action: Path
    cache: Path
    source: Path = ROOT / "workflows"
    """Where workflows are."""
    patience: float = 280
    """Seconds that a run may take."""
    platform: str = "-self-hosted"
    """`-self-hosted` runs on this machine; else the name of an image, and each job in a container of it."""

    @property
    def artifacts(self) -> Path:
        return self.place.root / "artifacts"

    def command(
        self, workflow: str, event: str, payload: Mapping[str, Any], secrets: Mapping[str, str], options: Sequence[str]
    ) -> list[str]:
        """Return the words that run one workflow."""
        source = self.source / workflow
        folder = self.place.work / ".github/workflows"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / workflow)
        path = self.place.root / "event.json"
        path.write_text(json.dumps(payload))
        text = source.read_text() + (self.action / "action.yml").read_text()
        mapped = {OWN: self.action}
        for name in ("cache", "upload-artifact"):
            mapped |= {uses: STAND_INS / name for uses in pinned(text) if uses.startswith(f"actions/{name}@")}
        hub = self.place.hub
        environ = hub.environ() | {
            "NEL_ACTION_HOME": str(self.place.home),
            "NEL_TEST_CACHE": str(self.cache),
            "NEL_TEST_ARTIFACTS": str(self.artifacts),
            "GITHUB_RUN_ID": "4242",
        }
        words = [str(act_binary()), event, "-W", f".github/workflows/{workflow}", "-e", str(path), "--json"]
        words += ["-P", f"ubuntu-latest={self.platform}", "-s", f"GITHUB_TOKEN={hub.token}"]
        words += ["--env-file", str(self._env_file())]
        words += ["--cache-server-addr", "127.0.0.1", "--artifact-server-addr", "127.0.0.1"]
        words += [*self._containers(), *options]
        for name, value in environ.items():
            words += ["--env", f"{name}={value}"]
        for name, value in secrets.items():
            words += ["-s", f"{name}={value}"]
        for uses, local in mapped.items():
            words += ["--local-repository", f"{uses}={local}"]
        return words

    def _containers(self) -> list[str]:
        """Return what jobs in containers need beyond jobs on this machine: the test's own folders, and no registry."""
        if self.platform == "-self-hosted":
            return []
        shared = [self.place.root, self.cache.parent]
        mounts = " ".join(f"--volume {folder}:{folder}" for folder in shared)
        offline = ["--pull=false", "--action-offline-mode", "--rm", "--container-daemon-socket", "-"]
        return [*offline, "--container-options", f"--init {mounts}"]

    def _env_file(self) -> Path:
        """Write down how this machine reaches package registries, in a file: addresses may hold passwords."""
        names = [name for name in os.environ if re.match(r"(UV|PIP|SSL|REQUESTS|CURL)_|.*_PROXY$", name, re.IGNORECASE)]
        path = self.place.root / "registry.env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={os.environ[name]}\n" for name in names))
        return path

    def environ(self) -> dict[str, str]:
        home = self.place.root / "act"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "DOCKER_HOST") if name in os.environ}
        kept = kept if self.platform != "-self-hosted" else {**kept, "DOCKER_HOST": ""}
        return kept | {"XDG_CONFIG_HOME": str(home / "config"), "XDG_CACHE_HOME": str(home / "cache")}

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words, cwd=self.place.work, env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def ran(self, running: subprocess.Popen[str]) -> Ran:
        """Wait for the end, and read the records."""
        out = running.communicate(timeout=self.patience)[0]
        records = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        plain = [line for line in out.splitlines() if not line.startswith("{")]
        log = "\n".join([*plain, *(str(one.get("msg", "")).rstrip() for one in records)])
        return Ran(running.returncode, log, records)

    def run(
        self,
        workflow: str,
        event: str,
        payload: Mapping[str, Any] | None = None,
        *,
        secrets: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Ran:
        """Run one workflow to its end."""
        return self.ran(self.start(self.command(workflow, event, payload or {}, secrets or {}, options)))

    def cancel(self, running: subprocess.Popen[str]) -> None:
        """Ask act to cancel, as a person would on the run's page."""
        running.send_signal(signal.SIGINT)


def jobs_of(workflow: str) -> dict[str, Any]:
    """Return the jobs of a workflow in `workflows/`."""
    data = yaml.safe_load((ROOT / "workflows" / workflow).read_text())
    return dict(data["jobs"])
