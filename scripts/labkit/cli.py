"""The command line of ``scripts/lab``."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import blocks, bundle, cuts, drift, held, image, matrix, rescue, resume, rows, scenario, trial
from .base import REPOSITORY, LabError, cache_directory, limit, need_commands, say
from .machine import Machine, Shape, overlay

EPILOG = """examples:
  scripts/lab build                       the image, from the cache when nothing changed
  scripts/lab list                        the rows of the matrix, the images and the machines
  scripts/lab run debian12-grub           one row: new, reboot, running, rollback, as before?
  scripts/lab held debian12-grub          the simulated machine held against what the row found
  scripts/lab matrix                      every row, one after another, with a table
  scripts/lab rescue                      the way back for a machine that does not boot any more
  scripts/lab cuts 100 --machines 2       a hundred power cuts at random moments of every step
  scripts/lab trial                       trial boots: a good one, one that panics, one that hangs
  scripts/lab drift                       drifts made with the real tools, each named by audit
  scripts/lab resume                      advance --resume: kept off, parked, and by itself up to a guest
  scripts/lab blocks --log /tmp/blocks    a recorded disk, cut off at every write; and a negative control
  scripts/lab up && scripts/lab exec -- lspci -nnk && scripts/lab down
  scripts/lab shell                       a line at a time in the running machine (starts it if there is none)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command of the lab; 0 done, 1 a check or the lab failed, 64 usage."""
    options = parser().parse_args(arguments)
    try:
        return int(options.function(options))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The lab's arguments."""
    top = argparse.ArgumentParser(
        prog="scripts/lab", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="build a row's image, or find it in the cache")
    build.add_argument("row", nargs="?", default=FIRST, metavar="ROW", help="whose (default: %(default)s)")
    build.add_argument("--rebuild", action="store_true", help="build it even if it is there")
    build.set_defaults(function=cmd_build)

    run = commands.add_parser("run", help="one row of the matrix, with a table of what was checked")
    run.add_argument("row", nargs="?", default=FIRST, metavar="ROW", help="which (default: %(default)s)")
    add_output(run)
    run.set_defaults(function=cmd_run)

    every = commands.add_parser("matrix", help="every row, or these, one after another; a table")
    every.add_argument("rows", nargs="*", metavar="ROW", help="which (default: all)")
    every.add_argument("--minutes", type=float, default=math.inf, help="no row but the first is begun after these")
    every.add_argument("--record", action="store_true", help="write down in proven.json which rows held")
    add_output(every)
    every.set_defaults(function=cmd_matrix)

    against = commands.add_parser(
        "held", help="the simulated machine held against what rows found, with every difference"
    )
    against.add_argument(
        "rows", nargs="+", metavar="ROW", help="rows that were played, by name or by their directories"
    )
    against.set_defaults(function=cmd_held)

    power = commands.add_parser("cuts", help="power cuts at random moments of every step, with a table")
    power.add_argument("wanted", type=int, metavar="N", help="how many")
    power.add_argument("--machines", type=int, default=2, help="so many at the same time (default: %(default)s)")
    power.add_argument("--seed", type=int, default=1, help="of what is chosen at random (default: %(default)s)")
    power.add_argument("--only", action="append", default=[], metavar="WORDS", help="only steps with these words")
    power.add_argument("--minutes", type=float, default=600, help="no cut is begun after these (default: %(default)s)")
    add_output(power)
    power.set_defaults(function=cmd_cuts)

    way_back = commands.add_parser("rescue", help="the way back for a machine made unbootable, with a table")
    way_back.add_argument("--only", default="", metavar="WORDS", help="only the cases with these words in their names")
    add_output(way_back)
    way_back.set_defaults(function=cmd_rescue)

    once = commands.add_parser("trial", help="trial boots that come up, panic and hang, with a table")
    once.add_argument("--only", default="", metavar="WORDS", help="only the cases with these words in their names")
    add_output(once)
    once.set_defaults(function=cmd_trial)

    others = commands.add_parser("drift", help="drifts made with the real tools, each named by audit, with a table")
    others.add_argument(
        "--only", action="append", default=[], metavar="WORDS", help="only drifts with these words; once for each"
    )
    add_output(others)
    others.set_defaults(function=cmd_drift)

    alone = commands.add_parser("resume", help="advance --resume on a real systemd, with a table")
    add_output(alone)
    alone.set_defaults(function=cmd_resume)

    crash = commands.add_parser("blocks", help="crash states of a disk whose every write was recorded, with numbers")
    crash.add_argument("--states", type=int, default=1000, help="random ones beside prefixes (default: %(default)s)")
    crash.add_argument("--seed", type=int, default=1, help="of what is chosen at random (default: %(default)s)")
    crash.add_argument("--no-fsync", action="store_true", help="only the negative control: the fsyncs taken out")
    crash.add_argument("--log", type=Path, help="directory of the recordings: kept, and replayed if they are there")
    crash.add_argument("--jobs", type=int, help="processes (default: one for each processor)")
    crash.set_defaults(function=cmd_blocks)

    up = commands.add_parser("up", help="start a machine in the background")
    add_name(up)
    up.add_argument("--fresh", action="store_true", help="throw away what an earlier machine of this name wrote")
    up.add_argument("--vfiostate", action="store_true", help="install the checkout in it")
    add_shape(up)
    up.set_defaults(function=cmd_up)

    execute = commands.add_parser("exec", help="run an argument list in the machine (started if there is none)")
    add_name(execute)
    execute.add_argument("--timeout", type=float, default=None, help="seconds (default: five times nominal)")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- ARGV")
    execute.set_defaults(function=cmd_exec)

    shell = commands.add_parser("shell", help="type shell lines into the machine")
    add_name(shell)
    shell.set_defaults(function=cmd_shell)

    reboot = commands.add_parser("reboot", help="reboot the machine")
    add_name(reboot)
    reboot.set_defaults(function=cmd_reboot)

    down = commands.add_parser("down", help="shut the machine down")
    add_name(down)
    down.add_argument("--cut", action="store_true", help="cut its power instead")
    down.add_argument("--remove", action="store_true", help="and remove its disk")
    down.set_defaults(function=cmd_down)

    commands.add_parser("list", help="the rows of the matrix, the images and the machines").set_defaults(
        function=cmd_list
    )
    return top


FIRST = "debian12-grub"


def add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="default", help="which machine (default: %(default)s)")


def add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, help="directory for logs and transcripts (default: build/lab/COMMAND)")
    command.add_argument("--keep", action="store_true", help="leave the machines' directories")


def add_shape(command: argparse.ArgumentParser) -> None:
    command.add_argument("--iommu", choices=("intel", "amd", "none"), default="intel")
    command.add_argument("--twin", action="store_true", help="a second, equal graphics card at 04:00.0")


def machines_directory() -> Path:
    return cache_directory() / "machines"


def shape_path(name: str) -> Path:
    return machines_directory() / name / "shape"


def named_machine(name: str, shape: Shape | None = None) -> Machine:
    """The machine of this name; its hardware stays what it was when it was made."""
    directory = machines_directory() / name
    if shape is None:
        iommu, twin = shape_path(name).read_text().split() if shape_path(name).exists() else ("intel", "single")
        shape = Shape(iommu, twin == "twin")
    return Machine(directory, directory / "disk.qcow2", shape)


def started(name: str) -> Machine:
    """The machine of this name, started if it does not run."""
    machine = named_machine(name)
    if machine.pid() is None:
        start(machine)
    return machine


def start(machine: Machine, *, fresh: bool = False) -> None:
    """Starts a named machine on its own overlay."""
    need_commands(["qemu-system-x86_64", "qemu-img"])
    base = image.ensure_image()
    if fresh:
        shutil.rmtree(machine.directory, ignore_errors=True)
    machine.directory.mkdir(parents=True, exist_ok=True)
    if not machine.disk.exists():
        overlay(base.disk, machine.disk)
    cards = "twin" if machine.shape.twin else "single"
    shape_path(machine.directory.name).write_text(f"{machine.shape.iommu} {cards}\n")
    say(f"starting machine {machine.directory.name}")
    machine.start()


def cmd_build(options: argparse.Namespace) -> int:
    [row] = rows.named([options.row])
    print(image.ensure_image(row.recipe, rebuild=options.rebuild).disk)
    return 0


def cmd_run(options: argparse.Namespace) -> int:
    [row] = rows.named([options.row])
    report = scenario.play(row, output=options.output, keep=options.keep)
    print(report.table())
    return 0 if report.passed else 1


def cmd_matrix(options: argparse.Namespace) -> int:
    return matrix.main_job(
        rows.named(options.rows),
        output=options.output,
        keep=options.keep,
        record=options.record,
        minutes=options.minutes,
    )


def cmd_held(options: argparse.Namespace) -> int:
    places = [Path(row) if Path(row).is_dir() else REPOSITORY / "build" / "lab" / row for row in options.rows]
    return held.main_job(places)


def cmd_cuts(options: argparse.Namespace) -> int:
    return cuts.main_job(
        options.wanted,
        machines=options.machines,
        seed=options.seed,
        minutes=options.minutes,
        output=options.output,
        keep=options.keep,
        words=tuple(options.only),
    )


def cmd_rescue(options: argparse.Namespace) -> int:
    return rescue.main_job(output=options.output, keep=options.keep, only=options.only)


def cmd_trial(options: argparse.Namespace) -> int:
    return trial.main_job(output=options.output, keep=options.keep, only=options.only)


def cmd_drift(options: argparse.Namespace) -> int:
    return drift.main_job(output=options.output, keep=options.keep, only=options.only)


def cmd_resume(options: argparse.Namespace) -> int:
    return resume.main_job(output=options.output, keep=options.keep)


def cmd_blocks(options: argparse.Namespace) -> int:
    return blocks.main_job(
        states=options.states, seed=options.seed, control_only=options.no_fsync, log=options.log, jobs=options.jobs
    )


def cmd_up(options: argparse.Namespace) -> int:
    machine = named_machine(options.name, Shape(options.iommu, options.twin))
    if machine.pid() is not None:
        if not options.fresh:
            say("it runs already")
            return 0
        machine.cut_power()
    if options.vfiostate:
        with tempfile.TemporaryDirectory() as scratch:
            tar = bundle.make(Path(scratch))
            start(machine, fresh=options.fresh)
            bundle.install(machine.agent, tar)
        return 0
    start(machine, fresh=options.fresh)
    return 0


def cmd_exec(options: argparse.Namespace) -> int:
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise LabError("exec: which command? scripts/lab exec -- lspci -nnk")
    ran = started(options.name).agent.run(argv, timeout=options.timeout or limit("advance"))
    sys.stdout.write(ran.stdout)
    sys.stderr.write(ran.stderr)
    return 124 if ran.timed_out else ran.rc if ran.rc >= 0 else 128 - ran.rc


def cmd_shell(options: argparse.Namespace) -> int:
    machine = started(options.name)
    while True:
        try:
            line = input("lab# " if sys.stdin.isatty() else "")
        except EOFError:
            return 0
        ran = machine.agent.run(["bash", "-c", line], timeout=limit("advance"))
        print(ran.stdout + ran.stderr, end="" if (ran.stdout + ran.stderr)[-1:] in ("", "\n") else "\n")
        if ran.rc:
            print(f"[{ran.rc}]")


def cmd_reboot(options: argparse.Namespace) -> int:
    print(started(options.name).reboot())
    return 0


def cmd_down(options: argparse.Namespace) -> int:
    machine = named_machine(options.name)
    if machine.pid() is not None:
        if options.cut:
            machine.cut_power()
        else:
            machine.power_off()
    if options.remove:
        shutil.rmtree(machine.directory, ignore_errors=True)
    return 0


def cmd_list(_options: argparse.Namespace) -> int:
    for row in rows.ROWS.values():
        print(f"row      {row.name:<30} {row.shows}")
    current = {image.image_path(row.recipe) for row in rows.ROWS.values()}
    for path in image.built_images():
        print(f"image    {path}  {path.stat().st_size // 2**20} MiB{'' if path in current else '  (of no row)'}")
    for directory in sorted(machines_directory().glob("*")) if machines_directory().exists() else []:
        pid = named_machine(directory.name).pid()
        size = sum(file.stat().st_blocks * 512 for file in directory.glob("*.qcow2")) // 2**20
        print(f"machine  {directory.name}  {f'runs, pid {pid}' if pid else 'off'}  {size} MiB  {os.fspath(directory)}")
    return 0
