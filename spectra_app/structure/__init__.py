"""Structures: the record of a batch, its neighbours, and whether its lengths are in Angstrom."""
