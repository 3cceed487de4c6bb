"""The image encoder of Wan2.1's image-to-video models: CLIP's visual tower, with the layers of `transformers`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from wan.config import CLIPConfig


class CLIPVision(nn.Module):
    """Images to image tokens: what enters the last block of the tower, which therefore is not even built.

    With `whole` the last block is there, and `pooled` gives what image-text scores need. Its parameter names are those
    of `transformers.CLIPVisionModel` files (`vision_model.*`); `wan.keys_encoders.clip_table` has the official ones.
    """

    def __init__(self, config: CLIPConfig, whole: bool = False) -> None:
        super().__init__()
        self.config = config
        model = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=config.dim,
                intermediate_size=config.dim * config.mlp_ratio,
                num_hidden_layers=config.num_layers - (not whole),
                num_attention_heads=config.num_heads,
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_act="gelu",
                layer_norm_eps=config.eps,
                attention_dropout=0.0,
            )
        )
        # older releases of transformers keep the tower one level down
        self.vision_model = getattr(model, "vision_model", model)
        # on the CPU even where the parameters are built on meta: their values are known here
        positions = torch.arange(config.tokens, device="cpu")[None]
        self.vision_model.embeddings.register_buffer("position_ids", positions, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Image tokens [B, tokens, dim], class token first, of prepared images (see `prepare_images`)."""
        return self.vision_model(pixel_values=images).last_hidden_state

    def pooled(self, images: Tensor) -> Tensor:
        """The class token after the last block and the post norm, [B, dim], of prepared images; of the whole tower."""
        return self.vision_model(pixel_values=images).pooler_output

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Image tokens of images of any size.

        Args:
            images: [B, 3, H, W] in [-1, 1].

        Returns:
            [B, tokens, dim] in the dtype of the weights; 257 tokens of width 1280 for the official tower.
        """
        weight = self.vision_model.embeddings.patch_embedding.weight
        return self(self.prepare_images(images.to(weight.device)).to(weight.dtype))

    def prepare_images(self, images: Tensor) -> Tensor:
        """Resize to the tower's square, bicubic, without a crop, and normalise, all in float32.

        Args:
            images: [B, 3, H, W] in [-1, 1].

        Returns:
            [B, 3, image_size, image_size] in units of CLIP's pixel statistics.

        Raises:
            ValueError: not a batch of images of three channels.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images {list(images.shape)}: expected [B, 3, H, W]")
        square = (self.config.image_size, self.config.image_size)
        resized = F.interpolate(images.float(), size=square, mode="bicubic", align_corners=False)
        mean = torch.tensor(self.config.mean, device=images.device).view(3, 1, 1)
        std = torch.tensor(self.config.std, device=images.device).view(3, 1, 1)
        return (resized * 0.5 + 0.5 - mean) / std
