"""CPython's own tracemalloc on the loop of pairs.c: pairs.py churn|kept DEPTH PAIRS NFRAME (0: untraced); ns a pair."""
import random
import sys
import time
import tracemalloc


def churn(pairs):
    start = time.thread_time_ns()
    for i in range(pairs):
        bytearray(24 + (i & 7) * 16)
    return time.thread_time_ns() - start


def kept(pairs, live=100_000):
    blocks = [bytearray(16 + i % 241) for i in range(live)]
    which = [random.randrange(live) for _ in range(pairs)]
    start = time.thread_time_ns()
    for i in which:
        blocks[i] = bytearray(16 + i % 241)
    return time.thread_time_ns() - start


def at_depth(depth, task, pairs):
    return at_depth(depth - 1, task, pairs) if depth > 0 else task(pairs)


name, depth, pairs, nframe = sys.argv[1], *map(int, sys.argv[2:5])
if nframe:
    tracemalloc.start(nframe)
print(at_depth(depth, {"churn": churn, "kept": kept}[name], pairs) / pairs)
