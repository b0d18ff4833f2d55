"""A conversation as the text of a chat, and which characters of it are answers."""

from __future__ import annotations

from typing import Any

from trainables.recovery.data import IMAGE_MARK, Conversation

Spans = list[tuple[int, int]]  # [start, end) in characters


def render(processor: Any, conversation: Conversation) -> tuple[str, Spans]:
    """The chat text of a conversation and the character spans of its answers.

    Each answer ends with the special token that the template writes after it, or else with the
    end-of-sequence token.
    """
    tokenizer = processor.tokenizer
    special = (t.content for t in tokenizer.added_tokens_decoder.values() if t.special)
    ends = (tokenizer.eos_token, *special)
    messages: list[dict[str, Any]] = []
    text, plain, spans = "", "", []
    for number, (question, answer) in enumerate(conversation.turns):
        content: list[dict[str, str]] = []
        if number == 0 and conversation.image is not None:
            content.append({"type": "image"})
        content.append({"type": "text", "text": question.replace(IMAGE_MARK, "").strip()})
        messages.append({"role": "user", "content": content})
        asked = processor.apply_chat_template(messages, add_generation_prompt=True)
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        answered = processor.apply_chat_template(messages)
        if not (asked.startswith(plain) and answered.startswith(asked)):
            # A template whose generation prompt ends in a space that the answer brings along.
            asked = asked.rstrip()
            if not (asked.startswith(plain.rstrip()) and answered.startswith(asked)):
                raise ValueError("this chat template rewrites earlier turns; it is not supported")
        text += asked[len(plain) :]
        response = answered[len(asked) :].rstrip()
        plain = answered
        if response.endswith(ends):
            # What follows the end, often a line break, belongs to the next question.
            plain = answered[: len(asked) + len(response)]
        else:
            response += tokenizer.eos_token
        spans.append((len(text), len(text) + len(response)))
        text += response
    return text, spans


def expand_image(text: str, answers: Spans, mark: str, expansion: str) -> tuple[str, Spans]:
    """The text with the first `mark` replaced, and the answers' spans moved along."""
    at = text.index(mark)
    shift = len(expansion) - len(mark)
    text = text[:at] + expansion + text[at + len(mark) :]
    return text, [(a + shift, b + shift) if a > at else (a, b) for a, b in answers]
