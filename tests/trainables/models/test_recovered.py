"""Trained tensors: saved, read back and merged as PEFT would merge them."""

from __future__ import annotations

import copy

import pytest
import torch

from trainables.models.families.llava import LLAVA_LLAMA
from trainables.models.recovered import apply_recovered, save_recovered

PROJECTOR = f"{LLAVA_LLAMA.projector}.linear_1.weight"
QUERY = f"{LLAVA_LLAMA.layers}.1.self_attn.q_proj"


def _trained(model, rank, alpha):
    """The model under PEFT with random LoRA tensors, and a random projector."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=LLAVA_LLAMA.lora_target_regex(), lora_dropout=0.0
    )
    wrapped = get_peft_model(copy.deepcopy(model), config)
    trained = {}
    for name, parameter in wrapped.named_parameters():
        if ".lora_" in name or LLAVA_LLAMA.projector in name:
            parameter.data = torch.randn_like(parameter) / 10
            trained[name.removeprefix("base_model.model.").replace(".default.", ".")] = parameter
    return wrapped, trained


def test_merge_equals_merge_and_unload_of_peft(llava, batch, tmp_path):
    wrapped, trained = _trained(llava, rank=3, alpha=12)
    lora = {name: t for name, t in trained.items() if ".lora_" in name}
    rest = {name: t for name, t in trained.items() if ".lora_" not in name}
    assert len(lora) == 2 * 7 * 4
    save_recovered(tmp_path / "r.safetensors", rest, lora, rank=3, alpha=12)
    merged = copy.deepcopy(llava)
    apply_recovered(merged, tmp_path / "r.safetensors")
    expected = wrapped.merge_and_unload()
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), parameter, atol=1e-6, rtol=1e-6)
    got, wanted = merged(**batch).logits, expected(**batch).logits
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert (got - llava(**batch).logits).abs().max() > 0.1


def test_projector_alone(llava, tmp_path):
    new = torch.randn_like(llava.get_parameter(PROJECTOR))
    save_recovered(tmp_path / "r.safetensors", {PROJECTOR: new}, {}, rank=1, alpha=1.0)
    before = copy.deepcopy(llava.state_dict())
    apply_recovered(llava, tmp_path / "r.safetensors")
    changed = [n for n, t in llava.state_dict().items() if not torch.equal(t, before[n])]
    assert changed == [PROJECTOR]
    assert torch.equal(llava.get_parameter(PROJECTOR), new)


def test_lonely_lora_tensor_is_refused(tmp_path):
    with pytest.raises(ValueError, match="q_proj has one"):
        save_recovered(tmp_path / "r", {}, {f"{QUERY}.lora_A.weight": torch.ones(2, 3)}, 2, 4)
    assert not list(tmp_path.iterdir())


def test_tensors_of_another_student_leave_the_model_unchanged(llava, tmp_path):
    lora = {
        f"{QUERY}.lora_A.weight": torch.ones(2, 32),
        f"{QUERY}.lora_B.weight": torch.ones(2, 2).T,  # 2 rows; the query has 32
    }
    new = torch.zeros_like(llava.get_parameter(PROJECTOR))
    save_recovered(tmp_path / "r", {PROJECTOR: new}, lora, 2, 4)
    before = copy.deepcopy(llava.state_dict())
    with pytest.raises(ValueError, match="student of another plan"):
        apply_recovered(llava, tmp_path / "r")
    assert all(torch.equal(t, before[n]) for n, t in llava.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", b"\x10\0\0\0\0\0\0\0not json"])
def test_unreadable_file(llava, tmp_path, content):
    path = tmp_path / "r.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="no readable recovered tensors"):
        apply_recovered(llava, path)
