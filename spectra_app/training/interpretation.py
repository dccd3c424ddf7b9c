"""What a model's latent quantities mean: the record of a report, and what it warns of.

A potential trained on energies and forces shares a molecule's moments between charges and dipoles as it likes; their
sum, the Born charges, the screening and the weight of the long-range part in the forces say what was learned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from spectra_app.electrostatics import parse_variant
from spectra_app.potentials.elements import PAULING
from spectra_app.units import COULOMB_CONSTANT

_FEW_BORN_E = 0.05  # mean Born charges below this: no electrostatics was learned
_FEW_CHARGE_E = 0.02  # likewise for latent charges without dipoles
_FEW_FORCES = 0.02  # share of the forces below which the data can hardly speak of electrostatics
_FEW_ALPHA = 1e-4  # e^2 A^2/eV, 0.0014 A^3
_FEW_KAPPA = 1e-5  # e^2/eV
_FEW_ATOMS = 20  # of a molecule: its groups are then within reach of each other
_AT_BOUND = 0.8  # of the bound: what a network wants beyond four times the bound ends there
_RIGID_ALPHA = 0.005  # relative spread
_LOW_SCREENING = 0.95  # eps_e below this: more than the error with which 1 + chi is learned
_SUM_RULE_E = 0.01  # per atom


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a quantity.

    Attributes:
        mean: in the quantity's unit.
        std: in the quantity's unit; over atoms or over frames.
    """

    mean: float
    std: float


@dataclass(frozen=True)
class AtomQuantities:
    """What the atoms of one element carry; None where the variant has no such quantity.

    Attributes:
        charge_e: permanent charge, e.
        dipole_eA: length of the permanent dipole, e A.
        alpha_e2A2_per_eV: a third of the polarizability's trace, e^2 A^2/eV.
        alpha_A3: the same as a volume, k_e alpha, A^3.
        alpha_anisotropy_e2A2_per_eV: sqrt((3/2) tr beta^2) of its traceless part beta, e^2 A^2/eV.
        kappa_e2_per_eV: charge that flows to the atom per volt of its own potential, e^2/eV: kappa_i, or the sum of
            kappa_ij over its neighbours.
        induced_charge_e: e.
        induced_dipole_eA: length, e A.
    """

    charge_e: Spread
    dipole_eA: Spread | None = None
    alpha_e2A2_per_eV: Spread | None = None
    alpha_A3: Spread | None = None
    alpha_anisotropy_e2A2_per_eV: Spread | None = None
    kappa_e2_per_eV: Spread | None = None
    induced_charge_e: Spread | None = None
    induced_dipole_eA: Spread | None = None


@dataclass(frozen=True)
class ElementInterpretation:
    """One element.

    Attributes:
        symbol: chemical symbol.
        n_atoms: atoms in all frames together.
        latent: as the network predicts them.
        physical: scaled with eps_e: charges and dipoles with its root, responses with eps_e itself.
        born_e: isotropic Born charge tr(Z*)/3, physical, e.
        negative_alpha: share of atoms with an eigenvalue of alpha below zero.
        alpha_bound: largest eigenvalue of the latent alpha that the element's smearing allows, e^2 A^2/eV; None: none.
        kept_kappa: what its bound leaves of kappa, as a mean share of what the network wants; None: no bound.
    """

    symbol: str
    n_atoms: int
    latent: AtomQuantities
    physical: AtomQuantities
    born_e: Spread
    negative_alpha: float
    alpha_bound: float | None = None
    kept_kappa: float | None = None


@dataclass(frozen=True)
class LongRangeShare:
    """Weight of the electrostatics in energy and forces; the parts correlate, so their squares do not add up.

    Attributes:
        permanent_meV_per_atom: energy of the permanent multipoles.
        response_meV_per_atom: energy of their induced response.
        forces_rms_meV_per_A: root mean square force component, everything included.
        long_range_forces_rms_meV_per_A: of permanent multipoles and response together.
        permanent_forces_rms_meV_per_A: of the permanent multipoles alone.
        response_forces_rms_meV_per_A: of the response alone.
    """

    permanent_meV_per_atom: Spread
    response_meV_per_atom: Spread
    forces_rms_meV_per_A: float
    long_range_forces_rms_meV_per_A: float
    permanent_forces_rms_meV_per_A: float
    response_forces_rms_meV_per_A: float

    @property
    def of_forces(self) -> float:
        """Root mean square of the long-range force over that of the whole."""
        whole = self.forces_rms_meV_per_A
        return self.long_range_forces_rms_meV_per_A / whole if whole else 0.0


@dataclass(frozen=True)
class Interpretation:
    """The report.

    Attributes:
        source: the frames in words.
        n_frames: structures.
        variant: of the model.
        response: one-shot or self-consistent.
        elements: one entry per element that is there.
        periodic: whether any frame is periodic.
        eps_inf: high-frequency dielectric constant used; None: latent values are reported as physical ones.
        screening: by how much the model itself screens a slow field; None where it could not be measured.
        eps_e: eps_inf over that, which scales latent to physical values.
        chi: latent susceptibility tr(alpha)/(3 eps0 V); zero for open structures.
        excess_charge_e: sum of a structure's charges, induced ones included, less its total charge.
        sum_rule_e: largest component of sum_i Z*_i - Q 1 (latent) over all frames.
        long_range: weight of the electrostatics.
        sign_known: whether electronegativity determines the sign of the multipoles.
        sign: how it is determined and by how much, in words.
        warnings: what a user must not overlook, in words.
    """

    source: str
    n_frames: int
    variant: str
    response: str
    elements: tuple[ElementInterpretation, ...]
    periodic: bool
    eps_inf: float | None
    screening: float | None
    eps_e: Spread
    chi: Spread
    excess_charge_e: Spread
    sum_rule_e: float
    long_range: LongRangeShare
    sign_known: bool
    sign: str
    warnings: tuple[str, ...]


def interpretation_json(report: Interpretation) -> str:
    """The report as JSON text; units are in the names, a quantity that the variant has not is null."""
    return json.dumps(asdict(report), indent=1, allow_nan=False) + "\n"


def sign_sentence(means_e: Mapping[str, float], orders: Sequence[float | None], charged: bool) -> str:
    """How the sign of the multipoles is determined, and by how much.

    Args:
        means_e: isotropic mean Born charge of each element, e.
        orders: ``charge_order`` of all frames together, then of each frame.
        charged: whether the total charge of some frame fixes the sign.
    """
    by_electronegativity = sorted(means_e.items(), key=lambda item: PAULING.get(item[0], 2.0))
    listed = ", ".join(f"{symbol} {z:+.3f} e ({PAULING.get(symbol, 2.0):.2f})" for symbol, z in by_electronegativity)
    means = f"mean Born charges in the order of electronegativity (Pauling): {listed}"
    whole, *frames = orders
    if charged:
        return f"fixed by the total charge of charged structures; {means}."
    if whole is None:
        why = "there is one element" if len(means_e) == 1 else "the mean Born charges vanish"
        return f"undetermined, {why}; {means}."
    as_whole = sum(order is not None and order * whole > 0 for order in frames)
    agreement = f"; {as_whole} of {len(frames)} structures say the same" if len(frames) > 1 else ""
    if whole > 0:
        return f"OPPOSITE to electronegativity here; {means}{agreement}."
    return f"the more electropositive elements are positive; {means}{agreement}."


def find_warnings(report: Interpretation) -> tuple[str, ...]:
    """What a user of the model must not overlook.

    Args:
        report: the report; its own warnings are not read.
    """
    found = []
    if max(abs(element.born_e.mean) for element in report.elements) < _FEW_BORN_E:
        found.append(f"all mean Born charges are below {_FEW_BORN_E:g} e: this data does not determine charges.")
    elif not report.sign_known:
        found.append("the sign of the charges is undetermined: infrared spectra do not need it, fields do.")
    elif "OPPOSITE" in report.sign:
        found.append("the Born charges have the wrong sign on these frames: they are not what the model was made for.")
    share = report.long_range.of_forces
    if share < _FEW_FORCES:
        found.append(
            f"the long-range part makes {100 * share:.1f} % of the forces: this data hardly determines "
            "charges, and the responses rest on little."
        )
    for element in report.elements:
        found += _element_warnings(element, report.response)
    if report.periodic and report.eps_inf is None:
        found.append("no eps_inf: the physical values are the latent ones, unscaled.")
    if report.periodic and report.eps_inf is not None and report.screening is None:
        found.append(
            f"chi = {report.chi.mean:.2f} is so large that one-shot response leaves no interaction at long wavelength: "
            "the model has no physical scale; train with response: self-consistent."
        )
    elif report.periodic and report.eps_inf is not None and report.eps_e.mean < _LOW_SCREENING:
        found.append(
            f"chi = {report.chi.mean:.2f} exceeds eps_inf - 1 = {report.eps_inf - 1:.2f}: the latent "
            f"polarizability is larger than the material's, and eps_e = {report.eps_e.mean:.2f}."
        )
    n_atoms = sum(element.n_atoms for element in report.elements) / report.n_frames
    if report.sum_rule_e > _SUM_RULE_E * n_atoms:
        why = "independent atomic charges do not conserve charge."
        if parse_variant(report.variant).equilibrates:
            why = "charge that flows between distant atoms has a P of one wave vector only in a cell."
        found.append(f"the acoustic sum rule is violated by {report.sum_rule_e / n_atoms:.3f} e per atom: {why}")
    if not report.periodic and report.variant.startswith("p") and n_atoms > _FEW_ATOMS:
        found.append(
            "charge moves between neighbours only: if these molecules have charged groups far apart, their dipoles are "
            "wrong; train variant uiu, whose atomic charges see the whole molecule's charge."
        )
    return tuple(found)


def _element_warnings(element: ElementInterpretation, response: str) -> list[str]:
    found, latent = [], element.latent
    if latent.dipole_eA is None and math.hypot(latent.charge_e.mean, latent.charge_e.std) < _FEW_CHARGE_E:
        found.append(f"latent charges of {element.symbol} are near zero: this data does not determine them.")
    alpha = latent.alpha_e2A2_per_eV
    if alpha is not None and abs(alpha.mean) < _FEW_ALPHA:
        found.append(f"alpha of {element.symbol} is at zero: this data does not determine it.")
    elif alpha is not None and alpha.std < _RIGID_ALPHA * abs(alpha.mean):
        found.append(
            f"alpha of {element.symbol} does not depend on the environment: "
            + (
                "it adds nothing to a Raman spectrum."
                if response == "one-shot"
                else "its share of a Raman spectrum is that of dipoles inducing each other."
            )
        )
    if element.negative_alpha > 0:
        found.append(
            f"alpha of {element.symbol} has a negative eigenvalue in {100 * element.negative_alpha:.0f} % of atoms."
        )
    if alpha is not None and element.alpha_bound is not None and alpha.mean > _AT_BOUND * element.alpha_bound:
        bound = COULOMB_CONSTANT * element.alpha_bound
        found.append(
            f"alpha of {element.symbol} stands at {100.0 * alpha.mean / element.alpha_bound:.0f} % of its bound "
            f"({bound:.1f} A^3): it is cut off; train with a wider smearing, "
            f"model.element_sigma_A: {{{element.symbol}: ...}}."
        )
    if latent.kappa_e2_per_eV is not None and abs(latent.kappa_e2_per_eV.mean) < _FEW_KAPPA:
        found.append(f"kappa of {element.symbol} vanishes: no induced charges were learned.")
    if element.kept_kappa is not None and element.kept_kappa < 1.0 - _AT_BOUND:
        found.append(
            f"kappa of {element.symbol} stands at its bound: {100.0 * element.kept_kappa:.0f} % is left of what the "
            f"network wants; train with a wider smearing, model.element_sigma_A: {{{element.symbol}: ...}}."
        )
    return found
