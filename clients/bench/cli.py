"""`lianfang bench`: measured figures, as JSON for machines and a table for people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.bench.backend import Library
from compliance.commands.output import Format, Formatted, say

app = typer.Typer(help="Measure on this machine.", no_args_is_help=True)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Directory with data.parquet and splits.json.")],
    epsilon: Annotated[float, typer.Option(help="Privacy cost of the whole run.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the 70/30 split.")] = 0,
    delta: Annotated[float, typer.Option(help="Failure probability of the guarantee.")] = 1e-5,
    steps: Annotated[int, typer.Option(help="Steps of the joint head.")] = 60,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Train jointly between three processes over the relay and compare with the two references."""
    from clients.bench.train import measure_training

    figures = measure_training(
        data, epsilon=epsilon, delta=delta, seed=seed, steps=steps, quiet=output is Format.JSON
    )
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    uplift = figures["uplift_recovered"]
    lines = [
        f"{figures['dataset']}: {figures['rows']} rows, "
        f"{figures['width']} encoded columns, seed {seed}",
        f"  label holder alone     AUC {figures['auc_label_holder']:.4f}",
        f"  joint, epsilon {epsilon:<6g}  AUC {figures['auc']:.4f}"
        f"   (head alone {figures['auc_head']:.4f})",
        f"  pooled, no privacy     AUC {figures['auc_pooled']:.4f}",
        f"  uplift recovered       {'-' if uplift is None else f'{uplift:.3f}'}",
        f"  epsilon {figures['epsilon']:.4f} at delta {delta:g}; "
        f"{sum(figures['seconds'].values()):.1f} s; {sum(figures['bytes_sent'].values()):,} bytes",
    ]
    say(
        output,
        figures,
        "\n".join(lines),
        "lianfang bench train with another --seed, or lianfang demo",
    )


@app.command()
def baselines(
    data: Annotated[Path, typer.Option(help="Directory with data.parquet and splits.json.")],
    epsilon: Annotated[float, typer.Option(help="Privacy cost of each baseline.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the 70/30 split.")] = 0,
    delta: Annotated[float, typer.Option(help="Failure probability of the guarantee.")] = 1e-5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Train on pooled columns under Opacus, and on noised rows sent once, at the same epsilon."""
    from clients.bench.baselines import measure_baselines

    figures = measure_baselines(data, epsilon=epsilon, delta=delta, seed=seed)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    lines = [
        f"{figures['dataset']}: {figures['rows']} rows, seed {seed}",
        f"  pooled Opacus, scaled by the rows      AUC {figures['auc_opacus']:.4f}",
        f"  pooled Opacus, scaled by public ranges AUC {figures['auc_opacus_public']:.4f}",
        f"  split, each row noised once            AUC {figures['auc_split']:.4f}",
        f"  epsilon {figures['epsilon']:.4f} at delta {delta:g}; "
        f"{sum(figures['seconds'].values()):.1f} s",
    ]
    say(output, figures, "\n".join(lines), "lianfang bench train with the same --data and --seed")


@app.command()
def scale(
    rows: Annotated[int, typer.Option(help="Rows of every party.")] = 30_000,
    width: Annotated[int, typer.Option(help="Encoded columns of all owners together.")] = 265,
    steps: Annotated[int, typer.Option(help="Steps of the joint head.")] = 40,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Measure time, bytes and memory of a run by its size, on made-up columns."""
    from clients.bench.scale import measure_scale

    figures = measure_scale(rows=rows, width=width, steps=steps, epsilon=1.0, delta=1e-5)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    peak = max(figures["peak_rss_mb"].values())
    lines = [
        f"{figures['rows']} rows, {figures['width']} encoded columns, {steps} steps",
        *(f"  {phase:<10} {seconds:8.2f} s" for phase, seconds in figures["seconds"].items()),
        f"  {figures['bytes_total']:,} bytes sent; largest process {peak:,.0f} MB",
    ]
    say(
        output,
        figures,
        "\n".join(lines),
        "lianfang bench plot with the JSON files of several sizes",
    )


@app.command()
def plot(
    figures: Annotated[list[Path], typer.Argument(help="JSON files of `bench scale`.")],
    svg: Annotated[Path, typer.Option(help="Where to write the plot.")] = Path("scaling.svg"),
    output: Formatted = Format.TEXT,
) -> None:
    """Draw time and bytes by rows from several runs of `bench scale`."""
    from clients.bench.plot import draw_scaling
    from clients.bench.scale import load_points

    svg.write_text(draw_scaling(load_points(figures)))
    say(output, {"svg": str(svg)}, f"Drew {len(figures)} sizes into {svg}.", "look at it")


@app.command()
def table(
    figures: Annotated[
        list[Path], typer.Argument(help="JSON files of `bench train` and `bench baselines`.")
    ],
    output: Formatted = Format.TEXT,
) -> None:
    """Draw the comparison as a Markdown table, means over seeds."""
    from clients.bench.table import COUNTED, draw_table, load_figures

    drawn = draw_table(load_figures(figures), COUNTED)
    say(output, {"table": drawn}, drawn, "paste it into docs/benchmarks.md")


@app.command()
def lookup(
    records: Annotated[int, typer.Option(min=1, help="Reports that are published.")] = 10_000,
    lookups: Annotated[int, typer.Option(min=1, help="People who are checked, one by one.")] = 1000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Measure single checks at the desk over HTTPS, and evaluation against bare libsodium."""
    from clients.bench.lookup import lookup_text, measure_lookup

    figures = measure_lookup(
        records=records, lookups=lookups, tell=_teller(quiet=output is Format.JSON)
    )
    _tell(figures, json_file, output, lookup_text(figures), "lianfang bench screen")


@app.command()
def screen(
    customers: Annotated[int, typer.Option(min=1, help="Customers who are screened.")] = 10_000,
    records: Annotated[int, typer.Option(min=1, help="Reports that are published.")] = 10_000,
    library: Annotated[
        Library, typer.Option(help="What computes: as this machine chooses, or libsodium alone.")
    ] = Library.CHOSEN,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Screen made-up customers against made-up reports, and again after a hundredth more."""
    from clients.bench.screen import measure_screen, screen_text

    figures = measure_screen(
        customers=customers,
        records=records,
        library=library,
        tell=_teller(quiet=output is Format.JSON),
    )
    _tell(figures, json_file, output, screen_text(figures), "lianfang bench serve")


@app.command()
def serve(
    records: Annotated[int, typer.Option(min=1, help="Records of the table.")] = 10_000_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Publish and fetch one very large table, and measure the hub's memory."""
    from clients.bench.serving import measure_serving, serving_text

    figures = measure_serving(records=records, tell=_teller(quiet=output is Format.JSON))
    _tell(figures, json_file, output, serving_text(figures), "lianfang bench lookup")


@app.command()
def load(
    rate: Annotated[float, typer.Option(min=0.1, help="Lookups a second.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=1.0, help="For how long.")] = 60.0,
    nodes: Annotated[int, typer.Option(min=3, help="Nodes that are connected in all.")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Send lookups at a steady rate through the API, beside many connected nodes."""
    from clients.bench.load import load_text, measure_load

    tell = _teller(quiet=output is Format.JSON)
    figures = measure_load(rate=rate, seconds=seconds, nodes=nodes, tell=tell)
    _tell(figures, json_file, output, load_text(figures), "lianfang bench lookup")


@app.command()
def log(
    entries: Annotated[int, typer.Option(min=1, help="Entries to read and verify.")] = 70_000,
    threads: Annotated[int, typer.Option(min=1, help="Threads that append at a time.")] = 16,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each of them appends.")] = 5.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Append durable entries to a transparency log, and read so long a log."""
    from clients.bench.log import log_text, measure_log

    tell = _teller(quiet=output is Format.JSON)
    figures = measure_log(entries=entries, threads=threads, seconds=seconds, tell=tell)
    following = "lianfang audit verify on a log that a hub exported"
    _tell(figures, json_file, output, log_text(figures), following)


def _tell(
    figures: dict[str, Any], json_file: Path | None, output: Format, text: str, following: str
) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
    say(output, figures, text, following)


def _teller(*, quiet: bool) -> Callable[[str], None]:
    started = time.monotonic()

    def tell(what: str) -> None:
        if not quiet:
            typer.echo(f"[{time.monotonic() - started:6.1f} s] {what}", err=True)

    return tell
