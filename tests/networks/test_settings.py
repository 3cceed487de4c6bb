"""`--network_args`: how they are read, and what patterns, ranks and dropouts do."""

import pytest
import torch

from networks.lora_wan import LoRALinear, create_network
from networks.settings import NetworkSettings, parse_settings
from tests.networks.test_lora_wan import call, make_dit, randomise


def test_values_are_literals_or_words() -> None:
    settings = parse_settings(
        ["rank_dropout=0.1", "exclude_patterns=[r'.*ffn.*', '.*cross.*']", "rank_pattern={'q': 8}", "algo=loha"]
    )
    assert settings.rank_dropout == 0.1 and settings.algo == "loha" and settings.rank_pattern == {"q": 8}
    assert list(settings.exclude_patterns) == [".*ffn.*", ".*cross.*"]
    assert parse_settings(None) == NetworkSettings()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("rank_dropout", "key=value"),
        ("rank_droput=0.1", "did you mean rank_dropout"),
        ("rank_dropout=1.0", "rank_dropout"),
        ("module_dropout=often", "no number"),
        ("exclude_patterns='.*'", "a list is needed"),
        ("exclude_patterns=['(']", "no regular expression"),
        ("include_patterns=[.*]", "not a Python literal"),
        ("rank_pattern={'q': 0}", "positive"),
        ("rank_pattern={'q': 1.5}", "positive"),
        ("loraplus_lr_ratio=-1", "positive"),
        ("dora_wd=1", "True or False"),
    ],
)
def test_mistakes_are_named(argument: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse_settings([argument])
    assert "--network_args" in str(error.value)


def chosen(**settings: object) -> list[str]:
    network = create_network(make_dit(), 2, 2.0, settings=NetworkSettings(**settings))  # pyright: ignore
    return [name.removeprefix("lora_unet_blocks_") for name in network.loras()]


def test_patterns_take_out_and_bring_back(caplog: pytest.LogCaptureFixture) -> None:
    everything = chosen()
    assert chosen(exclude_patterns=[r".*ffn\..*"]) == [name for name in everything if "ffn" not in name]
    back = chosen(exclude_patterns=[r".*"], include_patterns=[r"blocks\.1\..*k_img", r".*ffn\.0"])
    assert back == ["0_ffn_0", "1_cross_attn_k_img", "1_ffn_0"]
    assert not caplog.text
    assert chosen(include_patterns=[r".*ffn.*"]) == everything and "include_patterns" in caplog.text


@pytest.mark.parametrize("key", ["exclude_patterns", "include_patterns"])
def test_patterns_fit_whole_paths_and_must_fit_something(key: str) -> None:
    with pytest.raises(ValueError, match=rf"{key}: 'ffn' fits none of the 24"):
        chosen(**{key: ["ffn"]})
    with pytest.raises(ValueError, match="leave no module"):
        chosen(exclude_patterns=[".*"])
    with pytest.raises(ValueError, match=r"rank_pattern: 'attn\.q'"):
        chosen(rank_pattern={"attn.q": 2})


def test_ranks_and_alphas_by_pattern() -> None:
    settings = NetworkSettings(rank_pattern={"ffn.0": 8, r"blocks\.1\..*": 3}, alpha_pattern={"k_img": 6})
    loras = create_network(make_dit(), 2, 1.0, settings=settings).loras()
    ranks = {name.removeprefix("lora_unet_blocks_"): (lora.rank, lora.alpha.item()) for name, lora in loras.items()}
    assert ranks["0_ffn_0"] == ranks["1_ffn_0"] == (8, 1.0), "the first pattern that fits"
    assert ranks["1_cross_attn_k_img"] == (3, 6.0) and ranks["0_cross_attn_k_img"] == (2, 6.0)
    assert ranks["0_self_attn_k"] == (2, 1.0)
    assert loras["lora_unet_blocks_1_cross_attn_k_img"].scale == 2.0


def layer(**dropouts: float) -> LoRALinear:
    torch.manual_seed(0)
    lora = LoRALinear(6, 5, 4, 4.0, **dropouts)
    torch.nn.init.normal_(lora.lora_up.weight)
    return lora


def test_rank_dropout_takes_a_channel_from_a_whole_clip_and_keeps_the_mean() -> None:
    x, lora = torch.randn(2, 7, 6), layer(rank_dropout=0.5)
    parts = torch.einsum("ri,bti,or->btro", lora.lora_down.weight, x, lora.lora_up.weight)

    def low() -> torch.Tensor:
        return lora(lambda rows: torch.zeros(len(rows), 5), x)

    several = torch.stack([low() for _ in range(600)])
    torch.testing.assert_close(several.mean(0), parts.sum(2), atol=0.6, rtol=0.1)
    # a subset of the four channels, twice as strong, the same for the seven tokens of a clip
    subsets = torch.stack([torch.tensor([(n >> bit) & 1 for bit in range(4)]) for n in range(16)]).float()
    possible = torch.einsum("nr,btro->nbto", 2 * subsets, parts)
    for clip in range(2):
        distance = (possible[:, clip] - several[0, clip]).flatten(1).norm(dim=1)
        assert distance.min() < 1e-4
    lora.eval()
    torch.testing.assert_close(low(), parts.sum(2))


def test_module_dropout_leaves_the_whole_part_out() -> None:
    x, lora = torch.randn(1, 3, 6), layer(module_dropout=0.25)
    results = torch.stack([lora(lambda rows: torch.ones(len(rows), 5), x) for _ in range(800)])
    without = (results == 1).flatten(1).all(1)
    assert without.float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert (results[~without] == results[~without][0]).all()


@pytest.mark.parametrize("kind", ["rank_dropout", "module_dropout"])
def test_dropout_is_the_same_again_when_a_block_is_recomputed(kind: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        dit = make_dit().requires_grad_(False)
        network = create_network(dit, 4, 4.0, settings=NetworkSettings(**{kind: 0.5}))
        randomise(network)
        network.apply_to(dit)
        if checkpointing:
            dit.enable_gradient_checkpointing()
        torch.manual_seed(1)
        call(dit).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None) and (one is None or torch.equal(one, other))


@pytest.mark.parametrize("longest", [0.05, 1.0, 1e6])
def test_norms_are_limited_as_measured_on_the_whole_product(longest: float) -> None:
    network = create_network(make_dit(), 4, 2.0)
    randomise(network)
    before = {name: lora.lora_up.weight @ lora.lora_down.weight * lora.scale for name, lora in network.loras().items()}
    network.limit_norms(longest)
    for name, lora in network.loras().items():
        after, old = lora.lora_up.weight @ lora.lora_down.weight * lora.scale, before[name]
        torch.testing.assert_close(after, old * min(1.0, longest / old.norm().item()), rtol=1e-4, atol=1e-7)


def test_dora_is_refused_with_the_way_to_it() -> None:
    with pytest.raises(ValueError, match=r"lycoris\.kohya --network_args algo=lora dora_wd=True"):
        create_network(make_dit(), 2, 1.0, settings=NetworkSettings(dora_wd=True))
