"""onnxruntime computes the user vectors that torch does, from a file that no snapshot changes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import ModelSizes, Tuning
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import Rows
from pipeline.model.last_acts import attention_maps, last_users, served_tower
from pipeline.model.onnx_tower import OnnxTower, check_installed, exported, learned_in, named_maps
from pipeline.model.recommender import Recommender
from pipeline.state.segments import Segment
from tests.support.families import model_of
from tests.unit.model.test_last_acts import ITEMS, segment

WIDTH = 32
WITHOUT_TORCH = """
import sys
sys.modules.update(torch=None, transformers=None)  # an import of them fails
import numpy as np
import onnxruntime
inputs = dict(np.load(sys.argv[2]))
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
assert {one.name for one in session.get_inputs()} == set(inputs)
np.save(sys.argv[3], session.run(["users"], inputs)[0])
"""


def made(backbone: Backbone, sizes: ModelSizes) -> tuple[Recommender, Rows]:
    with torch.random.fork_rng():
        model = Recommender(backbone, sizes, seed=0).eval()
        move(model)
        return model, Rows(torch.randn(ITEMS, WIDTH), torch.randn(ITEMS, WIDTH), torch.zeros(ITEMS))


def move(model: Recommender) -> None:
    """Change all that is learned, in place."""
    with torch.no_grad():
        for parameter in model.learned().values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def segments(*lengths: int) -> list[Segment]:
    random = np.random.default_rng(0)
    return [segment(random, length) for length in lengths]


@pytest.mark.parametrize(
    ("family", "layers", "tuning"), [("bert", 1, "lora"), ("bert", 2, "prefix"), ("gpt2", 1, "bottleneck")]
)
def test_its_users_are_torchs_also_after_the_parameters_have_changed(
    backbone: Backbone, tmp_path: Path, family: str, layers: int, tuning: Tuning
) -> None:
    sizes = ModelSizes(tuning=tuning, layers=layers, lora_rank=2, lora_alpha=4, adapter_rank=4)
    backbone = Backbone(model_of(family), backbone.tokenizer, family)
    model, items = made(backbone, sizes)
    file = exported(backbone, sizes, model, tmp_path)
    tower, asked = OnnxTower(file, model), segments(2, 9, 3, 30)
    before = tower.last_users(asked, items, 40, attention_maps(model.tower))
    for _ in range(2):
        for context in (1, 4, 40):
            for some in (asked, asked[:1], asked[3:]):
                served = served_tower(model.tower)
                found = tower.last_users(some, items, context, served and served.maps)
                expected = last_users(some, model, items, context, served)
                assert torch.allclose(found, expected, rtol=0, atol=1e-4)
        move(model)
    assert (tower.last_users(asked, items, 40, attention_maps(model.tower)) - before).abs().max() > 0.01


def test_a_file_is_made_once_for_a_model_and_sizes_and_without_a_line(
    backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sizes = ModelSizes(layers=1, lora_rank=2, lora_alpha=4, adapter_rank=4)
    model, _ = made(backbone, sizes)
    file = exported(backbone, sizes, model, tmp_path)
    assert not caplog.records
    made_at = file.stat().st_mtime_ns
    move(model)
    assert exported(backbone, sizes, model, tmp_path) == file
    assert file.stat().st_mtime_ns == made_at
    other = Backbone(backbone.model, backbone.tokenizer, "another")
    assert exported(other, sizes, model, tmp_path) != file
    assert {path.suffix for path in tmp_path.iterdir()} == {".onnx"}


def test_a_process_without_torch_computes_the_same_users(backbone: Backbone, tmp_path: Path) -> None:
    sizes = ModelSizes(layers=1, lora_rank=2, lora_alpha=4, adapter_rank=4)
    model, items = made(backbone, sizes)
    (acts,) = segments(9)
    known = acts.cut(0, 8)
    with torch.no_grad():
        vectors = model.item_vectors(Rows(*(column[torch.from_numpy(known.items)] for column in items)))
    inputs = {
        "vectors": vectors.numpy()[None],
        **{name: getattr(known, name)[None] for name in ("types", "values", "gaps")},
        "lengths": np.array([8]),
        **{name: part.detach().numpy() for name, part in learned_in(model).items()},
        **named_maps(attention_maps(model.tower)),
    }
    np.savez(tmp_path / "inputs.npz", allow_pickle=False, **inputs)
    file = exported(backbone, sizes, model, tmp_path)
    paths = file, tmp_path / "inputs.npz", tmp_path / "users.npy"
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, paths)], check=True, timeout=120)
    found, expected = (
        np.load(paths[2]),
        last_users([acts], model, items, 40, served_tower(model.tower)).numpy(),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(InvalidSettings, match=r"onnxscript is not .*: pip install .millstream\[onnx\]"):
        check_installed()
