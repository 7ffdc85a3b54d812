"""The report as a person opens it: real Chromium, from a file, with nothing else there."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.browser import browser, requests_of
from tests.support.sampled import PAYLOADS, hostile, sampled

from nel_action.report.anchors import item_anchor, samples_anchor
from nel_action.report.html import render_html
from nel_action.report.model import Report

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

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
        until(page, "document.documentElement.dataset.ready === 'true'")
        return file.as_uri()

    return open_report


def until(page: WebDriver, condition: str) -> None:
    deadline = time.monotonic() + 30
    while not page.execute_script(f"return {condition}"):
        assert time.monotonic() < deadline, f"never: {condition}"
        time.sleep(0.02)


def shape(page: WebDriver, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def media(page: WebDriver, kind: str, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})


def complaints(page: Any) -> list[str]:  # noqa: ANN401 - selenium's logs have no types
    return [entry["message"] for entry in page.get_log("browser")]


def choose(page: WebDriver, box: str, value: str) -> None:
    page.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event(box.id === 'query' ? 'input' : 'change'));",
        box,
        value,
    )


def told(page: WebDriver) -> str:
    return str(page.execute_script("return document.getElementById('status').textContent"))


def press(page: WebDriver, key: str) -> None:
    page.execute_script(
        "document.getElementById('list').dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, cancelable: true}))",
        key,
    )


def test_no_request_and_no_complaint(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    complaints(page)
    address = opened(sampled(tmp_path, 200))
    assert requests_of(page, address) == [address]
    assert complaints(page) == []


def test_hostile_samples_cannot_run_anything(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(hostile(tmp_path))
    for number in range(len(PAYLOADS)):
        until(page, f"document.getElementById('item-{number}')?.getAttribute('aria-selected') === 'true'")
        until(page, "document.querySelectorAll('#detail pre').length === 4")
        shown = page.execute_script("return document.querySelector('#detail pre').textContent")
        assert shown == PAYLOADS[number]
        press(page, "ArrowDown")
    assert page.execute_script("return window.pwned") is None
    assert page.execute_script("return document.querySelectorAll('img, iframe, base, object, link').length") == 0
    assert page.execute_script("return document.querySelectorAll('script:not([type])').length") == 1


def test_even_a_script_that_got_in_would_not_run(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(sampled(tmp_path, 5))
    page.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.pwned = 1';"
        "document.body.append(script); document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"pwned=1\">')"
    )
    fetched = page.execute_async_script(
        "const done = arguments[0];fetch('https://e.example/').then(() => done('sent'), (error) => done(String(error)))"
    )
    assert "TypeError" in fetched
    assert page.execute_script("return window.pwned") is None
    assert any("Content Security Policy" in line for line in complaints(page))


def test_what_flipped_comes_first_and_filters_and_search_narrow(
    page: WebDriver, opened: Opened, tmp_path: Path
) -> None:
    opened(sampled(tmp_path, 3_000))
    first = told(page)
    assert page.execute_script("return document.getElementById('kind').value") == "worse"
    assert first.endswith(" of 3,000 samples")
    assert not first.startswith("3,000")
    choose(page, "kind", "all")
    until(page, "document.getElementById('status').textContent === '3,000 of 3,000 samples'")
    choose(page, "query", "QUESTION 2999:")
    until(page, "document.getElementById('status').textContent === '1 of 3,000 samples'")
    until(page, "document.querySelector('#detail h3').textContent.startsWith('item-002999')")
    choose(page, "query", "no such thing")
    until(page, "document.getElementById('status').textContent === '0 of 3,000 samples'")
    assert "No sample to show" in page.execute_script("return document.getElementById('detail').textContent")


def test_an_address_opens_one_item_or_what_got_worse(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    address = opened(sampled(tmp_path, 3_000))
    page.get(f"{address}#{item_anchor('gsm8k', 'acme-7b', 'item-002500')}")
    until(page, "document.querySelector('#detail h3')?.textContent.startsWith('item-002500')")
    assert page.execute_script("return document.querySelector('.item[aria-selected=true] span').textContent") == (
        "item-002500"
    )
    press(page, "ArrowDown")
    until(page, "document.querySelector('#detail h3').textContent.startsWith('item-002501')")
    assert page.current_url.endswith(item_anchor("gsm8k", "acme-7b", "item-002501"))
    assert page.execute_script("return document.querySelector('.anchor').href") == page.current_url
    page.execute_script(f"location.hash = '{samples_anchor('gsm8k', 'acme-7b', 'better')}'")
    until(page, "document.getElementById('kind').value === 'better'")
    page.execute_script(f"location.hash = '{item_anchor('gsm8k', 'acme-7b', 'nobody')}'")
    until(page, "document.getElementById('status').textContent.includes('no sample')")


def test_the_table_leads_to_what_got_worse(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(sampled(tmp_path, 300))
    choose(page, "kind", "all")
    page.execute_script("document.querySelector('.is-difference a').click()")
    until(page, "document.getElementById('kind').value === 'worse'")


def test_many_rows_are_drawn_as_needed(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(sampled(tmp_path, 20_000, words=8))
    choose(page, "kind", "all")
    until(page, "document.getElementById('status').textContent.startsWith('20,000')")
    press(page, "End")
    until(page, "document.querySelector('#detail h3').textContent.startsWith('item-019999')")
    assert page.execute_script("return document.querySelectorAll('.item').length") < 60
    until(page, "document.getElementById('item-19999').querySelector('.snippet').textContent !== ''")


def test_keyboard_reaches_and_reads_everything(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(sampled(tmp_path, 500))
    choose(page, "kind", "all")
    page.execute_script("document.getElementById('list').focus()")
    for key, place in (("ArrowDown", 1), ("PageDown", None), ("End", 499), ("ArrowDown", 499), ("Home", 0)):
        press(page, key)
        active = page.execute_script("return document.getElementById('list').getAttribute('aria-activedescendant')")
        assert active
        assert place is None or active == f"item-{place}"
        row = f"document.getElementById('{active}')"
        assert page.execute_script(f"return {row}.getAttribute('aria-setsize')") == "500"
    press(page, "Enter")
    assert page.execute_script("return document.activeElement.id") == "detail"


@pytest.mark.parametrize("kind", ["usual", "hostile"])
@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1280, 900)])
def test_nothing_sticks_out_at_any_width(
    page: WebDriver, opened: Opened, tmp_path: Path, kind: str, width: int, height: int
) -> None:
    shape(page, width, height)
    opened(hostile(tmp_path) if kind == "hostile" else sampled(tmp_path, 50))
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    shape(page, 1280, 900)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: WebDriver, opened: Opened, tmp_path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    media(page, "", scheme)
    opened(sampled(tmp_path, 50))
    page.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    page.execute_script(Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.execute_async_script(
        "const done = arguments[0]; axe.run().then((result) => done(result.violations.map("
        "(one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`)))"
    )
    assert found == []
    media(page, "")


def test_dark_is_dark(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(sampled(tmp_path, 5))
    grounds = []
    for scheme in ("light", "dark"):
        media(page, "", scheme)
        grounds.append(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    media(page, "")
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def test_it_prints_without_its_controls(page: WebDriver, opened: Opened, tmp_path: Path) -> None:
    opened(sampled(tmp_path, 50))
    media(page, "print")
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    hidden = page.execute_script(
        "return ['#list', '.controls', '.steps'].map((one) => getComputedStyle(document.querySelector(one)).display)"
    )
    media(page, "")
    assert hidden == ["none"] * 3
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
