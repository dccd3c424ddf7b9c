"""Fourier sums of large systems on a mesh, O(N log N), and the choice between it and the plain sum.

A nonuniform fast Fourier transform (FINUFFT: Barnett, Magland, af Klinteberg, SIAM J. Sci. Comput. 41 (2019) C479,
DOI 10.1137/18M120885X) does the two sums of ``transforms`` to a tolerance.  The two stay adjoint to rounding, so
potential and field are the derivatives of the energy that was computed; forces are so to the tolerance.  Two real
components travel as one complex vector:

    A(n) = (F(n) + F(-n)^*)/2,    B(n) = (F(n) - F(-n)^*)/(2i)    of  F = sum_i (a_i + i b_i) exp(i kappa.f_i)

Only on the CPU: on a GPU the plain sum is used (matrix products, captured in graphs), whatever the size.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import threading
import warnings
import weakref

import torch
from torch import Tensor

from spectra_app.electrostatics.lattice import KVectors
from spectra_app.electrostatics.transforms import DenseEngine, Engine, known_monomials
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.structure.loops import may_use_loops

# Atoms x vectors of one structure from which the mesh is the faster way (docs/electrostatics.md): 570 atoms of water
# with charges alone, 380 with quadrupoles; the times cross at 430 and 500, one thread, float32.
MESH_FROM = 2**21
# A vector costs as much on the mesh as in the plain sum over this many atoms, also in a cell that is mostly vacuum:
# 400 to 490 at 27,000 and 64,000 A^3.  With fewer the mesh never pays.
MESH_ATOMS = 400
_HINT_FROM = 2**25  # without the mesh: worth a word from here (about a second per evaluation)

_MARGIN = 0.1  # of the mesh's error to the weight of the first neglected vector
# The finest tolerance asked of the library; below, it says that it cannot.
_FINEST = {torch.float32: 1e-6, torch.float64: 1e-12}
# Finer meshes cost more than wider spreading: 1.5 keeps the tolerance in either precision, at a third of the time of
# the customary 2 (FINUFFT 2.5.1, 43^3 modes).
_UPSAMPLING = 1.5
# Atoms from which the library's threads pay: two take 1.7 times as long as one at 1,536 atoms, and save a third at
# 6,144.
_THREADS_FROM = 3000


class EwaldHint(UserWarning):
    """A word on speed; nothing is wrong."""


class _Lattice:
    """The vectors of one structure in a box of modes, and the library's plan for that box; made once per cell.

    Args:
        integers: [k, vector], zero rows at the end where padded.
        tolerance: relative error of the sums.
        threads: used by the library.
    """

    def __init__(self, integers: Tensor, tolerance: float, threads: int) -> None:
        import finufft

        n = integers.to(torch.int64)
        self.n_vectors = int((n != 0).any(dim=1).sum())
        n = n[: self.n_vectors]
        reach = n.abs().amax(dim=0) if len(n) else torch.zeros(3, dtype=torch.int64)
        shape = (2 * reach + 1).tolist()
        strides = torch.tensor([shape[1] * shape[2], shape[2], 1])
        self._plus, self._minus = ((reach + n) * strides).sum(1), ((reach - n) * strides).sum(1)
        self._origin = int((reach * strides).sum())
        complex_type = torch.complex64 if integers.dtype == torch.float32 else torch.complex128
        # Two boxes, used again and again: the first is written by the library, the second by us and zero elsewhere.
        self._out, self._in = (torch.zeros(math.prod(shape), dtype=complex_type) for _ in range(2))
        self._views = tuple(box.numpy().reshape(shape) for box in (self._out, self._in))
        self._plan = finufft.Plan(
            1,
            tuple(shape),
            eps=tolerance,
            isign=1,
            dtype=self._views[0].dtype.name,
            nthreads=threads,
            upsampfac=_UPSAMPLING,
            showwarn=0,
        )
        self._points: Tensor | None = None
        self.lock = threading.Lock()  # the plan and the boxes serve one sum at a time

    def set_points(self, angles: Tensor) -> None:
        """Make the plan ready for atoms at these angles [vector, place]; nothing to do where it already is."""
        if self._points is not angles:
            self._plan.setpts(*angles.numpy())
            self._points = angles

    def to_modes(self, a: Tensor, b: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Real and imaginary part [k] of the sums of one or two real components [place]."""
        packed = torch.complex(a, torch.zeros_like(a) if b is None else b)
        self._plan.execute(packed.numpy(), out=self._views[0])
        plus, minus = self._out[self._plus], self._out[self._minus]
        total, difference = plus + minus, plus - minus
        first = (0.5 * total.real, 0.5 * difference.imag)
        return [first] if b is None else [first, (0.5 * total.imag, -0.5 * difference.real)]

    def to_atoms(self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor] | None) -> list[Tensor]:
        """The sums [place] of one or two components given by their cosine and sine parts [k]."""
        # The adjoint carries exp(-i kappa.f): cosine + i sine stands at +n, its conjugate at -n.
        cosine, sine = a
        if b is None:
            self._in[self._plus], self._in[self._minus] = torch.complex(cosine, sine), torch.complex(cosine, -sine)
        else:
            self._in[self._plus] = torch.complex(cosine - b[1], sine + b[0])
            self._in[self._minus] = torch.complex(cosine + b[1], b[0] - sine)
        values = 0.5 * torch.from_numpy(self._plan.execute_adjoint(self._views[1]))
        return [values.real] if b is None else [values.real, values.imag]


_lattices: weakref.WeakKeyDictionary[KVectors, dict[tuple[float, int], list[_Lattice]]] = weakref.WeakKeyDictionary()


class MeshEngine:
    """The sums by nonuniform fast Fourier transform: O(N + K log K), to a tolerance.

    Args:
        fractional: [structure, place, vector], no gradient, on the CPU.
        k: reciprocal vectors of every structure.
        tolerance: relative error of the sums.

    Raises:
        MissingExtraError: the package finufft is not installed.
    """

    def __init__(self, fractional: Tensor, k: KVectors, tolerance: float) -> None:
        if not mesh_available():
            raise MissingExtraError("finufft", "mesh")
        self.integers, self._monomials = k.integers, k.monomials
        tolerance = max(tolerance, _FINEST[fractional.dtype])
        plans = _lattices.setdefault(k, {})
        key = (tolerance, torch.get_num_threads() if fractional.shape[1] >= _THREADS_FROM else 1)
        if key not in plans:
            plans[key] = [_Lattice(integers, *key) for integers in k.integers]
        self._lattices = plans[key]
        angles = 2.0 * math.pi * (fractional - torch.round(fractional))
        self._angles = angles.transpose(1, 2).contiguous().unbind(0)  # each [vector, place]

    def to_modes(self, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Engine``."""
        n_structures, n_components, _ = strengths.shape
        real, imaginary = strengths.new_zeros(2, n_structures, n_components, self.integers.shape[1]).unbind(0)
        for s, (lattice, angles) in enumerate(zip(self._lattices, self._angles, strict=True)):
            n = lattice.n_vectors
            with lattice.lock:
                lattice.set_points(angles)
                for c in range(0, n_components, 2):
                    pair = strengths[s, c : c + 2].contiguous()
                    parts = lattice.to_modes(pair[0], pair[1] if len(pair) == 2 else None)
                    for place, (re, im) in enumerate(parts, start=c):
                        real[s, place, :n], imaginary[s, place, :n] = re, im
            real[s, :, n:] = strengths[s].sum(dim=-1, keepdim=True)  # padding stands for n = 0
        return real, imaginary

    def to_atoms(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """See ``Engine``."""
        n_structures, n_components, _ = cosine.shape
        values = cosine.new_empty(n_structures, n_components, self._angles[0].shape[1])
        for s, (lattice, angles) in enumerate(zip(self._lattices, self._angles, strict=True)):
            n = lattice.n_vectors
            with lattice.lock:
                lattice.set_points(angles)
                for c in range(0, n_components, 2):
                    pair = [(cosine[s, p, :n], sine[s, p, :n]) for p in range(c, min(c + 2, n_components))]
                    parts = lattice.to_atoms(pair[0], pair[1] if len(pair) == 2 else None)
                    for place, part in enumerate(parts, start=c):
                        values[s, place] = part
            if n < cosine.shape[2]:
                values[s] += cosine[s, :, n:].sum(dim=-1, keepdim=True)
        return values

    def monomials(self, rank: int) -> Tensor:
        """See ``Engine``."""
        return known_monomials(self.integers, rank, self._monomials)


@functools.cache
def mesh_available() -> bool:
    """Whether the package that the mesh needs (extra ``mesh``) is installed."""
    return importlib.util.find_spec("finufft") is not None


def choose_engine(fractional: Tensor, k: KVectors, sigma: float) -> Engine:
    """The plain sum, or the mesh where that is faster; ``k.method`` may insist on either.

    Args:
        fractional: [structure, place, vector], no gradient.
        k: reciprocal vectors of every structure.
        sigma: smallest smearing, A; with the cutoff it says how exact the sums have to be.

    Raises:
        ConfigError: the mesh is insisted on for a GPU.
        MissingExtraError: the mesh is insisted on and finufft is not installed.
    """
    n_atoms = fractional.shape[1]
    size = n_atoms * k.integers.shape[1]
    on_cpu = fractional.device.type == "cpu"
    auto = k.method == "auto" and may_use_loops(fractional.device) and n_atoms >= MESH_ATOMS
    if k.method == "mesh" and not on_cpu:
        raise ConfigError("ewald", got=f"mesh on {fractional.device.type}", wanted="auto or sum there")
    if k.method == "mesh" or (auto and size >= MESH_FROM and mesh_available()):
        # The weight of the first neglected charge: the strictest measure, so right for every multipole.
        return MeshEngine(fractional, k, _MARGIN * math.exp(-0.5 * (sigma * k.cutoff) ** 2))
    if auto and size >= _HINT_FROM:
        _hint()
    return DenseEngine(fractional, k.integers, k.monomials)


@functools.cache  # once
def _hint() -> None:
    warnings.warn(
        "large cell: electrostatics scales as N^2; pip install 'spectra-app[mesh]' makes it N log N",
        EwaldHint,
        stacklevel=2,
    )
