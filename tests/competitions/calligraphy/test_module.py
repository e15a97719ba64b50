"""Ink on paper and a rubbing of the same strokes look the same to the network."""

import torch

from competitions.calligraphy.module import strokes_light


def test_paper_and_rubbing_become_one():
    rubbing = torch.zeros(3, 1, 16, 16)
    rubbing[:, :, 4:12, 7:9] = torch.tensor([0.9, 0.7, 0.8])[:, None, None, None]
    mixed = rubbing.clone()
    mixed[1] = 1 - rubbing[1]
    torch.testing.assert_close(strokes_light(mixed), rubbing)
    assert torch.equal(strokes_light(rubbing), rubbing)
