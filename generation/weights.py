"""The files of weights that a request needs: found, and looked at, before any of them is read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.arguments import ROOT, named
from common.files import require_file
from networks.merging import check_lora
from wan.adapters.files import open_adapter
from wan.config import TaskConfig
from wan.fp8 import Fp8Mode
from wan.keys import dit_to_diffusers
from wan.loading import open_dit
from wan.loading_encoders import open_clip, open_t5, open_vae
from wan.recognise import recognise


def find_adapter(given: str | None, loras: Sequence[str], dit: str | Path, task: TaskConfig) -> Path:
    """The camera adapter's file: the one asked for, one trained with a LoRA, one beside the DiT, or the task's own.

    Args:
        given: what `--camera_adapter` says; None where it was left out.
        loras: the files of `--lora_weight`.
        dit: the DiT's file.
        task: whose default is the last place looked at.

    Raises:
        FileNotFoundError: there is none; the message names the places.
        ValueError: `given` is empty.
    """
    if given is not None:
        path = named(given, "--camera_adapter")
        return require_file(path, "the camera adapter", "Check --camera_adapter.")
    with_lora = [Path(lora).with_name(f"{Path(lora).stem}_camera.safetensors") for lora in loras]
    places = [*with_lora, Path(dit).with_name("camera_adapter.safetensors"), ROOT / task.weights.adapter]
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(map(str, dict.fromkeys(places)))
    raise FileNotFoundError(
        f"a camera move is asked for, but there is no camera adapter at {looked}. "
        "Pass --camera_adapter, or --no_camera to let the tags reach the model as text only."
    )


def check_weights(
    task: TaskConfig,
    files: Mapping[str, str | Path],
    fp8: Fp8Mode = "none",
    loras: Sequence[str] = (),
    adapter: Path | None = None,
    force_adapter: bool = False,
) -> None:
    """Look at the headers of all files of a request: minutes of encoding are not to end in front of a wrong DiT.

    Args:
        task: what the networks are to be.
        files: {"dit", "vae", "t5" or "clip": its file or folder}.
        fp8: how the DiT is to be kept.
        loras: files to be merged into the DiT.
        adapter: the camera adapter's file.
        force_adapter: see `wan.adapters.files.load_adapter`.

    Raises:
        FileNotFoundError, ValueError: as the functions of `wan.loading`, and for LoRAs and adapters of other DiTs.
    """
    dit = open_dit(files["dit"], task.dit, fp8=fp8).module
    open_vae(files["vae"], task.vae)
    open_t5(files["t5"], task.t5)
    if task.clip is not None and "clip" in files:
        open_clip(files["clip"], task.clip)
    for lora in loras:
        contents = recognise(lora)
        if contents.network != "lora":
            raise ValueError(f"--lora_weight {lora} is {contents}, not a LoRA")
        check_lora(dit, lora, dit_to_diffusers)
    if adapter is not None:
        open_adapter(adapter, task.dit, force_adapter)
