# SPDX-License-Identifier: MIT
"""Check the protocols of native/ by visiting every state of small models of them.

  ring        a task's slot and the claim ring       completion  its result's way to the client
  blocks      payload, its holders and its readers   arena       spans, runs, giving back
  pins        who looks at a block for longer        roster      labels and incarnations

Each model must hold, with processes killed and stopped before any of their accesses to shared memory. And each
control, a model that breaks one rule, must fail: or the check would prove nothing. The exit status is 1 if anything is
otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import arena
import blocks
import completion
import pins
import ring
import roster
from explore import Verdict, search
from parts import Suite

SUITES: tuple[Suite, ...] = (ring.SUITE, completion.SUITE, blocks.SUITE, pins.SUITE, arena.SUITE, roster.SUITE)

EXAMPLES = """\
examples:
  python native/model/check.py                                      all models and all controls, less than a minute
  python native/model/check.py --bound large                        larger models: minutes, and up to 2 GB
  python native/model/check.py --only ring                          one model and its controls
  python native/model/check.py --only ring --variant no_full_check --trace
                                                                    one control, with a shortest way to what it breaks
  python native/model/check.py --list                               the names of all models and controls
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    suites = [suite for suite in SUITES if options.only in (None, suite.name)]
    if options.variant and not any(options.variant in suite.controls for suite in suites):
        print(f"no control of that name: {options.variant}; see --list", file=sys.stderr)
        return 2
    if options.list:
        _list(suites)
        return 0
    good = True
    for suite in suites:
        if not options.variant and options.what != "controls":
            for size in getattr(suite, options.bound):
                good &= _check_model(suite, size)
        for name in suite.controls:
            if options.variant in ("", name) and options.what != "models":
                good &= _check_control(suite, name, options.trace)
    print("all as it should be" if good else "FAILED")
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bound", choices=("small", "large"), default="small", help="how large the models are")
    parser.add_argument("--only", metavar="MODEL", choices=[suite.name for suite in SUITES], help="this model alone")
    parser.add_argument("--variant", metavar="CONTROL", default="", help="this control alone")
    parser.add_argument("--what", choices=("models", "controls", "both"), default="both", help="the one or the other")
    parser.add_argument("--trace", action="store_true", help="show how a control comes to fail, step by step")
    parser.add_argument("--list", action="store_true", help="name the models and their controls, and check nothing")
    return parser


def _list(suites: Sequence[Suite]) -> None:
    for suite in suites:
        print(suite.name)
        for name, control in suite.controls.items():
            print(f"  {name:<40} {control.rule}")


def _check_model(suite: Suite, size: Any) -> bool:
    """It must hold."""
    verdict = search(suite.build(size, ""))
    told = f"{suite.name:<11} {_measure(size)}"
    _say("FAILED" if verdict.problem else "ok", told, verdict)
    if verdict.problem:
        _show(verdict)
    return not verdict.problem


def _check_control(suite: Suite, name: str, with_trace: bool) -> bool:
    """It must fail."""
    control = suite.controls[name]
    verdict = search(suite.build(control.size, name))
    caught = f"caught after {len(verdict.trace)} steps" if verdict.problem else "NOT CAUGHT"
    _say("ok" if verdict.problem else "FAILED", f"{suite.name:<11} {name}: {caught}", verdict)
    if verdict.problem and with_trace:
        print(f"        {control.rule}; {_measure(control.size)}")
        _show(verdict)
    return bool(verdict.problem)


def _measure(size: Any) -> str:
    """A size in words, as far as it is not nothing."""
    return ", ".join(f"{name} {value}" for name, value in size._asdict().items() if value not in (0, ""))


def _say(how: str, told: str, verdict: Verdict) -> None:
    print(f"{how:<7} {told}  [{verdict.states} states, {verdict.seconds:.1f} s]", flush=True)


def _show(verdict: Verdict) -> None:
    for number, step in enumerate(verdict.trace, 1):
        print(f"    {number:>3}  {step}")
    print(f"         {verdict.problem}")


if __name__ == "__main__":
    sys.exit(main())
