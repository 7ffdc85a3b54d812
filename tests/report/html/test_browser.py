"""The HTML report in a real Chromium, opened from a file."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.browser import browser, requests_of
from tests.support.sample_reports import PAYLOADS, hostile_report, report_with_samples

from nel_action.report.anchors import item_anchor, samples_anchor
from nel_action.report.html import render_html
from nel_action.report.model import Report

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("browser")]

Opened = Callable[[Report], str]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def opened(page: WebDriver, tmp_path: Path) -> Opened:
    def open_report(report: Report) -> str:
        file = tmp_path / "report.html"
        file.write_bytes(render_html(report))
        page.get("about:blank")
        requests_of(page, "")
        page.get(file.as_uri())
        wait_until(page, "document.documentElement.dataset.ready === 'true'")
        return file.as_uri()

    return open_report


def wait_until(page: WebDriver, condition: str) -> None:
    deadline = time.monotonic() + 30
    while not page.execute_script(f"return {condition}"):
        assert time.monotonic() < deadline, f"condition not reached: {condition}"
        time.sleep(0.02)


def set_screen(page: WebDriver, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def set_media(page: WebDriver, kind: str, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})


def console_messages(page: Any) -> list[str]:  # noqa: ANN401 - selenium's logs have no types
    return [entry["message"] for entry in page.get_log("browser")]


def choose(page: WebDriver, box: str, value: str) -> None:
    page.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event(box.id === 'query' ? 'input' : 'change'));",
        box,
        value,
    )


def status_text(page: WebDriver) -> str:
    return str(page.execute_script("return document.getElementById('status').textContent"))


def press(page: WebDriver, key: str) -> None:
    page.execute_script(
        "document.getElementById('list').dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, cancelable: true}))",
        key,
    )


def test_page_makes_no_request_and_logs_no_error(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    console_messages(page)
    address = opened(report_with_samples(tmp_path, 200))
    assert requests_of(page, address) == [address]
    assert console_messages(page) == []


def test_hostile_samples_run_no_script(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(hostile_report(tmp_path))
    for number in range(len(PAYLOADS)):
        wait_until(page, f"document.getElementById('item-{number}')?.getAttribute('aria-selected') === 'true'")
        wait_until(page, "document.querySelectorAll('#detail pre').length === 4")
        question = page.execute_script("return document.querySelector('#detail pre').textContent")
        assert question == PAYLOADS[number]
        press(page, "ArrowDown")
    assert page.execute_script("return window.pwned") is None
    assert page.execute_script("return document.querySelectorAll('img, iframe, base, object, link').length") == 0
    assert page.execute_script("return document.querySelectorAll('script:not([type])').length") == 1


def test_policy_blocks_injected_scripts_and_requests(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(report_with_samples(tmp_path, 5))
    page.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.pwned = 1';"
        "document.body.append(script); document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"pwned=1\">')"
    )
    fetched = page.execute_async_script(
        "const done = arguments[0];fetch('https://e.example/').then(() => done('sent'), (error) => done(String(error)))"
    )
    assert "TypeError" in fetched
    assert page.execute_script("return window.pwned") is None
    assert any("Content Security Policy" in line for line in console_messages(page))


def test_explorer_starts_with_worse_items_and_filters_and_searches(
    page: WebDriver, opened: Opened, tmp_path: Path
) -> None:
    opened(report_with_samples(tmp_path, 3_000))
    first = status_text(page)
    assert page.execute_script("return document.getElementById('kind').value") == "worse"
    assert first.endswith(" of 3,000 samples")
    assert not first.startswith("3,000")
    choose(page, "kind", "all")
    wait_until(page, "document.getElementById('status').textContent === '3,000 of 3,000 samples'")
    choose(page, "query", "QUESTION 2999:")
    wait_until(page, "document.getElementById('status').textContent === '1 of 3,000 samples'")
    wait_until(page, "document.querySelector('#detail h3').textContent.startsWith('item-002999')")
    choose(page, "query", "no such thing")
    wait_until(page, "document.getElementById('status').textContent === '0 of 3,000 samples'")
    assert "No sample to show" in page.execute_script("return document.getElementById('detail').textContent")


def test_fragment_opens_an_item_or_a_filter(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    address = opened(report_with_samples(tmp_path, 3_000))
    page.get(f"{address}#{item_anchor('gsm8k', 'acme-7b', 'item-002500')}")
    wait_until(page, "document.querySelector('#detail h3')?.textContent.startsWith('item-002500')")
    assert page.execute_script("return document.querySelector('.item[aria-selected=true] span').textContent") == (
        "item-002500"
    )
    press(page, "ArrowDown")
    wait_until(page, "document.querySelector('#detail h3').textContent.startsWith('item-002501')")
    assert page.current_url.endswith(item_anchor("gsm8k", "acme-7b", "item-002501"))
    assert page.execute_script("return document.querySelector('.anchor').href") == page.current_url
    page.execute_script(f"location.hash = '{samples_anchor('gsm8k', 'acme-7b', 'better')}'")
    wait_until(page, "document.getElementById('kind').value === 'better'")
    page.execute_script(f"location.hash = '{item_anchor('gsm8k', 'acme-7b', 'unknown')}'")
    wait_until(page, "document.getElementById('status').textContent.includes('no sample')")


def test_score_table_links_to_the_items_that_got_worse(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(report_with_samples(tmp_path, 300))
    choose(page, "kind", "all")
    page.execute_script("document.querySelector('.is-difference a').click()")
    wait_until(page, "document.getElementById('kind').value === 'worse'")


def test_explorer_draws_only_visible_rows(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(report_with_samples(tmp_path, 20_000, words=8))
    choose(page, "kind", "all")
    wait_until(page, "document.getElementById('status').textContent.startsWith('20,000')")
    press(page, "End")
    wait_until(page, "document.querySelector('#detail h3').textContent.startsWith('item-019999')")
    assert page.execute_script("return document.querySelectorAll('.item').length") < 60
    wait_until(page, "document.getElementById('item-19999').querySelector('.snippet').textContent !== ''")


def test_explorer_is_operable_by_keyboard(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(report_with_samples(tmp_path, 500))
    choose(page, "kind", "all")
    page.execute_script("document.getElementById('list').focus()")
    for key, position in (("ArrowDown", 1), ("PageDown", None), ("End", 499), ("ArrowDown", 499), ("Home", 0)):
        press(page, key)
        active = page.execute_script("return document.getElementById('list').getAttribute('aria-activedescendant')")
        assert active
        assert position is None or active == f"item-{position}"
        row = f"document.getElementById('{active}')"
        assert page.execute_script(f"return {row}.getAttribute('aria-setsize')") == "500"
    press(page, "Enter")
    assert page.execute_script("return document.activeElement.id") == "detail"


@pytest.mark.parametrize("kind", ["usual", "hostile"])
@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1280, 900)])
def test_page_is_never_wider_than_the_screen(
    page: WebDriver, opened: Opened, tmp_path: Path, kind: str, width: int, height: int
) -> None:
    set_screen(page, width, height)
    opened(hostile_report(tmp_path) if kind == "hostile" else report_with_samples(tmp_path, 50))
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    set_screen(page, 1280, 900)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_reports_no_accessibility_violation(page: WebDriver, opened: Opened, tmp_path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    set_media(page, "", scheme)
    opened(report_with_samples(tmp_path, 50))
    page.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    page.execute_script(Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    violations = page.execute_async_script(
        "const done = arguments[0]; axe.run().then((result) => done(result.violations.map("
        "(violation) => `${violation.id}: ${violation.nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`)))"
    )
    assert violations == []
    set_media(page, "")


def test_colors_follow_the_preferred_scheme(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(report_with_samples(tmp_path, 5))
    backgrounds = []
    for scheme in ("light", "dark"):
        set_media(page, "", scheme)
        backgrounds.append(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    set_media(page, "")
    assert backgrounds == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def test_print_hides_controls_and_opens_details(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(report_with_samples(tmp_path, 50))
    set_media(page, "print")
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    hidden = page.execute_script(
        "return ['#list', '.controls', '.steps'].map((name) => getComputedStyle(document.querySelector(name)).display)"
    )
    set_media(page, "")
    assert hidden == ["none"] * 3
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
