"""A model's processor, and what a trial needs of it that it lacks.

A processor that was saved without a setting loads all the same, and would fail where it is first
used, in the middle of a trial.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError
from PIL import Image
from transformers import AutoProcessor, ProcessorMixin

from trainables.common.names import first_line
from trainables.models.collation import encode
from trainables.models.families.adapter import VLMAdapter

# What a template raises that was not written for the messages it is given.
TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)
QUESTION, ANSWER = "what is in the picture", "a red circle"
SIDE = 64  # pixels of the image that a processor is tried with where its size is free
SHOWN = 100  # characters of what a template writes


class Fault(NamedTuple):
    """What a processor lacks: the subject in a word or two, and what to mend."""

    what: str
    text: str


def load_processor(
    folder: Path, adapter: VLMAdapter, config: Mapping[str, Any], trust_remote_code: bool = False
) -> Any:
    """The processor in a checkpoint's folder, after `processor_faults` found none.

    Raises:
        ValueError: it cannot be loaded, or lacks something.
    """
    processor = read_processor(folder, trust_remote_code)
    if faults := processor_faults(processor, adapter, config):
        said = "; ".join(f"{fault.what}: {fault.text}" for fault in faults)
        raise ValueError(f"the processor in {folder} does not do for a trial. {said}")
    return processor


def read_processor(folder: Path, trust_remote_code: bool = False) -> Any:
    """Whatever processor lies in a checkpoint's folder.

    Raises:
        ValueError: it cannot be loaded.
    """
    try:
        return AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ImportError, RuntimeError, *TEMPLATE_ERRORS) as error:
        raise ValueError(
            f"the processor in {folder} cannot be loaded ({type(error).__name__}: "
            f"{first_line(error)}); save the family's own beside the weights with "
            "`processor.save_pretrained`"
        ) from error


def processor_faults(processor: Any, adapter: VLMAdapter, config: Mapping[str, Any]) -> list[Fault]:
    """Everything that a trial needs and this processor lacks.

    Args:
        processor: as `read_processor` gives it.
        adapter: table of the model's family.
        config: the model's `config.json`.
    """
    if not isinstance(processor, ProcessorMixin):
        return [
            Fault(
                "processor",
                f"the folder holds a {type(processor).__name__} alone, without what reads images "
                "beside it; save the family's processor with `processor.save_pretrained`",
            )
        ]
    found = [*_settings(processor, adapter, config), *_tokens(processor, adapter, config)]
    found += _template(processor)
    return found or _images(processor, adapter, config)


def _settings(processor: Any, adapter: VLMAdapter, config: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault(
            name,
            f"the processor has none, and counts an image's tokens by it; set {name!r} in "
            f"processor_config.json to that of the vision tower, {value!r}",
        )
        for name, value in adapter.processor_settings(config).items()
        if getattr(processor, name) is None
    ]


def _tokens(processor: Any, adapter: VLMAdapter, config: Mapping[str, Any]) -> list[Fault]:
    tokenizer, found = processor.tokenizer, []
    if not tokenizer.is_fast:
        found.append(
            Fault(
                "tokenizer",
                f"{type(tokenizer).__name__} does not say which characters a token stands for, so "
                "that answers could not be told from questions; save a fast one (tokenizer.json)",
            )
        )
    if tokenizer.eos_token is None:
        found.append(
            Fault(
                "end of answers",
                "the tokenizer has no end-of-sequence token, so that no answer would end; set "
                "'eos_token' in tokenizer_config.json to the token that ends the model's answers",
            )
        )
    key, _ = adapter.image_token
    token, wanted = processor.image_token, adapter.image_token_id(config)
    read = tokenizer.encode(token, add_special_tokens=False)
    if read != [wanted]:
        found.append(
            Fault(
                "image token",
                f"the tokenizer reads {token!r} as {read}, but {key} in config.json is {wanted}; "
                "make it one special token of that id, or mend the config",
            )
        )
    rows = adapter.language_shape(config).vocab_size
    for name in ("bos_token", "eos_token", "pad_token"):
        number = getattr(tokenizer, f"{name}_id")
        if number is not None and number >= rows:
            found.append(
                Fault(
                    "embedding",
                    f"{name} {getattr(tokenizer, name)!r} has the id {number}, but the embedding "
                    f"has {rows:,} rows; resize the embedding, or name another token",
                )
            )
    return found


def _template(processor: Any) -> list[Fault]:
    """One question about an image and its answer, as the chat template writes them."""
    if processor.chat_template is None:
        return [
            Fault(
                "chat template",
                "there is none; save the model's as chat_template.jinja beside the weights",
            )
        ]
    token = processor.image_token
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    said = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
    way_out = (
        "it has to go through the parts of each turn's content "
        "({% for part in message['content'] %}), write part['text'] of a text, and "
        f"{token} where part['type'] is 'image'"
    )
    try:
        question = processor.apply_chat_template(asked, add_generation_prompt=True)
        whole = processor.apply_chat_template([*asked, said])
    except TEMPLATE_ERRORS as error:
        text = f"cannot write a question about an image ({first_line(error)}); {way_out}"
        return [Fault("chat template", text)]
    if question.count(token) != 1 or not _plainly(QUESTION, question):
        wrong = question
    elif not _plainly(ANSWER, whole):
        wrong = whole
    else:
        return []
    written = wrong if len(wrong) <= SHOWN else f"{wrong[:SHOWN]}..."
    text = f"writes {written!r} for a question about an image and its answer; {way_out}"
    return [Fault("chat template", text)]


def _plainly(text: str, written: str) -> bool:
    """Whether the text stands there once and as itself, not within a list's or dict's `repr`."""
    return written.count(text) == 1 and f"'{text}'" not in written


def _images(processor: Any, adapter: VLMAdapter, config: Mapping[str, Any]) -> list[Fault]:
    """One image; its tokens are compared with the model's where they do not depend on its size."""
    try:
        ids, _ = encode(processor, adapter, processor.image_token, [Image.new("RGB", (SIDE, SIDE))])
    except (*TEMPLATE_ERRORS, RuntimeError) as error:
        text = (
            f"the processor cannot read one ({type(error).__name__}: {first_line(error)}); save "
            "the family's own, with all of its settings"
        )
        return [Fault("images", text)]
    written, made = ids.count(processor.image_token_id), adapter.natural_image(config).tokens
    if not adapter.fixed_image_tokens or written == made:
        return []
    settings = ", ".join(
        f"{name}={getattr(processor, name)!r}" for name in adapter.processor_settings(config)
    )
    text = (
        f"the processor writes {written} tokens for an image, but the model makes {made} of it; "
        f"mend processor_config.json ({settings}, and the size of images)"
    )
    return [Fault("image tokens", text)]
