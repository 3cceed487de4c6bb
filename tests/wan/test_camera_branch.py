"""Where a camera acts inside a block, and that what is prepared for a video is made once."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from tests.wan.dit_helpers import ADAPTERS, I2V, inputs, relative_error, small_model, trained_adapter
from wan.blocks import CameraBranch, WanAttentionBlock
from wan.rope import rotary_table, video_pairs

GRID = (3, 3, 4)


class BlockInputs:
    """A block of the small DiT in float64, and random tokens for it."""

    def __init__(self) -> None:
        model = small_model().double()
        block = model.blocks[1]
        assert isinstance(block, WanAttentionBlock)
        generator = torch.Generator().manual_seed(2)

        def noise(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.block = block
        self.x = noise(2, 36, I2V.dim)
        self.modulation = noise(2, 6, I2V.dim)
        self.rope = rotary_table(GRID, video_pairs(I2V.head_dim), 10000.0, torch.device("cpu"))
        self.context = model.prepare(noise(2, 5, I2V.text_dim).double(), noise(2, 5, 48).double()).context
        self.added = noise(2, 36, I2V.dim)

    def run(self, branch: CameraBranch | None) -> Tensor:
        with torch.no_grad():
            return self.block(self.x, self.modulation, self.rope, self.context, branch)

    def close_gate(self) -> None:
        """Make the gate of self-attention exactly zero."""
        with torch.no_grad():
            self.block.modulation[:, 2] = 0.0
            self.modulation[:, 2] = 0.0

    def silence_what_follows(self) -> None:
        """Nothing after self-attention moves the residual stream."""
        with torch.no_grad():
            self.block.cross_attn.o.weight.zero_()
            self.block.cross_attn.o.bias.zero_()
            self.block.modulation[:, 5] = 0.0
            self.modulation[:, 5] = 0.0


def test_beside_self_attention_the_camera_passes_the_gate_and_reads_what_attention_reads():
    made = BlockInputs()
    made.silence_what_follows()
    seen: list[Tensor] = []
    read: list[Tensor] = []
    made.block.self_attn.register_forward_pre_hook(lambda _, given: read.append(given[0]))

    def add(y: Tensor) -> Tensor:
        seen.append(y)
        return made.added

    moved = made.run(CameraBranch("beside_self", add)) - made.run(None)
    gate = (made.block.modulation + made.modulation)[:, 2:3]
    assert relative_error(moved, gate * made.added) < 1e-5
    assert torch.equal(seen[0], read[0]), "not the residual stream"


@pytest.mark.parametrize(("place", "gated"), [("beside_self", True), ("after_cross", False)])
def test_a_closed_gate_shuts_out_what_is_beside_self_attention_alone(place, gated: bool):
    made = BlockInputs()
    made.close_gate()
    moved = made.run(CameraBranch(place, lambda _: made.added)) - made.run(None)
    assert bool(moved.any()) != gated


def test_in_cross_attention_the_camera_joins_before_the_output_layer():
    made = BlockInputs()
    made.silence_what_follows()
    with torch.no_grad():
        made.block.cross_attn.o.weight.copy_(0.5 * torch.eye(I2V.dim))
    moved = made.run(CameraBranch("in_cross", lambda _: made.added)) - made.run(None)
    assert relative_error(moved, 0.5 * made.added) < 1e-5


# layers that depend on the camera alone, by design: none of them may run inside the denoising loop
ONCE = {
    "v2": ["fine.rays"],
    "cross": ["ray_embedding.0", "ray_embedding.2", "layers.0.k", "layers.0.v", "layers.1.v"],
    "plucker": ["fine.rays"],
    "v1": ["conv", "myadapter", "blocks.0.cross_attn.k_camera1.linear1", "blocks.2.cross_attn.v_camera1.linear1"],
}


@pytest.mark.parametrize("design", list(ADAPTERS))
def test_what_depends_on_the_camera_alone_is_made_once_for_all_steps_and_branches(
    design: str, monkeypatch: pytest.MonkeyPatch
):
    model, given = small_model(), inputs()
    adapter = trained_adapter(ADAPTERS[design])
    model.attach_adapter(adapter)
    applied: Counter[int] = Counter()
    for name in ("linear", "conv2d"):
        plain = getattr(nn.functional, name)

        def counted(x: Tensor, weight: Tensor, *more: object, plain=plain, **named: object) -> Tensor:
            applied[weight.data_ptr()] += 1
            return plain(x, weight, *more, **named)

        monkeypatch.setattr(nn.functional, name, counted)
    watched = {
        parameter.data_ptr(): name
        for part in ONCE[design]
        for name, parameter in adapter.get_submodule(part).named_parameters(prefix=part)
    }
    calls: Counter[str] = Counter()
    for part in ONCE[design]:
        adapter.get_submodule(part).register_forward_hook(lambda *_, part=part: calls.update([part]))
    with torch.no_grad():
        cond = model.prepare(given.context, given.clip_features, given.camera, cache_kv=True)
        uncond = model.prepare(torch.zeros(2, 1, I2V.text_dim), given.clip_features, cond.camera, cache_kv=True)
        before = {name: applied[pointer] for pointer, name in watched.items()}, dict(calls)
        assert any(before[0].values()) or any(before[1].values())
        results = []
        for timestep in (999.0, 600.0):
            for tokens in (cond, uncond):
                at = torch.full((2,), timestep)
                results.append(model.denoise(given.latents, at, tokens, given.image_condition))
    assert ({name: applied[pointer] for pointer, name in watched.items()}, dict(calls)) == before
    assert all(relative_error(one, other) > 1e-3 for i, one in enumerate(results) for other in results[:i])
