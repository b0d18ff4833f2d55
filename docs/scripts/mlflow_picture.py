"""Draws `docs/mlflow.png`: the page that a sweep's link opens, in a headless Chromium.

Command: `python -m docs.scripts.mlflow_picture [--storage runs] [--sweep quickstart]`

It wants Playwright's Python package and a Chromium of the system. What is printed is how long the
page took, from asking for the link until the points were drawn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURE = Path(__file__).parents[1] / "mlflow.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
UP_SECONDS = 120  # for a server to come up
DRAWN_SECONDS = 60
# MLflow's assistant opens beside the first page that a browser shows.
NO_ASSISTANT = (
    "if (location.protocol === 'http:') {"
    "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
    "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')}"
)
CARDS = """() => Object.fromEntries(
    [...document.querySelectorAll('[data-testid="experiment-view-compare-runs-card"]')].map(card =>
        [card.innerText.split('\\n')[0].trim(), {
            points: card.querySelectorAll('.scatterlayer .point').length,
            contours: card.querySelectorAll('.contourlayer .contour').length,
            axes: card.querySelectorAll('.dimension').length,
        }]))"""


def find_browser() -> str | None:
    """The Chromium of this system; None where there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def served(storage: Path) -> Iterator[dict[str, str]]:
    """`prunesweep ui` of a storage while the block runs; gives the link of each sweep.

    Raises:
        RuntimeError: it did not come up.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sweeps.engine.cli", "ui", "--storage", str(storage.resolve())]
    server = subprocess.Popen(
        [*command, "--port", str(port)], cwd=Path(__file__).parents[2], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        links: dict[str, str] = {}
        end = time.monotonic() + UP_SECONDS
        server.stdout.readline()  # where it listens; the links follow at once
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"`{' '.join(command[2:])}` did not come up")
            time.sleep(0.2)
        os.set_blocking(server.stdout.fileno(), False)
        for line in server.stdout:
            name, found, link = line.strip().partition(": http")
            if found:
                links[name] = f"http{link}"
        yield links
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its workers, too
        server.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def browsing(width: int = 1500, height: int = 900) -> Iterator[Page]:
    """A page of this system's Chromium while the block runs.

    Raises:
        RuntimeError: there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    if (path := find_browser()) is None:
        raise RuntimeError(f"no browser is installed; any of {', '.join(BROWSERS)} will do")
    given = ["--disable-gpu", "--disable-dev-shm-usage"]
    given += ["--no-sandbox"] if os.geteuid() == 0 else []  # a container's root cannot have one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=given)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.add_init_script(NO_ASSISTANT)
        page.set_default_timeout(1000 * DRAWN_SECONDS)
        yield page
        browser.close()


def charts(page: Page) -> dict[str, Any]:
    """By title: the points, contours and axes of every chart that is drawn."""
    found: dict[str, Any] = page.evaluate(CARDS)
    return found


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", type=Path, default=Path("runs"))
    parser.add_argument("--sweep", default="quickstart")
    given = parser.parse_args()
    with served(given.storage) as links, browsing() as page:
        begin = time.perf_counter()
        page.goto(links[given.sweep])
        page.wait_for_selector(".scatterlayer .point")
        print(f"the frontier is drawn after {time.perf_counter() - begin:.1f} s")
        page.wait_for_timeout(3000)  # the other charts
        page.screenshot(path=PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
