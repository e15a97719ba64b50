"""A network that is much larger than its checkpoint is refused while it is built."""

import pytest
import torch
from torch import nn

from common.errors import PodiumError
from common.model.checkpoint import no_larger_than


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(2**20, 2**12),  # 17 GB
        lambda: nn.Sequential(*(nn.Linear(1, 1) for _ in range(10**8))),
        lambda: nn.Module().register_buffer("table", torch.empty(2**32)),
    ],
)
def test_it_is_refused_before_its_memory_is_taken(build):
    with (
        pytest.raises(PodiumError, match="model: it is larger"),
        no_larger_than(nn.Linear(2, 2).state_dict()),
    ):
        build()
    nn.Linear(2, 2)


def test_what_fits_is_built():
    with no_larger_than(nn.Linear(2, 2).state_dict()):
        made = nn.Linear(2, 2)
    assert made.weight.shape == (2, 2)
