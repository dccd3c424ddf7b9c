"""The harmonic limit: normal modes of a relaxed structure, their infrared and Raman strengths, dielectric function."""

from __future__ import annotations
