"""Headless Chromium for local pages, with a log of its requests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.require import require

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

__all__ = ["browser", "requests_of"]

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@contextmanager
def browser(folder: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[WebDriver]:
    """Start Chromium with a new profile.

    Args:
        folder: folder of the profile.
        width: width of the screen; below 600 it is a mobile device.
        height: height of the screen.
        dark: prefer dark colours.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    installed = bool(chromium and driver and find_spec("selenium"))
    require("browser", installed, "Chromium, ChromeDriver and selenium are not all installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium or ""
    for flag in (*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        running.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        running.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield running
    finally:
        running.quit()


def requests_of(running: Any, page: str) -> list[str]:  # noqa: ANN401 - selenium's logs have no types
    """Return the addresses that the page, itself included, has requested since the last call."""
    entries = (json.loads(entry["message"])["message"] for entry in running.get_log("performance"))
    sent = (entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent")
    return [request["request"]["url"] for request in sent if request["documentURL"].partition("#")[0] == page]
