"""The flags of how the same numbers are computed faster, and those of musubi-tuner that change nothing here."""

from dataclasses import dataclass

from training.options import option

_KERNELS = "attention runs through PyTorch's kernels, flash and cuDNN among them"
_NO_DDP = "gradients are averaged without DistributedDataParallel, which it would tune"
NO_EFFECT = {
    "flash_attn": _KERNELS,
    "flash3": _KERNELS,
    "xformers": _KERNELS,
    "sage_attn": "it has no backward pass; " + _KERNELS,
    "split_attn": "no kernel here needs the clips of a batch one by one",
    "ddp_gradient_as_bucket_view": _NO_DDP,
    "ddp_static_graph": _NO_DDP,
    "force_v2_1_time_embedding": "Wan2.1 has that time embedding",
    "guidance_scale": "no Wan2.1 model is trained with it; it is kept for the metadata",
}
"""Flags that are accepted and do nothing, with the reason."""


@dataclass(frozen=True)
class DeviceOptions:
    """The part of `training.config.TrainingConfig` that is about the device."""

    flash_attn: bool = option(False, f"no effect: {NO_EFFECT['flash_attn']}")
    flash3: bool = option(False, f"no effect: {NO_EFFECT['flash3']}")
    xformers: bool = option(False, f"no effect: {NO_EFFECT['xformers']}")
    sage_attn: bool = option(False, f"no effect: {NO_EFFECT['sage_attn']}")
    split_attn: bool = option(False, f"no effect: {NO_EFFECT['split_attn']}")
    guidance_scale: float = option(1.0, f"no effect: {NO_EFFECT['guidance_scale']}", type=float)
    force_v2_1_time_embedding: bool = option(False, f"no effect: {NO_EFFECT['force_v2_1_time_embedding']}")

    compile: bool = option(False, "compile the DiT's blocks with torch.compile")
    compile_backend: str = option("inductor", "backend of --compile", metavar="NAME")
    compile_mode: str = option(
        "default",
        "mode of --compile",
        choices=("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    )
    compile_dynamic: str | None = option(
        None, "compile for any shape: true, false, or auto (the default)", choices=("true", "false", "auto")
    )
    compile_fullgraph: bool = option(False, "an error where a block cannot be compiled in one piece")
    compile_cache_size_limit: int | None = option(None, "most versions of a block that are compiled", type=int)
    dynamo_backend: str = option(
        "NO", "as --compile with --compile_backend; NO for none", metavar="NAME", type=str.upper
    )
    dynamo_mode: str | None = option(None, "as --compile_mode", choices=("default", "reduce-overhead", "max-autotune"))
    dynamo_fullgraph: bool = option(False, "as --compile_fullgraph")
    dynamo_dynamic: bool = option(False, "as --compile_dynamic true")
    cuda_allow_tf32: bool = option(False, "let float32 products round to TF32 on an NVIDIA GPU")
    cuda_cudnn_benchmark: bool = option(False, "let cuDNN try out its kernels")

    ddp_timeout: int | None = option(None, "minutes a process waits for the others; default: PyTorch's", type=int)
    ddp_gradient_as_bucket_view: bool = option(False, f"no effect: {_NO_DDP}")
    ddp_static_graph: bool = option(False, f"no effect: {_NO_DDP}")

    def check_device(self) -> None:
        """Refuse numbers out of range.

        Raises:
            ValueError: names the flag.
        """
        for flag in ("ddp_timeout", "compile_cache_size_limit"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise ValueError(f"--{flag} {value}: at least 1 is needed")

    def unused_device_flags(self) -> list[str]:
        """What was given without effect, one sentence each."""
        given = [flag for flag in NO_EFFECT if getattr(self, flag) is True]
        given += ["guidance_scale"] if self.guidance_scale != 1.0 else []
        return [f"--{flag} has no effect: {NO_EFFECT[flag]}" for flag in given]
