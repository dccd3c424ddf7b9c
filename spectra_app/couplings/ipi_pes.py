"""Direct driver: i-PI calls our potential in its own process.

In the input of i-PI, with the path that ``spectra-app drive --pes-path`` prints::

    <ffdirect name='spectra'>
      <pes> custom </pes>
      <pes_path> .../spectra_app/couplings/ipi_pes.py </pes_path>
      <parameters> {template: start.xyz, model: water} </parameters>
    </ffdirect>

i-PI loads this file by its path, hence nothing here is imported relatively.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spectra_app.couplings.driver import EXTRAS, Driver, DriverAnswer
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.potentials.folder import load_model

try:
    from ipi.pes.dummy import Dummy_driver
except ImportError:
    raise MissingExtraError("ipi", "ipi") from None

__DRIVER_NAME__ = "spectra_app"
__DRIVER_CLASS__ = "SpectraAppPES"


class SpectraAppPES(Dummy_driver):  # type: ignore[misc]
    """A potential of spectra-app; parameters as in ``<parameters>`` of ``ffdirect``, or ``-o`` of ``i-pi-py_driver``.

    Args:
        template: file with the atoms in i-PI's order, whose ``pbc`` say what is periodic; any format of ASE.
        model: name in the zoo, or folder.
        device: torch device.
        dtype: float32 or float64.
        extras: ``dipole,polarizability``, or one of them, or none.
        engine: ``auto``, ``eager`` or ``compiled``.
        verbose: of i-PI; unused.
        others: of i-PI; unused.

    Raises:
        ConfigError: no template.
        StructureError: a template that cannot be read, or elements that the model does not know.
        ModelError: no such model.
    """

    def __init__(
        self,
        template: str = "",
        model: str = "water",
        device: str = "cpu",
        dtype: str = "float32",
        extras: str = ",".join(EXTRAS),
        engine: str = "auto",
        verbose: bool = False,
        **others: Any,
    ) -> None:
        if not template:
            raise ConfigError("parameters of ffdirect", got="no template", wanted="{template: start.xyz, model: water}")
        words = extras.split(",") if isinstance(extras, str) else list(extras)
        self._driver = Driver(
            load_model(model, device=device, dtype="float64" if dtype == "float64" else "float32"),
            read_template(Path(template)),
            [word.strip() for word in words if word.strip()],
            engine=engine,
        )
        super().__init__(verbose)

    def compute(
        self, cell: np.ndarray | list[np.ndarray], pos: np.ndarray | list[np.ndarray]
    ) -> DriverAnswer | list[DriverAnswer]:
        """Potential, forces, virial and extras of a structure, or of a batch, in atomic units.

        Args:
            cell: [xyz, vector], bohr, or a list of such.
            pos: [atom, xyz], bohr, or a list of such.
        """
        if isinstance(cell, list):
            return self._driver(cell, list(pos))
        return self._driver([np.asarray(cell)], [np.asarray(pos)])[0]


def read_template(path: Path) -> Any:
    """The atoms of a template.

    Raises:
        StructureError: no such file, or one that ASE cannot read.
    """
    from ase.io import read

    from spectra_app.errors import StructureError

    if not path.is_file():
        raise StructureError(f"template {path}", got="no such file", wanted="a structure file that ASE reads")
    try:
        return read(path)
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        raise StructureError(f"template {path}", got=f"{type(error).__name__}: {error}"[:150]) from None
