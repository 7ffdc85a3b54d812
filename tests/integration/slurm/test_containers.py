"""Server and evaluation in containers, with the runtimes that need no privileges."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.openai_server import OpenAIServer
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.docker import root_archive
from tests.support.require import require
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import process_gone, wait_until
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.waiting import until_final

from nel_action.model.env_ref import EnvRef
from nel_action.model.job import JobState, Reason
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.execution import Mounts
from nel_action.spec.gateway import Gateway
from nel_action.spec.target import ApiEndpoint, Target

NEEDED = {"podman": ("podman", "runc", "newuidmap"), "charliecloud": ("ch-run",)}

SERVE = """\
echo $$ > pid; mkdir -p www; echo "served with $GREETING" > www/health; echo serving
exec httpd -f -p "$0:$1" -h www
"""

EVALUATE = """\
[ -e /bin/busybox ] && [ ! -e /usr/bin/env ] || { echo "not in the image"; exit 9; }
[ "$KEY" = sk-made-up ] && [ "$MODE" = "a b" ] || { echo "variables are missing"; exit 8; }
wget -q -O - "${NEL_URL%/v1/*}/health" || exit 7
cat "$NOTE"
echo '{"scores": {"accuracy": {"value": 0.5}}, "n_items": 4}' > "$NEL_OUTPUT_DIR/scores.json"
exit "$CODE"
"""


@pytest.fixture(params=["podman", "charliecloud"])
def runtime(request: pytest.FixtureRequest, light: Cluster) -> Iterator[dict[str, Any]]:
    """Yield the settings of a runtime, and the image in its format."""
    name = request.param
    missing = [program for program in NEEDED[name] if not shutil.which(program, path="/usr/bin:/usr/sbin:/bin")]
    require("slurm", not missing, f"not installed: {', '.join(missing)}")
    busybox = shutil.which("busybox")
    require("slurm", busybox is not None, "no busybox on this machine (Debian: apt-get install busybox-static)")
    folder = light.scratch / f"image-{os.urandom(3).hex()}"
    folder.mkdir()
    archive = root_archive(Path(str(busybox)))
    yield charliecloud(folder, archive) if name == "charliecloud" else podman(light, folder, archive)
    as_user(light, "chmod", "-R", "u+rwX", str(folder), check=False)
    shutil.rmtree(folder, ignore_errors=True)
    if name == "podman":
        kill_pause_process(light)


def charliecloud(folder: Path, archive: bytes) -> dict[str, Any]:
    tree = folder / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    for name in ("dev", "home", "mnt", "proc", "sys"):
        (tree / name).mkdir()
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        (tree / "etc" / name).touch()
    return {"runtime": "charliecloud", "image": str(tree)}


def podman(cluster: Cluster, folder: Path, archive: bytes) -> dict[str, Any]:
    (folder / "image.tar").write_bytes(archive)
    shutil.chown(folder, cluster.user.pw_name)
    options = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver=overlay", "--runtime=runc"]
    options += ["--cgroup-manager=cgroupfs", "--events-backend=file"]
    as_user(cluster, "podman", *options, "import", f"{folder}/image.tar", "localhost/tiny:1")
    return {"runtime": "podman", "image": "localhost/tiny:1", "runtime_args": (*options, "--", "--shm-size=8m")}


def kill_pause_process(cluster: Cluster) -> None:
    """Kill the process with which podman keeps a user's name space alive."""
    with suppress(OSError, ValueError):
        pid = int(Path(f"/tmp/podman-run-{cluster.user.pw_uid}/libpod/tmp/pause.pid").read_text())  # noqa: S108 podman's path
        if Path(f"/proc/{pid}/comm").read_text() == "podman\n":
            os.kill(pid, signal.SIGKILL)


def as_user(cluster: Cluster, *argv: str, check: bool = True) -> None:
    user = cluster.user
    env = {"HOME": user.pw_dir, "USER": user.pw_name, "PATH": "/usr/bin:/usr/sbin:/bin"}
    subprocess.run(
        argv, user=user.pw_uid, group=user.pw_gid, extra_groups=[], env=env, cwd="/", check=check, capture_output=True
    )


@pytest.mark.parametrize("code", [0, 5])
def test_server_and_harness_run_in_the_image(
    on_light: MakeExecutor, light: Cluster, runtime: dict[str, Any], tmp_path: Path, code: int
) -> None:
    image = runtime.pop("image")
    extra = light.scratch / f"extra-{os.urandom(3).hex()}"
    extra.mkdir()
    (extra / "note").write_text("from a mounted folder\n")
    # NOTE: charliecloud mounts onto existing folders of the image only.
    mounted = "/home" if runtime["runtime"] == "charliecloud" else "/extra"
    mounts = Mounts(evaluation={str(extra): mounted}, mount_home=False)
    executor = on_light(environ={"KEY": "sk-made-up"}, mounts=mounts, **runtime)
    deployment = GenericDeployment(
        command=("sh", "-c", SERVE, "{host}", "{port}"),
        image=image,
        served_model_name="acme-7b",
        env_vars={"GREETING": EnvRef.host("KEY")},
    )
    variables = {"KEY": "host:KEY", "MODE": "lit:a b", "CODE": f"lit:{code}", "NOTE": f"lit:{mounted}/note"}
    job = shell_job(tmp_path, EVALUATE, image=image, env=variables, deployment=deployment, program="sh")
    attempt = executor.submit(job, 1, "0" * 16)
    status = until_final(executor, attempt, seconds=180)
    directory = Path(executor.describe(attempt)["directory"])
    logs = "\n".join(path.read_text() for path in (directory / "logs").iterdir())
    assert (status.state is JobState.SUCCEEDED) == (code == 0), logs
    assert (status.reason, status.exit_code) == ((None, 0) if code == 0 else (Reason.HARNESS, code))
    assert (directory / "logs/client.log").read_text() == "served with ***\nfrom a mounted folder\n"
    assert "serving" in (directory / "logs/server-0.log").read_text()
    pid = int((directory / "run/work/pid").read_text())
    wait_until(lambda: process_gone(pid), seconds=30, what="the server to exit")


ASK = """\
body='{"model": "fake", "messages": [{"role": "user", "content": "1 + 1"}]}'
wget -q -O answer --header "Authorization: Bearer $MODEL_KEY" --header "Content-Type: application/json" \\
    --post-data "$body" "$NEL_URL" || exit 7
env > "$NEL_OUTPUT_DIR/environ"
echo '{"scores": {"accuracy": {"value": 0.5}}, "n_items": 4}' > "$NEL_OUTPUT_DIR/scores.json"
"""


def test_harness_in_the_image_reaches_its_target_through_the_gateway_without_the_key(
    on_light: MakeExecutor, runtime: dict[str, Any], tmp_path: Path
) -> None:
    image, key = runtime.pop("image"), "sk-known-value-of-the-target"
    executor = on_light(environ={"MODEL_KEY": key}, mounts=Mounts(mount_home=False), **runtime)
    with OpenAIServer(api_key=key) as server:
        target = Target(api_endpoint=ApiEndpoint(url=server.url("chat"), model_id="fake", api_key_name="MODEL_KEY"))
        job = shell_job(tmp_path, ASK, image=image, target=target, env={"MODEL_KEY": "host:MODEL_KEY"}, program="sh")
        attempt = executor.submit(replace(job, gateway=Gateway()), 1, "0" * 16)
        status = until_final(executor, attempt, seconds=180)
    directory = Path(executor.describe(attempt)["directory"])
    logs = "\n".join(path.read_text() for path in (directory / "logs").iterdir())
    assert status.state is JobState.SUCCEEDED, logs
    assert [request.status for request in server.requests] == [200]
    environ = (directory / "run/artifacts/environ").read_text()
    assert "MODEL_KEY=" in environ
    assert "127.0.0.1" in environ.partition("NO_PROXY=")[2].splitlines()[0]
    assert key not in environ + logs
