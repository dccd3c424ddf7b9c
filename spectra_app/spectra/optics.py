"""Relations between optical constants: Kramers-Kronig, refractive index, absorption, reflectivity, loss function."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from spectra_app import units

Array = NDArray[np.float64]

_OVERSAMPLING = 16
"""Refinement of the time grid of the Kramers-Kronig transform; its discretisation error falls with the square."""


def kramers_kronig(omega_per_fs: Array, weighted_loss: Array) -> Array:
    """Real part of a susceptibility from its loss: ``chi' = (2/pi) P int_0^inf w' chi''(w') / (w'^2 - w^2) dw'``.

    The loss enters as ``L = omega chi''`` (proportional to S_Mdot, finite at zero; zero beyond Nyquist).  With
    f the even function of time for which ``L = int dt cos(omega t) f(t)``, the real part is
    ``-(2/omega) int_0^inf sin(omega t) f(t) dt``, evaluated by FFT on a time grid finer than the series'.

    Args:
        omega_per_fs: [nu] uniform from 0 to Nyquist, rad/fs.
        weighted_loss: [nu] omega chi''(omega), rad/fs.

    Returns:
        [nu] chi', to which eps_inf is still to be added.
    """
    n = len(omega_per_fs)
    size = 2 * (n - 1) * _OVERSAMPLING
    step = 2.0 * math.pi / (size * float(omega_per_fs[1] - omega_per_fs[0]))
    even = fft.irfft(weighted_loss, size)  # dt times the correlation function whose two-sided density is the loss
    even[0] = 0.0  # sine transform: lag zero and the negative lags have no part in it
    even[size // 2 :] = 0.0
    sine = -fft.rfft(even)[:n].imag
    out = np.empty(n)
    # sigma' = loss = 2 x one-sided cosine transform, so the conjugate is twice the one-sided sine transform.
    out[1:] = -2.0 * sine[1:] / omega_per_fs[1:]
    out[0] = -2.0 * step * float(np.arange(size // 2) @ even[: size // 2])
    return out


def optical_constants(omega_per_fs: Array, eps_real: Array, eps_imag: Array) -> dict[str, Array]:
    """n, k, absorption coefficient and normal-incidence reflectivity of a dielectric function.

    ``n + i k = sqrt(eps)``, ``alpha = 4 pi nu k`` (Napierian, cm^-1), ``R = |(n + i k - 1)/(n + i k + 1)|^2``.

    Args:
        omega_per_fs: [nu] rad/fs.
        eps_real: [nu].
        eps_imag: [nu].
    """
    index = np.sqrt(eps_real + 1j * eps_imag)
    nu = units.angular_frequency_to_wavenumber(1.0) * omega_per_fs
    return {
        "refractive_index": index.real,
        "extinction": index.imag,
        "absorption_per_cm": 4.0 * math.pi * nu * index.imag,
        "reflectivity": np.abs((index - 1.0) / (index + 1.0)) ** 2,
    }


def loss_function(eps_real: Array, eps_imag: Array) -> Array:
    """``-Im(1/eps) = eps'' / (eps'^2 + eps''^2)``, whose peaks are the longitudinal modes.

    Args:
        eps_real: [nu].
        eps_imag: [nu].
    """
    return np.asarray(eps_imag / (eps_real**2 + eps_imag**2))
