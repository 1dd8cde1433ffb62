# SPDX-License-Identifier: Apache-2.0
# An ordinary ROS 2 install with this package built by colcon and tried by test/on_ros2.sh:
#
#     docker build --build-arg ROS_DISTRO=jazzy -t cosmos_flywheel .
#     docker run --rm cosmos_flywheel
#
# NEVER EXECUTED so far: no image of an ordinary ROS 2 could be had where this was written. What has
# been executed is the same build against the ROS 2 wheels of Jazzy and Kilted.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-c"]
RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential python3-dev python3-pip ros-${ROS_DISTRO}-rosbag2-storage-mcap \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws/src/cosmos_flywheel
COPY package.xml .
RUN apt-get update && rosdep update --rosdistro "${ROS_DISTRO}" \
    && rosdep install --rosdistro "${ROS_DISTRO}" --from-paths . --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*

# What has no Debian package. The distribution's OpenCV is built for the distribution's numpy, so
# numpy stays as it is.
RUN python3 -c 'import numpy; print(f"numpy=={numpy.__version__}")' > /tmp/constraints.txt \
    && pip install --break-system-packages --constraint /tmp/constraints.txt \
        av mcap rosbags simplejpeg

COPY . .
CMD ["test/on_ros2.sh"]
