"""The files of weights that this project reads: where each comes from, where it goes, and its licence.

Sources of the names: huggingface.co/Wan-AI/Wan2.1-I2V-14B-720P (T5, CLIP, VAE, tokenizers),
huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged (DiTs), huggingface.co/alibaba-pai/Wan2.1-Fun-14B-Control, and
github.com/naver/dust3r (DUSt3R).
"""

from dataclasses import dataclass

from wan.config import DIT_FOLDER, WAN_CONFIGS

HUB = "https://huggingface.co"
WAN_REPO = "Wan-AI/Wan2.1-I2V-14B-720P"
COMFY_REPO = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"

APACHE = "Apache-2.0"
DUST3R_LICENCE = "CC BY-NC-SA 4.0 (not for commercial use)"


@dataclass(frozen=True)
class WeightFile:
    """One file to fetch: from a repository of the hub, or from an address of its own."""

    name: str
    """What users type at `--only`."""
    target: str
    """Where it goes, relative to the repository root."""
    repo: str | None
    """Repository on the Hugging Face hub; None for a file from elsewhere."""
    path: str
    """Path in the repository, or the whole address where there is none."""
    licence: str
    """Licence of the weights."""

    def url(self, endpoint: str = HUB) -> str:
        """Where it is fetched from; `endpoint` is the hub or a mirror of it."""
        return f"{endpoint.rstrip('/')}/{self.repo}/resolve/main/{self.path}" if self.repo else self.path


def _wan(name: str, path: str) -> WeightFile:
    return WeightFile(name, f"weights/{path}", WAN_REPO, path, APACHE)


def _comfy(name: str, file: str) -> WeightFile:
    return WeightFile(name, f"{DIT_FOLDER}/{file}", COMFY_REPO, f"split_files/diffusion_models/{file}", APACHE)


CATALOGUE: tuple[WeightFile, ...] = (
    _wan("t5", "models_t5_umt5-xxl-enc-bf16.pth"),
    _wan("clip", "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"),
    _wan("vae", "Wan2.1_VAE.pth"),
    _wan("tokenizer", "google/umt5-xxl/tokenizer.json"),
    _wan("clip-tokenizer", "xlm-roberta-large/tokenizer.json"),
    *(
        _comfy(f"i2v-{size}-{short}", f"wan2.1_i2v_{size}_14B_{kind}.safetensors")
        for size in ("480p", "720p")
        for short, kind in (("bf16", "bf16"), ("fp16", "fp16"), ("fp8", "fp8_e4m3fn"))
    ),
    _comfy("t2v-14B-bf16", "wan2.1_t2v_14B_bf16.safetensors"),
    _comfy("t2v-14B-fp16", "wan2.1_t2v_14B_fp16.safetensors"),
    _comfy("t2v-14B-fp8", "wan2.1_t2v_14B_fp8_e4m3fn.safetensors"),
    _comfy("t2v-1.3B-bf16", "wan2.1_t2v_1.3B_bf16.safetensors"),
    _comfy("t2v-1.3B-fp16", "wan2.1_t2v_1.3B_fp16.safetensors"),
    _comfy("flf2v-fp16", "wan2.1_flf2v_720p_14B_fp16.safetensors"),
    _comfy("flf2v-fp8", "wan2.1_flf2v_720p_14B_fp8_e4m3fn.safetensors"),
    _comfy("fun-control-1.3B", "wan2.1_fun_control_1.3B_bf16.safetensors"),
    WeightFile(
        "fun-control-14B",
        f"{DIT_FOLDER}/Wan2.1-Fun-14B-Control.safetensors",
        "alibaba-pai/Wan2.1-Fun-14B-Control",
        "diffusion_pytorch_model.safetensors",
        APACHE,
    ),
    WeightFile(
        "dust3r",
        "weights/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth",
        None,
        "https://download.europe.naverlabs.com/ComputerVision/DUSt3R/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth",
        DUST3R_LICENCE,
    ),
)

DOWNLOADED_TASKS = tuple(task for task in WAN_CONFIGS if task != "i2v-tiny")
"""Tasks that have weights to download; `make demo` makes those of i2v-tiny."""


def files_of_task(task: str) -> list[WeightFile]:
    """The files that a task reads by default, and DUSt3R, which lifts cameras from videos for every task."""
    config = WAN_CONFIGS[task]
    places = [config.weights.dit, config.weights.vae, config.weights.t5, f"{config.weights.tokenizer}/tokenizer.json"]
    names = {"dust3r"} | ({"clip", "clip-tokenizer"} if config.clip else set())
    return [file for file in CATALOGUE if file.target in places or file.name in names]


def files_named(names: list[str]) -> list[WeightFile]:
    """The files of these names.

    Raises:
        ValueError: an unknown name; lists those there are.
    """
    known = {file.name: file for file in CATALOGUE}
    for name in names:
        if name not in known:
            raise ValueError(f"--only {name}: there is no file of that name; choose from {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]
