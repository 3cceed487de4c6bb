"""The camera layers in the OmniCam-Wan fork's checkpoints: what is there, and whether it was ever used."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from common.streaming import stream_tensors
from common.tensor_headers import TensorEntry
from wan.config import ForkConfig
from wan.keys import fork_camera_names

_BATCHES, _VARIANCE = "myadapter.final_bn2d.num_batches_tracked", "myadapter.final_bn2d.running_var"
# how far a running variance strays from its start of 1 within rounding
_UNMOVED = 1e-3


@dataclass(frozen=True)
class ForkCamera:
    """What a fork's file holds beside the base DiT."""

    tensors: int
    """How many tensors."""
    parameters: int
    """Numbers in them."""
    missing: list[str]
    """Names of layers that the fork's adapter needs and the file lacks."""
    batches: int | None
    """Batches that its batch norm has seen in training mode; None where it is missing."""
    moved: bool
    """Whether any running variance of its batch norm has left its start of 1."""

    @property
    def looks_trained(self) -> bool:
        """Whether it is whole and was run in training.

        That shows use, not learning: the fork's optimizer is given the LoRA alone, so the layers keep their random
        start while the batch norm's statistics move.
        """
        return not self.missing and (bool(self.batches) or self.moved)

    def __str__(self) -> str:
        said = f"{self.tensors} tensors of the fork's camera layers ({self.parameters / 1e6:.1f} M parameters)"
        if self.missing:
            return f"{said}, not whole: {len(self.missing)} missing ({', '.join(self.missing[:3])}, ...)"
        if not self.looks_trained:
            return f"{said}, which look untrained: their batch norm has seen no batch"
        seen = f"{said}, whose batch norm has seen {self.batches} batches"
        return f"{seen}: they ran in training, but the fork's optimizer never changes them"


def examine_fork_camera(camera: Mapping[str, TensorEntry], blocks: int) -> ForkCamera:
    """Look at the fork's camera layers; of their data, two small tensors are read.

    Args:
        camera: the layers, from `wan.keys.set_fork_camera_aside`.
        blocks: of the DiT.
    """
    telling = {name: camera[name] for name in (_BATCHES, _VARIANCE) if name in camera}
    read = dict(stream_tensors(telling, "cpu"))
    batches, variance = read.get(_BATCHES), read.get(_VARIANCE)
    return ForkCamera(
        tensors=len(camera),
        parameters=sum(entry.shape.numel() for entry in camera.values()),
        missing=[name for name in fork_camera_names(blocks) if name not in camera],
        batches=int(batches.max()) if batches is not None and batches.numel() else None,
        moved=variance is not None and bool(((variance.float() - 1).abs() > _UNMOVED).any()),
    )


def fork_config(camera: Mapping[str, TensorEntry], blocks: int) -> ForkConfig:
    """The shape of the fork's adapter, used as the fork used it in training: among all frames, with its geometry.

    Args:
        camera: the layers, from `wan.keys.set_fork_camera_aside`; sizes that they do not tell are the fork's own.
        blocks: of the DiT.
    """
    config = ForkConfig()
    first = camera.get("myadapter.initial_conv.weight")
    middle = camera.get("blocks.0.cross_attn.k_camera1.linear1.weight")
    return replace(
        config,
        hidden_dim=config.hidden_dim if first is None else first.shape[0],
        middle_dim=config.middle_dim if middle is None else middle.shape[0],
        blocks=tuple(range(blocks)),
        same_frame=False,
        geometry="omnicam_legacy",
    )
