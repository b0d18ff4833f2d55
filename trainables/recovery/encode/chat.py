"""A conversation as the text of a chat: which characters are answers, and which are images."""

import re
from collections.abc import Sequence
from typing import Any

from trainables.common.names import first_line
from trainables.models.processors import TEMPLATE_ERRORS
from trainables.recovery.data.conversations import Conversation
from trainables.recovery.data.rows import IMAGE_MARK, BrokenSampleError

Spans = list[tuple[int, int]]  # [start, end) in characters
# Special tokens that are words of an answer: regions of an image (Qwen-VL, InternVL).
_GROUNDING = re.compile(r"</?(ref|box|quad)>|<\|(object_ref|box|quad|point)_(start|end)\|>")


def control_tokens(processor: Any) -> "re.Pattern[str]":
    """Matches each special token that no text may hold, as it would act on the model or its end."""
    special = {t.content for t in processor.tokenizer.added_tokens_decoder.values() if t.special}
    found = {processor.image_token, *special, *processor.tokenizer.all_special_tokens}
    longest = sorted(found, key=len, reverse=True)
    return re.compile("|".join(re.escape(t) for t in longest if not _GROUNDING.fullmatch(t)))


def refuse_control_tokens(conversation: Conversation, control: "re.Pattern[str]") -> None:
    """Raise BrokenSampleError for a text that holds one; marks of images are none."""
    for turn, texts in enumerate(conversation.turns, start=1):
        for text in texts:
            found = control.search(text.replace(IMAGE_MARK, ""))
            if found:
                raise BrokenSampleError(
                    "special tokens",
                    conversation.id,
                    f"sample {conversation.id!r}: question or answer {turn} holds {found[0]!r}, "
                    "which this model's tokenizer takes for a control token; write it otherwise, "
                    "or leave the sample out",
                )


def render(processor: Any, conversation: Conversation) -> tuple[str, Spans]:
    """The chat text of a conversation and the character spans of its answers.

    Each answer ends with the special token that the template writes after it, or else with the
    end-of-sequence token. Where the images of a turn stand is up to the template: some write them
    in front of its text, whatever the order.

    Raises:
        BrokenSampleError: the template refuses the turns, rewrites earlier ones, or does not write
            an answer as it is.
    """
    tokenizer = processor.tokenizer
    special = (t.content for t in tokenizer.added_tokens_decoder.values() if t.special)
    ends = (tokenizer.eos_token, *special)
    messages: list[dict[str, Any]] = []
    text, plain, spans = "", "", []
    marked = any(IMAGE_MARK in question for question, _ in conversation.turns)
    unmarked = 0 if marked else len(conversation.images)
    for question, answer in conversation.turns:
        messages.append({"role": "user", "content": _content(IMAGE_MARK * unmarked + question)})
        unmarked = 0
        said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        try:
            asked = processor.apply_chat_template(messages, add_generation_prompt=True)
            messages.append(said)
            answered = processor.apply_chat_template(messages)
        except TEMPLATE_ERRORS as error:
            raise _fault(conversation, f"refuses its turns ({first_line(error)})") from None
        if not (asked.startswith(plain) and answered.startswith(asked)):
            # A template whose generation prompt ends in a space that the answer brings along.
            asked = asked.rstrip()
            if not (asked.startswith(plain.rstrip()) and answered.startswith(asked)):
                raise _fault(conversation, "rewrites earlier turns")
        text += asked[len(plain) :]
        response = answered[len(asked) :].rstrip()
        if answer not in response:
            raise _fault(conversation, "does not write an answer as it is")
        plain = answered
        if response.endswith(ends):
            # What follows the end, often a line break, belongs to the next question.
            plain = answered[: len(asked) + len(response)]
        else:
            response += tokenizer.eos_token
        spans.append((len(text), len(text) + len(response)))
        text += response
    return text, spans


def _fault(conversation: Conversation, what: str) -> BrokenSampleError:
    return BrokenSampleError(
        "chat template",
        conversation.id,
        f"sample {conversation.id!r}: the model's chat template {what}; leave the sample out, or "
        "mend the template",
    )


def _content(question: str) -> list[dict[str, str]]:
    """The items of a user's turn: its texts, with an image in the place of each mark.

    Left out are white space around the turn and the line break after a mark, or in front of one at
    the turn's end: what separates an image from text is the template's to write.
    """
    content: list[dict[str, str]] = []
    for number, piece in enumerate(question.strip().split(IMAGE_MARK)):
        if number:
            content.append({"type": "image"})
            piece = piece.removeprefix("\n")
        if piece.strip():
            content.append({"type": "text", "text": piece})
    texts = [item for item in content if "text" in item]
    if not texts:
        return [*content, {"type": "text", "text": ""}]
    texts[0]["text"] = texts[0]["text"].lstrip()
    if content[-1]["type"] == "image":
        texts[-1]["text"] = texts[-1]["text"].removesuffix("\n")
    return content


def expand_images(
    text: str, answers: Spans, mark: str, expansions: Sequence[str]
) -> tuple[str, Spans, Spans]:
    """The text with each `mark` replaced by its expansion, in order.

    An expansion may contain the mark.

    Returns:
        The text, and the spans of the answers and of the expansions in it.
    """
    pieces = text.split(mark)
    assert len(pieces) == len(expansions) + 1, "the caller has counted the marks"
    long, moved, places = pieces[0], list(answers), []
    for expansion, piece in zip(expansions, pieces[1:], strict=True):
        shift = len(expansion) - len(mark)
        start = len(long)
        # Spans behind this mark, in the coordinates that the earlier replacements left.
        moved = [(a + shift, b + shift) if a > start else (a, b) for a, b in moved]
        places.append((start, start + len(expansion)))
        long += expansion + piece
    return long, moved, places
