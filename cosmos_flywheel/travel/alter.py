# SPDX-License-Identifier: Apache-2.0
"""An episode and a policy → the copy that may leave: topics left out, faces hidden.

Such a copy holds the clip alone: thumbnail and evidence show what was to stay. Its manifest names
the sha256 of the original clip as a parent.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cosmos_flywheel.bags.clip import write_clip
from cosmos_flywheel.bags.playback import PICTURES
from cosmos_flywheel.bags.records import Channel, RawMessage, Topic
from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.core.errors import BagError, PictureError, TravelError
from cosmos_flywheel.store.episodes import CLIP, EpisodeWriter, Manifest
from cosmos_flywheel.travel.centerface import Box
from cosmos_flywheel.travel.policy import BLUR, Policy
from cosmos_flywheel.travel.redact import (
    Detector,
    find_detector,
    find_faces,
    hide,
    picture_of,
    with_picture,
)

HOLD_NS = 500_000_000
"""Where a face was found, pictures are hidden for so long: detectors blink."""


def alter(folder: Path, manifest: Manifest, policy: Policy, out: Path) -> Path:
    """Write the copy of an episode that may leave as an episode below `out`; returns its folder.

    Raises:
        TravelError: faces are to be hidden and cannot be, or nothing would be left.

    """
    blur = policy.redaction.faces == BLUR
    detect = find_detector(policy.redaction.detector) if blur else None
    with open_bag(folder / manifest['clip']['file']) as clip, \
            EpisodeWriter(out, manifest['id']) as writer:  # fmt: skip
        source = AlteredClip(clip, policy, detect)
        kept = write_clip(
            writer.path / CLIP, source, start_ns=clip.start_ns, end_ns=clip.end_ns,
            topics=source.topics,
        )  # fmt: skip
        if not kept.messages:
            raise TravelError(f'{folder.name}: nothing of its clip may leave; see the policy')
        withheld = sorted({*manifest['clip']['messages']} - {*kept.messages})
        provenance = manifest['provenance']
        parents = [*provenance['parents'], manifest['clip']['sha256']]
        writer.finish({
            **manifest,
            'clip': {'file': CLIP, 'messages': kept.messages},
            'thumbnail': None,
            'evidence': [],
            'altered': {
                'detector': policy.redaction.detector if blur else None,
                'hidden': dict(sorted(source.hidden.items())),
                'unsearchable': dict(sorted(source.unsearchable.items())),
                'withheld': withheld,
            },
            'provenance': {**provenance, 'parents': list(dict.fromkeys(parents))},
        })  # fmt: skip
        return writer.folder


class AlteredClip:
    """A clip of which some topics are left out and in whose pictures faces are hidden."""

    def __init__(self, clip: BagSource, policy: Policy, detect: Detector | None) -> None:
        self._clip, self._policy, self._detect = clip, policy, detect
        self.topics: Mapping[str, Topic] = {
            name: topic for name, topic in clip.topics.items() if self._may_leave(topic)
        }
        self.hidden: Counter[str] = Counter()
        """By topic, pictures in which something was hidden."""
        self.unsearchable: Counter[str] = Counter()
        """By topic, messages left out because they cannot be searched for faces."""
        self._seen: dict[str, deque[tuple[int, Box]]] = {}

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Those that may leave, as they may leave."""
        names = self.topics if topics is None else {*topics} & {*self.topics}
        for message in self._clip.messages(names, start_ns, stop_ns):
            if self._detect is None or not self._is_searched(self.topics[message.topic]):
                yield message
                continue
            try:
                yield self._without_faces(message, self._detect)
            except (PictureError, BagError):
                self.unsearchable[message.topic] += 1

    def channel(self, topic: str, msgtype: str) -> Channel:
        """As it is."""
        return self._clip.channel(topic, msgtype)

    def to_cdr(self, message: RawMessage) -> bytes:
        """As it is."""
        return self._clip.to_cdr(message)

    def _may_leave(self, topic: Topic) -> bool:
        if not self._policy.may_carry(topic.name):
            return False
        if self._detect is None or topic.msgtype in PICTURES:
            return True
        unsearched = self._policy.may_go_unsearched(topic.name)
        return unsearched or not self._clip.holds_bytes(topic.name)

    def _is_searched(self, topic: Topic) -> bool:
        return topic.msgtype in PICTURES and not self._policy.may_go_unsearched(topic.name)

    def _without_faces(self, raw: RawMessage, detect: Detector) -> RawMessage:
        message = self._clip.deserialize(raw)
        picture = picture_of(message)
        seen = self._seen.setdefault(raw.topic, deque())
        while seen and not 0 <= raw.log_ns - seen[0][0] <= HOLD_NS:
            seen.popleft()
        seen.extend((raw.log_ns, box) for box in find_faces(picture, detect))
        if not seen:
            return raw
        self.hidden[raw.topic] += 1
        changed = with_picture(message, hide(picture, [box for _, box in seen]))
        return replace(raw, data=self._clip.serialize(changed, raw.msgtype))
