"""Others' results, shown as theirs: never mixed into a comparison with what was measured here."""
