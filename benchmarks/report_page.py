"""How fast report.html opens, in Chromium without a screen: python benchmarks/report_page.py [SAMPLES...]."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

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
            shown = timed(running, "kind", "all", f"{count:,} of")
            searched = timed(running, "query", f"question {count - 1}:", "1 of")
        size = page.stat().st_size / 1e6
        print(
            f"{count:,} samples: {size:.1f} MB, made in {made:.1f} s of CPU, opened in {opened:.2f} s, "
            f"all shown in {shown:.2f} s, every text searched in {searched:.2f} s"
        )


def timed(running: WebDriver, box: str, value: str, told: str) -> float:
    """Change a control and return the seconds until the page tells the outcome."""
    started = time.monotonic()
    running.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event(box.id === 'query' ? 'input' : 'change'))",
        box,
        value,
    )
    deadline = started + 120
    while time.monotonic() < deadline:
        status = running.execute_script("return document.getElementById('status').textContent")
        if status.startswith(told) and "searching" not in status:
            return time.monotonic() - started
        time.sleep(0.02)
    msg = f"{value}: not done after two minutes"
    raise TimeoutError(msg)


for argument in sys.argv[1:] or ["10000", "100000"]:
    measure(int(argument))
