# SPDX-License-Identifier: Apache-2.0
"""Turns an MCAP file without a usable summary into an index of whatever it still holds.

A power cut, a full disk or an unfinished copy leaves no summary: the records are walked one by
one up to the last whole message. A sound file that was written without a summary loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from mcap.opcode import Opcode

from cosmos_flywheel.bags.compression import UnpackError
from cosmos_flywheel.bags.mcap_bytes import HEAD, MAGIC, MESSAGE, PARSE_ERRORS, McapBytes, walk
from cosmos_flywheel.bags.mcap_index import McapIndex
from cosmos_flywheel.bags.records import Loss
from cosmos_flywheel.bags.spans import Span, loss_of


def recover_index(file: McapBytes, index: McapIndex) -> dict[int, Loss]:
    """Fill the index by walking the file; gives what is lost, by its place in the file."""
    losses = _walk_file(file, index)
    if orphans := sum(count for key, count in index.counts.items() if key not in index.channels):
        what = f'{file.path.name}: {orphans} messages belong to no channel of the file'
        losses[0] = Loss(what)
    return losses


def _walk_file(file: McapBytes, index: McapIndex) -> dict[int, Loss]:
    losses: dict[int, Loss] = {}
    end = len(MAGIC)
    for opcode, offset, end in _whole_records(file):
        if opcode in (Opcode.DATA_END, Opcode.FOOTER):
            if file.read(file.size_bytes - len(MAGIC), len(MAGIC)) != MAGIC:
                what = 'cut off within its index, after the last message; all were read'
                losses[offset] = Loss(f'{file.path.name}: {what}')
            return losses
        try:
            _index_record(file, index, opcode, offset, end)
        except PARSE_ERRORS as error:
            losses[offset] = loss_of(Span(offset, 0, 0), file.path, error)
    losses[end] = _salvage(file, index, end)
    return losses


def _whole_records(file: McapBytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of the file's records, up to the first that is cut or blank."""
    offset = len(MAGIC)
    while offset < file.size_bytes:
        try:
            opcode, length_bytes = HEAD.unpack(file.read(offset, HEAD.size))
        except UnpackError:
            return
        end = offset + HEAD.size + length_bytes
        if opcode == 0 or end > file.size_bytes:
            return
        yield opcode, offset, end
        offset = end


def _index_record(file: McapBytes, index: McapIndex, opcode: int, offset: int, end: int) -> None:
    if opcode == Opcode.CHUNK:
        head = file.chunk_head(offset)
        _index_chunk(file, index, Span(offset, head.start_ns, head.last_ns))
    elif opcode == Opcode.MESSAGE:
        key, _, log_ns, _ = MESSAGE.unpack(file.read(offset + HEAD.size, MESSAGE.size))
        index.add(Span(offset, log_ns, log_ns, end - offset, is_run=True), {key: 1})
    elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
        index.note(opcode, file.read(offset + HEAD.size, end - offset - HEAD.size))


def _index_chunk(file: McapBytes, index: McapIndex, chunk: Span) -> None:
    """Note the channels of a chunk, and add it if it has messages."""
    raw = file.records_of(chunk)
    times: list[int] = []
    counts: Counter[int] = Counter()
    for opcode, at, end in walk(raw):
        if opcode == Opcode.MESSAGE:
            key, _, log_ns, _ = MESSAGE.unpack_from(raw, at)
            counts[key] += 1
            times.append(log_ns)
        else:
            index.note(opcode, raw[at:end])
    if times:
        index.add(replace(chunk, start_ns=min(times), last_ns=max(times)), counts)


def _salvage(file: McapBytes, index: McapIndex, offset: int) -> Loss:
    """Take what the last, cut record still gives, and say what is missing."""
    before, missing_s = index.counts.total(), None
    rest_bytes = file.size_bytes - offset
    try:
        promised_ns = file.chunk_head(offset).last_ns
        _index_chunk(file, index, Span(offset, 0, 0, rest_bytes, is_cut=True))
    except PARSE_ERRORS:
        pass  # no chunk, or one with nothing to be had
    else:
        reached_ns = index.span_ns[1] if index.span_ns else promised_ns
        missing_s = max(0, promised_ns - reached_ns) / 1e9
    return Loss(
        f'{file.path.name}: cut off at byte {file.size_bytes} without its index (power cut, '
        'full disk or unfinished copy); its records were walked one by one, the last '
        f'{rest_bytes} bytes are an unfinished record that still gave '
        f'{index.counts.total() - before} messages'
        + ('' if missing_s is None else f' and lost at least {missing_s:.3f} s'),
        missing_s=missing_s,
    )
