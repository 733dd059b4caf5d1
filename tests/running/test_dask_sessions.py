"""Workers of dask stay for a whole map, whatever connects to the run and whatever ends them."""

import os
import socket

import pytest

from helpers.parts_of_maps import deadly, dying_once, reciprocal
from hyper_py.numerics.parallel import done_by, in_order
from hyper_py.running.dask_sessions import _pipe
from hyper_py.running.dask_tiles import dask_team

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("distributed")


def test_what_is_given_up_disturbs_nothing_and_strangers_are_refused(tmp_path):
    with dask_team(2, None, directory=tmp_path) as team, done_by(team):
        first = in_order(abs, range(-60, 0))
        assert next(first) == 60
        first.close()
        address = team.sessions._server.getsockname()
        with _pipe(socket.create_connection(address)) as stranger:
            stranger.send_bytes(b"let me in")
            assert list(in_order(abs, range(-40, 0))) == [*range(40, 0, -1)]
            assert 1 <= len(team.sessions) <= 2
        assert sum(in_order(reciprocal, [8, 9])) == 1.5
        assert len([*team.directory.iterdir()]) == 1, "orders that are done are forgotten"


def test_a_part_that_ends_workers_is_done_here(tmp_path):
    with dask_team(2, None, directory=tmp_path) as team, done_by(team):
        assert list(in_order(deadly(os.getpid()), range(12))) == [*range(12)]
        assert list(in_order(abs, range(5))) == [*range(5)]


def test_workers_that_come_later_work_too(tmp_path):
    import numpy as np

    with dask_team(1, None, directory=tmp_path) as team, done_by(team):
        of_item = dying_once(np.arange(30.0), tmp_path / "died")
        pids = {pid for _, _, pid in in_order(of_item, range(30))}
        assert (tmp_path / "died").exists()
        assert len(pids - {os.getpid()}) == 2, "the one that died, and the one in its place"
