"""A file is the old one or the new one, whatever happens in between."""

import pytest

from r1rl.ground import whole_files


@pytest.mark.parametrize("durable", [True, False])
def test_the_new_file_takes_the_place_of_the_old(tmp_path, durable):
    path = tmp_path / "file.json"
    path.write_text("old")
    with whole_files.replacing(path, durable=durable) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", ["old", None])
def test_an_error_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "file.json"
    if before:
        path.write_text(before)

    def write():
        with whole_files.replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert [each.read_text() for each in tmp_path.iterdir()] == ([before] if before else [])


def test_text_is_utf8(tmp_path):
    whole_files.write_text(tmp_path / "a", "π\n")
    assert (tmp_path / "a").read_bytes() == b"\xcf\x80\n"
