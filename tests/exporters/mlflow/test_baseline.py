from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import NotFoundError
from nel_action.exporters.mlflow.baseline import fetch

pytest.importorskip("mlflow", reason="needs the mlflow extra")
RUN = "0" * 32


@pytest.mark.parametrize(
    ("reference", "environ", "message"),
    [
        ("nightly", {}, "32 hex digits"),
        ("../../etc", {"MLFLOW_TRACKING_URI": "http://x"}, "32 hex"),
        (RUN, {}, "is not set"),
    ],
)
def test_fetch_reports_missing_client_id_and_server(
    tmp_path: Path, reference: str, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(NotFoundError, match=message):
        fetch(reference, tmp_path, environ)
