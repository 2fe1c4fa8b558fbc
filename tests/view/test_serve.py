from __future__ import annotations

from pathlib import Path

import pytest

from promptopt.errors import ConfigError, DataError
from promptopt.view.serve import HOST, Place, listen, place_of


def test_a_folder_is_runs_or_one_run(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "journal.sqlite").touch()
    (tmp_path / "runs" / "latest").symlink_to("a")
    assert place_of(tmp_path / "runs") == Place(tmp_path / "runs")
    assert place_of(tmp_path / "runs" / "latest") == Place(tmp_path / "runs", "a")
    with pytest.raises(DataError, match="no such folder"):
        place_of(tmp_path / "nowhere")


def test_only_this_machine_is_listened_to_and_a_taken_port_is_told() -> None:
    with listen(None) as first:
        host, port = first.getsockname()
        assert host == HOST == "127.0.0.1"
        with listen(None) as second:
            assert second.getsockname()[1] != port
        with pytest.raises(ConfigError, match="cannot be used"):
            listen(port)
