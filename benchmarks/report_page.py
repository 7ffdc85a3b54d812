"""How fast report.html opens, in Chromium without a screen: python benchmarks/report_page.py [SAMPLES...]."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.browser import browser
from tests.support.sampled import sampled

from nel_action.report.html import render_html

READY = "return document.documentElement.dataset.ready"


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = sampled(folder / "run", count)
        started = time.process_time()
        page = folder / "report.html"
        page.write_bytes(render_html(report))
        made = time.process_time() - started
        with browser(folder / "profile") as running:
            started = time.monotonic()
            running.get(page.as_uri())
            while not running.execute_script(READY):
                time.sleep(0.01)
            opened = time.monotonic() - started
        size = page.stat().st_size / 1e6
        print(f"{count:,} samples: {size:.1f} MB, made in {made:.1f} s of CPU, opened in {opened:.2f} s")


for argument in sys.argv[1:] or ["10000", "100000"]:
    measure(int(argument))
