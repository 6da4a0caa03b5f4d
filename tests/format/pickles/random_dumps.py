"""Dumps random snapshots in every way that Python has, and says what its own statistics of them are.

    python3 tests/format/pickles/random_dumps.py FOLDER COUNT SEED

Writes FOLDER/0.pickle and so on, and prints for each a line of JSON.
"""
import json
import os
import pickle
import random
import sys
import tracemalloc

import trace as own  # this folder's trace.py

NAMES = ["a.py", "b.py", "", "x" * 300, "\x00", "é.py", "\u4f60.py", "\U0001f600.py", "\ud800.py", "\udc00", "/srv/app/a.py"]
SIZES = [0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**50, 2**53 - 1]


def snapshot(rng):
    names = rng.sample(NAMES, rng.randrange(1, len(NAMES))) + ["/m/%d.py" % i for i in range(rng.choice([0, 3, 400]))]

    def frame():
        return rng.choice(names), rng.choice([0, 1, 2, 3, 300, 70000, 2**32 - 1])

    frames = [frame() for _ in range(rng.randrange(1, 40))]
    tracebacks = [
        tuple(rng.choice(frames) if rng.random() < 0.5 else frame() for _ in range(rng.choice([1, 2, 3, 4, 7, 25])))
        for _ in range(rng.randrange(1, 30))
    ]

    count = rng.choice([0, 1, 2, 3, 4, 30, 30, 2500])
    most = (2**53 - 1) // (count + 2)  # sums are numbers of JavaScript's

    def trace():
        size = min(rng.choice(SIZES), most) if rng.random() < 0.3 else 16 * rng.randrange(9)
        head = rng.choice([0, 0, 1, 7, 2**32 - 1]), size
        tail = rng.choice(tracebacks)
        return (*head, tail, rng.choice([None, len(tail), 65535]))

    traces = [trace() for _ in range(count)]
    # The same object more than once comes out of the memo.
    traces += traces[:2]
    return tracemalloc.Snapshot(tuple(traces) if rng.random() < 0.3 else traces, rng.choice([1, 25, 65535]))


def dump(one, path, rng):
    """As Snapshot.dump does, and with the other protocol and the other pickler that it could have."""
    with open(path, "wb") as file:
        make = rng.choice([pickle.Pickler, pickle.Pickler, pickle._Pickler])
        make(file, rng.choice([4, 5])).dump(one)
    if rng.random() < 0.3:
        one.dump(path)


def main(folder, count, seed):
    rng = random.Random(seed)
    for i in range(count):
        one = snapshot(rng)
        path = os.path.join(folder, "%d.pickle" % i)
        dump(one, path, rng)
        print(json.dumps(own.answers(tracemalloc.Snapshot.load(path)), separators=(",", ":")))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
