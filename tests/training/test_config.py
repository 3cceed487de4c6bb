"""The flags of a run: parsed from a command line as users type it, and refused with the flag's name."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from common.arguments import make_parser
from training.config import TrainingConfig, add_training_options, read_training_options

SEED_COMMAND = """--mixed_precision bf16 --optimizer_type adamw8bit --learning_rate 1e-4 --gradient_checkpointing
    --max_data_loader_n_workers 2 --persistent_data_loader_workers --network_module networks.lora_wan --network_dim 64
    --timestep_sampling shift --discrete_flow_shift 3.0 --max_train_epochs 10 --save_every_n_epochs 1 --seed 42
    --output_dir out --output_name lora"""


def read(command: str) -> TrainingConfig:
    parser = make_parser("test")
    add_training_options(parser)
    return read_training_options(parser.parse_args(command.split()))


def test_the_command_of_the_seed() -> None:
    config = read(SEED_COMMAND)
    assert config == TrainingConfig(
        mixed_precision="bf16",
        optimizer_type="adamw8bit",
        learning_rate=1e-4,
        gradient_checkpointing=True,
        max_data_loader_n_workers=2,
        persistent_data_loader_workers=True,
        network_module="networks.lora_wan",
        network_dim=64,
        timestep_sampling="shift",
        discrete_flow_shift=3.0,
        max_train_epochs=10,
        save_every_n_epochs=1,
        seed=42,
        output_dir="out",
        output_name="lora",
    )
    assert config.rank == 64 and config.sigma_range == (0.0, 1.0)


def test_defaults_are_the_dataclass() -> None:
    assert read("") == TrainingConfig()
    assert TrainingConfig().rank == 4


def test_lists_and_ranges() -> None:
    config = read("--optimizer_args weight_decay=0.1 eps=1e-6 --trainable_modules head ffn --min_timestep 100")
    assert config.optimizer_args == ["weight_decay=0.1", "eps=1e-6"]
    assert config.trainable_modules == ["head", "ffn"]
    assert config.sigma_range == (0.1, 1.0)


@pytest.mark.parametrize(("text", "value"), [("100", 100), ("0.05", 0.05), ("5%", 0.05), ("0", 0)])
def test_warmup_as_steps_or_share(text: str, value: float) -> None:
    assert read(f"--lr_warmup_steps {text}").lr_warmup_steps == pytest.approx(value)


@pytest.mark.parametrize(
    "command",
    [
        "--network_dim 0",
        "--network_alpha 0",
        "--network_dropout 1",
        "--max_train_steps 0",
        "--max_train_epochs -1",
        "--gradient_accumulation_steps 0",
        "--save_every_n_epochs 0",
        "--save_every_n_steps 0",
        "--learning_rate 0",
        "--learning_rate nan",
        "--discrete_flow_shift 0",
        "--sigmoid_scale 0",
        "--max_grad_norm -1",
        "--lr_warmup_steps -5",
        "--lr_warmup_steps 2.5",
        "--seed -1",
        "--max_data_loader_n_workers -1",
        "--min_timestep 500 --max_timestep 400",
        "--max_timestep 1001",
        "--log_with tensorboard",
        "--persistent_data_loader_workers --max_data_loader_n_workers 0",
        "--network_weights x.safetensors",
        "--seed 9223372036854775808",
        "--output_name a/b",
    ],
)
def test_mistakes_name_the_flag(command: str) -> None:
    with pytest.raises(ValueError, match=command.split()[0]):
        read(command)


def test_empty_words_are_refused() -> None:
    with pytest.raises(ValueError, match="--trainable_modules"):
        TrainingConfig(trainable_modules=[""])
    with pytest.raises(ValueError, match="--output_dir"):
        TrainingConfig(output_dir="")


@pytest.mark.parametrize("command", ["--lr_warmup_steps soon", "--timestep_sampling logit", "--mixed_precision fp8"])
def test_what_argparse_refuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read(command)
    assert stop.value.code == 2
    assert command.split()[0] in capsys.readouterr().err


def test_help_can_be_written() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_training_options(parser)
    assert "--trainable_modules" in parser.format_help()


def test_the_config_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'accelerate', 'transformers'}"
    program = f"import sys, training.config; sys.exit(bool({heavy} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
