"""The distributions that Optuna draws the values of a sweep from."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hydra_plugins.genreclf_optuna._study import distribution

SYNTAX: dict[str, BaseDistribution] = {
    "interval(0, 1.5)": FloatDistribution(0, 1.5),
    "interval(2, 9)": FloatDistribution(2, 9),
    "int(interval(2, 9))": IntDistribution(2, 9),
    "tag(log, interval(1e-4, 1e-2))": FloatDistribution(1e-4, 1e-2, log=True),
    "tag(log, int(interval(1, 64)))": IntDistribution(1, 64, log=True),
    "range(2, 10, 3)": IntDistribution(2, 8, step=3),
    "range(10, 2, -4)": IntDistribution(6, 10, step=4),
    "range(0.0, 0.5, 0.1)": FloatDistribution(0.0, 0.4, step=0.1),
    "choice(cnn, crnn)": CategoricalDistribution(["cnn", "crnn"]),
    "null,0.1,true": CategoricalDistribution(["null", 0.1, True]),
    "[1,2],[3]": CategoricalDistribution(["[1,2]", "[3]"]),
}


@pytest.mark.parametrize("text", SYNTAX)
def test_a_search_space_is_written_as_a_sweep(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={text}"])
    assert distribution(override) == SYNTAX[text]
