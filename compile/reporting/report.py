"""What a person is told about a bundle: after compiling, after measuring, on asking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from kenpin.compile.evaluation.evaluate import Evaluation
from kenpin.config.frame import FrameSpec
from kenpin.runtime.bundles.bundle import Bundle

if TYPE_CHECKING:
    from kenpin.compile.reporting.build_report import BuildResult

__all__ = ["accuracy", "contents", "summary"]


def summary(result: BuildResult) -> str:
    """The lines at the end of a build: where it is, whether it will work, and why not."""
    m = result.bundle.manifest
    q = m.quantization
    lines = [
        f"bundle     {result.bundle.folder}",
        f"report     {result.page}",
        f"threshold  OK up to {m.threshold.ok:.4g}, unsure up to {m.threshold.ng:.4g}",
        f"           {m.threshold.source}",
    ]
    if m.blend is not None:
        lines.append(f"maps       {m.blend.chosen}")
    if q.score_ratios:
        worst = min(q.score_ratios, key=lambda kind: q.score_ratios[kind])
        lines.append(
            f"INT8 guard scores of loud pasted defects stay at {q.score_ratios[worst]:.2f} of "
            f"FP32's (kind {worst}, the worst; limit {q.settings.min_score_ratio:.2f}): that "
            "quantising lost nothing; of real defects it says nothing"
        )
    if result.rerun is not None and result.rerun.not_done:
        lines.append(
            f"processors any x86-64, which was not proven: under {result.rerun.instruction_set} "
            f"{result.rerun.not_done}; each box proves it before it judges"
        )
    elif result.rerun is not None:
        lines.append(
            f"processors any x86-64: under {result.rerun.instruction_set} golden frames score the "
            f"same to {max(result.rerun.largest_difference, 1e-6):.1g} of their score"
        )
    elif q.processors == "vnni":
        lines.append("processors those with VNNI only; others refuse the bundle")
    names = {"weak": "warning", "look": "look", "know": "note"}
    lines += [f"{names[one.level]}: {one}" for one in result.advice]
    return "\n".join(lines)


def accuracy(found: Evaluation) -> list[Table]:
    """The figures of an evaluation as tables: the whole, each kind of defect, what was refused."""
    whole = Table(title=f"{found.bundle}", title_justify="left")
    for name in ("", "AUROC", "F1", "false rejects", "escapes"):
        whole.add_column(name, justify="left" if not name else "right")
    _row(whole, "images", found.images)
    if found.tiles:
        _row(whole, f"tiles of {found.tiles['side_px']} px", found.tiles)
        within = found.tiles["within_image"]
        if within is not None:
            pooled, pairs = f"{within['pooled']:.4f}", f"{within['pairs']} pairs"
            whole.add_row("tiles within their image", pooled, "", "", pairs)
    pixels = found.pixels
    if pixels["auroc"] is not None:
        whole.add_row("pixels", f"{pixels['auroc']:.4f}", "", "", "")
        whole.add_row("AUPRO, FPR up to 0.3", f"{pixels['aupro']:.4f}", "", "", "")
    kinds = Table(title="by kind of defect", title_justify="left")
    for name in ("kind", "images", "AUROC", "escapes"):
        kinds.add_column(name, justify="left" if name == "kind" else "right")
    if found.tiles:
        for name in ("tiles", "tile AUROC", "tile escapes"):
            kinds.add_column(name, justify="right")
    for kind, figures in found.images["kinds"].items():
        row = [kind, str(figures["count"]), _figure(figures["auroc"]), str(figures["escapes"])]
        if found.tiles:
            own = found.tiles["kinds"].get(kind)
            row += (
                [str(own["count"]), _figure(own["auroc"]), str(own["escapes"])]
                if own
                else ["0", "", ""]
            )
        kinds.add_row(*row)
    return [whole, kinds, *_refusals(found)]


def _refusals(found: Evaluation) -> list[Table]:
    """Images that were not judged, by kind; no table if there are none."""
    if not found.refused:
        return []
    table = Table(title="refused, and so in no figure above", title_justify="left")
    for name in ("kind", "images", "the first, and why"):
        table.add_column(name, justify="right" if name == "images" else "left")
    for kind in sorted({item.kind for item in found.refused}):
        own = [item for item in found.refused if item.kind == kind]
        table.add_row(kind, str(len(own)), f"{own[0].name}: {own[0].why}")
    return [table]


def _row(table: Table, name: str, figures: dict[str, Any]) -> None:
    table.add_row(
        name,
        _figure(figures["auroc"]),
        _figure(figures["f1"]),
        f"{figures['false_rejects']} of {figures['good']}",
        f"{figures['escapes']} of {figures['ng']}",
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _in_float(operations: Sequence[str]) -> str:
    return f"; for what INT8 would lose: {', '.join(operations)}" if operations else ""


def contents(bundle: Bundle) -> Table:
    """A bundle's manifest for reading."""
    m = bundle.manifest
    size = sum((bundle.folder / name).stat().st_size for name in m.files)
    lines, width = m.frame.height_px, m.frame.width_px
    seen = f"{lines} x {width} px" if lines else f"a web {width} px wide"
    frame = f"{seen}, {m.frame.channels} channel(s)"
    rows = {
        "bundle": f"{m.name}, {len(m.files)} files, {size / 2**20:.1f} MiB",
        "sha256": bundle.sha256,
        "frame": frame + _fitting(m.frame),
        "tiles": f"{m.tiles.size_px} px, halo {m.tiles.halo_px}, stride {m.tiles.step_px}",
        "features": f"{m.features.backbone} {', '.join(m.features.layers)}: "
        f"{m.features.dimensions} every {m.features.patch_stride_px} px",
        "method": m.method.model_dump_json(exclude_none=True),
        "precision": f"{m.quantization.settings.precision}, the rest "
        f"{m.features.inference_precision}" + _in_float(m.quantization.in_float),
        "thresholds": f"OK up to {m.threshold.ok:.6g}, unsure up to {m.threshold.ng:.6g} "
        f"({m.threshold.source})",
        "grey": f"mean {m.grey.mean_min:.0f} to {m.grey.mean_max:.0f}, contrast at least "
        f"{m.grey.contrast_min:.1f}",
        "images": f"{len(m.data.fitted)} good images, {len(m.good_scores)} scores",
        "golden": ", ".join(f"{g.file} {g.score:.4g}" for g in m.golden),
        "versions": ", ".join(f"{name} {value}" for name, value in m.versions.items()),
    }
    for name, arrays in bundle.arrays.items():
        rows[f"{name}.npy"] = str(arrays.shape)
    table = Table(show_header=False)
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _fitting(frame: FrameSpec) -> str:
    sizes = {"resize": "any size, resized", "trim": "larger, trimmed", "pad": "smaller, padded"}
    depth = f"{frame.bits} bits" if frame.bits > 8 else None
    white = f"white at {frame.white}" if frame.white else None
    grey = f"colour to grey by {frame.to_grey}" if frame.to_grey else None
    return "".join(f", {text}" for text in (sizes.get(frame.fit), depth, white, grey) if text)
