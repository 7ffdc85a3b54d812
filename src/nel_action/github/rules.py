"""From the inputs and the base to the rules of this gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nel_action.driver.judging import Rules
from nel_action.errors import Location, NotFoundError, Problem, SpecError
from nel_action.github.context import ActionContext
from nel_action.github.policy_source import select_rules
from nel_action.spec.policy import GatePolicy

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec

__all__ = ["dump_rules", "load_spec_from_inputs", "parse_rules", "resolve_rules"]


def load_spec_from_inputs(context: ActionContext, root: Path | None = None) -> LoadedSpec:
    """Load the spec that the inputs name, here or in another copy of the repository.

    Raises:
        SpecError: what is wrong with it.
        NotFoundError: that copy has no such spec.
    """
    from nel_action.spec.compose import load_spec

    inputs = context.inputs

    def there(path: Path | None) -> Path | None:
        return path if root is None or path is None else root / context.repository_path(path)

    spec, folder = there(inputs.spec), there(inputs.config_dir)
    named = spec or (folder or Path()) / f"{inputs.config_name}.yaml"
    if root is not None and not named.is_file():
        msg = f"no spec at {named}"
        raise NotFoundError(msg)
    return load_spec(spec, config_dir=folder, config_name=inputs.config_name, overrides=inputs.overrides)


def resolve_rules(context: ActionContext, head: LoadedSpec) -> Rules:
    """Return what this gate goes by: for a change, the base's rules.

    Raises:
        SpecError: the input `gate` names no policy.
        NelActionError: the base cannot be seen.
    """
    event, inputs = context.event, context.inputs
    merged = event.base_ref is not None and event.base_sha is not None
    if merged:
        rules, folder = _from_base(context, head)
    else:
        rules, folder = select_rules(head.spec, None, base_name=None, folder=head.base_dir), context.root
    if isinstance(inputs.gate, Path):
        rules = _with_policy_file(context, rules, folder, inputs.gate)
    elif not inputs.gate:
        rules = replace(rules, policy=None)
    if inputs.baseline and rules.policy:
        rules = replace(rules, policy=rules.policy.model_copy(update={"baseline": inputs.baseline}))
    return rules


def _from_base(context: ActionContext, head: LoadedSpec) -> tuple[Rules, Path]:
    """Compose the spec as the base has it."""
    event, inputs = context.event, context.inputs
    name = f"{event.base_ref} {(event.base_sha or '')[:7]}"
    named = [head.base_dir, *([inputs.config_dir] if inputs.config_dir else [])]
    named += [inputs.gate.parent] if isinstance(inputs.gate, Path) else []
    folders = sorted({str(context.repository_path(path)) for path in named})
    copy = context.base_files().fetch(event.base_sha or "", folders, context.temp_dir / "base")
    try:
        base = load_spec_from_inputs(context, copy)
    except NotFoundError:
        return select_rules(head.spec, None, base_name=name, folder=head.base_dir), copy
    except SpecError as error:
        # NOTE: or nobody could ever mend a base that is broken.
        note = f"the spec of {name} is broken ({error.problems[0].message}): this change's own rules were applied"
        rules = select_rules(head.spec, None, base_name=None, folder=head.base_dir)
        return replace(rules, notes=(note,)), copy
    return select_rules(head.spec, base.spec, base_name=name, folder=base.base_dir), copy


def _with_policy_file(context: ActionContext, rules: Rules, folder: Path, path: Path) -> Rules:
    """Take the policy from a file of its own, as the base has it; one that is new there brings its own rules."""
    there = folder / context.repository_path(path)
    if there.is_file() or folder == context.root or not path.is_file():
        return replace(rules, policy=_read_policy(there))
    note = f"{context.event.base_ref} has no {path.name} yet: this change brings its own rules, and they were applied"
    return replace(rules, policy=_read_policy(path), notes=(*rules.notes, note))


def _read_policy(path: Path) -> GatePolicy:
    """Read a policy from a file of its own: the `gate` section alone, or a file that holds one."""
    import yaml
    from pydantic import ValidationError

    try:
        data: Any = yaml.safe_load(path.read_text())
        part = data.get("gate", data) if isinstance(data, dict) else data
        return GatePolicy.model_validate_json(json.dumps(part))
    except OSError as error:
        raise SpecError([Problem(f"no policy at {path.name}", Location(path), "see the input `gate`")]) from error
    except (yaml.YAMLError, TypeError) as error:
        raise SpecError([Problem(f"the policy is no YAML: {error}", Location(path))]) from error
    except ValidationError as error:
        problems = [
            Problem(f"{'.'.join(map(str, one['loc'])) or 'the policy'}: {one['msg']}", Location(path))
            for one in error.errors()
        ]
        raise SpecError(problems) from error


def dump_rules(rules: Rules) -> dict[str, Any]:
    """Return rules as JSON, for a later process."""
    policy = rules.policy.model_dump(mode="json") if rules.policy else None
    return {"policy": policy, "expected": list(rules.expected), "notes": list(rules.notes)}


def parse_rules(data: dict[str, Any], folder: Path) -> Rules:
    """Read them back.

    Raises:
        ValueError: they are not whole.
    """
    policy = GatePolicy.model_validate_json(json.dumps(data["policy"])) if data["policy"] is not None else None
    return Rules(policy=policy, expected=tuple(data["expected"]), notes=tuple(data["notes"]), folder=folder)
