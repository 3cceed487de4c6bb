"""The flags that say which noise levels are trained on, and how much each counts. Imports nothing heavy."""

from dataclasses import dataclass

from training.options import option

TIMESTEP_SAMPLINGS = (
    "sigma",
    "uniform",
    "sigmoid",
    "shift",
    "flux_shift",
    "flux2_shift",
    "qwen_shift",
    "krea2_shift",
    "ideogram4_shift",
    "logsnr",
    "qinglong_flux",
    "qinglong_qwen",
)
WEIGHTING_SCHEMES = ("none", "logit_normal", "mode", "cosmap", "sigma_sqrt")


@dataclass(frozen=True)
class TimestepOptions:
    """The part of `training.config.TrainingConfig` that is about noise levels."""

    timestep_sampling: str = option(
        "sigma", "how noise levels are drawn; see docs/training.md", choices=TIMESTEP_SAMPLINGS
    )
    discrete_flow_shift: float = option(1.0, "flow shift of --timestep_sampling shift", type=float)
    sigmoid_scale: float = option(
        1.0, "width of the normal number behind sigmoid, shift and the shifts by resolution", type=float
    )
    weighting_scheme: str = option(
        "none",
        "logit_normal and mode change how --timestep_sampling sigma draws; cosmap and sigma_sqrt weigh the loss",
        choices=WEIGHTING_SCHEMES,
    )
    logit_mean: float = option(0.0, "mean of the normal number of logit_normal and logsnr", type=float)
    logit_std: float = option(1.0, "its standard deviation", type=float)
    mode_scale: float = option(1.29, "how much --weighting_scheme mode prefers the middle", type=float)
    min_timestep: int | None = option(None, "lowest timestep to train on, 0..999; default 0", type=int)
    max_timestep: int | None = option(None, "highest timestep to train on, 1..1000; default 1000", type=int)
    timestep_reading: str = option(
        "noise",
        "how --min_timestep and --max_timestep count: noise: 1000 is pure noise, always; musubi: as musubi-tuner, "
        "which counts from the noisy end in --timestep_sampling sigma (0..500 trains 500..1000)",
        choices=("noise", "musubi"),
    )
    preserve_distribution_shape: bool = option(
        False, "draw again until a level is in the range, instead of squeezing the whole distribution into it"
    )
    num_timestep_buckets: int | None = option(
        None, "spread the levels of an epoch evenly over so many equally likely parts", type=int
    )
    show_timesteps: str | None = option(
        None, "show the distribution of noise levels and the weights, and stop", choices=("image", "console")
    )

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Lowest and highest noise level to train on, from the timesteps."""
        low = 0 if self.min_timestep is None else self.min_timestep
        high = 1000 if self.max_timestep is None else self.max_timestep
        if self.timestep_reading == "musubi" and self.timestep_sampling == "sigma":
            low, high = 1000 - high, 1000 - low
        return low / 1000.0, high / 1000.0

    def check_timesteps(self) -> None:
        """Refuse noise levels that cannot be.

        Raises:
            ValueError: names the flag.
        """
        low, high = self.sigma_range
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(
                f"--min_timestep {self.min_timestep} --max_timestep {self.max_timestep}: "
                "expected 0 <= min < max <= 1000"
            )
        if self.num_timestep_buckets is not None and self.num_timestep_buckets < 1:
            raise ValueError(f"--num_timestep_buckets {self.num_timestep_buckets}: at least 1 is needed")
        if self.num_timestep_buckets is not None and self.preserve_distribution_shape:
            raise ValueError(
                "--num_timestep_buckets spreads the levels evenly, and --preserve_distribution_shape draws some of "
                "them again; leave one of the two out"
            )

    def unused_timestep_flags(self) -> list[str]:
        """What was given without effect, one sentence each."""
        sampling, scheme = self.timestep_sampling, self.weighting_scheme
        said = []
        if self.discrete_flow_shift != 1.0 and sampling != "shift":
            said.append(f"--discrete_flow_shift is used only by --timestep_sampling shift, not by {sampling}")
        if scheme in ("logit_normal", "mode") and sampling != "sigma":
            said.append(
                f"--weighting_scheme {scheme} changes how --timestep_sampling sigma draws; {sampling} ignores it"
            )
        if self.timestep_reading == "musubi" and sampling != "sigma":
            said.append(f"--timestep_reading musubi differs in --timestep_sampling sigma alone, not in {sampling}")
        return said
