"""Which of the processes that train one model is the first, by what each launcher tells them."""

import pytest

from common.processes import RANKS, is_first_process

ELASTIC = {"TORCHELASTIC_RUN_ID": "1"}


@pytest.mark.parametrize(
    ("told", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),  # Lightning, one host or several
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        (ELASTIC | {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, True),  # torchrun
        (ELASTIC | {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}, False),
        (ELASTIC | {"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        # on Slurm's hosts in another order than Slurm's
        (ELASTIC | {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "SLURM_PROCID": "1"}, True),
        (ELASTIC | {"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1", "SLURM_PROCID": "0"}, False),
        ({"SLURM_PROCID": "0"}, True),  # srun
        ({"SLURM_PROCID": "1"}, False),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),  # by hand
    ],
)
def test_the_first_process_is_the_first_of_all_hosts(told, first, monkeypatch):
    for name in (*RANKS, "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, rank in told.items():
        monkeypatch.setenv(name, rank)
    assert is_first_process() is first
