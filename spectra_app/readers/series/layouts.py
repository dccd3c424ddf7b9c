"""Where the components, times and units stand in the columns of each code's text files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spectra_app.errors import SeriesError
from spectra_app.readers.series.column_names import (
    DIPOLE_SPELLINGS,
    POLARIZABILITY_SPELLINGS,
    TIME_NAMES,
    TIME_UNITS,
    ColumnName,
    common_unit,
    names_of,
    parse_name,
)
from spectra_app.readers.series.request import MATRIX_ORDER, VOIGT_ORDER, XYZ, Quantity, Request
from spectra_app.readers.series.text import Clean, Head, tensor_component, words_of

COUNTERS = ("step", "frame")


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are.

    Attributes:
        components: positions of the components.
        order: what they are: x, y, z, or xx, xy, ...
        factor: of the components, to our unit.
        quantity: what they are components of.
        time: position and factor to fs of the times.
        counter: position of the step numbers.
        volume: position and factor to A^3.
        temperature: position and factor to K.
        timestep_fs: time between rows that the header tells.
        volume_A3: volume that the header tells.
        clean: what to do with each line before it is read.
        clock_name: what the file calls its times or step numbers.
    """

    components: tuple[int, ...]
    order: tuple[str, ...]
    factor: float
    quantity: Quantity
    time: tuple[int, float] | None = None
    counter: int | None = None
    volume: tuple[int, float] | None = None
    temperature: tuple[int, float] | None = None
    timestep_fs: float | None = None
    volume_A3: float | None = None
    clean: Clean | None = None
    clock_name: str = "step"


def order_of(head: Head, components: Sequence[int], names: Sequence[str], request: Request) -> tuple[str, ...]:
    """What the chosen columns are: by their names where these tell, else by their number."""
    if request.quantity == "dipole":
        return XYZ
    found = [tensor_component(names[c]) for c in components]
    if all(found):
        return tuple(component for component in found if component)
    return MATRIX_ORDER if len(components) == 9 else VOIGT_ORDER


def choose_columns(head: Head, names: Sequence[str], request: Request, skip: Sequence[int]) -> tuple[int, ...]:
    """Positions of the wanted columns: those of the option, else all but ``skip``.

    Raises:
        SeriesError: no such column, or another number of them than the quantity has components.
    """
    counts = (3,) if request.quantity == "dipole" else (6, 9)
    if request.columns is None:
        chosen = [c for c in range(len(names)) if c not in skip]
    else:
        chosen = []
        for word in (w.strip() for w in request.columns.split(",")):
            if word in names:
                chosen.append(names.index(word))
            elif word.isdigit() and 1 <= int(word) <= len(names):
                chosen.append(int(word) - 1)
            else:
                raise SeriesError(f"--columns for {head.path}", got=f"'{word}'", wanted=f"of {', '.join(names)}")
    if len(chosen) not in counts:
        raise SeriesError(
            f"columns of {head.path}",
            got=f"{len(chosen)} ({', '.join(names[c] for c in chosen[:12])})",
            wanted=" or ".join(map(str, counts)),
            todo="Name them, e.g. --columns 2,3,4",
        )
    return tuple(chosen)


def table_layout(head: Head, request: Request) -> Layout:
    """A plain table: a header line of names, or none; times in ``time_fs``, ``t_ps``, ..., else counts in ``step``.

    Names may say the unit, as ``column_names`` describes.

    Raises:
        SeriesError: a unit that the header and the option disagree on; see also ``choose_columns``.
    """
    header = [names_of(line.strip().lstrip("#").strip()) for line in head.before if line.strip().strip("#")]
    names = header[-1] if header and len(header[-1]) == head.width else [str(c + 1) for c in range(head.width)]
    spellings = DIPOLE_SPELLINGS if request.quantity == "dipole" else POLARIZABILITY_SPELLINGS
    columns = [parse_name(name, spellings) for name in names]
    times = [c for c, column in enumerate(columns) if column.unit in TIME_UNITS and column.bare.lower() in TIME_NAMES]
    time = (times[0], TIME_UNITS[str(columns[times[0]].unit)]) if times else None
    counters = [c for c, name in enumerate(names) if name.lower() in COUNTERS]
    chosen = choose_columns(head, names, _by_bare_names(request, columns), _skipped(columns, request, times + counters))
    factor = request.factor(head.path, common_unit([columns[c] for c in chosen], head.path))
    counter = counters[0] if counters and time is None else None
    clock = time[0] if time is not None else counter
    order = order_of(head, chosen, [column.bare for column in columns], request)
    clock_name = "" if clock is None else names[clock]
    return Layout(chosen, order, factor, request.quantity, time, counter, clock_name=clock_name)


def _skipped(columns: Sequence[ColumnName], request: Request, clocks: Sequence[int]) -> list[int]:
    """Columns that are no components: clocks, and where just enough names have a unit of the quantity all others."""
    own = [c for c, column in enumerate(columns) if column.unit is not None and c not in clocks]
    counts = (3,) if request.quantity == "dipole" else (6, 9)
    return [c for c in range(len(columns)) if c not in own] if len(own) in counts else list(clocks)


def _by_bare_names(request: Request, columns: Sequence[ColumnName]) -> Request:
    """The request with its columns as the header calls them: ``--columns Mx,My,Mz`` for ``Mx_eA`` and so on."""
    if request.columns is None:
        return request
    bare = [column.bare for column in columns]
    words = [word.strip() for word in request.columns.split(",")]
    whole = {column.whole for column in columns}
    named = [columns[bare.index(w)].whole if w not in whole and bare.count(w) == 1 else w for w in words]
    return replace(request, columns=",".join(named))


def gpumd_layout(head: Head, request: Request) -> Layout:
    """GPUMD: dipole.out, polarizability.out, dpdt.out.

    ``dipole.out``: step mu_x mu_y mu_z (https://gpumd.org/gpumd/output_files/dipole_out.html);
    ``polarizability.out``: step p_xx p_yy p_zz p_xy p_yz p_zx
    (https://gpumd.org/gpumd/output_files/polarizability_out.html), both in the unit of the training data of the TNEP
    model, which the file does not say; ``dpdt.out``: dP/dt in e A/fs, then P in e A
    (https://gpumd.org/gpumd/output_files/dpdt_out.html); the rate is taken, as P is only summed up from it.
    Newer versions begin with a header whose lines are ``format_version``, ``num_atoms``, ``dt_output`` and
    ``columns``, and put the time in fs before the columns of ``dpdt.out``.
    """
    header = {words[0]: words[1:] for line in head.comments if (words := line.split())}
    step_fs = None
    if "dt_output" in header:
        value, unit = header["dt_output"]
        step_fs = float(value) * {"fs": 1.0, "ps": 1e3}[unit]
    kind = _gpumd_kind(head, header)
    if (kind == "polarizability") != (request.quantity == "polarizability"):
        raise SeriesError(f"{head.path} of GPUMD", got=f"{kind}.out", wanted=f"a file of the {request.quantity}")
    base = Layout((), XYZ, 1.0, request.quantity, timestep_fs=step_fs)
    if kind == "dpdt":
        first = 1 if head.width == 7 else 0
        return replace(
            base,
            components=(first, first + 1, first + 2),
            factor=request.factor(head.path, "eA"),
            quantity="current",
            time=(0, 1.0) if first else None,
            clock_name="time_fs",
        )
    components = tuple(range(1, head.width))
    order = XYZ if kind == "dipole" else ("xx", "yy", "zz", "xy", "yz", "zx")
    return replace(base, components=components, order=order, factor=request.factor(head.path), counter=0)


def _gpumd_kind(head: Head, header: dict[str, list[str]]) -> str:
    """dipole, polarizability or dpdt.

    Raises:
        SeriesError: another number of columns than any of them has.
    """
    columns = " ".join(header.get("columns", ()))
    for kind, mark, widths in (
        ("dpdt", "dpdt_x", (3, 6, 7)),
        ("dipole", "dipole_x", (4,)),
        ("polarizability", "pol_xx", (7,)),
    ):
        named = mark in columns if columns else head.path.name.lower().startswith(kind)
        if named and head.width in widths:
            return kind
        if named:
            raise SeriesError(
                f"{head.path} of GPUMD", got=f"{head.width} columns", wanted=" or ".join(map(str, widths))
            )
    guess = {4: "dipole", 7: "polarizability", 3: "dpdt", 6: "dpdt"}.get(head.width)
    if guess is None:
        raise SeriesError(f"{head.path} of GPUMD", got=f"{head.width} columns", wanted="4, 6 or 7")
    return guess


def lammps_layout(head: Head, request: Request) -> Layout:
    """LAMMPS: ``fix ave/time`` in scalar mode and ``fix print``.

    ``# Time-averaged data for fix ID`` and ``# TimeStep c_dip[1] c_dip[2] c_dip[3]``
    (https://docs.lammps.org/fix_ave_time.html); ``# Fix print output for fix ID`` and lines of the user's making
    (https://docs.lammps.org/fix_print.html), of which the first number is taken for the step where there is one more
    than there are components.  The unit is charge times distance of the ``units`` command (real and metal: e A), which
    the file does not say.  ``compute dipole`` gives the length as fourth component, which is left out.
    """
    if any("Number-of-rows" in line for line in head.comments):
        raise SeriesError(
            f"{head.path} of fix ave/time", got="mode vector", wanted="mode scalar", todo="One row per time step"
        )
    titles = [words_of(line) for line in head.comments]
    names = next((words for words in reversed(titles) if len(words) == head.width), None)
    counter = 0 if names is not None and names[0].lower() in ("timestep", "step", "$(step)") else None
    if names is None:
        names = [str(c + 1) for c in range(head.width)]
        counts = (3,) if request.quantity == "dipole" else (6, 9)
        if head.width - 1 in counts and head.width not in counts:
            counter = 0
    skip = [c for c, name in enumerate(names) if c == counter or _is_length_of_dipole(name, names)]
    factor = request.factor(head.path)
    chosen = choose_columns(head, names, request, skip)
    return Layout(chosen, order_of(head, chosen, names, request), factor, request.quantity, counter=counter)


def _is_length_of_dipole(name: str, names: Sequence[str]) -> bool:
    found = re.fullmatch(r"(.+)\[4\]", name)
    return found is not None and all(f"{found[1]}[{i}]" in names for i in (1, 2, 3))


def travis_layout(head: Head, request: Request) -> Layout:
    """TRAVIS: nine polarizability columns XX XY XZ YX YY YZ ZX ZY ZZ, e pm^2/V, or a named column for each.

    As ``travis -ramanfrompola`` asks for them and writes them (Brehm et al., doi:10.1063/5.0005078,
    http://www.travis-analyzer.de).
    """
    if request.quantity != "polarizability":
        raise SeriesError(f"{head.path} of TRAVIS", got="polarizabilities", wanted="a file of the dipole")
    header = next((line for line in head.before if "XX" in line.upper() and ";" in line), "")
    names = [name.strip().lstrip("#") for name in header.split(";") if name.strip()]
    named = {c: tensor_component(name) for c, name in enumerate(names) if "pola" in name.lower() or "PolElDip" in name}
    found = {c: component for c, component in named.items() if component in MATRIX_ORDER}
    if len(names) == head.width and len(found) == 9:
        components, order = tuple(found), tuple(found.values())
    elif not header and head.width >= 9:
        chosen = request.columns or ",".join(str(c + 1) for c in range(head.width - 9, head.width))
        names = [str(c + 1) for c in range(head.width)]
        components = choose_columns(head, names, replace(request, columns=chosen), ())
        order = MATRIX_ORDER
    else:
        raise SeriesError(f"columns of {head.path} of TRAVIS", got=head.width, wanted="nine, XX to ZZ")
    return Layout(components, order, request.factor(head.path, "epm2/V"), "polarizability")
