import pytest
from keras import applications as keras_applications

from tests import networks

OWN = {each.lower(): each for each in dir(keras_applications)}


@pytest.mark.parametrize("design", networks.designs(deep=True), ids=lambda design: design.model)
def test_a_deep_architecture_has_its_parameters_and_its_ends_and_takes_a_training_step(design):
    networks.check(design)


@pytest.mark.parametrize(
    "design", [each for each in networks.designs(deep=True) if each.model in OWN], ids=lambda design: design.model
)
def test_a_deep_application_counts_as_many_parameters_as_keras_s_own(design):
    assert getattr(keras_applications, OWN[design.model])(weights=None).count_params() == design.parameters
