"""Says when nothing is learnt, and why that may be; quiet otherwise.

"My LoRA does nothing" is what users of the peers ask most often after memory. A run in which the gradients are zero,
or the LoRA or the camera adapter stays where it was, looks like any other until its files are tried.
"""

from collections.abc import Sequence

from torch import Tensor

from common.logs import get_logger
from training.trainable import ADAPTER, DIT, LORA, Trainable

log = get_logger("training")

FIRST_STEPS = 10
"""Steps after which is looked for the first time."""
EVERY_STEPS = 200
"""And from then on."""
_STILL = 1e-6
_ADVICE = {
    LORA: "look at --learning_rate, --lr_warmup_steps and --network_weights",
    ADAPTER: "look at --adapter_learning_rate, --camera_dropout and the range of the timesteps",
    DIT: "look at --learning_rate; weights below float32 swallow small updates",
}
_NAMES = {LORA: "the LoRA", ADAPTER: "the camera adapter", DIT: "what --trainable_modules trains"}


def output_tensors(trainable: Sequence[Trainable], adapter_outputs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """The tensors of each part that decide whether it does anything; they start at zero, so weight decay alone does
    not move them.

    Args:
        trainable: of the run.
        adapter_outputs: the weights of the adapter's output layers, its gates.
    """
    parts: dict[str, list[Tensor]] = {}
    for item in trainable:
        if item.part == DIT or (item.part == LORA and "lora_up" in item.key):
            parts.setdefault(item.part, []).append(item.parameter.detach())
    if adapter_outputs and any(item.part == ADAPTER for item in trainable):
        parts[ADAPTER] = [weight.detach() for weight in adapter_outputs]
    return parts


class SelfCheck:
    """Watches a run from step to step.

    Args:
        parts: of `output_tensors`; they are looked at where they lie.
        step: steps done already.
    """

    def __init__(self, parts: dict[str, list[Tensor]], step: int) -> None:
        self._parts = parts
        self._norms = {part: _norms(tensors) for part, tensors in parts.items()}
        self._since, self._next = step, step + FIRST_STEPS
        self._learning = 0.0
        self._zeros = 0

    def observe(self, step: int, gradient_norm: float, learning_rate: float) -> list[str]:
        """Look at one optimizer step.

        Args:
            step: its number, from 1 on.
            gradient_norm: length of the gradient before clipping.
            learning_rate: the highest of the optimizer's groups.

        Returns:
            what is wrong, a sentence each; usually nothing.
        """
        self._learning += learning_rate
        self._zeros = self._zeros + 1 if gradient_norm == 0.0 else 0
        said = []
        if self._zeros in (1, FIRST_STEPS) or (self._zeros and self._zeros % EVERY_STEPS == 0):
            said.append(
                f"step {step}: every gradient is zero, so nothing is learnt; is the DiT's head untrained (zero)?"
            )
        if step >= self._next:
            # zero gradients were told of already, and still weights follow from them
            if self._learning > 0 and not self._zeros:
                said += self._still(step)
            self._norms = {part: _norms(tensors) for part, tensors in self._parts.items()}
            self._since, self._next, self._learning = step, step + EVERY_STEPS, 0.0
        return said

    def _still(self, step: int) -> list[str]:
        said = []
        for part, tensors in self._parts.items():
            if all(
                abs(now - before) <= _STILL * before
                for now, before in zip(_norms(tensors), self._norms[part], strict=True)
            ):
                said.append(
                    f"step {step}: {_NAMES[part]} has not moved since step {self._since}, so it learns nothing; "
                    f"{_ADVICE[part]}"
                )
        return said


def _norms(tensors: Sequence[Tensor]) -> list[float]:
    return [float(tensor.float().norm()) for tensor in tensors]
