"""Tables and figures of the trainings of a system (``system_cells``)."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

from system_cells import Cell, Numbers, SystemRecipe, finished, published

Row = tuple[str, str]  # architecture, variant
Block = dict[Row, dict[int, Numbers]]  # numbers by seed
FORCES = "forces_rmse_meV_per_A"

COLUMNS = (
    ("parameters", "parameters", ",.0f"),
    ("epochs", "epochs", ".0f"),
    (FORCES, "forces, meV/A", ".1f"),
    ("energy_rmse_meV_per_atom", "energy, meV/atom", ".2f"),
    ("stress_rmse_GPa", "stress, GPa", ".3f"),
    ("dipole_r2", "dipole R2", ".3f"),
    ("born_r2", "Born R2", ".3f"),
    ("polarizability_pearson_diagonal", "alpha r, diagonal", ".2f"),
    ("polarizability_pearson_offdiagonal", "off-diagonal", ".2f"),
    ("polarizability_slope_diagonal", "slope, diagonal", ".2f"),
    ("polarizability_slope_offdiagonal", "off-diagonal", ".2f"),
    ("cpu_minutes", "CPU minutes", ".1f"),
    ("ms_per_step", "ms per MD step", ".0f"),
)
WITHOUT_SPREAD = ("parameters", "epochs", "cpu_minutes", "ms_per_step")
FRAMES = (("train_frames", "trained on"), ("validation_frames", "to choose the epoch"), ("test_frames", "held out"))


def blocks(output: Path, name: str) -> dict[str, Block]:
    """Numbers of a system, published and finished, by budget; rows in the order of architectures and ladders."""
    kept = published(name) | finished(output, name)
    cells = sorted((Cell.of_folder(key) for key in kept), key=lambda cell: (cell.backbone, cell.rung, cell.seed))
    out: dict[str, Block] = {}
    for cell in cells:
        row = out.setdefault(cell.budget, {}).setdefault((cell.backbone, cell.variant), {})
        row[cell.seed] = kept[cell.folder]
    return dict(sorted(out.items()))


def table(output: Path, name: str, recipe: SystemRecipe) -> str:
    """Markdown table of the finished trainings: a block per budget, each row a mean over seeds."""
    parts = [f"### {recipe.title}"]
    for budget, rows in blocks(output, name).items():
        names = sorted({name for several in rows.values() for one in several.values() for name in one})
        columns = [
            (name, words + name.removeprefix(key), form)
            for key, words, form in COLUMNS
            for name in names
            if name == key or name.startswith(f"{key}, ")
        ]
        lines = [
            _caption(budget, recipe, rows),
            "",
            "| architecture | variant | " + " | ".join(words for _, words, _ in columns) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for (backbone, variant), several in rows.items():
            texts = [_number(several, key, form) for key, _, form in columns]
            lines.append(f"| {backbone} | `{variant}` | " + " | ".join(texts) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def compared(own: Numbers, kept: Numbers) -> str:
    """Numbers of a training beside those that are published of it, a line each."""
    lines = [f"{'':38s} {'here':>12s} {'published':>12s}"]
    for key, value in own.items():
        if key in kept:
            lines.append(f"{key:38s} {value:12.4g} {kept[key]:12.4g}")
    return "\n".join(lines)


def draw(output: Path, name: str, recipe: SystemRecipe, path: Path) -> None:
    """Figure of the table: force errors against the rungs, a line per architecture, bars for the spread of seeds.

    Args:
        output: folder of trainings.
        name: of the system.
        recipe: whose budget is drawn; a panel for all frames and, with ``split_by``, one for each of their kinds.
        path: of the figure.
    """
    from matplotlib import pyplot

    rows = blocks(output, name)[f"{recipe.minutes:g}min"]
    found = {key for several in rows.values() for one in several.values() for key in one}
    kinds = [FORCES, *sorted(key for key in found if key.startswith(f"{FORCES}, "))]
    rungs = sorted({Cell(name, *row, "", 0) for row in rows}, key=lambda cell: cell.rung)
    variants = list(dict.fromkeys(cell.variant for cell in rungs))
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(4.6 * len(kinds), 3.6), sharey=True, squeeze=False)
    for kind, panel in zip(kinds, axes[0], strict=True):
        for backbone in sorted({row[0] for row in rows}):
            several = {v: _values(rows.get((backbone, v), {}), kind) for v in variants}
            places = [place for place, v in enumerate(variants) if several[v]]
            middle = [mean(several[variants[place]]) for place in places]
            spread = [_spread(several[variants[place]]) for place in places]
            panel.errorbar(places, middle, spread, marker="o", markersize=4, linewidth=1.2, capsize=3, label=backbone)
        panel.set_xticks(range(len(variants)), variants, rotation=60)
        panel.set_title(kind.removeprefix(FORCES).removeprefix(", ") or "all frames", fontsize=10)
        panel.grid(alpha=0.3)
    axes[0, 0].set_ylim(bottom=0.0)
    axes[0, 0].set_ylabel("force error, meV/A")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize="small")
    figure.suptitle(recipe.title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _caption(budget: str, recipe: SystemRecipe, rows: Block) -> str:
    """Frames, budget and seeds of a table."""
    first = next(one for several in rows.values() for one in several.values())
    frames = ", ".join(f"{first[key]:.0f} {words}" for key, words in FRAMES if key in first)
    cost = f"{recipe.training['epochs']} epochs"
    if budget != "steps":
        minutes = budget.removesuffix("min")
        cost = f"{minutes} CPU minute{'' if minutes == '1' else 's'} of one thread for each training"
    seeds = sorted({seed for several in rows.values() for seed in several})
    words = f"seed {seeds[0]}"
    if len(seeds) > 1:
        words = f"seeds {', '.join(map(str, seeds))} of the weights (mean and deviation; without one: seed {seeds[0]})"
    return f"{f'Frames: {frames}. ' if frames else ''}Budget: {cost}; {words}."


def _values(several: dict[int, Numbers], key: str) -> list[float]:
    return [one[key] for one in several.values() if key in one]


def _spread(values: list[float]) -> float:
    """Standard deviation of the seeds."""
    return stdev(values) if len(values) > 1 else 0.0


def _number(several: dict[int, Numbers], key: str, form: str) -> str:
    """Mean of the seeds, with their spread."""
    values = _values(several, key)
    if not values:
        return ""
    text = format(mean(values), form)
    return text if len(values) == 1 or key in WITHOUT_SPREAD else f"{text} +- {format(_spread(values), form)}"
