"""Typed records as tables: what was measured with its interval, `~` for a tie, n/a for what was not measured."""
