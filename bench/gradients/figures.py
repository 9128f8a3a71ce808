"""Every figure of a run as SVG and PNG files, drawn from its records alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.gradients.curves import cores, drift, energy_curves, histograms, nonzero_shares, spectra, stability
from bench.gradients.maps import heat_maps, stripe_maps
from bench.plotting import figure_bytes, house_style, write_figure
from bench.record import Record

__all__ = ["FIGURE_NAMES", "draw", "setting_of"]

_FROM_READINGS = {
    "heat-maps": heat_maps,
    "stripes": stripe_maps,
    "nonzero": nonzero_shares,
    "energy": energy_curves,
    "stability": stability,
    "drift": drift,
    "cores": cores,
    "histograms": histograms,
}
FIGURE_NAMES = (*_FROM_READINGS, "spectra")
_KINDS = ("svg", "png")


def draw(record: Record, bases: Mapping[str, Record], folder: Path) -> list[Path]:
    """Write what is not there yet into ``folder``; the paths of all of them. OSError where it cannot be written.

    ``record``: the readings. ``bases``: their calibrations by name, whose spectra are drawn; none, no figure of them.
    """
    names = FIGURE_NAMES if bases else tuple(_FROM_READINGS)
    places = {name: [folder / f"{name}.{kind}" for kind in _KINDS] for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    for name, paths in places.items():
        if all(path.is_file() for path in paths):
            continue
        with house_style() as style:
            if name == "spectra":
                spectrums = {key: made.result for key, made in bases.items()}
                figure = spectra(style, record.result, setting_of(record), spectrums)
            else:
                figure = _FROM_READINGS[name](style, record.result, setting_of(record))
            for path, kind in zip(paths, _KINDS, strict=True):
                write_figure(path, figure_bytes(figure, kind))
    return [path for paths in places.values() for path in paths]


def setting_of(record: Record) -> str:
    """Model, text and batch in a line."""
    config = record.config
    model = f"{Path(config['model']).name} ({'random weights' if config['random_weights'] else 'pretrained'})"
    text = config["task"] or f"synthetic lengths {config['lengths']}"
    return f"{model}, {text}, batch {config['batch_size']} x {config['max_length']}, padding {config['padding']}"
