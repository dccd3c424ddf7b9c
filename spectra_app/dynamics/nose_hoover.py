"""Nose-Hoover chains: a deterministic thermostat that samples the canonical ensemble.

Martyna, Klein & Tuckerman 1992 (DOI 10.1063/1.463940), integrated as in Martyna, Tuckerman, Tobias & Klein 1996
(DOI 10.1080/00268979600100761).  A chain of M thermostats, one for each replica, acts on its N_f degrees of freedom:

    dv/dt = F/m - w_1 v,   dw_1/dt = (2 K - N_f k_B T)/Q_1 - w_1 w_2,   dw_j/dt = (Q_{j-1} w_{j-1}^2 - k_B T)/Q_j - w_j w_{j+1}
    Q_1 = N_f k_B T tau^2,   Q_j = k_B T tau^2,   d eta_j/dt = w_j

Near equilibrium K swings with the period sqrt(2) pi tau.  With u_j = tau w_j and time in units of tau everything is a pure
number, and the temperature stands in 2 K/(N_f k_B T) alone.  Conserved is

    U + K + N_f k_B T (u_1^2/2 + eta_1) + k_B T sum_{j>1} (u_j^2/2 + eta_j)
"""  # noqa: E501  (an equation)

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.dynamics.state import MDState, Particles, for_atoms, kinetic_energy
from spectra_app.dynamics.streams import Streams, noise_of_replicas
from spectra_app.units import BOLTZMANN

CHAIN_LENGTH = 3
_PLAIN_BELOW = 0.02  # h/tau up to which one symmetric step suffices: its energy error, ~(h/tau)^2/100, is below 1e-5
_LARGEST_STEP = 0.1  # of one Suzuki-Yoshida step, in units of tau


def start_chain(particles: Particles, streams: Streams) -> Tensor:
    """A chain drawn from its ensemble.

    Args:
        particles: replicas and degrees of freedom.
        streams: random numbers on the device.

    Returns:
        (eta, u) [replica, 2, link], pure numbers: eta = 0, u_1 normal of variance 1/N_f, the others of variance 1.
    """
    u = noise_of_replicas(streams, [CHAIN_LENGTH] * particles.n_replicas)
    u = torch.cat([u[:, :1] / particles.degrees_of_freedom[:, None].sqrt(), u[:, 1:]], dim=1)
    return torch.stack([torch.zeros_like(u), u], dim=1)


def chain_energy(chain: Tensor, n_free: Tensor, temperature_K: float | Tensor) -> Tensor:
    """N_f k_B T (u_1^2/2 + eta_1) + k_B T sum_{j>1} (u_j^2/2 + eta_j) [replica], eV.

    Args:
        chain: (eta, u) [replica, 2, link].
        n_free: degrees of freedom [replica].
        temperature_K: of the bath, a number or [replica], K.
    """
    by_link = 0.5 * chain[:, 1] * chain[:, 1] + chain[:, 0]
    return (n_free * by_link[:, 0] + by_link[:, 1:].sum(dim=1)) * (BOLTZMANN * temperature_K)


def nose_hoover(
    state: MDState,
    particles: Particles,
    time_fs: float,
    temperature_K: float | Tensor,
    relaxation_time_fs: float,
) -> MDState:
    """The chain's part of the motion over a time: half of it before and half after the step of the atoms.

    What the chain gives to the atoms is counted in ``state.reservoir`` as minus the change of ``chain_energy``, so that
    U + K - reservoir is the conserved quantity of the extended system.

    Args:
        state: velocities and chain of one instant.
        particles: masses and degrees of freedom.
        time_fs: how long, fs; half a time step.
        temperature_K: of the bath, a number or [replica], K.
        relaxation_time_fs: tau, fs.
    """
    assert state.chain is not None
    n_free = particles.degrees_of_freedom
    ratio = kinetic_energy(state.velocities, particles) * (2.0 / (n_free * BOLTZMANN)) / temperature_K
    eta, links = state.chain[:, 0], list(state.chain[:, 1].unbind(dim=1))  # [replica, link], M of [replica]
    exponent = torch.zeros_like(ratio)
    for part in chain_steps(time_fs / relaxation_time_fs):
        turn = _propagate(links, ratio * torch.exp(-2.0 * exponent), n_free, part)
        exponent = exponent + part * turn[0]
        eta = eta + part * torch.stack(turn, dim=1)
        links = _close(turn, ratio * torch.exp(-2.0 * exponent), n_free, part)
    chain = torch.stack([eta, torch.stack(links, dim=1)], dim=1)
    scale = torch.exp(-exponent)
    velocities = state.velocities * for_atoms(scale, particles)[:, None]
    given = chain_energy(state.chain, n_free, temperature_K) - chain_energy(chain, n_free, temperature_K)
    return state._replace(velocities=velocities, chain=chain, reservoir=state.reservoir + given)


def chain_steps(time: float) -> list[float]:
    """Times of the symmetric steps that add up to a time, all in units of tau.

    One where that is short; else steps of fourth order (Suzuki 1990, Yoshida 1990, DOI 10.1016/0375-9601(90)90092-3):
    w, 1 - 2 w, w with w = 1/(2 - 2^(1/3)).

    Args:
        time: to go, in units of tau.
    """
    if 2.0 * time <= _PLAIN_BELOW:
        return [time]
    repeats = math.ceil(time / _LARGEST_STEP)
    outer = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
    return [weight * time / repeats for _ in range(repeats) for weight in (outer, 1.0 - 2.0 * outer, outer)]


def _force(links: list[Tensor], j: int, ratio: Tensor, n_free: Tensor) -> Tensor:
    """du_j/dt [replica] without the friction of the next link; ``ratio`` is 2 K/(N_f k_B T)."""
    if j == 0:
        return ratio - 1.0
    return links[j - 1] * links[j - 1] * (n_free if j == 1 else 1.0) - 1.0


def _kick(links: list[Tensor], j: int, ratio: Tensor, n_free: Tensor, part: float) -> Tensor:
    """u_j [replica] after half a part: a kick between two halves of the friction by the next link."""
    if j == len(links) - 1:
        return links[j] + 0.5 * part * _force(links, j, ratio, n_free)
    damping = torch.exp(-0.25 * part * links[j + 1])
    return (links[j] * damping + 0.5 * part * _force(links, j, ratio, n_free)) * damping


def _propagate(links: list[Tensor], ratio: Tensor, n_free: Tensor, part: float) -> list[Tensor]:
    """All links after the first half of a part, the last one first."""
    links = list(links)
    for j in reversed(range(len(links))):
        links[j] = _kick(links, j, ratio, n_free, part)
    return links


def _close(links: list[Tensor], ratio: Tensor, n_free: Tensor, part: float) -> list[Tensor]:
    """All links after the second half, the first one first: the mirror of ``_propagate``."""
    links = list(links)
    for j in range(len(links)):
        links[j] = _kick(links, j, ratio, n_free, part)
    return links
