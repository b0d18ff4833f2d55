"""The recipes of a sweep as files beside its frontier; derived from the records."""

from pathlib import Path

from analysis.findings.recipe_report import RecipeReport
from trainables.common.files import replace_file, write_json, writing


def write_recipes(folder: Path, report: RecipeReport) -> tuple[Path, Path]:
    """Write recipes.html and recipes.png, which are returned, and recipes.json.

    Raises:
        ValueError: a folder that cannot be written.
    """
    from analysis.draw.page import page
    from analysis.draw.png import draw_png
    from analysis.draw.recipe_figure import figure_size, recipe_figure

    figures = {"recipes": recipe_figure(report)}
    html = page(f"{report.sweep}: recipes", figures, report.notes)
    with writing("the recipes", folder):
        replace_file(folder / "recipes.png", draw_png(figures, figure_size(report)))
        replace_file(folder / "recipes.html", html.encode())
        write_json(folder / "recipes.json", report)
    return folder / "recipes.html", folder / "recipes.png"
