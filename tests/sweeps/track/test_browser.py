"""MLflow's own page in a headless Chromium: what a sweep's link lands on, and the parent's page.

Skipped where Playwright's package or a Chromium of the system is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.ledgers import old_quickstart
from helpers.trials import make_dense, make_trial, write_sweep

from analysis.load import Trial, load_sweep, load_trials
from docs.scripts.mlflow_picture import browsing, charts, find_browser, served
from sweeps.engine.run.written import write_files
from sweeps.engine.track.saved_view import view_link
from sweeps.engine.track.tracking import Mirror

pytest.importorskip("playwright", reason="Playwright's package is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed"),
]
# MLflow asks who is logged in, which a server without users does not know.
MLFLOWS_OWN = ("mlflow/users/current",)


def mixtures() -> list[Trial]:
    """Eight trained trials over three loss weights, one of which failed, and the dense base."""
    weights = [(1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.4, 0.4, 0.2)]
    weights += [(0.2, 0.4, 0.4), (0.3, 0.6, 0.1), (0.6, 0.1, 0.3)]
    own: dict[str, Any] = {"sweep": "mixtures"}
    trials = [
        make_trial(f"t{n}", 0.8 + n / 100, ratio=0.1 * n + 0.1, origin="sampler",
                   loss={"alpha": a, "beta": b, "gamma": c}, **own)
        for n, (a, b, c) in enumerate(weights)
    ]  # fmt: skip
    return [*trials, make_trial("bad", status="failed", **own), make_dense(**own)]


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Links of two sweeps that `prunesweep ui` shows: a quickstart, and mixtures of losses."""
    storage = tmp_path_factory.mktemp("runs")
    quickstart = old_quickstart(storage)
    write_sweep(storage, mixtures(), "mixtures")
    for name, files in (("quickstart", write_files(quickstart).paths), ("mixtures", ())):
        trials, settings = load_trials(storage / name), load_sweep(storage / name)
        Mirror(storage, name).sync(trials, settings, files, finished=True)
    with served(storage) as found:
        yield found


class Visit:
    """A page, and what went wrong on it."""

    def __init__(self, page: Any) -> None:
        self.page, self.wrong = page, list[str]()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("response", self._answered)

    def _answered(self, response: Any) -> None:
        if response.status >= 400 and not response.url.endswith(MLFLOWS_OWN):
            self.wrong.append(f"{response.status} {response.url}")

    def matching(self, link: str, runs: int) -> None:
        """Open a list of runs and wait until it has so many."""
        self.page.goto("about:blank")
        self.page.goto(link)
        words = "document.body.innerText.replace(/\\s+/g, ' ')"
        self.page.wait_for_function(f"{words}.includes(' {runs} matching run')")

    def drawn(self, points: int) -> dict[str, Any]:
        """The charts, once so many points are drawn in all of them."""
        self.page.wait_for_function(
            f"document.querySelectorAll('.scatterlayer .point').length === {points}"
        )
        return charts(self.page)


@pytest.fixture
def visit() -> Iterator[Visit]:
    with browsing(1600, 2400) as page:  # tall: a chart is drawn when it comes into view
        seen = Visit(page)
        yield seen
        assert seen.wrong == []


def test_the_link_lands_on_all_trials_with_their_charts(
    links: dict[str, str], visit: Visit
) -> None:
    visit.matching(links["quickstart"], 20)
    # 19 trials and the dense base; nine of them were scored on the report split and timed.
    found = visit.drawn(5 * 20 + 9)
    points = {title: chart["points"] for title, chart in found.items() if chart["points"]}
    assert points == {
        "weights_mib vs. retention": 20, "memory_mib vs. retention": 20, "tflops vs. retention": 20,
        "latency_ms vs. retention": 9, "recovery_tflops vs. retention": 20,
        "alpha vs. gamma vs. retention": 20,
    }  # fmt: skip
    visit.page.wait_for_selector(".dimension", state="attached")
    # method, scope, loss terms; ratio, data fraction, alpha, beta, gamma; retention
    assert charts(visit.page)["Parallel Coordinates"]["axes"] == 9
    assert visit.page.get_by_text("What does pruning the embedded model cost").is_visible()


def test_the_same_list_without_saved_views(links: dict[str, str], visit: Visit) -> None:
    """What a page that does not know them is sent to; the filter does by itself."""
    host, _, rest = links["quickstart"].partition("/#/experiments/")
    visit.matching(view_link(host, rest.partition("/")[0], views=False), 20)


def test_views_of_the_frontier_losses_and_failures(links: dict[str, str], visit: Visit) -> None:
    def link(key: str) -> str:
        return links["mixtures"].replace("ShareKey=trials", f"ShareKey={key}")

    visit.matching(link("losses"), 7)
    found = visit.drawn(6 * 7)
    contours = {title: chart["contours"] for title, chart in found.items() if chart["points"]}
    assert contours == {
        "alpha vs. beta vs. retention": 1, "alpha vs. gamma vs. retention": 1,
        "beta vs. gamma vs. retention": 1,
        "alpha vs. retention": 0, "beta vs. retention": 0, "gamma vs. retention": 0,
    }  # fmt: skip
    visit.matching(link("frontier"), 2)  # the smallest is the best, too; and the dense base
    visit.matching(link("failures").replace("&compareRunsMode=CHART", ""), 1)
    visit.page.wait_for_selector("text=RuntimeError: loss is NaN")


def test_the_parent_says_what_the_sweep_is(links: dict[str, str], visit: Visit) -> None:
    page = visit.page
    page.goto(links["quickstart"].partition("&")[0])
    page.locator("a[href*='/runs/']").get_by_text("quickstart", exact=True).click()
    page.wait_for_selector("text=Parameters (")
    shown = page.locator("body").inner_text()
    assert "19 completed, 0 early-stopped, 0 failed. Beside them: the dense base." in shown
    assert "trial.model.path" in shown
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report.html").first.click()
    frame = page.frame_locator("iframe")
    frame.get_by_text("quickstart").first.wait_for()
