"""Conversion of benchmark listings to the catalog's data, and its annotations.

Sources are the listing of NeMo Evaluator Launcher (`resources/all_tasks_irs.yaml`, Apache-2.0) and `framework.yml`
files of containers. Names, images, endpoint types and defaults are taken from them; descriptions, metrics and item
counts are maintained by hand in `annotations.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["ANNOTATIONS", "annotate", "dump", "from_frameworks", "from_launcher"]

ANNOTATIONS: Final = Path(__file__).with_name("annotations.json")
_ENDPOINT_TYPES: Final = {"completions_logprob": "completions_logprobs"}
_HIGHER_IS_BETTER: Final = {"higher": True, "lower": False}


def from_launcher(listing: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the launcher's listing of all harnesses and tasks."""
    harnesses = {
        entry["name"]: {
            "container": entry["container"],
            "digest": entry["container_digest"],
            "full_name": entry["full_name"],
            "url": entry["url"],
        }
        for entry in listing["harnesses"]
    }
    tasks = [_task(entry["harness"], entry["defaults"]["config"]) for entry in listing["tasks"]]
    return {"harnesses": harnesses, "tasks": tasks}


def from_frameworks(
    frameworks: Iterable[Mapping[str, Any]], *, container: str | None, digest: str | None
) -> dict[str, Any]:
    """Convert the `framework.yml` files of one container.

    Args:
        frameworks: the parsed files.
        container: the image.
        digest: the image's digest.
    """
    harnesses, tasks = {}, []
    for framework in frameworks:
        about = framework["framework"]
        names = {"full_name": about.get("full_name"), "url": about.get("url")}
        harnesses[about["name"]] = {"container": container, "digest": digest} | names
        defaults = (framework.get("defaults") or {}).get("config") or {}
        for evaluation in framework.get("evaluations") or ():
            config = (evaluation.get("defaults") or {}).get("config") or {}
            params = (defaults.get("params") or {}) | (config.get("params") or {})
            tasks.append(_task(about["name"], defaults | config | {"params": params}))
    return {"harnesses": harnesses, "tasks": tasks}


def _task(harness: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that nel-action passes on; the inner task name and `extra` are internal to the container."""
    params = {
        name: value
        for name, value in (config.get("params") or {}).items()
        if value is not None and name not in {"task", "extra"}
    }
    routes = [_ENDPOINT_TYPES.get(name, name) for name in config.get("supported_endpoint_types") or ()]
    return {"harness": harness, "name": config["type"], "routes": routes, "params": params}


def annotate(data: Mapping[str, Any]) -> dict[str, Any]:
    """Add descriptions, primary metrics, their directions and item counts."""
    annotations = json.loads(ANNOTATIONS.read_text(encoding="utf-8"))
    tasks = [task | dict(_annotations(f"{task['harness']}.{task['name']}", annotations)) for task in data["tasks"]]
    return {"counted": annotations["counted"], **data, "tasks": tasks}


def _annotations(name: str, annotations: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the annotations of one task; later rules replace earlier ones."""
    languages = annotations["languages"]
    for rule in annotations["rules"]:
        if match := re.fullmatch(rule["match"], name):
            groups = {key: languages.get(v, v) if key == "lang" else v for key, v in match.groupdict().items()}
            for key in ("metric", "items", "source"):
                if key in rule:
                    yield key, rule[key]
            if "about" in rule:
                yield "about", rule["about"].format(**groups)
            if "better" in rule:
                yield "higher_is_better", _HIGHER_IS_BETTER[rule["better"]]


def dump(data: Mapping[str, Any]) -> str:
    """Serialise the catalog's data with one line per harness and task, for reviewable changes."""

    def lines(values: Iterable[str]) -> str:
        return ",\n".join(values)

    harnesses = lines(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in data["harnesses"].items())
    tasks = lines(json.dumps(task, ensure_ascii=False) for task in data["tasks"])
    head = "".join(
        f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in data.items() if key not in {"harnesses", "tasks"}
    )
    return f'{{\n{head}"harnesses": {{\n{harnesses}\n}},\n"tasks": [\n{tasks}\n]\n}}\n'
