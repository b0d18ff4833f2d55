"""A handful of real conversations with images, and the embedded model's processor."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.conversations import write_conversations

from trainables.recovery.data.conversations import ConversationData, load_conversations
from trainables.specs import DataSpec


@pytest.fixture(scope="session")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> ConversationData:
    """Forty conversations with images of the embedded model's size."""
    path = write_conversations(tmp_path_factory.mktemp("conversations"), 40)
    return load_conversations(DataSpec(conversations=str(path)))


@pytest.fixture(scope="session")
def processor() -> Any:
    """The embedded model's processor, loaded as a user would."""
    from transformers import AutoProcessor

    from trainables.models.families.registry import TINY_FOLDER

    return AutoProcessor.from_pretrained(TINY_FOLDER)
