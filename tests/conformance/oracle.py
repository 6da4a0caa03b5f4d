"""Answers the cases of cases.ts with CPython's own tracemalloc: one JSON text a line, in and out.

Runs with the folder of the source files that tracebacks refer to as its working directory.
"""

import fnmatch
import json
import sys
import tracemalloc
from tracemalloc import DomainFilter, Filter, Frame, Snapshot, Statistic, StatisticDiff, Trace, Traceback


def frames_of(frames):
    """The frames of a case, oldest first, as CPython takes them."""
    return tuple((filename, lineno) for filename, lineno in reversed(frames))


def traceback_of(case):
    return Traceback(frames_of(case["frames"]), case["total"])


def snapshot_of(traces, limit):
    return Snapshot(
        [(domain, size, frames_of(frames), total) for domain, size, frames, total in traces],
        limit,
    )


def filter_of(spec):
    if spec["kind"] == "domain":
        return DomainFilter(spec["inclusive"], spec["domain"])
    return Filter(
        spec["inclusive"],
        spec["pattern"],
        lineno=spec["lineno"],
        all_frames=spec["allFrames"],
        domain=spec["domain"],
    )


def texts(values):
    return [[str(value), repr(value)] for value in values]


def snapshot(case):
    new = snapshot_of(case["newer"], case["limit"])
    old = snapshot_of(case["older"], case["limit"])
    filtered = new.filter_traces([filter_of(spec) for spec in case["filters"]])
    key = case["keyType"], case["cumulative"]
    return {
        "limit": new.traceback_limit,
        "length": len(new.traces),
        "traces": texts(new.traces) + [repr(new.traces)],
        "statistics": texts(new.statistics(*key)),
        "differences": texts(new.compare_to(old, *key)),
        "filtered": texts(filtered.traces),
        "filteredStatistics": texts(filtered.statistics(*key)),
        "filteredDifferences": texts(filtered.compare_to(old, *key)),
        "common": [trace in old.traces for trace in new.traces],
    }


def order(case):
    tracebacks = [traceback_of(one) for one in case["tracebacks"]]
    frames = [frame for traceback in tracebacks for frame in traceback]
    first = tracebacks[0]
    return {
        "frames": texts(sorted(frames)),
        "tracebacks": texts(sorted(tracebacks)),
        "equal": [first == other for other in tracebacks],
        "less": [first < other for other in tracebacks],
        "contains": [frame in first for frame in frames],
        "at": [repr(first[i]) if -len(first) <= i < len(first) else None for i in case["indices"]],
        "slices": [repr(list(first[start:end])) for start, end in case["slices"]],
    }


def format_traceback(case):
    return traceback_of(case["traceback"]).format(case["limit"], case["mostRecentFirst"])


def numbers(case):
    traceback = Traceback((("a", 1),))
    size, size_diff, count, count_diff = case["values"]
    return texts(
        [Statistic(traceback, size, count), StatisticDiff(traceback, size, size_diff, count, count_diff)]
    ) + ([str(Trace((0, size, (("a", 1),), None)))] if size < 2**53 and size == int(size) else [])


def match(case):
    pattern = tracemalloc._normalize_filename(case["pattern"])
    return [Filter(True, case["pattern"]).filename_pattern] + [
        fnmatch.fnmatch(tracemalloc._normalize_filename(name), pattern) for name in case["names"]
    ]


answers = {"snapshot": snapshot, "order": order, "format": format_traceback, "numbers": numbers, "match": match}

print(sys.version.split()[0])
# All is read before anything is written: a runtime's spawnSync may do the one before the other.
for case in [json.loads(line) for line in sys.stdin]:
    # No spaces, as JSON.stringify writes it; everything beyond ASCII as an escape, lone surrogates too.
    print(json.dumps(answers[case["kind"]](case), separators=(",", ":")))
