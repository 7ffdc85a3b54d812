"""Policy and required tasks of a gate: those of the bases that the commit may be merged into, never the change's own.

Each base is in one of three states. Its rules are known; or it has no rules for this spec, which only the complete
tree of the commit can show; or its rules cannot be read. In the last two, the scores are shown and the gate is
unmeasurable, unless the base itself allows new gates.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from nel_action.driver.surroundings import Rules
from nel_action.errors import Location, NelActionError, Problem, SpecError
from nel_action.github.base_revision import Absent, BaseTree, Lookup, Present, Unreadable
from nel_action.github.baseline_files import copy_baseline
from nel_action.github.bases import Base, Bases, find_bases
from nel_action.github.benchmark_changes import apply_changes, find_changes, select_rules, with_base_values
from nel_action.github.benchmark_files import Side
from nel_action.github.checkout import Inside, Outside, head_commit
from nel_action.github.context import ActionContext
from nel_action.github.options import OPTIONS_FILE, read_options
from nel_action.planning.fingerprint import KeyDifference, benchmark_paths
from nel_action.spec.defaults import GROUPS
from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec

__all__ = [
    "GateSource",
    "combine",
    "dump_rules",
    "load_spec_from_inputs",
    "new_bases",
    "parse_rules",
    "resolve_rules",
    "with_baseline_files",
]

CONFIG_SUFFIXES: Final = (".yaml", ".yml")
"""Files that a spec can be composed of."""
CONFIG_FILES_LIMIT: Final = 5000

logger = logging.getLogger(__name__)


def load_spec_from_inputs(context: ActionContext) -> LoadedSpec:
    """Load the spec that the inputs name.

    Raises:
        SpecError: the spec is invalid.
    """
    from nel_action.spec.compose import load_spec

    inputs = context.inputs
    return load_spec(
        inputs.spec,
        config_dir=inputs.config_dir,
        config_name=inputs.config_name,
        overrides=inputs.overrides,
        environ=context.job_environ,
    )


def resolve_rules(context: ActionContext, head: LoadedSpec) -> Rules:
    """Return the rules of a gate, from the bases of the commit and the inputs `gate` and `baseline`.

    Args:
        context: the call of the action.
        head: the spec in the checkout.

    Raises:
        SpecError: the input `gate` names a file that is no policy.
        NelActionError: the tree of a base cannot be read.
    """
    return GateSource(context, head).resolve()


class GateSource:
    """The rules of one gate, from whichever bases its commit has."""

    def __init__(self, context: ActionContext, head: LoadedSpec) -> None:
        """Refer to a gate, without a request.

        Args:
            context: the call of the action.
            head: the spec in the checkout.
        """
        self._context = context
        self._head = head
        self.spec: LoadedSpec = head
        """The spec of the head with the values of the base that apply; complete after `resolve`."""
        self._values_of: str | None = None
        """The base that the values are from."""
        self._base_tasks: list[frozenset[str]] = []

    def resolve(self) -> Rules:
        """Return the rules of all bases.

        Raises:
            SpecError: the input `gate` names a file that is no policy.
            NelActionError: the tree of a base cannot be read.
        """
        listing = self._find_bases()
        rules = [self._rules_of(base) for base in listing.bases] or [self._own_rules()]
        if listing.problem:
            rules.append(self._without_rules(listing.problem))
        return combine(rules)

    def update(self, rules: Rules) -> Rules:
        """Return the rules with those of bases that the commit has only since `rules` were resolved.

        Args:
            rules: the rules so far.
        """
        listing = self._find_bases()
        more = [self._rules_of(base) for base in new_bases(listing, rules)]
        if listing.problem:
            more.append(self._without_rules(listing.problem))
        return combine([*rules.all, *more])

    def _find_bases(self) -> Bases:
        context = self._context
        return find_bases(context.readable_api, context.event, context.base_files())

    def base_tasks(self) -> frozenset[str]:
        """Return the tasks that the specs of all bases with rules have; of `resolve`, which comes first."""
        return frozenset.intersection(*self._base_tasks) if self._base_tasks else frozenset()

    def _own_rules(self) -> Rules:
        """Return the spec's own rules, for a commit that is on the default branch already."""
        context = self._context
        rules = Rules.of_spec(self._head.spec, self._head.base_dir)
        if isinstance(context.inputs.gate, Path):
            rules = replace(rules, policy=_read_policy(context.inputs.gate))
            logger.info("policy from %s", context.inputs.gate)
        return self._with_inputs(rules)

    def _without_rules(self, reason: str, base: Base | None = None) -> Rules:
        expected = tuple(task.name for task in self._head.spec.evaluation.tasks)
        name, sha = (base.name, base.sha) if base else (None, None)
        return Rules(
            policy=None, expected=expected, folder=self._head.base_dir, base=name, base_sha=sha, unmeasurable=reason
        )

    def _with_inputs(self, rules: Rules) -> Rules:
        """Apply the inputs `gate: false` and `baseline`, which the workflow sets."""
        inputs = self._context.inputs
        if not inputs.gate:
            return replace(rules, policy=None, blocked=())
        if inputs.baseline and rules.policy:
            rules = replace(rules, policy=rules.policy.model_copy(update={"baseline": inputs.baseline}))
        return rules

    def _rules_of(self, base: Base) -> Rules:
        """Return the rules of one base.

        Raises:
            NelActionError: the tree of the base cannot be read.
        """
        context, head = self._context, self._head
        tree = context.base_files().open(base.sha)
        copy = context.temp_dir / "base" / base.sha
        try:
            rules, spec, changes = self._select(base, tree, copy)
            self._base_tasks.append(frozenset(task.name for task in spec.evaluation.tasks))
            rules = self._with_policy_file(rules, base, tree)
            rules = apply_changes(rules, spec, head.spec, changes, base.name)
            rules = replace(rules, blocked=(*rules.blocked, *self._apply_base_values(spec, base.name)))
        except _NoRulesError as error:
            logger.info("no rules of the base %s: %s", base.name, error)
            return self._without_rules(str(error), base)
        rules = replace(self._with_inputs(rules), base=base.name, base_sha=base.sha)
        if rules.folder.is_relative_to(copy):
            rules = with_baseline_files(rules, tree, copy, context.root)
        logger.info("policy of the base %s for %s", base.name, head.source)
        return rules

    def _select(self, base: Base, tree: BaseTree, copy: Path) -> tuple[Rules, Spec, tuple[KeyDifference, ...]]:
        """Return policy and required tasks of the base's spec, the spec, and how the head differs from it.

        Raises:
            _NoRulesError: the base has none, or they cannot be read.
        """
        head = self._head
        packaged = head.source.is_relative_to(GROUPS)
        source = head.source.relative_to(GROUPS) if packaged else head.source
        state, path = self._find(tree, source)
        match state:
            case Unreadable(reason):
                msg = f"the rules of {base.name} for this spec cannot be determined: {reason}"
                raise _NoRulesError(msg)
            case Absent() if packaged:
                rules = select_rules(head.spec, head.spec, base_name=base.name, folder=copy / path.parent)
                return rules, head.spec, ()
            case Absent():
                allowed = f"{base.name} allows new gates, so the policy of this change was applied"
                self._require_new_gates(tree, f"{base.name} has no rules for the spec {path} yet")
                return replace(Rules.of_spec(head.spec, head.base_dir), notes=(allowed,)), head.spec, ()
            case Present():
                spec, folder = self._load(base, tree, path, copy)
                changes = self._changes(spec, tree, path.parent)
                rules = select_rules(head.spec, spec, base_name=base.name, folder=folder, changes=changes)
                return rules, spec, changes

    def _changes(self, base: Spec, tree: BaseTree, folder: PurePosixPath) -> tuple[KeyDifference, ...]:
        """Return how the head's spec and its files differ from those of the base, in the same directory.

        Raises:
            NelActionError: the tree of the head cannot be read.
        """
        context = self._context
        # NOTE: without git, a checkout is an unpacked archive, whose content attributes can change as well.
        head_sha = head_commit(context.root) or context.event.head_sha
        environ = context.environ
        needs_files = any(True for spec in (base, self._head.spec) for _ in benchmark_paths(spec, environ))
        head_tree = context.base_files().open(head_sha) if needs_files and head_sha else None
        top = Path(os.path.normpath(context.root.absolute()))
        before = Side(base, folder, tree if head_tree else None, top, environ=environ)
        after = Side(self._head.spec, folder, head_tree, top, checked_out=True, environ=environ)
        return find_changes(before, after)

    def _apply_base_values(self, base: Spec, name: str) -> tuple[tuple[str, str], ...]:
        """Take the operational keys that affect the verdict from a base; return a reason if another base differs.

        Args:
            base: the spec of the base.
            name: branch and commit of the base.
        """
        applied = with_base_values(self.spec, base)
        if applied.spec == self.spec.spec:
            self._values_of = self._values_of or name
            return ()
        if self._values_of is None:
            self.spec, self._values_of = applied, name
            return ()
        return (("", f"how the jobs are run differs between {self._values_of} and {name}, which both apply"),)

    def _find(self, tree: BaseTree, path: Path) -> tuple[Lookup, PurePosixPath]:
        """Return the state of a file of the head in the base, and its path in the repository."""
        placement = self._context.place(path)
        match placement:
            case Inside(relative):
                return tree.find(relative), relative
            case Outside(reason):
                return Unreadable(f"{path.name}: {reason}"), PurePosixPath(path.name)

    def _require_new_gates(self, tree: BaseTree, problem: str) -> None:
        """Return if the base allows new gates.

        Raises:
            _NoRulesError: it does not.
        """
        context = self._context
        if read_options(tree).new_gates:
            checked_out = head_commit(context.root)
            if checked_out and checked_out in context.commits:
                return
            problem += f"; new gates are allowed, but the checkout is at {checked_out}, no commit of this event"
        how = f"a maintainer can merge it, or allow new gates by {OPTIONS_FILE} on the base: `new_gates: allow`"
        msg = f"{problem}; {how}"
        raise _NoRulesError(msg)

    def _load(self, base: Base, tree: BaseTree, path: PurePosixPath, copy: Path) -> tuple[Spec, Path]:
        """Compose the base's spec from files of the base alone; return it with its directory.

        Raises:
            _NoRulesError: it is invalid, or composed of files that the base does not contain.
        """
        from nel_action.spec.compose import load_spec

        _copy_config_files(tree, path, copy, everything=any(".." in item for item in self._context.inputs.overrides))
        try:
            loaded = load_spec(copy / path, overrides=self._context.inputs.overrides, environ=self._context.job_environ)
        except SpecError as error:
            msg = f"the spec of {base.name} is invalid: {error.problems[0].message}; correct it on the base first"
            raise _NoRulesError(msg) from error
        files = [loaded.source, *(document.path for _, document in loaded.sources.layers)]
        for file in files:
            if not file.resolve().is_relative_to(copy.resolve()) and not file.is_relative_to(GROUPS):
                msg = f"the spec of {base.name} is composed of a file outside of the repository: {file.name}"
                raise _NoRulesError(msg)
        return loaded.spec, loaded.base_dir

    def _with_policy_file(self, rules: Rules, base: Base, tree: BaseTree) -> Rules:
        """Replace the policy by the policy file of the base that the input `gate` names.

        Raises:
            _NoRulesError: the base does not contain the file, or it cannot be read.
            SpecError: a new policy file is invalid.
        """
        file = self._context.inputs.gate
        if not isinstance(file, Path):
            return rules
        state, path = self._find(tree, file)
        match state:
            case Unreadable(reason):
                msg = f"the policy of {base.name} cannot be determined: {reason}"
                raise _NoRulesError(msg)
            case Absent():
                self._require_new_gates(tree, f"{base.name} does not contain the policy {path} yet")
                note = f"{base.name} does not contain {path.name}; the policy of this change was applied"
                return replace(rules, policy=_read_policy(file), notes=(*rules.notes, note))
            case Present(entry):
                try:
                    policy = _parse_policy(tree.read([entry])[entry.path].decode(), Path(path))
                except (SpecError, UnicodeDecodeError) as error:
                    msg = f"the policy {path} of {base.name} is invalid: {error}"
                    raise _NoRulesError(msg) from error
                return replace(rules, policy=policy)


class _NoRulesError(Exception):
    """A base has no rules for the gate, or they cannot be read; the message is the reason."""


def combine(rules: list[Rules]) -> Rules:
    """Return rules that require all of the given ones, those of each base; there is at least one."""
    first, *others = (replace(each, others=()) for each in rules)
    return replace(first, others=tuple(others))


def new_bases(listing: Bases, rules: Rules) -> list[Base]:
    """Return the bases that the rules do not cover.

    Args:
        listing: all bases of the commit.
        rules: rules that were resolved earlier.
    """
    known = {each.base.rpartition(" ")[0] for each in rules.all if each.base}
    return [base for base in listing.bases if base.ref not in known]


def with_baseline_files(rules: Rules, tree: BaseTree, copy: Path, top: Path) -> Rules:
    """Return rules whose baseline, if it is a file, is in the base's copy of the repository.

    Args:
        rules: the rules; their folder is in `copy`.
        tree: files of the base.
        copy: the base's copy of the repository.
        top: top level of the checkout.

    Raises:
        NelActionError: the baseline exists in a form that cannot be read.
    """
    policy = rules.policy
    if policy is None or policy.baseline is None:
        return rules
    rules.folder.mkdir(parents=True, exist_ok=True)
    reference = copy_baseline(tree, copy, rules.folder, policy.baseline, top=top)
    return replace(rules, policy=policy.model_copy(update={"baseline": reference}))


def _copy_config_files(tree: BaseTree, path: PurePosixPath, copy: Path, *, everything: bool) -> None:
    """Copy the files that the base's spec can be composed of.

    Args:
        tree: files of the base.
        path: the spec.
        copy: receives the files.
        everything: copy from all directories of the repository, not only from that of the spec.
    """

    def select(folder: PurePosixPath) -> list[Any]:
        entries = [entry for entry in tree.below(folder) if entry.path.endswith(CONFIG_SUFFIXES)]
        if len(entries) > CONFIG_FILES_LIMIT:
            msg = f"the base has more than {CONFIG_FILES_LIMIT} YAML files in {folder}"
            raise NelActionError(msg, hint="move the spec to a folder of its own")
        return entries

    content = tree.read([*select(path.parent), tree.entries[str(path)]])
    # NOTE: an entry of `defaults` may lead out of the directory: `../common/base`.
    if everything or any(b".." in data for data in content.values()):
        tree.copy(select(PurePosixPath()), copy)
    tree.copy([tree.entries[name] for name in content], copy)


def _read_policy(path: Path) -> GatePolicy:
    """Read a policy file: the content of a `gate` section, or a mapping with such a section."""
    try:
        return _parse_policy(path.read_text(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(f"no policy at {path.name}", Location(path), "check the input `gate`")]) from error


def _parse_policy(text: str, path: Path) -> GatePolicy:
    import yaml
    from pydantic import ValidationError

    try:
        data: Any = yaml.safe_load(text)
        section = data.get("gate", data) if isinstance(data, dict) else data
        return GatePolicy.model_validate_json(json.dumps(section))
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
    return {
        "policy": policy,
        "expected": list(rules.expected),
        "notes": list(rules.notes),
        "blocked": [list(pair) for pair in rules.blocked],
        "base": rules.base,
        "base_sha": rules.base_sha,
        "unmeasurable": rules.unmeasurable,
        "others": [dump_rules(other) for other in rules.others],
    }


def parse_rules(data: dict[str, Any], folder: Callable[[Rules], Path]) -> Rules:
    """Parse what `dump_rules` returned.

    Args:
        data: the serialised rules.
        folder: returns the directory to which paths in the policy are relative on this machine.

    Raises:
        KeyError: a field is missing, as in rules of an earlier version.
        ValueError: a field is malformed.
    """
    policy = GatePolicy.model_validate_json(json.dumps(data["policy"])) if data["policy"] is not None else None
    rules = Rules(
        policy=policy,
        expected=tuple(data["expected"]),
        notes=tuple(data["notes"]),
        blocked=tuple((str(task), str(reason)) for task, reason in data["blocked"]),
        folder=Path(),
        base=data["base"],
        base_sha=data["base_sha"],
        unmeasurable=data["unmeasurable"],
        others=tuple(parse_rules(other, folder) for other in data["others"]),
    )
    return replace(rules, folder=folder(rules))
