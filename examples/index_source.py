# SPDX-License-Identifier: MIT
"""Index a source tree on all cores: digest, lines, tokens and identifiers of every Python file.

You see a progress bar, a table of the largest folders, the files that could not be read (Python's own library keeps
some that are broken on purpose), and how much faster it went than in one process.
"""

import argparse
import hashlib
import io
import json
import os
import time
import tokenize
from collections import Counter
from collections.abc import Iterator
from keyword import iskeyword
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from localq import LocalQueue


def index_file(path: Path) -> dict[str, Any]:
    """This runs in the workers."""
    data = path.read_bytes()
    tokens = list(tokenize.tokenize(io.BytesIO(data).readline))
    names = Counter(t.string for t in tokens if t.type == tokenize.NAME and not iskeyword(t.string))
    digest = hashlib.sha256(data).hexdigest()
    return {"sha256": digest, "lines": data.count(b"\n"), "tokens": len(tokens), "identifiers": dict(names)}


def seconds_in_one_process(paths: list[Path]) -> float:
    """Index every 10th file right here and scale that up by size: an estimate."""
    sample = paths[::10]
    start = time.perf_counter()
    for path in sample:
        try:
            index_file(path)
        except (SyntaxError, tokenize.TokenError):
            continue
    seconds = time.perf_counter() - start
    return seconds * sum(p.stat().st_size for p in paths) / max(1, sum(p.stat().st_size for p in sample))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    library = Path(os.__file__).parent
    parser.add_argument("tree", type=Path, nargs="?", default=library, help="default: Python's own library")
    parser.add_argument("--workers", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--json", action="store_true", help="print the merged result as JSON instead of tables")
    args = parser.parse_args()
    tree = args.tree
    paths = sorted(p for p in tree.rglob("*.py") if p.is_file() and "site-packages" not in p.relative_to(tree).parts)
    if not paths:
        parser.error(f"no Python file in {tree}")

    failed: dict[str, str] = {}
    folders: dict[str, Counter[str]] = {}
    identifiers: Counter[str] = Counter()
    digests: Counter[str] = Counter()
    start = time.perf_counter()
    with LocalQueue(workers=args.workers) as q:
        results: Iterator[Any] = q.map(index_file, paths, progress=not args.json, return_exceptions=True)
        for path, found in zip(paths, results, strict=True):
            name = path.relative_to(tree)
            if isinstance(found, BaseException):
                failed[str(name)] = f"{type(found).__name__}: {found}"
                continue
            row = folders.setdefault(name.parts[0] if len(name.parts) > 1 else ".", Counter())
            row.update(files=1, lines=found["lines"], tokens=found["tokens"])
            identifiers.update(found["identifiers"])
            digests[found["sha256"]] += 1
    seconds = time.perf_counter() - start

    total = sum(folders.values(), Counter[str]())
    alone = seconds_in_one_process(paths)
    if args.json:
        report = {
            "folders": folders, "total": total, "failed": failed, "identifiers": dict(identifiers.most_common(20)),
            "distinct_identifiers": len(identifiers), "copies": total["files"] - len(digests),
            "seconds": seconds, "seconds_in_one_process": alone,
        }  # fmt: skip
        print(json.dumps(report, indent=1))
        return

    table = Table("folder", title=str(tree))
    for column in ("files", "lines", "tokens"):
        table.add_column(column, justify="right")
    largest = sorted(folders.items(), key=lambda item: -item[1]["tokens"])[:10]
    for folder, row in [*largest, (f"all {len(folders)}", total)]:
        table.add_row(folder, *(f"{row[column]:,}" for column in ("files", "lines", "tokens")))
    Console().print(table)
    print(f"{len(identifiers):,} identifiers; most used: {', '.join(name for name, _ in identifiers.most_common(8))}")
    print(f"{total['files'] - len(digests)} files are copies of others; {len(failed)} could not be read:")
    for path, reason in failed.items():
        print(f"  {path}: {reason}")
    print(f"{seconds:.1f} s; one process would need about {alone:.1f} s (measured on every 10th file):", end=" ")
    print(f"{alone / seconds:.1f} times faster")


if __name__ == "__main__":
    main()
