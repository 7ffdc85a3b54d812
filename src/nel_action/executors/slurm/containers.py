"""Container runtimes on compute nodes: the arguments that run a program in an image.

Every runtime mounts the attempt's `run` directory at a fixed path and uses the node's network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal, assert_never

from nel_action.executors.slurm.shell import Argument, ShellExpression

__all__ = ["ContainerSpec", "Runtime", "container_root", "wrap_command"]

Runtime = Literal["pyxis", "apptainer", "podman", "charliecloud", "none"]

REGISTRY: Final = re.compile(r"^(?P<host>[^/]+[.:][^/]*|localhost)/(?P<rest>.+)$")

GUARD: Final = (
    "{ trap '' TERM; while kill -0 $PPID && kill -0 $$; do sleep 1; done; "
    'kill -TERM -$$ && sleep 5 && kill -KILL -$$; } </dev/null >/dev/null 2>&1 & exec "$@"'
)
"""Shell program that stops the container's processes once podman has exited.

Slurm does not see into the control groups that podman creates, and would leave the processes running after the step.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What a program runs in: an image with its mounts, or the node itself."""

    runtime: Runtime
    image: str | None
    """Reference, or path of an image file or directory on the cluster."""
    run_dir: PurePosixPath
    """The attempt's `run` directory on the cluster."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Path on the cluster → path in the container (`/data:ro` mounts read-only)."""
    env_names: Sequence[str] = ()
    """Variables of the step that are passed to the program."""
    home: bool = True
    """Whether the home directory is mounted."""
    gpus: bool = False
    """Whether GPUs are requested from the runtime, where it needs that."""
    extra_args: Sequence[str] = ()
    """Further arguments of the runtime; for podman, those before a `--` precede its `run`."""

    @property
    def root(self) -> PurePosixPath:
        """The `run` directory as the program sees it."""
        return container_root(self.runtime, self.run_dir)


def container_root(runtime: Runtime, run_dir: PurePosixPath) -> PurePosixPath:
    """Return the path at which a program sees its `run` directory."""
    match runtime:
        case "none":
            return run_dir
        case "charliecloud":
            return PurePosixPath("/mnt")  # charliecloud mounts onto existing directories only; every image has this one
        case "pyxis" | "apptainer" | "podman":
            return PurePosixPath("/nel")
        case _:
            assert_never(runtime)


def wrap_command(container: ContainerSpec, argv: Sequence[Argument]) -> tuple[list[Argument], list[Argument]]:
    """Wrap a command so that `srun` runs it in the container.

    Returns:
        Additional options for `srun`, and the command for it.
    """
    image = container.image or ""
    match container.runtime:
        case "none":
            return [], list(argv)
        case "pyxis":
            return _pyxis(container, image), list(argv)
        case "apptainer":
            return [], [*_apptainer(container, image), *argv]
        case "podman":
            return [], [*_podman(container, image), "sh", "-c", GUARD, "guard", *argv]
        case "charliecloud":
            return [], [*_charliecloud(container, image), *argv]
        case _:
            assert_never(container.runtime)


def _mounts(container: ContainerSpec) -> list[str]:
    return [
        f"{container.run_dir}:{container.root}",
        *(f"{source}:{target}" for source, target in container.mounts.items()),
    ]


def _pyxis(container: ContainerSpec, image: str) -> list[Argument]:
    names = [f"--container-env={','.join(container.env_names)}"] if container.env_names else []
    return [
        f"--container-image={enroot_reference(image)}",
        f"--container-mounts={','.join(_mounts(container))}",
        f"--container-workdir={container.root}/work",
        "--container-mount-home" if container.home else "--no-container-mount-home",
        *names,
        *container.extra_args,
    ]


def enroot_reference(image: str) -> str:
    """Convert an image reference to enroot's syntax, which ends the registry with `#` and has no digests."""
    if image.startswith(("/", "./")) or "#" in image:
        return image
    name = image.partition("@")[0]
    match = REGISTRY.match(name)
    return f"{match['host']}#{match['rest']}" if match else name


def _apptainer(container: ContainerSpec, image: str) -> list[Argument]:
    source = image if image.startswith(("/", "./")) or "://" in image else f"docker://{image}"
    binds = [argument for mount in _mounts(container) for argument in ("--bind", mount)]
    flags = ["--nv"] * container.gpus + ["--no-home"] * (not container.home)
    return ["apptainer", "exec", *flags, *binds, "--pwd", f"{container.root}/work", *container.extra_args, source]


def _podman(container: ContainerSpec, image: str) -> list[Argument]:
    volumes = [argument for mount in _mounts(container) for argument in ("--volume", mount)]
    home: list[Argument] = [ShellExpression('--volume="$HOME:$HOME"')] if container.home else []
    names = [argument for name in container.env_names for argument in ("--env", name)]
    gpus = ["--device", "nvidia.com/gpu=all"] if container.gpus else []
    separator = container.extra_args.index("--") if "--" in container.extra_args else 0
    global_args, run_args = container.extra_args[:separator], container.extra_args[separator + 1 if separator else 0 :]
    # NOTE: with the host's process IDs the program is not process 1, which would ignore signals by default.
    run = ["run", "--rm", "--network=host", "--pid=host", "--entrypoint="]
    options = [*run, *volumes, *home, *names, *gpus, "--workdir", f"{container.root}/work", *run_args]
    return ["podman", *global_args, *options, image]


def _charliecloud(container: ContainerSpec, image: str) -> list[Argument]:
    binds = [argument for mount in _mounts(container) for argument in ("--bind", mount.removesuffix(":ro"))]
    home = ["--home"] if container.home else []
    return ["ch-run", *home, *binds, "--cd", f"{container.root}/work", *container.extra_args, image, "--"]
