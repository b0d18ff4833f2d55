"""Where the marks of a question become images, and how spans move when images are expanded."""

from __future__ import annotations

import pytest

from trainables.recovery.encode.chat import _content, expand_images

IMAGE = None  # stands for an image item below


@pytest.mark.parametrize(
    ("question", "items"),
    [
        ("<image>\nWhat ?", [IMAGE, "What ?"]),
        ("What ?\n<image>", ["What ?", IMAGE]),
        ("What ?", ["What ?"]),
        (" What\n?\n", ["What\n?"]),
        ("<image>", [IMAGE, ""]),
        ("<image>\n<image>\nWhat ?", [IMAGE, IMAGE, "What ?"]),
        (
            "Image-1: <image>\nImage-2: <image>\nSame ?",
            ["Image-1: ", IMAGE, "Image-2: ", IMAGE, "Same ?"],
        ),
        ("Is <image> in <image> ?", ["Is ", IMAGE, " in ", IMAGE, " ?"]),
        ("a\n<image>\nb", ["a\n", IMAGE, "b"]),
        ("<image>  \n What ?", [IMAGE, "What ?"]),
    ],
)
def test_marks_become_images_in_place(question: str, items: list[str | None]) -> None:
    found = [item.get("text") for item in _content(question)]
    assert found == items
    assert all(
        item["type"] == ("text" if "text" in item else "image") for item in _content(question)
    )


def test_spans_move_along_and_an_expansion_may_contain_the_mark() -> None:
    text, answers = "<i>ask<i>ANS ask<i> ANSWER", [(9, 12), (20, 26)]
    assert [text[a:b] for a, b in answers] == ["ANS", "ANSWER"]
    expansions = ["[<i><i>]", "", "<i>"]
    long, moved, places = expand_images(text, answers, "<i>", expansions)
    assert long == "[<i><i>]askANS ask<i> ANSWER"
    assert [long[a:b] for a, b in moved] == ["ANS", "ANSWER"]
    assert [long[a:b] for a, b in places] == expansions
    assert expand_images("a", [(0, 1)], "<i>", []) == ("a", [(0, 1)], [])
