"""Server and evaluation in containers on compute nodes, by the runtimes that a plain user can run anywhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
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
    """Return settings of a runtime, and the image in the shape that it takes."""
    name = request.param
    missing = [program for program in NEEDED[name] if not shutil.which(program, path="/usr/bin:/usr/sbin:/bin")]
    require("slurm", not missing, f"not installed: {', '.join(missing)}")
    busybox = shutil.which("busybox")
    require("slurm", busybox is not None, "no busybox here (Debian: apt-get install busybox-static)")
    place = light.scratch / f"image-{os.urandom(3).hex()}"
    place.mkdir()
    archive = root_archive(Path(str(busybox)))
    yield charliecloud(place, archive) if name == "charliecloud" else podman(light, place, archive)
    as_user(light, "chmod", "-R", "u+rwX", str(place), check=False)
    shutil.rmtree(place, ignore_errors=True)
    if name == "podman":
        end_pause(light)


def charliecloud(place: Path, archive: bytes) -> dict[str, Any]:
    (place / "tree").mkdir()
    subprocess.run(["tar", "-x", "-C", place / "tree"], input=archive, check=True)
    for folder in ("dev", "home", "mnt", "proc", "sys"):
        (place / "tree" / folder).mkdir()
    for file in ("passwd", "group", "hosts", "resolv.conf"):
        (place / "tree/etc" / file).touch()
    return {"runtime": "charliecloud", "image": str(place / "tree")}


def podman(cluster: Cluster, place: Path, archive: bytes) -> dict[str, Any]:
    (place / "image.tar").write_bytes(archive)
    shutil.chown(place, cluster.user.pw_name)
    own = ["--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver=overlay", "--runtime=runc"]
    own += ["--cgroup-manager=cgroupfs", "--events-backend=file"]
    as_user(cluster, "podman", *own, "import", f"{place}/image.tar", "localhost/tiny:1")
    return {"runtime": "podman", "image": "localhost/tiny:1", "runtime_args": (*own, "--", "--shm-size=8m")}


def end_pause(cluster: Cluster) -> None:
    """End the process that podman leaves behind to hold a user's name space."""
    with suppress(OSError, ValueError):
        pid = int(Path(f"/tmp/podman-run-{cluster.user.pw_uid}/libpod/tmp/pause.pid").read_text())  # noqa: S108 podman's own
        if Path(f"/proc/{pid}/comm").read_text() == "podman\n":
            os.kill(pid, signal.SIGKILL)


def as_user(cluster: Cluster, *words: str, check: bool = True) -> None:
    user = cluster.user
    env = {"HOME": user.pw_dir, "USER": user.pw_name, "PATH": "/usr/bin:/usr/sbin:/bin"}
    subprocess.run(
        words, user=user.pw_uid, group=user.pw_gid, extra_groups=[], env=env, cwd="/", check=check, capture_output=True
    )


@pytest.mark.parametrize("code", [0, 5])
def test_served_and_evaluated_in_the_image(
    on_light: MakeExecutor, light: Cluster, runtime: dict[str, Any], tmp_path: Path, code: int
) -> None:
    image = runtime.pop("image")
    extra = light.scratch / f"extra-{os.urandom(3).hex()}"
    extra.mkdir()
    (extra / "note").write_text("from a mounted folder\n")
    # NOTE: where charliecloud mounts, there must be a folder in the image
    seen = "/home" if runtime["runtime"] == "charliecloud" else "/extra"
    mounts = Mounts(evaluation={str(extra): seen}, mount_home=False)
    executor = on_light(environ={"KEY": "sk-made-up"}, mounts=mounts, **runtime)
    deployment = GenericDeployment(
        command=("sh", "-c", SERVE, "{host}", "{port}"),
        image=image,
        served_model_name="acme-7b",
        env_vars={"GREETING": EnvRef.host("KEY")},
    )
    variables = {"KEY": "host:KEY", "MODE": "lit:a b", "CODE": f"lit:{code}", "NOTE": f"lit:{seen}/note"}
    job = shell_job(tmp_path, EVALUATE, image=image, env=variables, deployment=deployment, program="sh")
    attempt = executor.submit(job, 1, "0" * 16)
    status = until_final(executor, attempt, seconds=180)
    place = Path(executor.describe(attempt)["directory"])
    told = "\n".join(path.read_text() for path in (place / "logs").iterdir())
    assert (status.state is JobState.SUCCEEDED) == (code == 0), told
    assert (status.reason, status.exit_code) == ((None, 0) if code == 0 else (Reason.HARNESS, code))
    assert (place / "logs/client.log").read_text() == "served with ***\nfrom a mounted folder\n"
    assert "serving" in (place / "logs/server-0.log").read_text()
    pid = int((place / "run/work/pid").read_text())
    wait_until(lambda: process_gone(pid), seconds=30, what="the server to end")
