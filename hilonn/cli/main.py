"""``hilonn``: the commands. Errors become one message and an exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hilonn import __version__
from hilonn.errors import HilonnError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trains optical neural networks on the chip itself, by two-pass forward propagation.",
)

ImportOption = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="A Python file or module with your devices."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, no more.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seeds weights, order, feedback, noise.")]
ChipSeedOption = Annotated[int, typer.Option(min=0, help="Draws another simulated chip.")]
BenchOption = Annotated[str, typer.Option("--bench", help="A built-in bench or a TOML file.")]
ForceOption = Annotated[bool, typer.Option(help="Go on although something differs; recorded.")]


@app.command()
def train(
    experiment: Annotated[str, typer.Argument(help="A built-in experiment or a TOML file.")],
    bench: BenchOption = "simulated",
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; a new one by default.")
    ] = None,
    seed: SeedOption = 0,
    chip_seed: ChipSeedOption = 0,
    data: Annotated[Path | None, typer.Option(help="The folder that holds the data.")] = None,
    log_passes: Annotated[bool, typer.Option(help="Keep every pass in the run's folder.")] = False,
    begin_with: Annotated[
        Path | None,
        typer.Option("--from", help="A run whose weights this one begins with, a twin's say."),
    ] = None,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Train an experiment on a bench and test it on held-out data."""
    from hilonn.cli.train import train_command

    _guarded(
        partial(
            train_command,
            experiment,
            bench,
            out,
            seed=seed,
            chip_seed=chip_seed,
            data=data,
            log_passes=log_passes,
            json=json,
            imports=tuple(imports or ()),
            begin_with=begin_with,
        )
    )


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of an interrupted run.")],
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Go on with a run from its last checkpoint."""
    from hilonn.cli.train import resume_command

    _guarded(partial(resume_command, run, force=force, json=json))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Run the test data through the chip with a run's weights."""
    from hilonn.cli.train import evaluate_command

    _guarded(partial(evaluate_command, run, force=force, json=json))


@app.command()
def estimate(
    experiment: Annotated[str, typer.Argument(help="A built-in experiment or a TOML file.")],
    bench: BenchOption = "simulated",
    seed: SeedOption = 0,
    chip_seed: ChipSeedOption = 0,
    data: Annotated[Path | None, typer.Option(help="The folder that holds the data.")] = None,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Rehearse an experiment's first steps and say how long all of it takes; light goes on."""
    from hilonn.cli.estimate import estimate_command

    _guarded(
        partial(
            estimate_command,
            experiment,
            bench,
            seed=seed,
            chip_seed=chip_seed,
            data=data,
            json=json,
            imports=tuple(imports or ()),
        )
    )


@app.command()
def compare(
    experiment: Annotated[str, typer.Argument(help="A built-in experiment or a TOML file.")],
    rules: Annotated[str, typer.Option(help="Names, variants or TOML files, by commas.")],
    seeds: Annotated[str, typer.Option(help="Numbers, like 0,1,2 or 0-4.")] = "0",
    bench: BenchOption = "simulated",
    out: Annotated[Path | None, typer.Option(help="Folder of the runs, table and plot.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the file's.")] = None,
    chip_seed: ChipSeedOption = 0,
    data: Annotated[Path | None, typer.Option(help="The folder that holds the data.")] = None,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Train one experiment by several rules: one table, one plot."""
    from hilonn.cli.compare import compare_command

    _guarded(
        partial(
            compare_command,
            experiment,
            bench,
            rules,
            seeds,
            out,
            epochs=epochs,
            chip_seed=chip_seed,
            data=data,
            json=json,
            imports=tuple(imports or ()),
        )
    )


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="The folder of a run, finished or not.")],
    json: JsonOption = False,
) -> None:
    """What a run has done so far, and what it was made with."""
    from hilonn.cli.show import show_command

    _guarded(partial(show_command, run, json=json))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, finished or not.")],
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another run, drawn beside it; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page; RUN/report.html by default.")] = None,
) -> None:
    """Write one self-contained HTML page of a run."""
    from hilonn.cli.report import report_command

    _guarded(partial(report_command, run, compare or [], out))


@app.command()
def check(
    bench: Annotated[str, typer.Argument(help="A built-in bench or a TOML file.")],
    seed: SeedOption = 0,
    chip_seed: ChipSeedOption = 0,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Open a bench, compare it with its file, try one known pattern; go or no-go."""
    from hilonn.cli.check import check_command

    modules = tuple(imports or ())
    _guarded(
        partial(check_command, bench, seed=seed, chip_seed=chip_seed, imports=modules, json=json)
    )


@app.command()
def discover(
    tcp: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="A socket; may be repeated.")
    ] = None,
    serial: Annotated[
        list[str] | None,
        typer.Option(metavar="PORT", help="Serial ports, like '*' or COM4; may be repeated."),
    ] = None,
    visa: Annotated[
        list[str] | None,
        typer.Option(metavar="RESOURCE", help="VISA resources, like 'USB*'; may be repeated."),
    ] = None,
    library: Annotated[str, typer.Option(help="The VISA library: @py, @ivi or a path.")] = "@py",
    timeout: Annotated[float, typer.Option(min=0.05, help="s for an answer.")] = 0.5,
    ask: Annotated[bool, typer.Option(help="Ask; else only list ports and resources.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="Write the bench file's lines there as well.")
    ] = None,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Ask every serial port and VISA resource who it is, or only those that are named; sockets must be."""
    from hilonn.cli.discover import discover_command

    _guarded(
        partial(
            discover_command,
            tuple(tcp or ()),
            tuple(serial or ()),
            tuple(visa or ()),
            library=library,
            timeout=timeout,
            ask=ask,
            out=out,
            json=json,
            imports=tuple(imports or ()),
        )
    )


@app.command()
def twin(
    folder: Annotated[Path, typer.Argument(help="The folder of a calibration.")],
    json: JsonOption = False,
) -> None:
    """Say how well a calibrated chip's twin predicts settings that were not fitted."""
    from hilonn.cli.twin import twin_command

    _guarded(partial(twin_command, folder, json=json))


@app.command()
def calibrate(
    bench: Annotated[str | None, typer.Argument(help="A built-in bench or a TOML file.")] = None,
    routine: Annotated[
        list[str] | None, typer.Option(help="Only this routine; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The calibration's folder; one that is there is gone on with."),
    ] = None,
    refit: Annotated[
        Path | None, typer.Option(help="Fit the raw data of this folder again; no bench.")
    ] = None,
    diff: Annotated[
        tuple[Path, Path] | None, typer.Option(help="What two records or folders say differently.")
    ] = None,
    parameters: Annotated[
        Path | None, typer.Option(help="A TOML file with a table a routine.")
    ] = None,
    seed: SeedOption = 0,
    chip_seed: ChipSeedOption = 0,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Turn an unknown chip into a record one can train on."""
    from hilonn.cli.calibrate import calibrate_command, diff_command

    if diff is not None:
        _guarded(partial(diff_command, *diff, json=json))
    _guarded(
        partial(
            calibrate_command,
            bench,
            out,
            routines=tuple(routine or ()),
            parameters=parameters,
            refit=refit,
            seed=seed,
            chip_seed=chip_seed,
            json=json,
            imports=tuple(imports or ()),
        )
    )


@app.command()
def configure(
    bench: Annotated[str, typer.Argument(help="A built-in bench or a TOML file.")],
    matrix: Annotated[
        Path, typer.Option(help="A .npy file: real, orthogonal, or of half the ports.")
    ],
    method: Annotated[
        str, typer.Option(help="parallel, or progressive (triangular meshes).")
    ] = "parallel",
    out: Annotated[
        Path | None, typer.Option(help="The folder; one that is there is gone on with.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Believe this record's modulators and detectors; else measured."),
    ] = None,
    chip: Annotated[str | None, typer.Option(help="Which chip, where there are several.")] = None,
    seed: SeedOption = 0,
    chip_seed: ChipSeedOption = 0,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Bring a mesh that nobody has calibrated to a matrix, by light alone."""
    from hilonn.cli.configure import configure_command

    _guarded(
        partial(
            configure_command,
            bench,
            matrix,
            out,
            method=method,
            record=record,
            chip=chip,
            seed=seed,
            chip_seed=chip_seed,
            json=json,
            imports=tuple(imports or ()),
        )
    )


@app.command()
def poke(
    bench: Annotated[str, typer.Argument(help="A built-in bench or a TOML file.")],
    chip: Annotated[str | None, typer.Option(help="Which chip, where there are several.")] = None,
    console: Annotated[
        bool, typer.Option(help="Turn one heater by hand and watch every detector.")
    ] = False,
    seed: SeedOption = 0,
    chip_seed: ChipSeedOption = 0,
    json: JsonOption = False,
    imports: ImportOption = None,
) -> None:
    """Move every channel a little, watch every detector: which wire leads where. Light goes on."""
    from hilonn.cli.poke import poke_command

    _guarded(
        partial(
            poke_command,
            bench,
            chip,
            console=console,
            seed=seed,
            chip_seed=chip_seed,
            imports=tuple(imports or ()),
            json=json,
        )
    )


@app.command()
def emulate(
    lab: Annotated[str, typer.Argument(help="A lab, like lab-16.")],
    out: Annotated[
        Path | None, typer.Option(help="The bench file to write; LAB.toml by default.")
    ] = None,
    latency: Annotated[bool, typer.Option(help="Boxes take as long as real ones.")] = True,
    noise: Annotated[bool, typer.Option(help="Readings are noisy, and drift.")] = True,
    lockstep: Annotated[
        bool, typer.Option(help="Time moves with what the client does, not with the wall's clock.")
    ] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help=(
                "What goes wrong: q:drop@100x3 (a wire), santec:interlock@100 or tec:disturb=1.5 (a box), "
                "chip:dead_heater:37@60 (the chip); may be repeated."
            ),
        ),
    ] = None,
    chip_seed: ChipSeedOption = 0,
    imports: ImportOption = None,
) -> None:
    """Start an emulated lab, write the bench file that points at it, serve until Ctrl-C."""
    from hilonn.cli.emulate import emulate_command

    _guarded(
        partial(
            emulate_command,
            lab,
            out,
            latency=latency,
            noise=noise,
            lockstep=lockstep,
            faults=tuple(fault or ()),
            chip_seed=chip_seed,
            imports=tuple(imports or ()),
        )
    )


@app.command()
def schema(
    which: Annotated[str, typer.Argument(help="bench or experiment")],
) -> None:
    """The JSON schema of a bench or experiment file, for your editor."""
    from hilonn.cli.schema import schema_command

    _guarded(partial(schema_command, which))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit(0)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 bad input, 3 safety, 130 interrupted."""
    app()


def _guarded(action: Callable[[], int | None]) -> None:
    """Run a command; turn what it raises into one message on stderr and an exit code."""
    from hilonn.training import Interrupted

    try:
        code = action() or 0
    except HilonnError as error:
        sys.stderr.write(f"hilonn: {error}\n")
        code = error.exit_code
    except Interrupted as stop:
        sys.stderr.write(f"hilonn: {stop}\n")
        code = 130
    except KeyboardInterrupt:
        sys.stderr.write("hilonn: interrupted at once; the bench was made safe\n")
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone: there is nobody to tell
        code = 1
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
