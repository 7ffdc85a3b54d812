"""vLLM over several nodes: each runs the same script, which makes one Ray cluster of them."""

from __future__ import annotations

from pathlib import Path

from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.model_servers.vllm import VllmServer, vllm_words
from nel_action.spec.servers import VllmDeployment, VllmRayDeployment

__all__ = ["SERVER", "VllmRayServer"]

SCRIPT = "ray_serve.sh"


class VllmRayServer(VllmServer):
    """A script that is the head or a worker, by `PROC_ID`; on one machine it is the head alone.

    The executor sets `PROC_ID` (0 is the head), `NODES_PER_INSTANCE` and `MASTER_IP`.
    """

    type = "vllm_ray"
    settings = VllmRayDeployment

    def build(self, deployment: VllmDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line: the script, then the words of the server that the head starts."""
        backend = getattr(deployment, "distributed_executor_backend", "ray")
        words = (*vllm_words(deployment, binding), "--distributed-executor-backend", backend)
        script = Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8")
        return ServeCommand(argv=("bash", str(binding.work_dir / SCRIPT), *words), files={SCRIPT: script})


SERVER = VllmRayServer()
"""The one instance."""
