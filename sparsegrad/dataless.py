"""Tensors that have a shape and no data (torch's FakeTensorMode): how memory is predicted of what does not fit.

What depends on data takes its dearest course there: every row active, every fingerprint equal.
"""

from __future__ import annotations

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


def is_dataless(tensor: Tensor) -> bool:
    """Whether asking the tensor for a value would fail."""
    return tensor.is_meta or isinstance(tensor.detach(), FakeTensor)  # a Parameter of one is none itself
