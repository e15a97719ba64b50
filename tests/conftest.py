"""What all tests share: one thread each, and the guard that lets any build of torchvision be imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch, numpy and OpenCV are imported

import torch

import common  # noqa: F401

torch.set_num_threads(1)
