"""Files of text whose content is not what their names say, and what a folder of them holds."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from pipeline.datasets.inspection import inspect
from pipeline.datasets.mapping import Layout
from pipeline.datasets.records import check_rows, files_of, read_rows
from pipeline.errors import DatasetError

NOW = 1_790_000_000_000
TEXT = "user,item,name\nu1,i1,Mug\nu2,i2,Töpfe\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (gzip.compress(TEXT.encode(), mtime=0), "is packed by gzip: its name must end in .gz"),
        (bz2.compress(TEXT.encode()), "is packed by bzip2: its name must end in .bz2"),
        (lzma.compress(TEXT.encode()), "is packed by xz: its name must end in .xz"),
        (b"PK\x03\x04" + bytes(99), "is a zip archive"),
        (b"PAR1" + bytes(99), "is Parquet: its name must end in .parquet"),
        (TEXT.encode("utf-16"), "the text is UTF-16: say --encoding utf-16"),
        (b'[{"user": "u", "item": "i", "name": "Mug"}]', "it looks like JSON: write one object in each line"),
        (b'user,item\n"u"1,i\n', "where quotes are characters like others, say quoted = false"),
    ],
)
def test_content_of_another_kind_is_named_with_the_remedy(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "acts.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=fault):
        check_rows(path, Layout())


def test_a_file_that_is_not_packed_as_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "acts.csv.gz"
    path.write_text(TEXT, encoding="utf-8")
    with pytest.raises(DatasetError, match="Not a gzipped file"):
        inspect(path, NOW)


def test_utf16_is_inspected_by_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "acts.csv"
    path.write_bytes(TEXT.encode("utf-16"))
    found = inspect(path, NOW)
    assert found.mapping is not None and found.mapping.layout.encoding == "utf-16"
    assert [item.title for item in found.items] == ["Mug", "Töpfe"]


def test_empty_and_hidden_files_of_a_folder_have_no_rows(tmp_path: Path) -> None:
    names = ["b/part-2.csv", "b/part-10.csv", "a/part-3.csv"]
    for name in [*names, "a/part-4.csv", ".cache/part-1.csv", "a/._part-3.csv"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEXT if name in names else "", encoding="utf-8")
    layout = Layout(files="**/*.csv")
    found = [str(file.relative_to(tmp_path)) for file in files_of(tmp_path, layout)]
    assert found == ["a/part-3.csv", "a/part-4.csv", "b/part-2.csv", "b/part-10.csv"]
    assert [len(list(read_rows(file, layout))) for file in files_of(tmp_path, layout)] == [2, 0, 2, 2]
