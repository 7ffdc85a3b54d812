"""One pod: its containers run one after the other, as processes in namespaces of their own."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.doubles.kubernetes.store import Store, moment
from tests.doubles.lepton.container import Container
from tests.doubles.lepton.logs import Line, Log

__all__ = ["RunningPod"]


class RunningPod:
    """The processes behind a pod object, and the object's status."""

    def __init__(self, pod: dict[str, Any], folder: Path, store: Store) -> None:
        self.pod, self._folder, self._store = pod, folder, store
        spec = pod["spec"]
        self._left = [(True, each) for each in spec.get("initContainers") or []]
        self._left += [(False, each) for each in spec["containers"]]
        self.logs = {each["name"]: Log() for _, each in self._left}
        self._now: tuple[bool, dict[str, Any]] | None = None
        self.container: Container | None = None
        pod["status"] = {
            "phase": "Pending",
            "startTime": moment(),
            "initContainerStatuses": [],
            "containerStatuses": [],
        }

    @property
    def phase(self) -> str:
        return str(self.pod["status"]["phase"])

    def step(self) -> None:
        """Move on as far as can be."""
        if self._now is not None and self.container is not None:
            if self.container.exit_code is None:
                return
            self._ended(*self._now, self.container.exit_code)
        while self.phase in {"Pending", "Running"} and self._left and self._now is None:
            self._begin(*self._left[0])
            if self._now is None:
                return

    def _begin(self, init: bool, spec: dict[str, Any]) -> None:  # noqa: FBT001
        try:
            environ = {each["name"]: self._value(each) for each in spec.get("env") or []}
            mounts = {each["mountPath"]: self._volume(each["name"]) for each in spec.get("volumeMounts") or []}
        except LookupError as missing:
            self._show(init, spec, {"waiting": {"reason": "CreateContainerConfigError", "message": str(missing)}})
            return
        del self._left[0]
        self._now = (init, spec)
        log = self.logs[spec["name"]]
        self.container = Container(
            [_expand(word, environ) for word in spec["command"]],
            folder=self._folder / spec["name"],
            environ={"PATH": os.environ["PATH"]} | environ,
            mounts=mounts,
            line=lambda text: log.add(Line(0, text, "", "")),
            ended=log.finish,
        )
        if not init:
            self.pod["status"]["phase"] = "Running"
        self._show(init, spec, {"running": {"startedAt": moment()}})

    def _ended(self, init: bool, spec: dict[str, Any], code: int) -> None:  # noqa: FBT001
        reason = "Completed" if code == 0 else "Error"
        ended = {"exitCode": code, "reason": reason, "finishedAt": moment()}
        self._show(init, spec, {"terminated": ended})
        self._now = None
        if code:
            self.pod["status"]["phase"] = "Failed"
        elif not self._left:
            self.pod["status"]["phase"] = "Succeeded"

    def _show(self, init: bool, spec: dict[str, Any], state: dict[str, Any]) -> None:  # noqa: FBT001
        statuses = self.pod["status"]["initContainerStatuses" if init else "containerStatuses"]
        fields = {"name": spec["name"], "image": spec.get("image") or "", "imageID": "", "ready": False}
        statuses[:] = [each for each in statuses if each["name"] != spec["name"]]
        statuses.append(fields | {"restartCount": 0, "state": state})
        self._store.touch(self.pod)

    def _secret(self, name: str) -> Mapping[str, str]:
        try:
            data: Mapping[str, str] = self._store.things["secrets"][name].get("data") or {}
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
        place = self._folder / "volumes" / name
        place.mkdir(parents=True, exist_ok=True)
        (volume,) = [each for each in self.pod["spec"]["volumes"] if each["name"] == name]
        if secret := volume.get("secret"):
            data = self._secret(secret["secretName"])
            for item in secret.get("items") or [{"key": key, "path": key} for key in data]:
                file = place / item["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(data[item["key"]]))
        return place

    def kill(self) -> None:
        """End it at once."""
        if self.container:
            self.container.kill()
            self.container.wait()
        for log in self.logs.values():
            log.finish()


def _expand(text: str, environ: Mapping[str, str]) -> str:
    """Fill in `$(NAME)` as the kubelet does: unknown names stay, `$$` is `$`."""

    def fill(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", fill, text)
