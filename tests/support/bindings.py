"""Tasks and bindings for tests of harnesses, with everything filled in that a test does not care about."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from nel_action.harnesses.interface import Binding
from nel_action.model.task import EndpointType, HarnessTask, Params

__all__ = ["binding", "harness_task"]


def harness_task(name: str = "asdiv", **fields: Any) -> HarnessTask:  # noqa: ANN401 whatever the class takes
    """Return a task; names of `Params` go into its params."""
    params = {key: fields.pop(key) for key in list(fields) if key in Params.__dataclass_fields__}
    defaults: dict[str, Any] = {"display": name, "endpoint_type": EndpointType.CHAT, "params": Params(**params)}
    return HarnessTask(name=name, **(defaults | fields))


def binding(**fields: Any) -> Binding:  # noqa: ANN401 whatever the class takes
    """Return a binding to a target that is not there."""
    defaults: dict[str, Any] = {
        "url": "http://127.0.0.1:8000/v1/chat/completions",
        "model_id": "acme-7b",
        "output_dir": PurePosixPath("/results"),
        "work_dir": PurePosixPath("/work"),
    }
    return Binding(**(defaults | fields))
