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
def test_what_cannot_be_looked_up_is_said(
    tmp_path: Path, reference: str, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(NotFoundError, match=message):
        fetch(reference, tmp_path, environ)
