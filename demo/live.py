# SPDX-License-Identifier: Apache-2.0
"""The live part of `make demo`: a simulated robot, the live nodes, a fault, and its episode."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim.render import Eye, load_mujoco
from cosmos_flywheel.store.episodes import iter_episodes, read_episode

DEMO = Path(__file__).parent
OUT = DEMO / 'out' / 'live'
WORDS = ['live', '--robot', 'sim_arm', '--model', str(DEMO / 'sim_arm'), '--sim',
         '--params-file', str(DEMO / 'live.yaml'), '--out', str(OUT)]  # fmt: skip
CAMERA = '<mujoco><worldbody><camera name="eye"/></worldbody></mujoco>'


def main() -> int:
    """Run it; fails if nothing was captured."""
    try:
        Eye(load_mujoco().MjModel.from_xml_string(CAMERA), 'eye', 8, 8).close()
    except SimError as error:
        print(f'the live part is skipped: {error}')
        return 0
    shutil.rmtree(OUT, ignore_errors=True)
    print(f'flywheel {" ".join(WORDS)}', flush=True)
    code = subprocess.run([sys.executable, '-m', 'cosmos_flywheel.cli.main', *WORDS]).returncode
    if code:
        return code
    causes = [', '.join(read_episode(folder)['causes']) for folder in iter_episodes(OUT)]
    print(f'{len(causes)} captured: {"; ".join(causes)}')
    return 0 if causes else 1


if __name__ == '__main__':
    sys.exit(main())
