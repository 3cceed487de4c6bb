"""`--compile` and the other flags that make the same numbers come faster."""

import torch

from training.config import TrainingConfig
from wan.model import WanModel


def set_backends(config: TrainingConfig) -> None:
    """TF32, cuDNN's search for kernels, and how many versions of a block are compiled."""
    if config.cuda_allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    if config.cuda_cudnn_benchmark:
        torch.backends.cudnn.benchmark = True
    if config.compile_cache_size_limit is not None:
        torch._dynamo.config.cache_size_limit = config.compile_cache_size_limit


def compile_blocks(config: TrainingConfig, dit: WanModel) -> bool:
    """Let the DiT's blocks be compiled when they first run, if the flags ask for it; names of weights stay.

    Blocks are compiled one by one: they are alike, so that one graph serves all.

    Returns:
        whether they are.
    """
    older = config.dynamo_backend != "NO"
    if not (config.compile or older):
        return False
    dynamic = {None: None, "auto": None, "true": True, "false": False}[config.compile_dynamic]
    for block in dit.blocks:
        block.compile(
            backend=config.compile_backend if config.compile else config.dynamo_backend.lower(),
            mode=config.compile_mode if config.compile else config.dynamo_mode or "default",
            dynamic=True if config.dynamo_dynamic else dynamic,
            fullgraph=config.compile_fullgraph or config.dynamo_fullgraph,
        )
    return True
