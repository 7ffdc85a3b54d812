"""Measure how fast report.html opens in headless Chromium: python benchmarks/report_page.py [SAMPLES...]."""

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
    """Render a page of `count` samples, open it and print the durations."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = sampled(folder / "run", count)
        started = time.process_time()
        page = folder / "report.html"
        page.write_bytes(render_html(report))
        rendered = time.process_time() - started
        with browser(folder / "profile") as driver:
            started = time.monotonic()
            driver.get(page.as_uri())
            while not driver.execute_script(READY):
                time.sleep(0.01)
            opened = time.monotonic() - started
            listed = measure_control(driver, "kind", "all", f"{count:,} of")
            searched = measure_control(driver, "query", f"question {count - 1}:", "1 of")
        size = page.stat().st_size / 1e6
        print(
            f"{count:,} samples: {size:.1f} MB, rendered in {rendered:.1f} s of CPU, opened in {opened:.2f} s, "
            f"all listed in {listed:.2f} s, every text searched in {searched:.2f} s"
        )


def measure_control(driver: WebDriver, control: str, value: str, status_start: str) -> float:
    """Change a control and return the seconds until the page has updated its status.

    Args:
        driver: the browser.
        control: id of the control.
        value: new value of the control.
        status_start: first characters of the expected status.
    """
    started = time.monotonic()
    driver.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event(box.id === 'query' ? 'input' : 'change'))",
        control,
        value,
    )
    deadline = started + 120
    while time.monotonic() < deadline:
        status = driver.execute_script("return document.getElementById('status').textContent")
        if status.startswith(status_start) and "searching" not in status:
            return time.monotonic() - started
        time.sleep(0.02)
    msg = f"no result for {control}={value} within two minutes"
    raise TimeoutError(msg)


for argument in sys.argv[1:] or ["10000", "100000"]:
    measure(int(argument))
