"""The report as a file."""

from collections.abc import Sequence
from pathlib import Path

from analysis.report.content import SweepReport
from trainables.common.files import replace_file, writing

REPORT_PAGE = "report.html"


def write_report(to: Path, reports: Sequence[tuple[SweepReport, Path]]) -> Path:
    """Write the page of these sweeps, each with its folder, to the file `to`; returns it.

    Raises:
        ValueError: the folder is not there, or cannot be written.
    """
    from analysis.report.page import report_page  # brings plotly

    text = report_page(reports)
    with writing("the report", to.parent):
        replace_file(to, text.encode())
    return to
