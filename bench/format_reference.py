"""CPython's side of bench/format.ts: makes traces, times its own tracemalloc on them, and hands the traces over.

    python3 bench/format_reference.py FOLDER COUNT spread|program

Writes into FOLDER: times.json, tables.json (file names, tracebacks), and for `newer` and `older` the pickle and the
rows (.rows: domains as uint32, sizes as float64, tracebacks as uint32).
"""
import array
import ast
import glob
import json
import os
import random
import sys
import time
import tracemalloc


def spread(count):
    """Traces over count / 50 tracebacks of up to 25 frames; most lines allocate a few sizes, one in ten any size."""
    rng = random.Random(20240607)
    files = ["/home/user/project/src/%s/module_%d.py" % ("abcdefgh"[i % 8], i) for i in range(100)]
    tracebacks = []
    for i in range(count // 50):
        prefix = []
        if tracebacks:
            prefix = list(rng.choice(tracebacks)[0])
            prefix = prefix[: rng.randrange(len(prefix) + 1)]
        for _ in range(1 + rng.randrange(4)):
            if len(prefix) < 25:
                prefix.append((rng.choice(files), 1 + rng.randrange(400)))
        free = rng.random() < 0.1
        base = 16 * (1 + rng.randrange(40))
        # Every traceback has frames of its own, as those of take_snapshot() have.
        tracebacks.append((tuple((name, line) for name, line in prefix), len(prefix), free, base))
    traces = []
    for _ in range(count):
        frames, total, free, base = tracebacks[int(len(tracebacks) * rng.random() ** 2)]
        size = int(2 ** (4 + 12 * rng.random())) if free else base * (1 + rng.randrange(3))
        traces.append((0, size, tuple(reversed(frames)), total))
    # One object a traceback, as take_snapshot() gives.
    shared = {}
    return [(domain, size, shared.setdefault(frames, frames), total) for domain, size, frames, total in traces], 25


def program(count):
    """Blocks that a real program holds: syntax trees and tables made of the standard library's own sources."""
    tracemalloc.start(25)
    held = []
    paths = sorted(glob.glob(os.path.dirname(os.__file__) + "/**/*.py", recursive=True))
    random.Random(1).shuffle(paths)
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                source = file.read()
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        held.append((tree, [line.split() for line in source.splitlines()], json.loads(json.dumps(source.split()))))
        if tracemalloc.get_tracemalloc_memory() > 64 * count:
            break
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    return list(snapshot.traces._traces), 25


def best(times, call):
    fastest = None
    for _ in range(times):
        started = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - started
        fastest = seconds if fastest is None else min(fastest, seconds)
    return fastest, result


def main():
    folder, count, dataset = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    traces, limit = {"spread": spread, "program": program}[dataset](count)
    kept = random.Random(2)
    older_traces = [trace for trace in traces if kept.random() < 0.9]
    newer = tracemalloc.Snapshot(tuple(traces), limit)
    older = tracemalloc.Snapshot(tuple(older_traces), limit)
    paths = {name: os.path.join(folder, name + ".pickle") for name in ("newer", "older")}
    times = {"traces": len(traces), "python": sys.version.split()[0]}
    times["dump"], _ = best(3, lambda: newer.dump(paths["newer"]))
    older.dump(paths["older"])
    times["bytes"] = os.path.getsize(paths["newer"])
    times["load"], newer = best(3, lambda: tracemalloc.Snapshot.load(paths["newer"]))
    older = tracemalloc.Snapshot.load(paths["older"])
    for key in ("filename", "lineno", "traceback"):
        times["statistics " + key], statistics = best(3, lambda: newer.statistics(key))
        times["groups " + key] = len(statistics)
    for key in ("filename", "lineno"):
        times["statistics " + key + ", cumulative"], _ = best(1, lambda: newer.statistics(key, True))
    for key in ("filename", "lineno", "traceback"):
        times["compare " + key], _ = best(1, lambda: newer.compare_to(older, key))
    filters = [tracemalloc.Filter(True, "*/[a-f]*/*"), tracemalloc.Filter(False, "*_7.py")]
    times["filter"], filtered = best(1, lambda: newer.filter_traces(filters))
    times["filtered"] = len(filtered.traces)
    times["total"] = sum(trace[1] for trace in traces)

    tracebacks, names = {}, {}
    for trace in traces:
        tracebacks.setdefault((trace[2], trace[3]), len(tracebacks))
    table = [
        ([[names.setdefault(name, len(names)), line] for name, line in reversed(frames)], total)
        for frames, total in tracebacks
    ]
    with open(os.path.join(folder, "tables.json"), "w") as file:
        json.dump({"limit": limit, "names": list(names), "tracebacks": table}, file)
    for name, rows in (("newer", traces), ("older", older_traces)):
        with open(os.path.join(folder, name + ".rows"), "wb") as file:
            array.array("I", [row[0] for row in rows]).tofile(file)
            array.array("d", [row[1] for row in rows]).tofile(file)
            array.array("I", [tracebacks[row[2], row[3]] for row in rows]).tofile(file)
    with open(os.path.join(folder, "times.json"), "w") as file:
        json.dump(times, file)


main()
