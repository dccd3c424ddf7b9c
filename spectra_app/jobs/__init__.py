"""One function for each thing a user asks; the facade exports them, commands and recipes call them."""

from __future__ import annotations

from spectra_app.jobs.born_of_run import run_born
from spectra_app.jobs.chain import RecipeResult, run_recipe
from spectra_app.jobs.simulate import simulate
from spectra_app.jobs.spectrum import run_spectrum, series_spectrum

__all__ = ["RecipeResult", "run_born", "run_recipe", "run_spectrum", "series_spectrum", "simulate"]
