"""SparseGrad as a PEFT tuner: compact mode in its additive form, for ``peft.get_peft_model``.

    from peft import get_peft_model
    from sparsegrad.peft import SparseGradConfig

    model = get_peft_model(model, SparseGradConfig(bases="bases.safetensors", kept=0.01))

Importing this package is what makes PEFT know ``peft_type="SPARSEGRAD"``: import it before
``PeftModel.from_pretrained`` reads an adapter of that type. ``import sparsegrad`` alone loads no peft.

The state of an adapter named ``default`` in a layer: ``sparsegrad_values.default`` (k,), which trains, and the
persistent buffers ``sparsegrad_indices.default`` (k,) int32, ``sparsegrad_u.default`` (c, in) and
``sparsegrad_v.default`` (r, out). Under DistributedDataParallel pass ``broadcast_buffers=False`` (Trainer:
``ddp_broadcast_buffers=False``): they never change, and need not be sent at every forward.
"""

from peft.utils import register_peft_method

from .config import SparseGradConfig
from .layer import SparseGradTunerLinear
from .model import SparseGradModel

__all__ = ["SparseGradConfig", "SparseGradModel", "SparseGradTunerLinear"]

register_peft_method(
    name="sparsegrad", config_cls=SparseGradConfig, model_cls=SparseGradModel, prefix=SparseGradModel.prefix
)
