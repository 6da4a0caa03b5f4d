"""A reader of snapshot files in Python, written from schema/FORMAT.md and schema/snapshot.fbs alone.

    python3 tests/format/reader.py FILE...

Prints for each file a line of JSON: the traceback limit, and the rows with everything spelled out.
"""
import json
import struct
import sys
import zlib

MAGIC = bytes.fromhex("89 54 4D 53 31 0D 0A 1A")


class Table:
    """A FlatBuffers table; fields by their order in the schema."""

    def __init__(self, message, at):
        self.message, self.at = message, at
        self.vtable = at - struct.unpack_from("<i", message, at)[0]

    def place(self, field):
        size = struct.unpack_from("<H", self.message, self.vtable)[0]
        if 4 + 2 * field >= size:
            return None
        offset = struct.unpack_from("<H", self.message, self.vtable + 4 + 2 * field)[0]
        return self.at + offset if offset else None

    def scalar(self, field, code):
        place = self.place(field)
        return 0 if place is None else struct.unpack_from("<" + code, self.message, place)[0]

    def target(self, field):
        place = self.place(field)
        return None if place is None else place + struct.unpack_from("<I", self.message, place)[0]

    def table(self, field):
        target = self.target(field)
        return None if target is None else Table(self.message, target)

    def bytes(self, field):
        target = self.target(field)
        if target is None:
            return b""
        length = struct.unpack_from("<I", self.message, target)[0]
        return self.message[target + 4:target + 4 + length]


def variable(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def column(table, count):
    encoding, data = table.scalar(0, "B"), table.bytes(1)
    if encoding == 2:
        return list(struct.unpack("<%dd" % count, data))
    values, at, previous = [], 0, 0
    while len(values) < count:
        length = min(128, count - len(values))
        base, at = variable(data, at)
        base = -(base >> 1) if base & 1 else base >> 1
        head = data[at]
        at += 1
        width = head & 127
        size = (length * width + 7) // 8
        packed = int.from_bytes(data[at:at + size], "little")
        at += size
        block = [base + (packed >> width * i & (1 << width) - 1) for i in range(length)]
        if head & 128:
            exceptions = data[at]
            at += 1
            for _ in range(exceptions):
                place = data[at]
                high, at = variable(data, at + 1)
                block[place] += high << width
        for value in block:
            if encoding == 1:
                value += previous
            values.append(value)
            previous = value
    assert at == len(data)
    return values


def read(data):
    assert data[:8] == MAGIC and data[-8:] == MAGIC
    footer_at = struct.unpack_from("<Q", data, len(data) - 16)[0]
    names, frames, nodes, tracebacks, rows = [], [], [()], [], []
    limit, at, blocks, size = None, 8, 0.0, 0.0
    while True:
        length, checksum = struct.unpack_from("<II", data, at)
        message = data[at + 8:at + 8 + length]
        assert zlib.crc32(message) == checksum
        root = Table(message, struct.unpack_from("<I", message)[0])
        if metadata := root.table(1):
            limit = metadata.scalar(0, "I")
        if strings := root.table(2):
            count, suffixes, start, previous = strings.scalar(0, "I"), strings.bytes(3), 0, b""
            for prefix, suffix in zip(column(strings.table(1), count), column(strings.table(2), count)):
                previous = previous[:prefix] + suffixes[start:start + suffix]
                start += suffix
                names.append(previous.decode("utf-8", "surrogatepass"))
        if batch := root.table(3):
            count = batch.scalar(0, "I")
            for name, line in zip(column(batch.table(1), count), column(batch.table(2), count)):
                frames.append([names[name], line])
        if batch := root.table(4):
            count = batch.scalar(0, "I")
            for distance, frame in zip(column(batch.table(1), count), column(batch.table(2), count)):
                nodes.append((*nodes[len(nodes) - distance], frames[frame]))
        if batch := root.table(5):
            count = batch.scalar(0, "I")
            for node, total in zip(column(batch.table(1), count), column(batch.table(2), count)):
                tracebacks.append((nodes[node], total - 1 if total else None))
        if batch := root.table(6):
            count = batch.scalar(0, "I")
            columns = [column(batch.table(field), count) for field in (1, 2, 3, 4)]
            for domain, bytes_each, number, traceback in zip(*columns):
                rows.append([domain, bytes_each, number, *tracebacks[traceback]])
                blocks += number
                size += number * bytes_each
        if footer := root.table(7):
            assert at == footer_at and at + 8 + length == len(data) - 16
            counted = (len(names), len(frames), len(nodes) - 1, len(tracebacks), len(rows), blocks, size)
            stated = [footer.scalar(field, "I") for field in range(4)]
            stated += [footer.scalar(4, "Q"), footer.scalar(5, "d"), footer.scalar(6, "d")]
            assert list(counted) == stated, (counted, stated)
            return {"tracebackLimit": limit, "rows": rows}
        at += 8 + length


for path in sys.argv[1:]:
    with open(path, "rb") as file:
        print(json.dumps(read(file.read())))
