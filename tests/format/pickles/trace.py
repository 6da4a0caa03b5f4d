"""Traces a few lines of itself, dumps the snapshot, and says what Python's own statistics of it are.

    python3 tests/format/pickles/trace.py tests/format/pickles/     writes cpython-VERSION.pickle and .json there
"""
import json
import sys
import tracemalloc


def leaf(held, n):
    held.append(bytearray(100 * n + 7))


def branch(held, n):
    for i in range(n):
        leaf(held, i)
    held.append("x" * 1000 * n)


def dumped(path):
    held = []
    tracemalloc.start(4)
    for n in range(6):
        branch(held, n)
        held.append([n] * 300)
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    snapshot.dump(path)
    return answers(tracemalloc.Snapshot.load(path))


def answers(snapshot):
    """What Python says of a snapshot, as texts."""
    return {
        "version": sys.version.split()[0],
        "limit": snapshot.traceback_limit,
        "traces": [
            [trace.domain, trace.size, trace.traceback.total_nframe, [[f.filename, f.lineno] for f in trace.traceback]]
            for trace in snapshot.traces
        ],
        "filename": [str(one) for one in snapshot.statistics("filename")],
        "lineno": [str(one) for one in snapshot.statistics("lineno")],
        "traceback": [str(one) for one in snapshot.statistics("traceback")],
        "cumulative": [str(one) for one in snapshot.statistics("lineno", True)],
    }


def main(folder):
    name = folder + "cpython-%d.%d" % sys.version_info[:2]
    text = json.dumps(dumped(name + ".pickle"), separators=(",", ":"))
    with open(name + ".recorded.json", "w") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
