"""Resources of the workspace: node groups, machine shapes and quota."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from nel_action.errors import ExecutorError, Problem
from nel_action.executors.lepton.client import LeptonClient

if TYPE_CHECKING:
    from leptonai.api.v2.types.shape import Shape
    from leptonai.api.v2.types.workspace import WorkspaceInfo

__all__ = ["LeptonWorkspace"]


@dataclass
class LeptonWorkspace:
    """One workspace; its description and node groups are requested once."""

    client: LeptonClient

    @cached_property
    def info(self) -> WorkspaceInfo:
        """Name, state and quota.

        Raises:
            NelActionError: the request failed.
        """
        return self.client.call("read the workspace", lambda sdk: sdk.info())

    @cached_property
    def node_groups(self) -> Mapping[str, str]:
        """Node groups: id to name.

        Raises:
            NelActionError: the request failed.
        """
        groups = self.client.call("list node groups", lambda sdk: sdk.nodegroup.list_all())
        return {str(group.metadata.id_): str(group.metadata.name or group.metadata.id_) for group in groups}

    def node_group_id(self, group: str | None) -> str | None:
        """Return the id of a node group given by id or name; None for None.

        Raises:
            ExecutorError: the workspace has no such node group; the hint lists the existing ones.
        """
        if group is None:
            return None
        if (identifier := self._lookup(group)) is None:
            problem = self._unknown_group(group)
            raise ExecutorError(problem.message, hint=problem.hint)
        return identifier

    def _lookup(self, group: str) -> str | None:
        return next((identifier for identifier, name in self.node_groups.items() if group in {identifier, name}), None)

    def _unknown_group(self, group: str) -> Problem:
        names = self.node_groups.values()
        hint = _suggestion(group, names) if names else "the workspace has no node groups; remove node_group"
        return Problem(f"unknown node group '{group}'", hint=hint)

    def shapes(self, node_group: str | None, purpose: str) -> Mapping[str, Shape]:
        """Return the available machine shapes, by name.

        Args:
            node_group: id of a node group; None for all machines of the workspace.
            purpose: `job` or `deployment`.

        Raises:
            NelActionError: the request failed.
        """
        shapes = self.client.call(
            "list shapes", lambda sdk: sdk.shapes.list_shapes(node_group=node_group, purpose=purpose)
        )
        return {str(shape.metadata.id_ or shape.spec.name): shape for shape in shapes}

    def check_resources(self, group: str | None, shape: str | None, purpose: str, key: str) -> Iterator[Problem]:
        """Yield a problem for an unknown node group or shape, and for a shape that exceeds the quota.

        Args:
            group: the node group, by name or id.
            shape: the machine shape.
            purpose: `job` or `deployment`.
            key: the shape's key in the spec, for messages.

        Raises:
            NelActionError: a request failed.
        """
        identifier = self._lookup(group) if group is not None else None
        if group is not None and identifier is None:
            yield self._unknown_group(group)
        if shape is None:
            yield Problem(f"{key} is missing: the machine shape", hint="`lep node resource-shape` lists the shapes")
            return
        shapes = self.shapes(identifier, purpose)
        if shape not in shapes:
            yield Problem(f"{key}: unknown machine shape '{shape}'", hint=_suggestion(shape, shapes))
            return
        yield from self._check_quota(shapes[shape], key)

    def _check_quota(self, shape: Shape, key: str) -> Iterator[Problem]:
        limit = self.info.resource_quota.limit
        for unit, requested, maximum in (
            ("CPUs", shape.spec.cpu, limit.cpu),
            ("MiB of memory", shape.spec.memory_in_mb, limit.memory),
            ("accelerators", shape.spec.accelerator_num, limit.accelerator_num),
        ):
            # NOTE: a limit of 0 means that this resource is not limited.
            if requested and maximum and requested > maximum:
                hint = "choose a smaller shape, or request more quota"
                yield Problem(f"{key}: {requested:g} {unit} exceed the workspace's quota of {maximum:g}", hint=hint)

    def survey(self) -> Sequence[tuple[str, str]]:
        """Return labels and values that describe the workspace.

        Raises:
            NelActionError: a request failed.
        """
        info = self.info
        limit, used = info.resource_quota.limit, info.resource_quota.used
        quota = ", ".join(
            f"{getattr(used, name):g} of {getattr(limit, name):g} {unit}"
            for name, unit in (("cpu", "CPUs"), ("memory", "MiB"), ("accelerator_num", "accelerators"))
        )
        return [
            ("workspace", f"{info.workspace_name} ({info.workspace_state.value}), the token is accepted"),
            ("node groups", ", ".join(sorted(self.node_groups.values())) or "none"),
            ("quota used", quota),
        ]


def _suggestion(name: str, known: Iterable[str]) -> str:
    """Return a hint with the closest known name, and all known names."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    available = f"available: {', '.join(names) or 'none'}"
    return f"did you mean '{close[0]}'? {available}" if close else available
