"""Augmentations whose parameters are sampled once, as values, and applied to any batch.

In matching, the real and the synthetic batch of a class get the same draw (differentiable Siamese
augmentation, DSA); when networks are trained, each image gets parameters of its own.
"""

from .draws import Draw, cat, sample_all, sample_one
from .ops import apply
from .photos import augment_photos
from .strategy import Strategy, parse_strategy
from .training import augment_batch, augment_each, augment_idc, augment_sequence, cutmix

__all__ = [
    "Draw",
    "Strategy",
    "apply",
    "augment_batch",
    "augment_each",
    "augment_idc",
    "augment_photos",
    "augment_sequence",
    "cat",
    "cutmix",
    "parse_strategy",
    "sample_all",
    "sample_one",
]
