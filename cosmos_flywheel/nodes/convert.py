# SPDX-License-Identifier: Apache-2.0
"""Core values ↔ this package's messages; predicted frames travel as PNG, so nothing is lost."""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.job import Price
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore, Picture, Prediction
from cosmos_flywheel.msg import AnomalyScore as AnomalyScoreMsg
from cosmos_flywheel.msg import Candidate, FailureEpisode, TopicLoss
from cosmos_flywheel.msg import ChannelScore as ChannelScoreMsg
from cosmos_flywheel.msg import Prediction as PredictionMsg

_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a message's stamp."""
    seconds, rest = divmod(stamp_ns, NS)
    return Time(sec=seconds, nanosec=rest)


def from_time(stamp: Any) -> int:
    """A message's stamp in nanoseconds."""
    return int(stamp.sec) * NS + int(stamp.nanosec)


def to_prediction(
    prediction: Prediction,
    *,
    engine_sha256: str,
    is_lookahead: bool,
    stride: int,
    state_names: tuple[str, ...],
    seconds: float,
) -> PredictionMsg:
    """One prediction as it is published; `seconds` is what the engine took for the tick."""
    header = Header(stamp=to_time(prediction.input_stamp_ns))
    message = PredictionMsg(
        header=header,
        level=prediction.level,
        engine_sha256=engine_sha256,
        mode=PredictionMsg.MODE_LOOKAHEAD if is_lookahead else PredictionMsg.MODE_HINDSIGHT,
        stride=stride,
        stamp_ns=array.array('q', prediction.stamps_ns.astype(np.int64).tobytes()),
        compute_time_s=seconds,
    )
    if prediction.frames is not None:
        message.frames = [
            CompressedImage(header=Header(stamp=to_time(at_ns)), format='png', data=_png(frame))
            for at_ns, frame in zip(prediction.stamps_ns.tolist(), prediction.frames, strict=True)
        ]
    if prediction.latents is not None:
        message.latents = array.array('B', prediction.latents.astype('<f4').tobytes())
        message.latents_shape = array.array('I', prediction.latents.shape)
        message.latents_dtype = 'float32'
    if prediction.state is not None:
        message.state = _floats(prediction.state)
        message.state_names = list(state_names)
    if prediction.unsure is not None:
        message.unsure = _floats(prediction.unsure)
        message.unsure_shape = array.array('I', prediction.unsure.shape)
    return message


def from_prediction(message: PredictionMsg) -> Prediction:
    """What `to_prediction` was given.

    Raises:
        PictureError: a frame is no PNG, or shapes or types do not fit.

    """
    stamps_ns = np.array(message.stamp_ns, np.int64)
    frames = [_picture(frame) for frame in message.frames]
    state = np.array(message.state, np.float32)
    unsure = np.array(message.unsure, np.float32)
    try:
        return Prediction(
            from_time(message.header.stamp),
            message.level,
            stamps_ns,
            np.stack(frames) if frames else None,
            _latents(message),
            state.reshape(len(stamps_ns), len(message.state_names)) if state.size else None,
            unsure.reshape(tuple(message.unsure_shape)) if unsure.size else None,
        )
    except ValueError as error:
        raise PictureError(f'a prediction of {message.level!r} is spoilt: {error}') from error


def _latents(message: Any) -> NDArray[np.float32] | None:
    data = bytes(message.latents)
    if not data:
        return None
    if message.latents_dtype != 'float32':
        raise ValueError(f'latents are {message.latents_dtype}, not float32')
    return np.frombuffer(data, '<f4').reshape(tuple(message.latents_shape))


def to_score(score: AnomalyScore) -> AnomalyScoreMsg:
    """A score as it is published."""
    return AnomalyScoreMsg(
        header=Header(stamp=to_time(score.stamp_ns)),
        channels=[
            ChannelScoreMsg(
                name=c.name,
                score=float(c.score),
                threshold=float(c.threshold),
                alarm=bool(c.alarm),
                guaranteed=bool(c.guaranteed),
                detail=c.detail,
            )
            for c in score.channels
        ],
        calibration_id=score.calibration_id,
        level=score.level,
        action_grounding=float(score.action_grounding),
    )


def from_score(message: Any) -> AnomalyScore:
    """What `to_score` was given."""
    return AnomalyScore(
        from_time(message.header.stamp),
        tuple(
            ChannelScore(c.name, c.score, c.threshold, c.alarm, c.guaranteed, c.detail)
            for c in message.channels
        ),
        message.calibration_id,
        message.level,
        message.action_grounding,
    )


def to_episode(manifest: Mapping[str, Any], folder: Path, closed_ns: int) -> FailureEpisode:
    """An episode's manifest as it is published, without the thumbnail."""
    window, clip = manifest['window'], manifest['clip']
    kept = clip['messages']
    lost = manifest['losses']
    return FailureEpisode(
        header=Header(stamp=to_time(closed_ns)),
        id=manifest['id'],
        robot=manifest['robot'],
        task=manifest['task'] or '',
        start_ns=window['start_ns'],
        end_ns=window['end_ns'],
        onset_ns=window['onset_ns'],
        state=manifest['state'],
        causes=manifest['causes'],
        channels=[
            ChannelScoreMsg(
                name=name,
                score=_number(channel['peak']),
                threshold=_number(channel['threshold']),
                alarm=bool(channel['alarms']),
                guaranteed=channel['guaranteed'],
                detail=channel['detail'],
            )
            for name, channel in manifest['channels'].items()
        ],
        calibration_id=manifest['calibration_id'] or '',
        level=manifest['engine']['level'],
        engine_sha256=manifest['engine']['sha256'] or '',
        clip_uri=(folder.resolve() / clip['file']).as_uri(),
        clip_sha256=clip['sha256'],
        losses=[
            TopicLoss(
                topic=topic,
                kept=kept.get(topic, 0),
                lost=sum(lost.get(topic, {}).values()),
                reason=', '.join(sorted(lost.get(topic, {}))),
            )
            for topic in sorted({*kept, *lost})
        ],
    )


def to_candidate(
    manifest: Mapping[str, Any], folder: Path, price: Price, told_ns: int
) -> Candidate:
    """A candidate's manifest as it is published; `price` is that of all attempts at it."""
    asked, video, model = manifest['variation'], manifest['video'], manifest['model']
    return Candidate(
        header=Header(stamp=to_time(told_ns)),
        id=manifest['id'],
        brief=manifest['brief']['id'],
        episode=manifest['episode'],
        robot=manifest['robot'],
        task=manifest['task'],
        kind=manifest['kind'],
        backend=manifest['backend'],
        model=model['name'],
        revision=model['revision'] or '',
        family=asked['family'],
        actions=asked['actions'],
        cell=[f'{axis}={value}' for axis, value in sorted(asked['cell'].items())],
        seed=manifest['seed'],
        video_uri=(folder.resolve() / video['file']).as_uri(),
        video_sha256=video['sha256'],
        gpu_time_s=price.gpu_s,
        cpu_time_s=price.cpu_s,
        money=price.money,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def worst(score: AnomalyScore) -> tuple[str, float]:
    """The channel that is furthest up towards or beyond its threshold, and its share of it."""
    shares = [(c.score / c.threshold, c.name) for c in score.channels if c.threshold > 0]
    known = [(share, name) for share, name in shares if not math.isnan(share)]
    share, name = max(known, default=(math.nan, ''))
    return name, share


def _floats(values: NDArray[np.float32]) -> array.array[float]:
    return array.array('f', np.ascontiguousarray(values, np.float32).tobytes())


def _png(picture: Picture) -> array.array[int]:
    done, data = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _QUICK)
    if not done:
        raise PictureError(f'a frame of shape {picture.shape} cannot be written as PNG')
    return array.array('B', data.tobytes())


def _picture(frame: Any) -> Picture:
    data = np.frombuffer(frame.data, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise PictureError(f'a predicted frame of {data.size} bytes is no picture')
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
