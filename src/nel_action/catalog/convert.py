"""From a listing of benchmarks to the catalog's data: names, images, routes, defaults, and what is known by hand.

Listings are NeMo Evaluator Launcher's (`resources/all_tasks_irs.yaml`, Apache-2.0) and a container's own
`framework.yml` files. Facts are taken over; descriptions and metrics are ours (`known.json`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["annotate", "dump", "from_frameworks", "from_launcher"]

KNOWN: Final = Path(__file__).with_name("known.json")
ROUTES: Final = {"completions_logprob": "completions_logprobs"}
BETTER: Final = {"higher": True, "lower": False}


def from_launcher(listing: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the launcher's listing of all its harnesses."""
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
    """Convert the `framework.yml` files that one container holds."""
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
    """Keep of a task's defaults what is passed on; its inner name and `extra` are the container's own business."""
    params = {
        name: value
        for name, value in (config.get("params") or {}).items()
        if value is not None and name not in {"task", "extra"}
    }
    routes = [ROUTES.get(route, route) for route in config.get("supported_endpoint_types") or ()]
    return {"harness": harness, "name": config["type"], "routes": routes, "params": params}


def annotate(data: Mapping[str, Any]) -> dict[str, Any]:
    """Add what is known by hand: a description, the primary metric, its direction, the number of items."""
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    tasks = [task | dict(_facts(f"{task['harness']}.{task['name']}", known)) for task in data["tasks"]]
    return {"counted": known["counted"], **data, "tasks": tasks}


def _facts(name: str, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for rule in known["rules"]:
        if found := re.fullmatch(rule["match"], name):
            spoken = known["languages"]
            words = {key: spoken.get(text, text) if key == "lang" else text for key, text in found.groupdict().items()}
            for key in ("metric", "items", "source"):
                if key in rule:
                    yield key, rule[key]
            if "about" in rule:
                yield "about", rule["about"].format(**words)
            if "better" in rule:
                yield "higher_is_better", BETTER[rule["better"]]


def dump(data: Mapping[str, Any]) -> str:
    """Write the catalog's data: one line for each harness and task, so that a change can be reviewed."""

    def lines(values: Iterable[str]) -> str:
        return ",\n".join(values)

    harnesses = lines(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in data["harnesses"].items())
    tasks = lines(json.dumps(task, ensure_ascii=False) for task in data["tasks"])
    head = "".join(
        f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in data.items() if key not in {"harnesses", "tasks"}
    )
    return f'{{\n{head}"harnesses": {{\n{harnesses}\n}},\n"tasks": [\n{tasks}\n]\n}}\n'
