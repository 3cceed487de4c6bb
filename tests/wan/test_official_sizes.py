"""Every field of the official networks' configurations, written out by hand.

Source: Wan-Video/Wan2.1 `wan/configs/`, `wan/modules/{model,vae,t5,clip,xlm_roberta}.py`; Fun-Control by its authors'
config.json.
"""

from dataclasses import asdict

import pytest

from wan.config import WAN_CONFIGS

SHARED = {
    "out_dim": 16, "patch_size": (1, 2, 2), "freq_dim": 256, "text_dim": 4096, "text_len": 512, "eps": 1e-6,
    "rope_theta": 10000.0,
}  # fmt: skip
SMALL = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}
LARGE = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
# (width, channels in, width of image tokens, their positions)
DITS = {
    "t2v-1.3B": (SMALL, 16, None, 0),
    "t2v-14B": (LARGE, 16, None, 0),
    "t2i-14B": (LARGE, 16, None, 0),
    "i2v-14B": (LARGE, 36, 1280, 0),
    "flf2v-14B": (LARGE, 36, 1280, 514),
    "t2v-1.3B-FC": (SMALL, 48, 1280, 0),
    "t2v-14B-FC": (LARGE, 48, 1280, 0),
    "i2v-14B-FC": (LARGE, 48, 1280, 0),
}
VAE = {
    "dim": 96, "z_dim": 16, "dim_mult": (1, 2, 4, 4), "num_res_blocks": 2, "temporal_downsample": (False, True, True),
    "patch": 1,
    "mean": (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
             0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    "std": (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
            3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
}  # fmt: skip
T5 = {
    "vocab_size": 256384, "dim": 4096, "dim_attn": 4096, "dim_ffn": 10240, "num_heads": 64, "num_layers": 24,
    "num_buckets": 32, "max_distance": 128, "text_len": 512, "eps": 1e-6,
}  # fmt: skip
CLIP_TEXT = {
    "vocab_size": 250002, "dim": 1024, "mlp_ratio": 4, "num_heads": 16, "num_layers": 24, "positions": 514,
    "pad_id": 1, "eps": 1e-5,
}  # fmt: skip
CLIP = {
    "image_size": 224, "patch_size": 14, "dim": 1280, "mlp_ratio": 4, "num_heads": 16, "num_layers": 32,
    "embed_dim": 1024, "text": CLIP_TEXT, "eps": 1e-5,
    "mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711),
}  # fmt: skip


def test_every_official_task_is_in_the_table():
    assert DITS.keys() == WAN_CONFIGS.keys() - {"i2v-tiny"}


@pytest.mark.parametrize("task", DITS)
def test_every_number_of_the_official_networks(task: str):
    config = WAN_CONFIGS[task]
    widths, in_dim, image_dim, positions = DITS[task]
    own = {"in_dim": in_dim, "image_dim": image_dim, "image_pos_tokens": positions}
    assert asdict(config.dit) == {**SHARED, **widths, **own}
    assert asdict(config.vae) == VAE
    assert asdict(config.t5) == T5
    assert (None if config.clip is None else asdict(config.clip)) == (None if image_dim is None else CLIP)
