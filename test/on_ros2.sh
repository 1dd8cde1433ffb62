#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries the package on an ordinary ROS 2 install: builds it with colcon, shows its messages, publishes
# an episode, records it with ros2 bag (which loads the C++ type support) and reads it back.
#
# Usage, with ROS 2 sourced or in /opt/ros/$ROS_DISTRO:   test/on_ros2.sh
#
# NEVER EXECUTED so far: no ordinary ROS 2 install was at hand where this was written.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
workspace=$(mktemp -d)
publisher=
trap '[ -z "$publisher" ] || kill "$publisher" 2>/dev/null; rm -rf "$workspace"' EXIT

source_setup() {  # ROS 2's setup files read variables that may be unset
    set +u
    # shellcheck disable=SC1090
    source "$1"
    set -u
}

step() { printf '\n== %s\n' "$*"; }

command -v ros2 >/dev/null || source_setup "/opt/ros/${ROS_DISTRO:-jazzy}/setup.bash"
export ROS_DOMAIN_ID=$((1 + $$ % 100)) ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export COSMOS_FLYWHEEL_MSGS=required

step "build with colcon on ROS 2 $ROS_DISTRO"
mkdir "$workspace/src"
ln -s "$source_dir" "$workspace/src/cosmos_flywheel"
cd "$workspace"
colcon build --packages-select cosmos_flywheel --event-handlers console_direct+
source_setup install/setup.bash

step 'show every message'
for message in "$source_dir"/msg/*.msg; do
    ros2 interface show "cosmos_flywheel/msg/$(basename "$message" .msg)" >/dev/null
done
ros2 interface show cosmos_flywheel/msg/FailureEpisode

step 'run the command'
ros2 run cosmos_flywheel flywheel --help

step 'record an episode with ros2 bag, and read it back'
ros2 topic pub --rate 5 --qos-durability transient_local --qos-reliability reliable \
    /flywheel/episodes cosmos_flywheel/msg/FailureEpisode \
    "{id: 'try', robot: 'g1', state: 'untriaged', causes: ['picture']}" >/dev/null &
publisher=$!
timeout --signal=INT --kill-after=10 8 \
    ros2 bag record --storage mcap --output episodes --topics /flywheel/episodes || true
kill "$publisher"
publisher=
ros2 bag info episodes
ros2 bag info episodes | grep -E '/flywheel/episodes .*FailureEpisode .*Count: [1-9]'

step 'read the arguments of every launch file'
for file in "$source_dir"/launch/*.launch.py; do
    [ -e "$file" ] || continue
    ros2 launch cosmos_flywheel "$(basename "$file")" --show-args
done

step 'passed'
