"""The study's decision flow (arXiv 2507.20749, section 5) as warm-start points of a sweep."""

from typing import Any

from search_spaces.factors import Cell


def decision_flow(ratio: float) -> dict[str, Any]:
    """The study's advice where there are data for recovery, as a point of the `frontier` space.

    Args:
        ratio: fraction of the language model removed, in (0, 1).
    """
    if ratio <= 0.20:
        return {"method": "layerwise", "ratio": ratio, "scope": "projector", "terms": "ce"}
    method = "layerwise" if ratio <= 0.40 else "widthwise"
    return {"method": method, "ratio": ratio, "scope": "joint", "terms": "ce+l2"}


def warm_starts(cells: list[Cell]) -> list[dict[str, Any]]:
    """One point per ratio among the cells whose advice lies in one of the cells."""
    points = []
    for ratio in sorted({cell["ratio"] for cell in cells if cell.get("ratio")}):
        point = decision_flow(ratio)
        if any(all(point.get(k, v) == v for k, v in cell.items()) for cell in cells):
            points.append(point)
    return points
