"""The certificate on disk: a results folder, and the copy in the package that the program cites."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from design_sim.certificate.cited import CITED, COLUMNS
from design_sim.certificate.page import cell, page

if TYPE_CHECKING:
    from pandas import DataFrame

    from design_sim.certificate.trials import Certificate

NAME = "certificate"
"""Of the folder, its table and its page."""


def overview(certificate: "Certificate") -> "DataFrame":
    """A row for each answer and situation, ready to print: the worst verdict and the range of sizes."""
    from pandas import DataFrame

    frame = certificate.frame[certificate.frame["verdict"] != "not applicable"]
    groups = frame.groupby(["estimator", "settings", "situation"], sort=False)
    return DataFrame(
        [
            {
                "estimator": estimator,
                "settings": settings,
                "situation": situation,
                "sharp null": cell(group, "size", "verdict", strong=""),
                "average null": cell(group, "size_average", "verdict_average", strong=""),
            }
            for (estimator, settings, situation), group in groups
        ]
    )


def save(certificate: "Certificate", out: Path) -> Path:
    """Write the folder `out`/certificate, whole or not at all: table, page, scenario files, provenance.

    Raises
    ------
    FolderInUseError, StorageError
        As `store.save`.
    """
    from design_sim import store

    return store.save_as(certificate.sweeps[0], NAME, out, lambda folder: _write(certificate, folder))


def _write(certificate: "Certificate", folder: Path) -> None:
    from design_sim.store import write_table

    write_table(certificate.frame, folder / f"{NAME}.parquet")
    (folder / f"{NAME}.md").write_text(page(certificate), encoding="utf-8", newline="\n")
    for number, sweep in enumerate(certificate.sweeps[1:], start=2):
        (folder / f"scenario-{number}.toml").write_text(sweep.text, encoding="utf-8", newline="\n")


def cite(certificate: "Certificate", path: Path = CITED) -> Path:
    """Make a certificate the one that the program reads: a compact copy among the files of the package."""
    text = certificate.frame[list(COLUMNS)].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8", newline="\n")
    os.replace(new, path)
    return path
