"""Podium's shared foundation: what every competition stands on."""

from common import torchvision_guard

torchvision_guard.install()
