"""Recoveries of the embedded model with DeepSpeed, on one worker."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.recoveries import Recover

from trainables.common.attempts import claim
from trainables.common.process_group import destroy_process_group, fresh_single_process_group
from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.work import RecoveryFlops, SampleFlops
from trainables.recovery.data.conversations import ConversationData
from trainables.recovery.encode.encoder import Encoder
from trainables.recovery.loss.layer_maps import student_states, teacher_states
from trainables.recovery.loss.targets import teacher_needs
from trainables.recovery.teacher.online import OnlineTeacher
from trainables.recovery.train.loop import recover
from trainables.recovery.train.passes import RecoveryJob
from trainables.specs import Budget, DataSpec, RecoverySpec, Seeds, TrialSpec


@pytest.fixture(scope="module")
def dense() -> Any:
    """The embedded model with its weights."""
    from transformers import LlavaForConditionalGeneration

    from trainables.models.families.registry import TINY_FOLDER

    return LlavaForConditionalGeneration.from_pretrained(TINY_FOLDER, dtype=torch.float32).eval()


@pytest.fixture
def run(
    dense: Any, processor: Any, conversations: ConversationData, tmp_path: Path
) -> Iterator[Recover]:
    """Recovers a fresh copy of the dense model; returns (report, folder, student)."""
    encoder = Encoder(processor, conversations, 256, LLAVA_LLAMA)

    def go(name: str, on_rung: Any = None, rungs: Any = (), **settings: Any) -> Any:
        workers, content = settings.pop("workers", 0), settings.pop("content", "")
        fresh_single_process_group()
        defaults = {"scope": "joint", "batch_size": 8, "micro_batch_size": 8, "data_fraction": 1.0}
        given = {"budget": Budget(steps=4), "learning_rate": 1e-3, **defaults, **settings}
        spec = TrialSpec(
            data=DataSpec(workers=workers),
            recovery=RecoverySpec(**given),
            rungs=rungs,
            seeds=Seeds(train=1),
        )
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        claim(folder, "attempt")
        student = copy.deepcopy(dense)
        loss, layers = spec.recovery.loss, dense.config.text_config.num_hidden_layers
        states = student_states(loss, layers)
        needs = teacher_needs(loss, teacher_states(loss, range(layers), layers))
        teacher = OnlineTeacher(dense, needs, LLAVA_LLAMA) if loss.needs_teacher else None
        job = RecoveryJob(
            spec=spec,
            folder=folder,
            attempt="attempt",
            adapter=LLAVA_LLAMA,
            states=states,
            hidden_scale=(1.0,) * loss.hidden_layers,
            teacher_width=dense.config.text_config.hidden_size,
            flops=RecoveryFlops(SampleFlops(1e6)),
            gradient_checkpointing=spec.recovery.gradient_checkpointing == "on",
            content=content,
        )
        report = recover(student, teacher, encoder, job, on_rung)
        return report, folder, student

    yield go
    destroy_process_group()
