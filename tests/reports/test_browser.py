"""The page in a real browser, where there is one: no errors, no requests, and the slider moves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condensery import load, select_random
from condensery.cli.main import main
from condensery.reports import report

#: One worker starts the browser.
pytestmark = pytest.mark.xdist_group("browser")

EVIL = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("install chromium to open reports in a browser")
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync.sync_playwright() as play:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            opened = play.chromium.launch(executable_path=program, args=arguments)
        except sync.Error as error:
            pytest.skip(f"{program} does not start here: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    words = ["condense", "--ipc", "1", "--iterations", "2", "--real-batch", "4", "--threads", "1"]
    words += ["--supply.net", "convnet1:width=4", "--plan", "exact", "--quiet"]
    assert main([*words, "--out", str(folder / "run")]) == 0
    images = np.random.default_rng(0).integers(0, 255, (8, 8, 8)).astype(np.uint8)
    names = np.array([EVIL, "b"])[np.arange(8) % 2]
    select_random(load((images, names)), ipc=1).save(folder / "odd")
    report([folder / "run", folder / "odd"], folder / "page.html")
    return folder / "page.html"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens(width: int, browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda told: errors.append(told.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    slider, strip = page.locator(".time").first, page.locator(".strip").first
    last = strip.get_attribute("src")
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator(".at").first.inner_text() == "after 0 iterations"
    assert strip.get_attribute("src") != last
    page.keyboard.press("ArrowRight")
    assert page.locator(".at").first.inner_text() == "after 1 iteration"
    page.keyboard.press("End")
    assert strip.get_attribute("src") == last
    # Every picture is one, and can be enlarged.
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    small = strip.bounding_box()["height"]
    page.locator(".zoom").nth(2).click()
    assert strip.bounding_box()["height"] == pytest.approx(2 * small)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert EVIL in page.locator("#s2 .classes .name").first.inner_text()
    assert page.title() != "taken"
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    page.close()
