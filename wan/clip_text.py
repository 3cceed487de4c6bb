"""Image-text scores: CLIP's two towers and their projections, with the layers of `transformers`.

The video model needs neither; a caption check does.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaModel

from wan.clip import CLIPVision
from wan.config import CLIPConfig, CLIPTextConfig
from wan.tokenizer import Tokenizer


class CLIPText(nn.Module):
    """Token numbers to a point in the space that texts and images share (official `XLMRobertaWithHead`)."""

    def __init__(self, config: CLIPTextConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.model = XLMRobertaModel(
            XLMRobertaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.dim,
                intermediate_size=config.dim * config.mlp_ratio,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                max_position_embeddings=config.positions,
                type_vocab_size=1,
                pad_token_id=config.pad_id,
                layer_norm_eps=config.eps,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        # on the CPU even where the parameters are built on meta: their values are known here
        positions = torch.arange(config.positions, device="cpu")[None]
        self.model.embeddings.register_buffer("position_ids", positions, persistent=False)
        self.model.embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
        hidden = (config.dim + embed_dim) // 2
        self.projection = nn.Sequential(
            nn.Linear(config.dim, hidden, bias=False), nn.GELU(), nn.Linear(hidden, embed_dim, bias=False)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """The mean over the tokens that are no padding, projected.

        Args:
            ids: [B, L] token numbers, padded with `config.pad_id`.

        Returns:
            [B, embed_dim] in the dtype of the weights, not normalised.

        Source: open_clip `MeanPooler` and its `mlp` projection; official `wan/modules/clip.py`.
        """
        mask = ids != self.config.pad_id
        tokens = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask[..., None].to(tokens.dtype)
        return self.projection((tokens * weights).sum(dim=1) / weights.sum(dim=1))


class CLIPImageText(nn.Module):
    """Both towers of open-clip's XLM-RoBERTa ViT-H/14; `wan.keys_clip_text` has the official parameter names.

    Args:
        config: of the image encoder; its `text` must not be None.
        tokenizer: of the text tower; without one, `encode_text` says what is missing.
    """

    def __init__(self, config: CLIPConfig, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        assert config.text is not None, "a config without a text tower"
        self.config = config
        self.tokenizer = tokenizer
        self.vision = CLIPVision(config, whole=True)
        self.image_projection = nn.Parameter(torch.randn(config.dim, config.embed_dim) / config.dim**0.5)
        self.text = CLIPText(config.text, config.embed_dim)
        self.log_scale = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Images of any size [B, 3, H, W] in [-1, 1] -> [B, embed_dim] in the dtype of the weights, not normalised.

        The class token after the last block, through the post norm and the projection (official pool type `token`).
        """
        weight = self.image_projection
        pixels = self.vision.prepare_images(images.to(weight.device)).to(weight.dtype)
        return self.vision.pooled(pixels) @ weight

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [B, embed_dim] in the dtype of the weights, not normalised; each text is cut to 512 tokens.

        Raises:
            FileNotFoundError: the towers were loaded without a tokenizer.
        """
        if self.tokenizer is None:
            raise FileNotFoundError(
                "CLIP's text tower has no tokenizer: put the folder xlm-roberta-large of the Wan2.1 download beside "
                "its weights, or name it when loading"
            )
        numbers = [torch.tensor(item) for item in self.tokenizer(texts)]
        pad = self.text.config.pad_id
        ids = nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=pad)
        return self.text(ids.to(self.image_projection.device))

    @torch.no_grad()
    def similarity(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """How well each text describes each image.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            texts: M of them.

        Returns:
            [N, M] in float32: the cosine of each pair times exp(log_scale), CLIP's logits; a softmax over the texts
            gives their probabilities.
        """
        image = F.normalize(self.encode_image(images).float(), dim=-1)
        text = F.normalize(self.encode_text(texts).float(), dim=-1)
        return self.log_scale.float().exp() * image @ text.T
