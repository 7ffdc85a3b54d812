"""What came through the log of the results' container, held against its digest and put in place whole."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import shutil
import tarfile
import tempfile
from pathlib import Path

from nel_action.errors import CollectError

__all__ = ["unpack"]


def unpack(packed: bytes, log: bytes, into: Path) -> None:
    """Write `artifacts/` and `logs/client.log`; what was in `into` before stays until all is there.

    Raises:
        CollectError: less came than was sent, or it cannot be written.
    """
    archive = _whole(packed)
    into.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=into, prefix=".collect-") as folder:
            partial = Path(folder)
            (partial / "logs").mkdir()
            (partial / "logs" / "client.log").write_bytes(log)
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
                tar.extractall(partial / "artifacts", filter="data")
            for part in ("logs", "artifacts"):
                shutil.rmtree(into / part, ignore_errors=True)
                (partial / part).rename(into / part)
    except (OSError, tarfile.TarError) as error:
        msg = f"cannot write the results into {into}: {error}"
        raise CollectError(msg) from error


def _whole(packed: bytes) -> bytes:
    first, _, rest = packed.partition(b"\n")
    body, end, _ = rest.rpartition(b"\nend")
    words = first.split()
    try:
        archive = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        archive = b""
    if not end or len(words) < 2 or hashlib.sha256(archive).hexdigest().encode() != words[1]:  # noqa: PLR2004
        msg = f"the results did not come whole: {len(packed):,} bytes of the container's log are there"
        hint = "the cluster keeps so much of a log (containerLogMaxSize); use a volume for larger results"
        raise CollectError(msg, hint=hint)
    return archive
