"""The type checker that reads the jaxtyping shapes of camera/ while its tests run."""

from beartype import BeartypeConf, beartype

# an int is a good float, as for every other type checker
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
