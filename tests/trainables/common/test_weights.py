"""What a checkpoint's folder may name outside of itself: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainables.common.weights import INDEX, copy_licences, weight_files


@pytest.mark.parametrize(
    "where", ["../other/model.safetensors", "/etc/hostname", "sub/w.safetensors"]
)
def test_an_index_names_no_file_elsewhere(tmp_path: Path, where: str) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    (folder / "sub").mkdir(parents=True)
    other.mkdir()
    for path in (other / "model.safetensors", folder / "sub" / "w.safetensors"):
        path.touch()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": where}}))
    with pytest.raises(ValueError, match=f"names '{where}', but the weights"):
        weight_files(folder)


def test_a_licence_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("key")
    (folder / "LICENSE").symlink_to("LICENSE.txt")
    (folder / "LICENSE.txt").write_text("MIT")
    (tmp_path / "to").mkdir()
    assert copy_licences(folder, tmp_path / "to") == ["LICENSE", "LICENSE.txt"]
    (folder / "NOTICE").symlink_to(secret)
    with pytest.raises(ValueError, match=r"NOTICE is a link to .*secret, outside"):
        copy_licences(folder, tmp_path / "to")


def test_a_cache_keeps_its_licences_in_blobs(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text("MIT")
    (snapshot / "LICENSE").symlink_to("../../blobs/abc")
    assert copy_licences(snapshot, tmp_path) == ["LICENSE"]
    assert (tmp_path / "LICENSE").read_text() == "MIT"
