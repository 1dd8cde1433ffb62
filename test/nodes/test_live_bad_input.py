# SPDX-License-Identifier: Apache-2.0
"""What robots, graphs and disks do wrong is said in words, and the live nodes go on."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playing import CAMERA, COMMANDS, NS, ROBOT, Played, Told, has_picture, stamp_ns

from cosmos_flywheel.store.episodes import iter_episodes, read_episode

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]
HOUR_NS = 3600 * NS


@pytest.fixture
def bag(root: Path) -> Path:
    return root / 'demo' / 'bags' / 'mujoco_push_faults' / 'bags' / 'push_1104'


@pytest.fixture
def told(graph) -> Told:
    return Told(graph)


@pytest.fixture
def start(graph, root, tmp_path):
    """Starts nodes beside the demo's robot, by name."""

    def start(*names: str, words: tuple[str, ...] = (), **parameters: object):
        model = {'models': [str(root / 'demo' / 'model')]}
        recorder = {'out': str(tmp_path / 'out'), 'pre_roll_s': 1.0, 'post_roll_s': 0.5}
        return [
            graph.start(
                name,
                *words,
                **{'robot': ROBOT, **(recorder if name == 'recorder' else model), **parameters},
            )
            for name in names
        ]

    return start


def with_picture(change):
    """The same message with another picture in it: `change(RGB) -> (format, bytes)`."""

    def changed(data: bytes) -> bytes:
        import cv2
        import numpy as np
        from rclpy.serialization import deserialize_message, serialize_message
        from sensor_msgs.msg import CompressedImage

        message = deserialize_message(data, CompressedImage)
        picture = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        message.format, said = change(picture)
        message.data = list(said)
        return serialize_message(message)

    return changed


def smaller(picture) -> tuple[str, bytes]:
    import cv2

    return 'jpeg', cv2.imencode('.jpg', picture[::2, ::2])[1].tobytes()


def as_png(picture) -> tuple[str, bytes]:
    import cv2

    return 'png', cv2.imencode('.png', picture)[1].tobytes()


def test_a_camera_may_stop_change_and_come_back(graph, told, start, bag):
    start('predictor', 'monitor')
    robot = Played(graph, bag)
    robot.begin(2)
    told.until_seen()

    robot.change[CAMERA] = lambda _: None
    told.until_says('monitor', f'{CAMERA} is silent for')
    assert not any(map(has_picture, told.more_scores()))
    del robot.change[CAMERA]
    told.until_seen()

    robot.change[CAMERA] = with_picture(smaller)
    told.until_says('monitor', f'{CAMERA}: resized (')
    told.until_seen()
    robot.change[CAMERA] = with_picture(as_png)
    told.until_seen()
    robot.change[CAMERA] = with_picture(lambda _: ('jpeg', b'\xff\xd8 and no more'))
    told.until_says('monitor', f'{CAMERA}: undecodable (')
    told.more_scores()
    del robot.change[CAMERA]
    told.until_seen()
    graph.until(lambda: told.words('monitor') == 'comparing', 'all well again')


def test_commands_that_never_come_are_named_and_states_are_judged(graph, told, start, bag):
    start('predictor', 'monitor')
    Played(graph, bag, without=(COMMANDS,)).begin(2)
    for name in ('predictor', 'monitor'):
        told.until_says(name, f'nothing has come yet on {COMMANDS}')
    told.more_scores()
    told.until_says('monitor', 'does not fit this recording')
    assert not any(c.alarm for s in told.scores for c in s.channels)


def test_a_model_whose_preflight_failed_is_not_armed_unless_it_is_told_to(
    graph, told, start, root, bag, tmp_path
):
    model = shutil.copytree(root / 'demo' / 'model', tmp_path / 'model')
    shutil.copy(root / 'test/schemas/examples/preflight-v1.json', model / 'preflight.json')
    (monitor,) = start('monitor', models=[str(model)])
    start('predictor')
    Played(graph, bag).begin(2)
    told.until_says('monitor', 'not armed: preflight of the model failed: units: x, y, z')
    assert 'record the action times 55' in told.words('monitor')
    assert told.values['monitor']['armed'] == 'false'
    assert not any(c.alarm or c.threshold > 0 for s in told.more_scores(90) for c in s.channels)
    monitor.stop()
    start('monitor', models=[str(model)], arm_despite_preflight=True)
    graph.until(lambda: told.values['monitor'].get('armed') == 'true', 'armed')
    assert any(c.threshold > 0 for s in told.more_scores() for c in s.channels)


def test_messages_of_another_type_are_named_and_the_others_are_judged(graph, told, start, bag):
    from std_msgs.msg import Bool

    predictor, monitor = start('predictor', 'monitor')
    robot = Played(graph, bag, without=(COMMANDS,))
    node = graph.node('stranger')
    speaker = node.create_publisher(Bool, COMMANDS, 10)
    node.create_timer(0.05, lambda: speaker.publish(Bool(data=True)))
    robot.begin(2)
    told.until_says('monitor', f'{COMMANDS}: not_understood (std_msgs/msg/Bool is not what')
    told.until_seen()
    assert predictor.runs
    assert monitor.runs


def test_a_publisher_that_offers_too_little_is_named_with_the_policy(graph, told, start):
    from rclpy.qos import qos_profile_sensor_data
    from std_msgs.msg import Bool

    from cosmos_flywheel.msg import Prediction

    start('predictor', 'monitor')
    node = graph.node('script')
    watch = node.create_publisher(Bool, '/flywheel/watch', 1)  # volatile: it must be latched
    node.create_publisher(Prediction, '/flywheel/prediction', qos_profile_sensor_data)
    for name in ('predictor', 'monitor'):
        told.until_says(name, 'script cannot be heard on /flywheel/watch: ')
        assert 'Volatile publisher and transient local subscription' in told.words(name)
    told.until_says('monitor', 'script cannot be heard on /flywheel/prediction: Best effort pub')
    node.destroy_publisher(watch)
    graph.until(lambda: '/flywheel/watch' not in told.words('monitor'), 'it is forgotten')


def test_headers_whose_clock_jumps_begin_anew(graph, told, start, bag, tmp_path):
    start('predictor', 'monitor', 'recorder')
    robot = Played(graph, bag)
    robot.begin(3)
    told.until_seen()
    for ahead_ns in (-HOUR_NS, 0, HOUR_NS):
        robot.ahead_ns = ahead_ns
        begin = len(told.scores)
        now_ns = time.time_ns() + ahead_ns
        graph.until(
            lambda b=begin, n=now_ns: any(
                has_picture(s) and abs(stamp_ns(s) - n) < HOUR_NS / 2 for s in told.scores[b:]
            ),
            'scores on the other clock',
        )
    robot.is_quiet = True
    graph.until(lambda: told.episodes, 'an episode')
    windows_make_sense(tmp_path / 'out')


def windows_make_sense(out: Path) -> None:
    folders = list(iter_episodes(out))
    assert folders
    for folder in folders:
        manifest = read_episode(folder, verify=True)
        window = manifest['window']
        assert window['start_ns'] <= window['onset_ns'] <= window['end_ns']
        assert window['end_ns'] - window['start_ns'] < 70 * NS
        assert sum(manifest['clip']['messages'].values()) > 0


def test_sim_time_that_does_not_come_or_begins_anew(graph, told, start, bag, tmp_path):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from rosgraph_msgs.msg import Clock
    from std_msgs.msg import String
    from std_srvs.srv import Trigger

    names = ('predictor', 'monitor', 'recorder')
    start(*names, use_sim_time=True)
    node = graph.node('clock')
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    description = node.create_publisher(String, '/robot_description', latched)
    description.publish(String(data='<robot/>'))
    graph.until(lambda: description.get_subscription_count() == 1, 'the recorder')
    robot = Played(graph, bag)
    robot.begin(3)
    for name in names:
        told.until_says(name, 'use_sim_time is set and nothing has come on /clock')
    answer = graph.call(told.node, Trigger, '/recorder/capture')
    assert (answer.success, '/clock' in answer.message) == (False, True)

    speaker = node.create_publisher(Clock, '/clock', 10)

    def tick() -> None:
        message = Clock()
        now_ns = time.time_ns() + robot.ahead_ns
        message.clock.sec, message.clock.nanosec = divmod(now_ns, NS)
        speaker.publish(message)

    node.create_timer(0.02, tick)
    told.until_seen()
    graph.until(lambda: '/clock' not in told.words('recorder'), 'the recorder to hear the clock')
    for ahead_ns in (-HOUR_NS, HOUR_NS):
        jumps = int(told.values['recorder']['clock_jumps'])
        robot.ahead_ns = ahead_ns
        graph.until(
            lambda j=jumps: int(told.values['recorder']['clock_jumps']) > j, 'a jump is noticed'
        )
        told.until_seen()
        known = {episode.id for episode in told.episodes}
        assert graph.call(told.node, Trigger, '/recorder/capture').success
        graph.until(
            lambda k=known: any(
                e.id not in k and 'trigger:service' in e.causes for e in told.episodes
            ),
            'the capture',
        )
    windows_make_sense(tmp_path / 'out')
    for folder in iter_episodes(tmp_path / 'out'):
        assert read_episode(folder)['clip']['messages'].get('/robot_description') == 1


def test_two_robots_in_one_graph_do_not_hear_each_other(graph, start, bag):
    first, second = Told(graph, '/r1', 'told_1'), Told(graph, '/r2', 'told_2')
    start('predictor', 'monitor', words=('-r', '__ns:=/r1'))
    start('monitor', words=('-r', '__ns:=/r2'))
    one, other = Played(graph, bag, '/r1'), Played(graph, bag, '/r2')
    other.ahead_ns = HOUR_NS
    one.begin(2)
    other.begin(1)
    first.until_seen()
    second.more_scores(30)
    now_ns = time.time_ns()
    assert all(abs(stamp_ns(s) - now_ns) < HOUR_NS / 2 for s in first.scores)
    assert all(abs(stamp_ns(s) - now_ns - HOUR_NS) < HOUR_NS / 2 for s in second.scores)
    assert not any(map(has_picture, second.scores)), 'nobody predicts for it'
    second.until_says('r2/monitor', 'no prediction for 5 s; see whether the predictor runs')


ENGINE = """
import sys, time
from cosmos_flywheel.engines import Flow
from cosmos_flywheel.nodes.run import run_node
calls = []
def predict(self, observation, actions, steps=None):
    calls.append(1)
    if len(calls) > 20:
        FAULT
    return before(self, observation, actions, steps)
before, Flow.predict = Flow.predict, predict
def make():
    from cosmos_flywheel.nodes.predictor import make_node
    return make_node()
sys.exit(run_node(make, sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ('fault', 'words'),
    [
        ("raise MemoryError('none left')", 'on level persistence: flow: MemoryError: none left'),
        ('time.sleep(10)', 'on level persistence: flow hung for'),
    ],
)
def test_an_engine_that_raises_or_hangs_is_left(graph, told, start, bag, fault, words):
    ladder = ['flow', 'persistence']
    (monitor,) = start('monitor', models=ladder, patience_s=0.1)
    given = ['--ros-args', '-p', f'robot:={ROBOT}', '-p', f'models:={ladder}', '-p', 'hung_s:=1.0']
    predictor = graph.run(sys.executable, '-c', ENGINE.replace('FAULT', fault), *given)
    Played(graph, bag).begin(2)
    told.until_says('predictor', words)
    graph.until(
        lambda: any(s.level == 'persistence' for s in told.scores), 'scores of the lower level'
    )
    told.until_seen()
    assert 'is not calibrated: it may not alarm' in told.words('monitor')
    assert monitor.runs
    assert predictor.stop() == 0


def test_a_model_that_is_missing_or_of_another_robot_is_named(graph, root, tmp_path):
    model, missing = str(root / 'demo' / 'model'), str(tmp_path / 'missing')
    expected = [
        (graph.start('predictor', robot=ROBOT, models=[missing]), f'{missing}: no model here'),
        (graph.start('monitor', robot='sim_arm', models=[model]), "not of 'sim_arm'"),
        (graph.start('predictor', robot='no_robot', models=[model]), 'no_robot'),
        (graph.start('recorder', out=str(tmp_path / 'out')), 'parameter robot is not set'),
    ]
    for process, words in expected:
        assert process.wait() == 2
        (line,) = process.output.splitlines()
        assert line.startswith('flywheel: error: ')
        assert words in line


def test_predictions_of_another_model_or_camera_are_named(graph, told, start, bag):
    predictor, _ = start('predictor', 'monitor', models=['flow'])
    robot = Played(graph, bag)
    robot.begin(2)
    told.until_seen()
    node = graph.node('other')
    from cosmos_flywheel.msg import Prediction

    speaker = node.create_publisher(Prediction, '/flywheel/prediction', 30)
    graph.until(lambda: told.predictions, 'a prediction')
    stranger = told.predictions[-1]
    predictor.stop()
    stranger.engine_sha256 = '0' * 64
    timer = node.create_timer(0.1, lambda: speaker.publish(stranger))
    told.until_says('monitor', 'predictions of level flow are of another model')
    timer.cancel()

    robot.change[CAMERA] = with_picture(lambda picture: smaller(picture[: len(picture) // 2]))
    start('predictor', models=['flow'])  # it sees a camera that the monitor knows otherwise
    told.until_says('monitor', 'the camera is not what it was; start predictor and monitor anew')
    assert not any(map(has_picture, told.more_scores()))


def test_what_the_middleware_refuses_is_counted(graph, monkeypatch):
    from rclpy.publisher import Publisher as RosPublisher
    from std_msgs.msg import String

    from cosmos_flywheel.nodes.publish import Publisher, RCLError

    def refuse(self, message) -> None:
        raise RCLError('Failed to publish: cannot publish data, at write.cpp:104')

    publisher = Publisher(graph.node(), String, '/say', 1)
    assert publisher.publish(String(data='word'))
    monkeypatch.setattr(RosPublisher, 'publish', refuse)
    assert not publisher.publish(String(data='word'))
    assert (publisher.sent, publisher.refused) == (1, 1)
    assert 'cannot publish data' in publisher.refusal


def takes_signals(pid: int) -> bool:
    """Whether the process has a handler of its own for SIGTERM yet."""
    text = Path(f'/proc/{pid}/status').read_text()
    mask = int(text.partition('SigCgt:')[2].split()[0], 16)
    return bool(mask >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_ends_any_node(graph, bag, number, start):
    chosen = random.Random(number)
    processes = start('predictor', 'monitor', 'recorder')
    processes += [graph.start('sim', robot='arm'), graph.start('player', bag=str(bag), loop=True)]
    for process in processes:
        graph.until(lambda p=process: takes_signals(p.pid), 'its handlers')
    chosen.shuffle(processes)
    for process in processes:
        time.sleep(chosen.uniform(0.0, 1.0))
        process.send(number)
    for process in processes:
        assert process.wait() == 0
        assert 'Traceback' not in process.output


STANDS = """
import rclpy
from cosmos_flywheel.msg import AnomalyScore
rclpy.init()
node = rclpy.create_node('stands')
node.create_subscription(AnomalyScore, '/flywheel/score', lambda _: print('heard', flush=True), 10)
rclpy.spin(node)
"""


def test_a_listener_that_hangs_does_not_keep_scores_from_others(graph, told, start, bag):
    start('predictor', 'monitor')
    stands = graph.run(sys.executable, '-c', STANDS)
    Played(graph, bag).begin(2)
    graph.until(lambda: 'heard' in stands.output, 'the other listener')
    stands.send(signal.SIGSTOP)
    try:
        told.more_scores(120)
        told.until_seen()
    finally:
        stands.send(signal.SIGCONT)
    assert stands.stop() in (0, 1, -signal.SIGINT)


@pytest.fixture
def small_disk(tmp_path, need):
    """A file system of 4 MB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    words = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        need('mount', 'a file system can be mounted by root only')
    yield folder
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def remount(folder: Path, mode: str) -> None:
    subprocess.run(['mount', '-o', f'remount,{mode}', str(folder)], check=True)


def test_a_disk_that_is_full_or_read_only_delays_an_episode(graph, told, start, bag, small_disk):
    from std_srvs.srv import Trigger

    out = small_disk / 'out'
    (recorder,) = start('recorder', out=str(out))
    robot = Played(graph, bag)
    robot.begin(1)
    graph.until(lambda: robot.said > 45, 'a second of messages')
    faults = (
        (
            lambda: fill(small_disk),
            'No space left on device',
            lambda: (small_disk / 'big').unlink(),
        ),
        (
            lambda: remount(small_disk, 'ro'),
            'cannot be written (Read-only file system)',
            lambda: remount(small_disk, 'rw'),
        ),
    )
    for count, (spoil, words, mend) in enumerate(faults):
        spoil()
        assert graph.call(told.node, Trigger, '/recorder/capture').success
        told.until_says('recorder', words)
        assert 'captures wait' in told.words('recorder')
        assert len(list(iter_episodes(out))) == count
        mend()
        graph.until(lambda c=count: len(told.episodes) == c + 1, 'the episode, later')
        graph.until(lambda: 'wait' not in told.words('recorder'), 'all well again')
    assert recorder.stop() == 0
    assert len({read_episode(f, verify=True)['id'] for f in iter_episodes(out)}) == 2
    assert not list(out.glob('.partial-*'))


def test_a_folder_that_is_removed_is_made_again(graph, told, start, bag, tmp_path):
    from std_srvs.srv import Trigger

    (recorder,) = start('recorder')
    robot = Played(graph, bag)
    robot.begin(1)
    shutil.rmtree(tmp_path / 'out')
    graph.until(lambda: told.values.get('recorder', {}).get('disk_free_mb') == 'nan', 'its state')
    assert graph.call(told.node, Trigger, '/recorder/capture').success
    graph.until(lambda: told.episodes, 'the episode')
    assert read_episode(tmp_path / 'out' / told.episodes[0].id, verify=True)
    assert recorder.stop() == 0


def fill(disk: Path) -> None:
    with (disk / 'big').open('wb', buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return
