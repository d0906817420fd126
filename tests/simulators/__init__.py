"""Tests of the simulated chip."""
