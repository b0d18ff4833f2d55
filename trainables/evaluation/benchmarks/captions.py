"""CIDEr of each caption, by the code that lmms-eval scores captions with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def cider_scores(captions: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """CIDEr of each caption on 0..10; its mean is lmms-eval's own score of the whole.

    A word weighs more the fewer images' references have it, so an image's score depends on the
    images that are scored with it: compare models on the same ones.

    Args:
        captions: `answer` (the references) and `pred` of each image, as lmms-eval's
            `process_results` hands them on.
    """
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    references = {
        i: [{"caption": _line(text)} for text in caption["answer"]]
        for i, caption in enumerate(captions)
    }
    said = {i: [{"caption": _line(caption["pred"])}] for i, caption in enumerate(captions)}
    tokenizer = PTBTokenizer()
    _, scores = Cider().compute_score(tokenizer.tokenize(references), tokenizer.tokenize(said))
    return np.asarray(scores, dtype=np.float64)


def _line(caption: str) -> str:
    """The caption on one line: the tokenizer takes any sign that ends a line for a new caption."""
    return " ".join(caption.split())
