"""What training the tiny DiT with its camera adapter consists of: what trains, a step, the running average."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from camera.network_input import CameraInput
from common.files import atomic_path
from sampling.solvers import apply_flow_shift
from tools.tiny_model.dit_data import EncodedClips
from tools.tiny_model.graphed import GraphedStep
from training.flow_matching import noisy_latents, timesteps_of, velocity_loss, velocity_target
from training.gradients import average_gradients
from wan.model import WanModel

CAMERA_DROPOUT = 0.15
"""Share of the clips that come without their camera, from which the camera-free base learns."""
EMA_DECAY = 0.9995
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01


def choose_parameters(dit: WanModel, parts: str) -> list[nn.Parameter]:
    """Freeze what does not train; the parameters that do.

    Args:
        dit: with its adapter attached, if it has one.
        parts: "all", "base" (the DiT without a camera) or "adapter" (on a frozen DiT).
    """
    for name, parameter in dit.named_parameters():
        parameter.requires_grad_(parts == "all" or (parts == "adapter") == name.startswith("adapter."))
    return [parameter for parameter in dit.parameters() if parameter.requires_grad]


def make_adamw(
    parameters: list[nn.Parameter], learning_rate: float, device: torch.device, capturable: bool = False
) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases, norms and modulations do not. `capturable` in a CUDA graph, on a GPU."""
    matrices = [parameter for parameter in parameters if parameter.ndim > 1 and parameter.shape[0] > 1]
    known = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in parameters if id(parameter) not in known]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}]
    rate = torch.tensor(learning_rate, device=device) if capturable else learning_rate
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=device.type == "cuda", capturable=capturable)


@dataclass
class DiTRun:
    """Everything that a run must remember to go on where it stopped."""

    dit: WanModel
    """In float32, with its adapter attached, if it has one."""
    parameters: list[nn.Parameter]
    """Those that train."""
    optimizer: torch.optim.Optimizer
    flow_shift: float
    seed: int
    accelerator: Accelerator
    """Knows the processes that train together."""
    step: int = 0
    average: list[Tensor] = field(default_factory=list)
    """Running average of the parameters."""
    graphed: GraphedStep | None = None

    def __post_init__(self) -> None:
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def train_step(
        self, clips: EncodedClips, camera: CameraInput, generator: torch.Generator, learning_rate: float
    ) -> Tensor:
        """One optimizer step on this process's clips and those of the others; its own loss, detached, on the device."""
        device = clips.latents.device
        # one generator on the device, set from the one on the CPU: the noise is too large to travel every step
        on_device = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        uniform = torch.rand(len(clips.latents), generator=on_device, device=device)
        inputs = {**vars(clips), **camera._asdict(), "sigmas": apply_flow_shift(uniform, self.flow_shift)}
        inputs["noise"] = torch.randn(clips.latents.shape, generator=on_device, device=device)
        dropout = torch.rand(len(clips.latents), generator=on_device, device=device)
        inputs["kept"] = (dropout >= CAMERA_DROPOUT).float()
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(learning_rate) if isinstance(group["lr"], Tensor) else learning_rate
        loss = (self._update if self.graphed is None else self.graphed)(inputs)
        self.step += 1
        self._follow()
        return loss

    def use_graph(self) -> None:
        """Run the next steps as a CUDA graph; the optimizer must be `capturable`, and all batches of one size."""
        assert self.accelerator.num_processes == 1
        self.graphed = GraphedStep(self._update)

    def _update(self, inputs: dict[str, Tensor]) -> Tensor:
        latents, noise, sigmas = inputs["latents"], inputs["noise"], inputs["sigmas"]
        with_camera = self.dit.adapter is not None
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=latents.is_cuda):
            velocity = self.dit(
                noisy_latents(latents, noise, sigmas),
                timesteps_of(sigmas),
                inputs["context"],
                inputs["clip_features"],
                inputs["condition"].float(),
                CameraInput(*(inputs[name] for name in CameraInput._fields)) if with_camera else None,
                inputs["kept"] if with_camera else None,
            )
        loss = velocity_loss(velocity, velocity_target(latents, noise))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.accelerator.num_processes > 1:
            average_gradients(self.parameters, self.accelerator, self.accelerator.num_processes)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        # a clone: the detached loss would keep the whole graph's storage alive in a list
        return loss.detach().clone()

    @torch.no_grad()
    def _follow(self) -> None:
        # a young average forgets faster, or it would remember the first weights
        weight = 1.0 - min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(1.0 - weight)(self.average, [parameter.detach() for parameter in self.parameters], 0)

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchange weights and average; a second call undoes it."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)

    def save(self, path: Path, clips_seen: int) -> None:
        """Write the whole state, whole or not at all."""
        state = {
            "seed": self.seed,
            "step": self.step,
            "clips": clips_seen,
            "weights": [parameter.detach() for parameter in self.parameters],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> int:
        """Go on from a state; the number of clips that the run has taken from its stream.

        Raises:
            ValueError: it belongs to a run of another seed.
        """
        state = torch.load(path, map_location=self.average[0].device, weights_only=True)
        if state["seed"] != self.seed:
            raise ValueError(
                f"{path} is of a run with --seed {state['seed']}; repeat it, or choose another --state_dir"
            )
        self.step, self.average = state["step"], state["average"]
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["weights"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        return state["clips"]
