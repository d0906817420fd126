"""Routines that turn an unknown chip into a record. None is in this version: a simulated bench
hands out a record drawn from its plant, with a stated residual error."""
