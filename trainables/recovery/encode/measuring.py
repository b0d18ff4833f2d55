"""Counts the tokens of a sample of the conversations, in a process of its own.

`python -m trainables.recovery.encode.measuring` reads a `LengthsQuestion` on stdin.
"""

import tempfile
from pathlib import Path

from trainables.common.replying import reply
from trainables.common.weights import read_config
from trainables.embedded.sources import SOURCES, source_of
from trainables.models.families.registry import adapter_for, model_folder
from trainables.models.processors import load_processor
from trainables.recovery.data.conversations import load_conversations
from trainables.recovery.data.lengths import SAMPLED, SEED, Counted, Lengths, LengthsQuestion
from trainables.recovery.encode.encoder import Encoder
from trainables.specs import DataSpec, ModelSpec


def measure_lengths(model: ModelSpec, data: DataSpec) -> Lengths:
    """Tokens of the first `SAMPLED` conversations.

    Raises:
        ValueError: the processor, the data or one of these samples is broken.
    """
    folder = model_folder(model)
    assert folder is not None, "whoever asks has seen the folder"
    config = read_config(folder)
    adapter = adapter_for(config)
    processor = load_processor(folder, adapter, config, model.trust_remote_code)
    found = load_conversations(data)
    encoder = Encoder(processor, found, data.max_tokens, adapter)
    chosen = found.subset(1.0, SEED)[:SAMPLED]
    if data.skip_broken:
        chosen = encoder.usable(chosen)
    image, rows = adapter.image_token_id(config), []
    for index in map(int, chosen):
        ids, labels = encoder.tokens(index)
        text = [token != image for token in ids]
        before = [*text[1:], False]
        rows.append(
            Counted(
                all=len(ids),
                text=sum(text),
                before_text=sum(before),
                either=sum(a or b for a, b in zip(text, before, strict=True)),
                response=sum(label >= 0 for label in labels[1:]),
                images=len(encoder.images(index)),
            )
        )
    return Lengths(**dict(zip(Counted._fields, zip(*rows, strict=True), strict=True)))


def _answer(asked: str) -> str:
    question = LengthsQuestion.model_validate_json(asked)
    data = question.data
    with tempfile.TemporaryDirectory() as scratch:
        if data.conversations is None:
            own = SOURCES[source_of(question.model.path)].prepare(Path(scratch))
            data = own.named_in(data)
        return measure_lengths(question.model, data).model_dump_json()


if __name__ == "__main__":
    reply(_answer)
