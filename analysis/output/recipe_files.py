"""The recipes of a sweep as files beside its frontier; derived from the records."""

from pathlib import Path

from analysis.findings.recipe_report import RecipeReport
from trainables.common.files import replace_file, write_json, writing


def write_recipes(folder: Path, report: RecipeReport) -> Path:
    """Write recipes.png, which is returned, and recipes.json.

    Raises:
        ValueError: a folder that cannot be written.
    """
    from analysis.draw.png import draw_png
    from analysis.draw.recipe_figure import figure_size, recipe_figure

    figures = {"recipes": recipe_figure(report)}
    with writing("the recipes", folder):
        replace_file(folder / "recipes.png", draw_png(figures, figure_size(report)))
        write_json(folder / "recipes.json", report)
    return folder / "recipes.png"
