"""Policy and required tasks of a gate: for a pull request or merge group those of its base, not of the change."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.driver.surroundings import Rules
from nel_action.errors import Location, NotFoundError, Problem, SpecError
from nel_action.github.context import ActionContext
from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec

__all__ = ["dump_rules", "load_spec_from_inputs", "parse_rules", "resolve_rules", "select_rules"]

MAX_DIFFERENCES: Final = 20
"""Differences between the specs of base and head that are listed; further ones are counted."""

logger = logging.getLogger(__name__)


def load_spec_from_inputs(context: ActionContext, root: Path | None = None) -> LoadedSpec:
    """Load the spec that the inputs name.

    Args:
        context: the call of the action.
        root: another copy of the repository to load it from; the checkout by default.

    Raises:
        SpecError: the spec is invalid.
        NotFoundError: `root` does not contain the spec.
    """
    from nel_action.spec.compose import load_spec

    inputs = context.inputs

    def in_copy(path: Path | None) -> Path | None:
        return path if root is None or path is None else root / context.repository_path(path)

    spec, config_dir = in_copy(inputs.spec), in_copy(inputs.config_dir)
    path = spec or (config_dir or Path()) / f"{inputs.config_name}.yaml"
    if root is not None and not path.is_file():
        msg = f"no spec at {path}"
        raise NotFoundError(msg)
    return load_spec(spec, config_dir=config_dir, config_name=inputs.config_name, overrides=inputs.overrides)


def resolve_rules(context: ActionContext, head: LoadedSpec) -> Rules:
    """Return the rules of a gate, from the spec, the base and the inputs `gate` and `baseline`.

    Args:
        context: the call of the action.
        head: the spec in the checkout.

    Raises:
        SpecError: the input `gate` names a file that is no policy.
        NelActionError: the base revision cannot be read.
    """
    event, inputs = context.event, context.inputs
    if event.base_ref is not None and event.base_sha is not None:
        rules, root = _rules_of_base(context, head)
        logger.info("policy of the base %s %s", event.base_ref, event.base_sha[:7])
    else:
        rules, root = select_rules(head.spec, None, base_name=None, folder=head.base_dir), context.root
    if isinstance(inputs.gate, Path):
        rules = _with_policy_file(context, rules, root, inputs.gate)
        logger.info("policy from %s", inputs.gate)
    elif not inputs.gate:
        rules = replace(rules, policy=None)
    if inputs.baseline and rules.policy:
        rules = replace(rules, policy=rules.policy.model_copy(update={"baseline": inputs.baseline}))
    return rules


def _rules_of_base(context: ActionContext, head: LoadedSpec) -> tuple[Rules, Path]:
    """Return the rules of the base, and the folder with the base's copy of the repository."""
    event, inputs = context.event, context.inputs
    name = f"{event.base_ref} {(event.base_sha or '')[:7]}"
    directories = [head.base_dir, *([inputs.config_dir] if inputs.config_dir else [])]
    directories += [inputs.gate.parent] if isinstance(inputs.gate, Path) else []
    folders = sorted({str(context.repository_path(path)) for path in directories})
    copy = context.base_files().fetch(event.base_sha or "", folders, context.temp_dir / "base")
    try:
        base = load_spec_from_inputs(context, copy)
    except NotFoundError:
        return select_rules(head.spec, None, base_name=name, folder=head.base_dir), copy
    except SpecError as error:
        # NOTE: otherwise no pull request could correct an invalid spec on the base branch.
        note = f"the spec of {name} is invalid ({error.problems[0].message}); the policy of this change was applied"
        rules = select_rules(head.spec, None, base_name=None, folder=head.base_dir)
        return replace(rules, notes=(note,)), copy
    return select_rules(head.spec, base.spec, base_name=name, folder=base.base_dir), copy


def select_rules(head: Spec, base: Spec | None, *, base_name: str | None, folder: Path) -> Rules:
    """Return policy and required tasks of the base's spec, with a note on each difference from the head's spec.

    Args:
        head: the spec of the change, which determines what is run.
        base: the spec of the base; None if the base has none, or if nothing is merged.
        base_name: branch and commit of the base, for notes; None if nothing is merged.
        folder: directory to which paths in the policy are relative.
    """
    tasks = tuple(task.name for task in head.evaluation.tasks)
    if base_name is None:
        return Rules(policy=head.gate, expected=tasks, folder=folder)
    if base is None:
        note = f"{base_name} does not contain this spec; the policy of this change was applied"
        return Rules(policy=head.gate, expected=tasks, folder=folder, notes=(note,))
    missing = tuple(task.name for task in base.evaluation.tasks if task.name not in tasks and base.gate is not None)
    removed = [f"this change no longer runs {name}, which {base_name} requires" for name in missing]
    notes = (*_difference_notes(base, head, base_name), *removed)
    return Rules(policy=base.gate, expected=tasks + missing, folder=folder, notes=notes)


def _difference_notes(base: Spec, head: Spec, base_name: str) -> list[str]:
    gate = list(_differences("gate", _dump(base.gate), _dump(head.gate)))
    evaluation = list(_differences("evaluation", _dump(base.evaluation), _dump(head.evaluation)))
    notes = []
    if gate:
        notes.append(f"this change edits its own gate; the policy of {base_name} was applied")
    if evaluation:
        notes.append("this change edits how benchmarks are run")
    notes += [*gate, *evaluation][:MAX_DIFFERENCES]
    omitted = len(gate) + len(evaluation) - MAX_DIFFERENCES
    return [*notes, f"and {omitted} more changes"] if omitted > 0 else notes


def _dump(part: Any) -> Any:  # noqa: ANN401 - any part of a spec
    return part.model_dump(mode="json", exclude_defaults=True) if part is not None else {}


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield `path: old → new` for each key whose value differs."""
    if old == new:
        return
    if isinstance(old or {}, dict) and isinstance(new or {}, dict) and (old or new):
        old, new = old or {}, new or {}
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and _has_unique_names(old) and _has_unique_names(new):
        yield from _differences(path, {item["name"]: item for item in old}, {item["name"]: item for item in new})
    else:
        yield f"{path}: {_short(old)} → {_short(new)}"


def _has_unique_names(items: list[Any]) -> bool:
    names = [item.get("name") for item in items if isinstance(item, dict)]
    return len(names) == len(items) == len(set(names))


def _short(value: object) -> str:
    return "not set" if value is None else str(value)[:100]


def _with_policy_file(context: ActionContext, rules: Rules, root: Path, path: Path) -> Rules:
    """Replace the policy by a policy file of the base; by the head's own if the base does not have the file."""
    base_path = root / context.repository_path(path)
    if base_path.is_file() or root == context.root or not path.is_file():
        return replace(rules, policy=_read_policy(base_path))
    note = f"{context.event.base_ref} does not contain {path.name}; the policy of this change was applied"
    return replace(rules, policy=_read_policy(path), notes=(*rules.notes, note))


def _read_policy(path: Path) -> GatePolicy:
    """Read a policy file: the content of a `gate` section, or a mapping with such a section."""
    import yaml
    from pydantic import ValidationError

    try:
        data: Any = yaml.safe_load(path.read_text())
        section = data.get("gate", data) if isinstance(data, dict) else data
        return GatePolicy.model_validate_json(json.dumps(section))
    except OSError as error:
        raise SpecError([Problem(f"no policy at {path.name}", Location(path), "check the input `gate`")]) from error
    except (yaml.YAMLError, TypeError) as error:
        raise SpecError([Problem(f"the policy is not valid YAML: {error}", Location(path))]) from error
    except ValidationError as error:
        problems = [
            Problem(f"{'.'.join(map(str, detail['loc'])) or 'the policy'}: {detail['msg']}", Location(path))
            for detail in error.errors()
        ]
        raise SpecError(problems) from error


def dump_rules(rules: Rules) -> dict[str, Any]:
    """Serialise rules, for a later process."""
    policy = rules.policy.model_dump(mode="json") if rules.policy else None
    return {"policy": policy, "expected": list(rules.expected), "notes": list(rules.notes)}


def parse_rules(data: dict[str, Any], folder: Path) -> Rules:
    """Parse what `dump_rules` returned.

    Args:
        data: the serialised rules.
        folder: directory to which paths in the policy are relative on this machine.

    Raises:
        KeyError: a field is missing.
        ValueError: a field is malformed.
    """
    policy = GatePolicy.model_validate_json(json.dumps(data["policy"])) if data["policy"] is not None else None
    return Rules(policy=policy, expected=tuple(data["expected"]), notes=tuple(data["notes"]), folder=folder)
