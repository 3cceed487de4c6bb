"""The text encoder of Wan2.1: umT5, with the layers of `transformers`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from wan.config import T5Config
from wan.tokenizer import Tokenizer


class T5Encoder(nn.Module):
    """Prompts, or token numbers, to text tokens for the diffusion transformer.

    Its parameter names are those of `transformers.UMT5EncoderModel`; the official ones: `wan.keys_encoders.t5_table`.
    """

    def __init__(self, config: T5Config, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        layers = UMT5Config(
            vocab_size=config.vocab_size,
            d_model=config.dim,
            d_kv=config.dim_attn // config.num_heads,
            d_ff=config.dim_ffn,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            relative_attention_num_buckets=config.num_buckets,
            relative_attention_max_distance=config.max_distance,
            layer_norm_epsilon=config.eps,
            dropout_rate=0.0,
        )
        # the model keeps its embedding under two names; its stack has everything once
        self.encoder = UMT5EncoderModel(layers).encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text tokens of padded token numbers.

        Args:
            ids: [B, L] token numbers.
            mask: [B, L], 1 for a token, 0 for padding, which no token looks at.

        Returns:
            [B, L, dim] in the dtype of the weights; rows of padding mean nothing.
        """
        return self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """Text tokens of prompts, all in one batch padded to the longest of them.

        Returns:
            for each prompt [L_i, dim], without padding; L_i is at most `config.text_len`.

        Raises:
            FileNotFoundError: the encoder was loaded without a tokenizer.
        """
        if self.tokenizer is None:
            raise FileNotFoundError(
                "the text encoder has no tokenizer: put tokenizer.json, or the folder google/umt5-xxl of the Wan2.1 "
                "download, beside its weights, or name it when loading"
            )
        if not prompts:
            return []
        device = self.encoder.embed_tokens.weight.device
        numbers = [torch.tensor(item) for item in self.tokenizer(prompts)]
        ids = nn.utils.rnn.pad_sequence(numbers, batch_first=True)
        lengths = torch.tensor([len(item) for item in numbers])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        tokens = self(ids.to(device), mask.to(device))
        return [row[:length] for row, length in zip(tokens, lengths.tolist(), strict=True)]
