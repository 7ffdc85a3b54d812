"""What the workspace has: node groups, shapes, quota; and whether a plan fits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nel_action.errors import ExecutorError, Problem
from nel_action.executors.lepton.client import Cloud

if TYPE_CHECKING:
    from leptonai.api.v2.types.shape import Shape
    from leptonai.api.v2.types.workspace import WorkspaceInfo

__all__ = ["Workspace"]


@dataclass
class Workspace:
    """One workspace; what it has is asked for once."""

    cloud: Cloud

    @cached_property
    def info(self) -> WorkspaceInfo:
        """Name, state, quota.

        Raises:
            NelActionError: the workspace does not tell.
        """
        return self.cloud.call("see the workspace", self.cloud.client.info)

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """Node groups: id → name.

        Raises:
            NelActionError: the workspace does not tell.
        """
        found = self.cloud.call("list node groups", self.cloud.client.nodegroup.list_all)
        return {str(one.metadata.id_): str(one.metadata.name or one.metadata.id_) for one in found}

    def group(self, name: str | None) -> str | None:
        """Return the id of a node group.

        Raises:
            ExecutorError: there is none of that name; the message lists those that there are.
        """
        if name is None:
            return None
        for identity, known in self.groups.items():
            if name in {identity, known}:
                return identity
        problem = self._no_group(name)
        raise ExecutorError(problem.message, hint=problem.hint)

    def _no_group(self, name: str) -> Problem:
        names = sorted(self.groups.values())
        near = get_close_matches(name, names, n=1)
        there = f"there are: {', '.join(names)}" if names else "the workspace has none; leave node_group out"
        hint = f"did you mean '{near[0]}'? {there}" if near else there
        return Problem(f"no node group '{name}' in the workspace", hint=hint)

    def shapes(self, group: str | None, purpose: str) -> Mapping[str, Shape]:
        """Return the machines that can be asked for, by name.

        Raises:
            NelActionError: the workspace does not tell.
        """
        api = self.cloud.client.shapes
        found = self.cloud.call("list shapes", lambda: api.list_shapes(node_group=group, purpose=purpose))
        return {str(one.metadata.id_ or one.spec.name): one for one in found}

    def check_place(self, group: str | None, shape: str | None, purpose: str, key: str) -> Iterator[Problem]:
        """Find a node group or a shape that is not there, or a shape that is more than the quota.

        Args:
            group: the node group, by name or id.
            shape: the machine.
            purpose: `job` or `deployment`.
            key: of the shape in the spec, for messages.
        """
        identity = None
        if group is not None:
            identity = next((one for one, name in self.groups.items() if group in {one, name}), None)
            if identity is None:
                yield self._no_group(group)
        if shape is None:
            yield Problem(f"{key} is missing: the machine to run on", hint="`lep node resource-shape` lists them")
            return
        known = self.shapes(identity, purpose)
        if shape not in known:
            near = get_close_matches(shape, known, n=1)
            there = f"there are: {', '.join(sorted(known)) or 'none'}"
            hint = f"did you mean '{near[0]}'? {there}" if near else there
            yield Problem(f"{key}: no machine '{shape}' there", hint=hint)
            return
        yield from self._check_quota(known[shape], key)

    def _check_quota(self, shape: Shape, key: str) -> Iterator[Problem]:
        limit = self.info.resource_quota.limit
        for what, asked, most in (
            ("CPUs", shape.spec.cpu, limit.cpu),
            ("MiB of memory", shape.spec.memory_in_mb, limit.memory),
            ("accelerators", shape.spec.accelerator_num, limit.accelerator_num),
        ):
            # NOTE: a limit of 0 says that there is none, except where nothing else is limited either.
            if asked and most and asked > most:
                hint = "choose a smaller machine, or ask for more quota"
                yield Problem(f"{key}: {asked:g} {what} are more than the workspace's quota ({most:g})", hint=hint)

    def facts(self) -> Sequence[tuple[str, str]]:
        """Return what a person wants to know of the workspace: pairs of word and text.

        Raises:
            NelActionError: the workspace does not tell.
        """
        info = self.info
        limit, used = info.resource_quota.limit, info.resource_quota.used
        quota = ", ".join(
            f"{getattr(used, name):g} of {getattr(limit, name):g} {word}"
            for name, word in (("cpu", "CPUs"), ("memory", "MiB"), ("accelerator_num", "accelerators"))
        )
        return [
            ("workspace", f"{info.workspace_name} ({info.workspace_state.value}), the token is accepted"),
            ("node groups", ", ".join(sorted(self.groups.values())) or "none"),
            ("quota used", quota),
        ]


def unknown_keys(written: Any, known: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the keys of a body that the SDK's type did not take over, which the platform would not see."""
    if isinstance(written, dict) and isinstance(known, dict):
        for name, value in written.items():
            if value is not None and name not in known:
                yield f"{where}{name}"
            else:
                yield from unknown_keys(value, known.get(name), f"{where}{name}.")
    elif isinstance(written, list) and isinstance(known, list):
        for inner, outer in zip(written, known, strict=False):
            yield from unknown_keys(inner, outer, where)
