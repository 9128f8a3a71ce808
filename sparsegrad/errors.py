"""Every exception the library raises on purpose: what was given, what is needed, what to do."""


class SparseGradError(ValueError):
    """A request the library cannot honour; the text is written for the person who made it."""


class NoTargets(SparseGradError):
    """No linear of the model matches; the text lists the linears there are."""


class BasesMismatch(SparseGradError):
    """Bases (or a saved model) were made for another model, another shape or another setting."""


class NonFiniteGradient(SparseGradError):
    """A gradient holds NaN or infinity; the text names the layer."""
