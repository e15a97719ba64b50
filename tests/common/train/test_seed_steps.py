"""Seeds of a step: one's own for every seed, process, epoch and batch."""

from itertools import product
from types import SimpleNamespace

import torch

from common.train.seed_steps import SeedSteps


def test_no_two_steps_or_processes_draw_the_same():
    seeds = []
    with torch.random.fork_rng():
        for seed, rank, epoch, batch in product(range(4), range(4), range(3), range(5)):
            trainer = SimpleNamespace(global_rank=rank, current_epoch=epoch)
            SeedSteps(seed).on_train_batch_start(
                trainer, SimpleNamespace(device=torch.device("cpu")), None, batch
            )
            seeds.append(torch.initial_seed())
    assert len({*seeds}) == len(seeds) == 4 * 4 * 3 * 5
