"""Parameter names of CLIP's whole file, both towers: official name to the one in `wan.clip_text.CLIPImageText`."""

from dataclasses import replace

from wan.config import CLIPConfig, CLIPTextConfig
from wan.keys_encoders import KeyTable, clip_table


def clip_image_text_table(config: CLIPConfig, text: CLIPTextConfig) -> KeyTable:
    """Official `XLMRobertaCLIP` <-> our module, whose names are those of `transformers` after the tower's own.

    Source: Wan-Video/Wan2.1 `wan/modules/clip.py` and `wan/modules/xlm_roberta.py` (official names).
    """
    # the image encoder's table drops the last block: asked for one more, it drops one that is not there
    vision = clip_table(replace(config, num_layers=config.num_layers + 1))
    table: KeyTable = {name: tuple(f"vision.{key}" for key in ours) for name, ours in vision.items() if ours}
    table |= {"visual.head": ("image_projection",), "log_scale": ("log_scale",)}
    table |= {f"textual.{name}": (f"text.{ours}",) for name, ours in _text_names(text).items()}
    return table


def _text_names(config: CLIPTextConfig) -> dict[str, str]:
    """Official `XLMRobertaWithHead` <-> `XLMRobertaModel` of transformers (`model.`) and our projection."""
    block = {
        "attn.q": "attention.self.query",
        "attn.k": "attention.self.key",
        "attn.v": "attention.self.value",
        "attn.o": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "ffn.0": "intermediate.dense",
        "ffn.2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    names = {
        "token_embedding.weight": "model.embeddings.word_embeddings.weight",
        "type_embedding.weight": "model.embeddings.token_type_embeddings.weight",
        "pos_embedding.weight": "model.embeddings.position_embeddings.weight",
        "head.0.weight": "projection.0.weight",
        "head.2.weight": "projection.2.weight",
    }
    for kind in ("weight", "bias"):
        names[f"norm.{kind}"] = f"model.embeddings.LayerNorm.{kind}"
        for n in range(config.num_layers):
            for official, ours in block.items():
                names[f"blocks.{n}.{official}.{kind}"] = f"model.encoder.layer.{n}.{ours}.{kind}"
    return names
