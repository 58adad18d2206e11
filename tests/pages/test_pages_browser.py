"""The pages in a real Chromium: what a person sees, clicks and types, wide and narrow, light and dark, with and without script."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from chromium import chromium, needs_chromium
from factory import free_port, wait_until
from made_line import SIZE, MadeLine
from test_tournament_page import leave_tournament
from visiting import leave_scores, project

from lineage.pixel import audit_pixel
from lineage.record import record
from pages.guard import ENTRANCE, USER
from pages.site import make_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_chromium]
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: `make install`")

PAGES = (
    "/",
    "/images",
    "/image?id=image-3&x=2&y=3",
    "/models",
    "/models/segmenter/2",
    "/diff?a=1&b=2",
    "/tournament",
    "/nowhere",
)
WINDOWS = {"wide": (1360, 900), "narrow": (360, 740)}
PATIENCE_MS = 120_000
"""This machine may be busy with other tests."""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """A real server with the pages of a line that was made twice."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("browser"))
    os.environ["LABELFACTORY_DEVICE"] = "cpu"
    line = MadeLine()
    record()
    line.run(refine_crf="changed")
    record()
    leave_tournament("image-1", "image-2")
    leave_scores({f"image-{k}": np.eye(*SIZE, dtype=np.uint8) for k in range(4)})
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(make_site(project()), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    os.environ.pop("LABELFACTORY_DEVICE")
    os.chdir(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def guarded(address) -> Iterator[str]:
    """The same pages behind a token: the address that `labelfactory serve` prints."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(make_site(project(), token="right-token"), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://{USER}:right-token@127.0.0.1:{port}{ENTRANCE}"
    server.should_exit = True
    thread.join()


@contextmanager
def window(browser, address: str, **options: Any) -> Iterator[Any]:
    """A window of its own. What its console says, and every address outside the server that it asks for, is an error."""
    context = browser.new_context(base_url=address, **{"viewport": {"width": 1360, "height": 900}, **options})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    # the checkpoint of a made line is no network, so there is no prediction to show, and one page is no page
    assert [text for text in said if "404 (Not Found)" not in text] == []
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


def settled(page: Any, where: str) -> None:
    page.goto(where)
    page.wait_for_load_state("networkidle")


def test_the_printed_address_opens_every_page(guarded, address, browser):
    """After it, links, pictures, styles and calls of scripts are answered, and no address shows the token. No other server of
    this machine hears it, and a window without it reads nothing."""
    host = re.search(r"127\.0\.0\.1:\d+", guarded).group()
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    answers: dict[str, int] = {}
    told: list[str] = []
    page.on("response", lambda answer: answers.update({answer.url: answer.status}))
    page.on("request", lambda request: told.append(str(request.all_headers())) if address in request.url else None)
    settled(page, guarded)
    assert page.evaluate("location.href") == f"http://{host}/"
    answers.clear()
    page.locator("nav a[href='/images']").first.click()
    page.wait_for_load_state("networkidle")
    settled(page, f"http://{host}/image?id=image-3&x=2&y=3")
    assert page.evaluate("fetch('/image/pixel?id=image-3&x=1&y=1').then((answer) => answer.status)") == 200
    settled(page, f"{address}/models")
    assert context.cookies() == []
    assert told
    assert not [text for text in told if "authorization" in text.lower() or "right-token" in text]
    ours = {url: status for url, status in answers.items() if host in url}
    assert {url.partition(host)[2].split("/")[1].partition("?")[0] for url in ours} >= {
        "images",
        "image",
        "picture",
        "static",
    }
    assert not [url for url, status in ours.items() if status not in (200, 304, 404)]
    assert not [url for url, status in ours.items() if status == 404 and "prediction" not in url]
    context.close()
    with window(browser, f"http://{host}") as other:
        assert other.request.get("/models").status == 401


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WINDOWS)
def test_every_page_fits_its_window(address, browser, size, scheme):
    """Nothing reaches over the edge, no text lies on text of the same colour, one graph is drawn, and script is content."""
    width, height = WINDOWS[size]
    with window(browser, address, viewport={"width": width, "height": height}, color_scheme=scheme) as page:
        for where in PAGES:
            settled(page, where)
            over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over <= 0, f"{where}: {over} pixels too wide"
            assert page.locator("h1, .lonely").count() >= 1
            graphs = page.locator("svg.graph:visible")
            assert graphs.count() == page.locator(".drawing").count()
            assert (
                all("narrow" in (g.get_attribute("class") or "") for g in graphs.all()) == (size == "narrow")
                or not graphs.count()
            )
        settled(page, "/")
        assert contrasts(page) == {}


def contrasts(page: Any) -> dict[str, float]:
    """Kinds of text whose contrast with what lies behind is below 4.5 to 1, the limit of WCAG 2.1 AA."""
    pairs = page.evaluate(
        """() => Object.fromEntries(['body', '.muted', '.badge', '.facts span', 'nav a[aria-current]', '.card code'].map((s) => {
            const element = document.querySelector(s);
            let behind = element;
            const clear = (e) => getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)';
            while (clear(behind) && behind.parentElement) behind = behind.parentElement;
            return [s, [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor]];
        }))"""
    )

    def light(colour: str) -> float:
        """Relative luminance. Source: WCAG 2.1."""
        parts = [int(float(v)) / 255 for v in re.findall(r"[\d.]+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    found = {}
    for name, (text, behind) in pairs.items():
        high, low = sorted((light(text), light(behind)), reverse=True)
        if (high + 0.05) / (low + 0.05) < 4.5:
            found[name] = (high + 0.05) / (low + 0.05)
    return found


def test_layers_by_slider_and_by_key(address, browser):
    """A slider makes its layer visible; a digit shows one layer alone; the next image keeps what was chosen."""
    with window(browser, address) as page:
        settled(page, "/image?id=image-2")

        def lit() -> dict[str, float]:
            found = page.evaluate(
                "[...document.querySelectorAll('.layer')].map((l) => [l.dataset.layer, Number(l.style.opacity)])"
            )
            return {name: opacity for name, opacity in found if opacity}

        assert lit() == {"mask": 0.75}
        page.locator("[data-slider=cam]").fill("40")
        assert lit() == {"cam": 0.4, "mask": 0.75}
        page.keyboard.press("6")
        assert lit() == {"truth": 0.75}
        page.locator(".strip [data-solo=walk]").click()
        assert lit() == {"walk": 0.75}
        page.keyboard.press("0")
        assert lit() == {}
        page.keyboard.press("2")
        page.keyboard.press("n")
        page.wait_for_url("**/image?id=image-3")
        page.wait_for_load_state("networkidle")
        assert lit() == {"seed": 0.75}
        heat = page.locator(".layer[data-layer=cam]")
        before = heat.get_attribute("src")
        page.locator("button[data-class='2']").click()
        assert (heat.get_attribute("src") or "").startswith("/picture/cam-2")
        assert heat.get_attribute("src") != before


def test_a_click_on_a_pixel_says_why(address, browser):
    """The place under the pointer, with the command line's sentence; arrow keys move on, Enter asks again."""
    with window(browser, address) as page:
        settled(page, "/image?id=image-3")
        box = page.locator(".viewer").bounding_box()
        place = {"x": box["width"] * (5 + 0.5) / SIZE[1], "y": box["height"] * (7 + 0.5) / SIZE[0]}
        page.locator(".viewer").click(position=place)
        playwright.expect(page.locator(".why h3")).to_contain_text("(5, 7)")
        playwright.expect(page.locator(".why .because")).to_have_text(audit_pixel("image-3", 5, 7)["because"])
        page.locator(".viewer").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Enter")
        playwright.expect(page.locator(".why h3")).to_contain_text("(6, 0)")
        page.wait_for_url("**x=6&y=0")
        settled(page, page.url)  # the address alone brings the same back
        playwright.expect(page.locator(".why .because")).to_have_text(audit_pixel("image-3", 6, 0)["because"])


def test_the_grid_by_keyboard(address, browser):
    """Arrows go from image to image, Enter opens one, g i comes back, a choice filters at once, ? shows the keys."""
    with window(browser, address) as page:
        settled(page, "/images")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_url("**/image?id=image-1")
        page.keyboard.press("g")
        page.keyboard.press("t")
        page.wait_for_url("**/tournament")
        page.locator("th[data-key=cost] button").press("Enter")
        assert page.locator("th[data-key=cost]").get_attribute("aria-sort") == "ascending"
        page.locator("nav a[href='/']").click()
        page.wait_for_load_state("networkidle")
        page.keyboard.press("g")
        page.keyboard.press("i")
        page.wait_for_url("**/images")
        page.select_option("select[name=order]", "high")
        page.wait_for_url("**/images?order=high")
        page.keyboard.press("/")
        page.keyboard.type("image-2")
        page.keyboard.press("Enter")
        page.wait_for_url("**/images?q=image-2&order=high")
        assert page.locator(".cell").count() == 1
        page.locator("h1").click()
        page.keyboard.press("?")
        playwright.expect(page.locator("#keys")).to_be_visible()
        page.keyboard.press("Escape")
        playwright.expect(page.locator("#keys")).to_be_hidden()


def test_a_difference_comes_in_two_parts(address, browser):
    """Counts and causes with the page, pixels after it, and every picture arrives."""
    with window(browser, address) as page:
        settled(page, "/diff?a=1&b=2")
        playwright.expect(page.locator("#h-pixels")).to_be_visible()
        page.evaluate("document.querySelectorAll('img').forEach((i) => { i.loading = 'eager'; })")
        page.wait_for_function("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        assert page.locator(".worst li").count() == 4


def test_pages_work_without_script(address, browser):
    """Layers by link, a pixel by a form, pages by links: the server makes all of it."""
    with window(browser, address, java_script_enabled=False) as page:
        page.goto("/image?id=image-3&show=cam")
        opacity = {
            layer.get_attribute("data-layer"): layer.get_attribute("style") for layer in page.locator(".layer").all()
        }
        assert opacity["cam"] == "opacity: 0.75"
        assert opacity["mask"] == "opacity: 0"
        page.locator("input[name=x]").fill("4")
        page.locator("input[name=y]").fill("5")
        page.locator("form.place button").click()
        playwright.expect(page.locator(".why .because")).to_have_text(audit_pixel("image-3", 4, 5)["because"])
        page.goto("/images")
        page.select_option("select[name=order]", "high")
        page.locator(".filters button").click()
        assert "order=high" in page.url
