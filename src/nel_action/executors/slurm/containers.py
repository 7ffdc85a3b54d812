"""Container runtimes on compute nodes: the words that run a program in an image, for each of them.

All see the job's `run` directory at one place, and the node's own network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal, assert_never

from nel_action.executors.slurm.shell import Expression, Word

__all__ = ["Box", "Runtime", "root_of", "wrap"]

Runtime = Literal["pyxis", "apptainer", "podman", "charliecloud", "none"]

REGISTRY = re.compile(r"^(?P<host>[^/]+[.:][^/]*|localhost)/(?P<rest>.+)$")

GUARD: Final = (
    "{ trap '' TERM; while kill -0 $PPID && kill -0 $$; do sleep 1; done; "
    'kill -TERM -$$ && sleep 5 && kill -KILL -$$; } </dev/null >/dev/null 2>&1 & exec "$@"'
)
"""Ends what runs in a container when podman is gone: Slurm does not see into the control groups that podman makes, and
would leave it running when step and job have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What a program runs in."""

    runtime: Runtime
    image: str | None
    """Reference, or the path of an image file or tree on the cluster."""
    run_dir: PurePosixPath
    """The job's `run` directory on the cluster."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Cluster folder → path in the container (`/data:ro` for reading only)."""
    env_names: Sequence[str] = ()
    """Variables of the step that the program must see."""
    home: bool = True
    """Whether the home directory is there."""
    gpus: bool = False
    """Whether GPUs are passed into the container, where the runtime must be asked."""
    extra: Sequence[str] = ()
    """Further words for the runtime; for podman, those before a `--` come before its `run`."""

    @property
    def root(self) -> PurePosixPath:
        """Where the program sees the `run` directory."""
        return root_of(self.runtime, self.run_dir)


def root_of(runtime: Runtime, run_dir: PurePosixPath) -> PurePosixPath:
    """Return where a program sees its `run` directory."""
    match runtime:
        case "none":
            return run_dir
        case "charliecloud":
            return PurePosixPath("/mnt")  # what is mounted there must be in the image, and this is in every image
        case "pyxis" | "apptainer" | "podman":
            return PurePosixPath("/nel")
        case _:
            assert_never(runtime)


def wrap(box: Box, program: Sequence[Word]) -> tuple[list[Word], list[Word]]:
    """Return further words for `srun`, and the words that it runs."""
    image = box.image or ""
    match box.runtime:
        case "none":
            return [], list(program)
        case "pyxis":
            return _pyxis(box, image), list(program)
        case "apptainer":
            return [], [*_apptainer(box, image), *program]
        case "podman":
            return [], [*_podman(box, image), "sh", "-c", GUARD, "guard", *program]
        case "charliecloud":
            return [], [*_charliecloud(box, image), *program]
        case _:
            assert_never(box.runtime)


def _mounts(box: Box) -> list[str]:
    return [f"{box.run_dir}:{box.root}", *(f"{source}:{target}" for source, target in box.mounts.items())]


def _pyxis(box: Box, image: str) -> list[Word]:
    names = [f"--container-env={','.join(box.env_names)}"] if box.env_names else []
    return [
        f"--container-image={enroot_reference(image)}",
        f"--container-mounts={','.join(_mounts(box))}",
        f"--container-workdir={box.root}/work",
        "--container-mount-home" if box.home else "--no-container-mount-home",
        *names,
        *box.extra,
    ]


def enroot_reference(image: str) -> str:
    """Write an image reference as enroot reads it: the registry ends in `#`, and there are no digests."""
    if image.startswith(("/", "./")) or "#" in image:
        return image
    name = image.partition("@")[0]
    found = REGISTRY.match(name)
    return f"{found['host']}#{found['rest']}" if found else name


def _apptainer(box: Box, image: str) -> list[Word]:
    source = image if image.startswith(("/", "./")) or "://" in image else f"docker://{image}"
    binds = [word for mount in _mounts(box) for word in ("--bind", mount)]
    flags = ["--nv"] * box.gpus + ["--no-home"] * (not box.home)
    return ["apptainer", "exec", *flags, *binds, "--pwd", f"{box.root}/work", *box.extra, source]


def _podman(box: Box, image: str) -> list[Word]:
    volumes = [word for mount in _mounts(box) for word in ("--volume", mount)]
    home: list[Word] = [Expression('--volume="$HOME:$HOME"')] if box.home else []
    names = [word for name in box.env_names for word in ("--env", name)]
    gpus = ["--device", "nvidia.com/gpu=all"] if box.gpus else []
    cut = box.extra.index("--") if "--" in box.extra else 0
    own, more = box.extra[:cut], box.extra[cut + 1 if cut else 0 :]
    # NOTE: with the host's process ids nothing is number 1 there, and so a signal ends it as it does elsewhere
    run = ["run", "--rm", "--network=host", "--pid=host", "--entrypoint="]
    return ["podman", *own, *run, *volumes, *home, *names, *gpus, "--workdir", f"{box.root}/work", *more, image]


def _charliecloud(box: Box, image: str) -> list[Word]:
    binds = [word for mount in _mounts(box) for word in ("--bind", mount.removesuffix(":ro"))]
    home = ["--home"] if box.home else []
    return ["ch-run", *home, *binds, "--cd", f"{box.root}/work", *box.extra, image, "--"]
