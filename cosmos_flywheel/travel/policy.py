# SPDX-License-Identifier: Apache-2.0
"""What may leave a robot's machine, whereto, and in which form: `config/travel/*.yaml`.

What a policy does not say is answered by the careful side: to this machine only, faces made
unrecognisable, nothing removed.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cosmos_flywheel import schemas
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.settings import Section, nearest
from cosmos_flywheel.store.episodes import Manifest
from cosmos_flywheel.store.labels import STATES
from cosmos_flywheel.store.shipped import Shipped, parse_mapping, read_text

SCHEMA = 'travel-v1'
POLICIES = Shipped('policy', 'travel')
LOOPBACK = 'loopback'
"""As an endpoint: this machine. As a policy's name: the one that allows nothing else."""
KEEP, MARK, REMOVE = 'keep', 'mark', 'remove'
BLUR = 'blur'
CENTERFACE, HAAR = 'centerface', 'haar'
_KEYS = ('schema', 'endpoints', 'cleartext', 'episodes', 'topics', 'redaction', 'bytes_s',
         'people', 'after_fetch')  # fmt: skip


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is done to pictures before a clip leaves."""

    faces: str = BLUR
    """`blur`, or `keep` where somebody has decided so."""
    detector: str = CENTERFACE
    """`centerface`, `haar`, or a `module:function` of the user's; see travel/redact.py."""
    unsearched: tuple[str, ...] = ()
    """Patterns of topics that may leave although nobody can search them for faces."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One robot's policy. Patterns are those of `fnmatch`: `/camera/*`."""

    endpoints: tuple[str, ...] = (LOOPBACK,)
    """`loopback`, addresses, networks (10.1.0.0/24) and URLs of shared folders."""
    cleartext: bool = False
    """Whether a token and clips may cross a network without TLS."""
    labels: tuple[str, ...] = STATES
    """Labels in force of episodes that may leave."""
    causes: tuple[str, ...] = ()
    """An episode needs one of these; empty: any. `trigger` stands for every trigger."""
    topics: tuple[str, ...] = ('*',)
    """Patterns of topics that may leave."""
    withheld: tuple[str, ...] = ()
    """Patterns of topics that may not, whatever `topics` says."""
    redaction: Redaction = Redaction()
    bytes_s: float | None = None
    """Cap for all transfers together; None: none."""
    people: bool = False
    """Whether labels leave: they name who judged."""
    after_whole: str = MARK
    """What happens to an episode that arrived as it is: `keep`, `mark` as fetched (it goes when
    the recorder needs room), or `remove` at once."""
    after_altered: str = KEEP
    """The same where topics were left out or pictures changed: the robot has the only original."""

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any], place: str) -> Policy:
        """Of a `travel-v1` document; ConfigError names the key."""
        top = Section(document, place, _KEYS)
        episodes = top.section('episodes', ('labels', 'causes'))
        topics = top.section('topics', ('allow', 'withhold'))
        redaction = top.section('redaction', ('faces', 'detector', 'unsearched'))
        after = top.section('after_fetch', ('whole', 'altered'))
        rules = (KEEP, MARK, REMOVE)
        labels = _words(episodes, 'labels', STATES)
        for label in labels:
            if label not in STATES:
                raise episodes.error('labels', f'holds {label!r}; {nearest(label, STATES)}')
        endpoints = _words(top, 'endpoints', (LOOPBACK,))
        for endpoint in endpoints:
            if endpoint != LOOPBACK and '://' not in endpoint and _network(endpoint) is None:
                raise top.error(
                    'endpoints',
                    f'holds {endpoint!r}; write {LOOPBACK}, an address, a network such as '
                    '10.1.0.0/24, or the URL of a folder such as file:///mnt/share',
                )
        return cls(
            endpoints=endpoints,
            cleartext=top.truth('cleartext', False),
            labels=labels,
            causes=_words(episodes, 'causes', ()),
            topics=_words(topics, 'allow', ('*',)),
            withheld=_words(topics, 'withhold', ()),
            redaction=Redaction(
                faces=redaction.choice('faces', (BLUR, KEEP), BLUR),
                detector=redaction.text('detector', CENTERFACE),
                unsearched=_words(redaction, 'unsearched', ()),
            ),
            bytes_s=top.number('bytes_s', above=0) if 'bytes_s' in top else None,
            people=top.truth('people', False),
            after_whole=after.choice('whole', rules, MARK),
            after_altered=after.choice('altered', rules, KEEP),
        )

    def may_reach(self, address: str) -> bool:
        """Whether the machine at an IP address may be talked to."""
        host = _address(address)
        if host is None:
            return False
        if LOOPBACK in self.endpoints and host.is_loopback:
            return True
        networks = (_network(endpoint) for endpoint in self.endpoints)
        return any(network is not None and host in network for network in networks)

    def may_write(self, url: str) -> bool:
        """Whether a shared folder may be written: it is one that is named, or lies below one."""
        asked = _place(url)
        named = (_place(endpoint) for endpoint in self.endpoints if '://' in endpoint)
        return any(
            asked[:2] == one[:2] and (asked[2] + '/').startswith(one[2].rstrip('/') + '/')
            for one in named
        )

    def refusal(self, manifest: Manifest, label: str) -> str:
        """Why an episode may not leave, in words; empty if it may."""
        if label not in self.labels:
            return f'label {label} may not leave'
        causes = manifest['causes']
        if self.causes and not any(_is_cause(c, one) for c in causes for one in self.causes):
            return f'none of its causes ({", ".join(causes)}) may leave'
        if not any(map(self.may_carry, manifest['clip']['messages'])):
            return 'none of its topics may leave'
        return ''

    def may_carry(self, topic: str) -> bool:
        """Whether a topic may leave."""
        return _matches(topic, self.topics) and not _matches(topic, self.withheld)

    def may_go_unsearched(self, topic: str) -> bool:
        """Whether a topic may leave although nobody can search it for faces."""
        return _matches(topic, self.redaction.unsearched)

    def content_hash(self) -> str:
        """64 hex digits of what decides over the content of a clip."""
        return config_hash([self.topics, self.withheld, asdict(self.redaction)])


def load_policy(name_or_path: str | Path) -> Policy:
    """A shipped policy by its name, or any policy file by its path.

    Raises:
        ConfigError: there is none, or a key is wrong.
        SchemaError: its content is not that of `travel-v1`.

    """
    path = POLICIES.find(name_or_path)
    document = parse_mapping(read_text(path, 'a policy'), path, SCHEMA)
    policy = Policy.from_mapping(document, str(path))
    schemas.check(document, SCHEMA, where=str(path))
    return policy


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own."""
    host = _address(address)
    return host is not None and host.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        host = ipaddress.ip_address(text.partition('%')[0])
    except ValueError:
        return None
    mapped = getattr(host, 'ipv4_mapped', None)
    return mapped or host


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _place(url: str) -> tuple[str, str, str]:
    """Protocol, host or bucket, and the path without `..`."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc, posixpath.normpath('/' + parts.path.lstrip('/'))


def _words(section: Section, key: str, default: Sequence[str]) -> tuple[str, ...]:
    return section.words(key) if key in section else tuple(default)


def _matches(topic: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(topic, pattern) for pattern in patterns)


def _is_cause(cause: str, asked: str) -> bool:
    return cause == asked or cause.startswith(f'{asked}:')
