"""Users that rows describe: with their acts, in files of their own, or alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets import open_dataset
from pipeline.datasets.catalogue_file import CatalogueFile
from pipeline.datasets.mapped import MappedDataset
from pipeline.datasets.mapping import Mapping, load_mapping, to_toml
from pipeline.datasets.users_file import UsersFile
from pipeline.errors import DatasetError
from pipeline.events import Interaction, User, decode

ROWS = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,a,MUG,1,2010-12-01 08:00:00,1,10,France
2,b,JUG,1,2010-12-01 09:00:00,1,11,EIRE
C3,b,JUG,-1,2010-12-01 09:30:00,1,12,Spain
4,a,MUG,1,2010-12-01 10:00:00,1,10,Norway
5,a,MUG,1,2010-12-01 11:00:00,1,13,
"""


def users_of(dataset: MappedDataset) -> dict[str, object]:
    return {event.user: event.attributes for event in dataset.events() if isinstance(event, User)}


def retail(tmp_path: Path, rows: str = ROWS) -> MappedDataset:
    file = tmp_path / "retail.csv"
    file.write_text(rows)
    found = open_dataset(str(file))
    assert isinstance(found, MappedDataset)
    return found


def test_the_country_of_online_retail_is_that_of_the_latest_row_of_an_act(tmp_path: Path) -> None:
    dataset = retail(tmp_path)
    events = list(dataset.events())
    assert users_of(dataset) == {"10": {"country": "Norway"}, "11": {"country": "EIRE"}}
    first = next(number for number, event in enumerate(events) if isinstance(event, Interaction))
    assert not any(isinstance(event, User) for event in events[first:])
    assert len({event.event_id for event in events if isinstance(event, Interaction)}) == 4


def test_an_export_without_countries_is_read_as_before(tmp_path: Path) -> None:
    rows = "\n".join(line.rpartition(",")[0] for line in ROWS.splitlines())
    assert users_of(retail(tmp_path, rows)) == {}


def test_rows_in_order_describe_each_user_before_the_first_act(tmp_path: Path) -> None:
    file = tmp_path / "acts.jsonl"
    file.write_text(
        '{"u": "ann", "i": "mug", "t": 1, "plan": "gold"}\n'
        '{"u": "bob", "i": "mug", "t": 2, "plan": "basic"}\n'
        '{"u": "ann", "i": "jug", "t": 3, "plan": "gold"}\n'
    )
    mapping = Mapping.model_validate(
        {
            "layout": {"sorted": True},
            "interactions": {"user": "u", "item": "i", "type": {"default": "view"}, "time": "t"},
            "time": {"format": "s"},
            "users": {"user": "u", "attributes": {"plan": "plan"}},
        }
    )
    events = [
        event for event in MappedDataset(file, mapping).events() if isinstance(event, User | Interaction)
    ]
    assert [(type(event), event.user) for event in events] == [
        (User, "ann"),
        (Interaction, "ann"),
        (User, "bob"),
        (Interaction, "bob"),
        (Interaction, "ann"),
    ]


def test_users_of_movielens_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::10::5::978300760\n2::10::3::978300761\n")
    (tmp_path / "movies.dat").write_text("10::A Film (1990)::Drama\n")
    assert users_of(MappedDataset(tmp_path, _mapping(tmp_path))) == {}
    (tmp_path / "users.dat").write_text("1::F::25::10::48067\n2::M::56::16::70072\n")
    assert users_of(MappedDataset(tmp_path, _mapping(tmp_path))) == {
        "1": {"gender": "F", "age": "25", "occupation": "10"},
        "2": {"gender": "M", "age": "56", "occupation": "16"},
    }


def _mapping(folder: Path) -> Mapping:
    found = open_dataset(str(folder))
    assert isinstance(found, MappedDataset)
    return found._mapping


def test_rows_of_users_alone_are_read_each_user_once(tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_text("id;tier;likes\n1;gold;tea|mugs\n1;silver;\n2;;\n")
    toml = tmp_path / "crm.toml"
    likes = '{ column = "likes", split = "|" }'
    toml.write_text(f'[users]\nuser = "id"\nattributes = {{ tier = "tier", likes = {likes} }}\n')
    mapping = load_mapping(toml)
    users = UsersFile(tmp_path / "crm.csv", mapping, 5_000_000_000_000 // 5)
    ((key, wire),) = users.records()
    found = decode(User, wire)
    assert (key, found.user, found.attributes) == ("1", "1", {"tier": "silver"})
    assert users.drops.lines() == [
        f"dropped 1 row: a user without attributes (the first at {tmp_path / 'crm.csv'}:4)"
    ]
    with pytest.raises(DatasetError, match=r"no table \[users\]"):
        UsersFile(tmp_path / "crm.csv", Mapping.model_validate({"items": {"item": "id"}}), 0)
    toml.write_text(to_toml(mapping))
    assert load_mapping(toml) == mapping


@pytest.mark.parametrize(
    "tables", [{}, {"items": {"item": "i"}, "users": {"user": "u", "attributes": {"a": "a"}}}]
)
def test_a_mapping_without_acts_is_of_one_thing(tables: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one of"):
        Mapping.model_validate(tables)


@pytest.mark.parametrize(
    "reads, mapping",
    [
        (UsersFile, {"users": {"user": "id", "attributes": {"tier": "tier"}}}),
        (CatalogueFile, {"items": {"item": "id", "title": "tier"}}),
    ],
)
def test_a_dropped_row_of_items_or_users_names_the_field_at_fault(
    tmp_path: Path, reads: type[UsersFile] | type[CatalogueFile], mapping: dict[str, object]
) -> None:
    (tmp_path / "crm.csv").write_text(f"id,tier\n{'i' * 1_000},gold\n")
    found = reads(tmp_path / "crm.csv", Mapping.model_validate({**mapping, "invalid": "drop"}), 0)
    assert list(found.records()) == []
    (line,) = found.drops.lines()
    assert line.startswith(f"dropped 1 row: {next(iter(mapping)).removesuffix('s')}: ")
