"""The study's tables, recomputed: what agrees and what does not."""

from analysis.published import load_published, published_accuracy
from analysis.published.study import recomputed_retention

# Table 1, Bunny widthwise: (printed, recomputed) percent.
DISAGREE = {0.15: (95.48, 91.37), 0.3: (87.57, 78.87), 0.45: (60.66, 57.58), 0.6: (13.52, 18.32)}


def test_every_printed_average_follows_from_its_row() -> None:
    rows = published_accuracy()
    assert len(rows) == 28
    for row in rows:
        assert abs(row.average - row.printed_average) <= 0.0101, row


def test_24_retentions_agree_and_4_do_not() -> None:
    rows = published_accuracy()
    apart = {}
    agree = 0
    for row in rows:
        percent = 100 * recomputed_retention(row, rows)
        if abs(percent - row.printed_retention_percent) <= 0.02:
            agree += 1
        else:
            assert (row.table, row.model, row.method) == (1, "bunny-v1.0-3b", "widthwise")
            apart[row.nominal_ratio] = (row.printed_retention_percent, round(percent, 2))
    assert agree == 24
    assert apart == DISAGREE


def test_every_topic_is_there() -> None:
    topics = load_published()
    sizes = {name: len(rows) for name, rows in topics.items() if isinstance(rows, list)}
    assert sizes == {
        "accuracy": 28,
        "cost": 20,
        "distillation": 20,
        "hidden_layers": 12,
        "quantization": 6,
        "generalization": 9,
    }
