"""`vfiostate plan`: what `advance` would do."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json, finding_json, session_options, show_findings
from journal.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.plan import Preview
    from journal.events import Json
    from steps.base import Finding


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "plan",
        "show what `advance` would do, and how each of it is undone",
        run,
        text="Files as a diff, commands as they will run. Changes nothing. Plans of later steps are made from what is\n"
        "true now; a refusal there may be what an earlier step sets right.",
        example="vfiostate plan\nvfiostate plan --all --detailed-exitcode",
    )
    parser.add_argument("--all", action="store_true", help="of all steps that are left, not only the next")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when a step is left to take")
    parser.add_argument("--no-trial", action="store_true", help="as for `advance --no-trial`: without a trial boot")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Show it."""
    from engine.console import out, out_json
    from engine.plan import preview
    from engine.planview import action_json, findings_now, plan_lines, summary_lines
    from engine.progress import reporter

    previews = preview(session_options(args), reporter(), all_steps=args.all, trial=not args.no_trial)
    if args.json:
        steps: list[Json] = [_as_json(one, action_json(previews, one.plan)) for one in previews.steps]
        out_json("vfiostate.plan/1", {"steps": steps})
        return _exit(previews.steps, args.detailed_exitcode)
    if not previews.steps:
        out("nothing is left to do: the setup is at the end of the way")
    for one in previews.steps:
        for line in plan_lines(previews, one):
            out(line)
        show_findings(findings_now(one) if args.all else one.plan.findings)
    for line in summary_lines(previews):
        out(line)
    if previews.steps:
        out(f"next: {_comes_next(previews.steps[0], trial=not args.no_trial)}")
    return _exit(previews.steps, args.detailed_exitcode)


def _comes_next(one: Preview, *, trial: bool) -> str:
    code = refusal_exit(one.plan.findings)
    if code == Exit.REBOOT:
        return "reboot, then vfiostate advance"
    if code:
        return "follow the hint above, then vfiostate plan"
    return "vfiostate advance" if trial else "vfiostate advance --no-trial"


def _exit(previews: Sequence[Preview], detailed: bool) -> int:
    """What the next step would answer; with --detailed-exitcode also whether there is one."""
    if not previews:
        return Exit.DONE
    refusal = refusal_exit(previews[0].plan.findings)
    return refusal or (Exit.PENDING if detailed else Exit.DONE)


def refusal_exit(findings: Sequence[Finding]) -> int:
    """The exit code of the gravest refusal, 0 where there is none; waiting for a reboot is the mildest."""
    from steps.base import Severity

    exits = [finding.exit for finding in findings if finding.severity is Severity.REFUSAL]
    return next((code for code in exits if code is not Exit.REBOOT), exits[0] if exits else Exit.DONE)


def _as_json(one: Preview, actions: Json) -> Json:
    return {
        "step": one.target.value,
        "after_reboot": one.reboots,
        "awaits": one.awaits,
        "actions": actions,
        "notes": list(one.plan.notes),
        "findings": [finding_json(finding) for finding in one.plan.findings],
    }
