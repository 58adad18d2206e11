"""The report of a tournament in a real Chromium: it sorts by keyboard, fits its window, and its colours can be read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, needs_chromium, needs_playwright
from contested import BASELINE, contender, contested, full_tournament, tournament

from reporting.tournament_page import write_tournament_report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_chromium, needs_playwright]
NAMES = "[...document.querySelectorAll('.contenders tbody tr')].map((row) => row.dataset.name)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path: Path = tmp_path_factory.mktemp("tournament") / "report.html"
    results = full_tournament()
    write_tournament_report(path, results, contested([BASELINE, "seam", "oaa", "oc_cse", "cian", "eps"]))
    return path.as_uri()


def opened(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """The page in a window of its own, and what its console says."""
    page = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options}).new_page()
    page.set_default_timeout(120_000)
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    return page, said


def test_the_table_sorts_by_keyboard(browser, address):
    """Tab to a heading, Enter sorts, Enter again turns the order; rows without a value stay last, and readers are told."""
    page, said = opened(browser, address)
    assert page.evaluate(NAMES) == [BASELINE, "seam", "oaa", "oc_cse", "cian", "eps", "puzzle", "recam"]
    head = page.locator("th[data-key=cost]")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(NAMES) == [BASELINE, "eps", "oaa", "cian", "oc_cse", "seam", "puzzle", "recam"]
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert page.evaluate(NAMES) == ["seam", "oc_cse", "cian", "oaa", "eps", BASELINE, "puzzle", "recam"]
    page.locator("th[data-key=gain] button").press(" ")
    assert page.evaluate(NAMES) == ["seam", "oaa", "oc_cse", "cian", "eps", BASELINE, "puzzle", "recam"]
    assert head.get_attribute("aria-sort") is None
    page.locator("th[data-key=name] button").click()
    assert page.evaluate(NAMES) == sorted(page.evaluate(NAMES))
    assert said == []


def test_without_script_the_table_is_the_same_and_has_no_buttons(browser, address):
    page, said = opened(browser, address, java_script_enabled=False)
    assert page.locator(".contenders tbody tr").count() == 8
    assert page.locator("button").count() == 0
    assert page.locator("th[data-key=gain]").inner_text().startswith("Gain")
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
def test_it_fits_its_window_and_can_be_read(browser, address, width, scheme):
    """Nothing reaches over the edge but tables and gallery in their frames; one plot is shown; figures stand out (WCAG 2.1 AA)."""
    page, said = opened(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.locator(".costs svg:visible").count() == 1
    assert page.locator(".wall").evaluate("(e) => e.scrollWidth > e.clientWidth")
    pairs = page.evaluate(
        """() => [...document.querySelectorAll('.gains td, .word, .state, .sentence, .command, .remarks li, .iou')].map((e) => {
            let behind = e;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
            return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor].map((colour) => {
                canvas.fillStyle = colour;
                canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
            });
        })"""
    )

    def light(colour: list[int]) -> float:
        """Relative luminance. Source: WCAG 2.1."""
        linear = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert len(pairs) > 40
    for pair in pairs:
        high, low = sorted(map(light, pair), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair
    assert said == []


def test_every_name_on_the_plot_has_its_own_room(browser, tmp_path):
    """As the browser's own font draws them: of contenders that lie close above each other, no two names overlap."""
    close = [contender(f"WWM_method_{k}", 0.02 + 0.001 * k, 0.004, cost=1.2) for k in range(14)]
    write_tournament_report(tmp_path / "report.html", tournament(*close))
    page, _ = opened(browser, (tmp_path / "report.html").as_uri())
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.costs .wide text')].map((t) => {
            const box = t.getBoundingClientRect();
            return [t.textContent.trim(), box.left, box.top, box.right, box.bottom];
        })"""
    )
    assert {"baseline", "WWM_method_0"} <= {name for name, *_ in boxes}
    assert len([name for name, *_ in boxes if name.startswith("WWM")]) >= 6
    for name, x0, y0, x1, y1 in boxes:
        for other, u0, v0, u1, v1 in boxes:
            assert name == other or x1 <= u0 or u1 <= x0 or y1 <= v0 + 2 or v1 <= y0 + 2, (name, other)
