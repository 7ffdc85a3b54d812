"""A pod: its containers run one after another, as processes in their own namespaces."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.doubles.kubernetes.store import Store, timestamp
from tests.doubles.lepton.container import Container
from tests.doubles.lepton.logs import Line, Log

__all__ = ["RunningPod"]


class RunningPod:
    """The processes of a pod object; updates the object's status."""

    def __init__(self, pod: dict[str, Any], directory: Path, store: Store) -> None:
        self.pod, self._directory, self._store = pod, directory, store
        spec = pod["spec"]
        self._remaining = [(True, container) for container in spec.get("initContainers") or []]
        self._remaining += [(False, container) for container in spec["containers"]]
        self.logs = {container["name"]: Log() for _, container in self._remaining}
        self._current: tuple[bool, dict[str, Any]] | None = None
        self.container: Container | None = None
        pod["status"] = {
            "phase": "Pending",
            "startTime": timestamp(),
            "initContainerStatuses": [],
            "containerStatuses": [],
        }

    @property
    def phase(self) -> str:
        return str(self.pod["status"]["phase"])

    def advance(self) -> None:
        """Record an exited container and start the next one."""
        if self._current is not None and self.container is not None:
            if self.container.exit_code is None:
                return
            self._record_exit(*self._current, self.container.exit_code)
        while self.phase in {"Pending", "Running"} and self._remaining and self._current is None:
            self._start(*self._remaining[0])
            if self._current is None:
                return

    def _start(self, init: bool, spec: dict[str, Any]) -> None:  # noqa: FBT001
        try:
            environ = {each["name"]: self._value(each) for each in spec.get("env") or []}
            mounts = {each["mountPath"]: self._volume(each["name"]) for each in spec.get("volumeMounts") or []}
        except LookupError as missing:
            self._set_state(init, spec, {"waiting": {"reason": "CreateContainerConfigError", "message": str(missing)}})
            return
        del self._remaining[0]
        self._current = (init, spec)
        log = self.logs[spec["name"]]
        self.container = Container(
            [_expand(argument, environ) for argument in spec["command"]],
            directory=self._directory / spec["name"],
            environ={"PATH": os.environ["PATH"]} | environ,
            mounts=mounts,
            on_line=lambda text: log.add(Line(0, text, "", "")),
            on_exit=log.finish,
        )
        if not init:
            self.pod["status"]["phase"] = "Running"
        self._set_state(init, spec, {"running": {"startedAt": timestamp()}})

    def _record_exit(self, init: bool, spec: dict[str, Any], code: int) -> None:  # noqa: FBT001
        reason = "Completed" if code == 0 else "Error"
        terminated = {"exitCode": code, "reason": reason, "finishedAt": timestamp()}
        self._set_state(init, spec, {"terminated": terminated})
        self._current = None
        if code:
            self.pod["status"]["phase"] = "Failed"
        elif not self._remaining:
            self.pod["status"]["phase"] = "Succeeded"

    def _set_state(self, init: bool, spec: dict[str, Any], state: dict[str, Any]) -> None:  # noqa: FBT001
        statuses = self.pod["status"]["initContainerStatuses" if init else "containerStatuses"]
        fields = {"name": spec["name"], "image": spec.get("image") or "", "imageID": "", "ready": False}
        statuses[:] = [each for each in statuses if each["name"] != spec["name"]]
        statuses.append(fields | {"restartCount": 0, "state": state})
        self._store.touch(self.pod)

    def _secret(self, name: str) -> Mapping[str, str]:
        try:
            data: Mapping[str, str] = self._store.objects["secrets"][name].get("data") or {}
        except KeyError as error:
            msg = f'secret "{name}" not found'
            raise LookupError(msg) from error
        return data

    def _value(self, variable: dict[str, Any]) -> str:
        if "value" in variable:
            return _expand(variable["value"], {})
        reference = variable["valueFrom"]["secretKeyRef"]
        data = self._secret(reference["name"])
        if reference["key"] not in data:
            msg = f"couldn't find key {reference['key']} in Secret evals/{reference['name']}"
            raise LookupError(msg)
        return base64.b64decode(data[reference["key"]]).decode()

    def _volume(self, name: str) -> Path:
        directory = self._directory / "volumes" / name
        directory.mkdir(parents=True, exist_ok=True)
        (volume,) = [each for each in self.pod["spec"]["volumes"] if each["name"] == name]
        if secret := volume.get("secret"):
            data = self._secret(secret["secretName"])
            for item in secret.get("items") or [{"key": key, "path": key} for key in data]:
                file = directory / item["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(data[item["key"]]))
        return directory

    def kill(self) -> None:
        """Kill the running container."""
        if self.container:
            self.container.kill()
            self.container.wait()
        for log in self.logs.values():
            log.finish()


def _expand(text: str, environ: Mapping[str, str]) -> str:
    """Expand `$(NAME)` as the kubelet does: unknown names are kept, `$$` becomes `$`."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)
