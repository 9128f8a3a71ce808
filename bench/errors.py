"""The one exception that speaks to the user."""

__all__ = ["BadRequest"]


class BadRequest(ValueError):
    """The request was wrong, not the program: the command prints the text and exits 2, without a traceback.

    The text is the one line the user reads: what was given, what is needed, and what to type.
    """
