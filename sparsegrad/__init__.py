"""SparseGrad: fine-tune MLP linears in a rotated basis where few gradient entries matter (EMNLP 2024)."""

from .bases import Bases, Basis
from .calibrate import calibrate
from .clip import clip_grad_norm_
from .compact import CompactLinear
from .convert import convert, revert
from .distributed import data_parallel
from .errors import BasesMismatch, NonFiniteGradient, NoTargets, SparseGradError
from .linear import SparseGradLinear
from .optim import SparseGradOptimizer
from .products import sparse_by_dense
from .refresh import refresh_support
from .rotation import Rotation
from .storage import load, save

__all__ = [
    "Bases",
    "BasesMismatch",
    "Basis",
    "CompactLinear",
    "NoTargets",
    "NonFiniteGradient",
    "Rotation",
    "SparseGradError",
    "SparseGradLinear",
    "SparseGradOptimizer",
    "calibrate",
    "clip_grad_norm_",
    "convert",
    "data_parallel",
    "load",
    "refresh_support",
    "revert",
    "save",
    "sparse_by_dense",
]
__version__ = "0.1.0"
