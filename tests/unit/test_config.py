"""Settings: defaults, file, environment; what is unknown is named, what is secret stays so."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from pipeline.config import (
    CheckpointConfig,
    Config,
    LearnerConfig,
    LogConfig,
    LoggingConfig,
    ReplayConfig,
    ServeConfig,
    Settings,
    SnapshotConfig,
    load_logging,
    load_settings,
    to_toml,
)
from pipeline.errors import InvalidSettings


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no variable."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("MILLSTREAM_"):
            monkeypatch.delenv(name)


def test_there_are_defaults_for_everything() -> None:
    settings = load_settings()
    assert settings.log.url == "sqlite:///run/log.db"
    assert settings.log.topic_sizes == (16, 90 * 24 * 3_600_000, 2 * 24 * 3_600_000)
    assert settings.learn.seed == 0
    assert settings.serve.port == 8000


def _leaves(model: BaseModel, path: str = "") -> Iterator[tuple[str, FieldInfo, object]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, Config):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", field, value


def test_every_setting_has_a_description_and_a_bound() -> None:
    for path, field, value in _leaves(Settings()):
        assert field.description, path
        free = isinstance(value, bool | Path | dict) or get_origin(field.annotation) is Literal
        assert free or Path in get_args(field.annotation) or field.metadata, path


def test_a_table_that_is_given_in_part_keeps_its_other_defaults() -> None:
    Path("millstream.toml").write_text(
        "[drift.first_of_basket]\ndelta = 0.02\n[retrain.training.optimizer]\nclip = 1\n"
    )
    settings, defaults = load_settings(), Settings()
    assert settings.drift.first_of_basket == defaults.drift.first_of_basket.replace(delta=0.02)
    assert settings.retrain.training.optimizer == defaults.retrain.training.optimizer.replace(clip=1.0)


def test_a_copy_with_other_values_is_checked() -> None:
    assert ReplayConfig().replace(segments=3).segments == 3
    with pytest.raises(ValueError, match="segments"):
        ReplayConfig().replace(segments=-1)


def test_a_file_in_the_working_directory_is_read() -> None:
    Path("millstream.toml").write_text('[snapshots]\nstore = "s3://bucket"\n[learn]\nseed = 7\n')
    settings = load_settings()
    found = settings.snapshots.store, settings.learn.seed, settings.learn.replay.segments
    assert found == ("s3://bucket", 7, 32)


def test_a_variable_names_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("[learn]\nseed = 8\n")
    monkeypatch.setenv("MILLSTREAM_CONFIG", "other.toml")
    assert load_settings().learn.seed == 8
    monkeypatch.setenv("MILLSTREAM_CONFIG", "nowhere.toml")
    with pytest.raises(InvalidSettings, match=r"nowhere\.toml, which is no file"):
        load_settings()


def test_the_environment_overrides_the_file_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("millstream.toml").write_text("[learn]\nseed = 7\n[learn.replay]\nsegments = 3\n")
    monkeypatch.setenv("MILLSTREAM_LEARN__SEED", "9")
    monkeypatch.setenv("MILLSTREAM_LOG__OPTIONS__SASL_PASSWORD", "hush")
    settings = load_settings()
    assert (settings.learn.seed, settings.learn.replay) == (9, ReplayConfig(segments=3))
    assert settings.log.secrets == {"sasl_password": "hush"}


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ("lern = 1", "lern"),
        ("[learn]\nsed = 1", "learn.sed"),
        ("[learn]\nseed = -1", "learn.seed"),
        ('[model]\ndevice = "gpu"', "model.device"),
        ('[log]\nprefix = "a b"', "log.prefix"),
        ('[log]\nprefix = ".."', "log.prefix"),
        ('[checkpoints]\nfolder = ""', "checkpoints.folder: is empty: name a path"),
        ('[serve.http]\ncertificate = " "', "serve.http.certificate: is empty: name a path"),
        ("[log]\npartitions = 0", "log.partitions"),
        ("learn = 3", "learn"),
        ("[learn\nseed = 1", "millstream.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named(content: str, culprit: str) -> None:
    Path("millstream.toml").write_text(content)
    with pytest.raises(InvalidSettings, match=rf"^{culprit}\b"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[lern]\nseed = 1", "lern: is unknown (did you mean learn?)"),
        ("[learn.replay]\nsegmets = 1", "learn.replay.segmets: is unknown (did you mean segments?)"),
        ("[learn]\nqqq = 1", "learn.qqq: is unknown; see"),
        ("[learn]\nmixer_rate = nan", "learn.mixer_rate: must be a finite number"),
        ("[learn]\nnegatives = 0", "learn.negatives: must be greater than or equal to 1"),
        ("[learn.ratings]\nlowest = 5\nhighest = 1", "learn.ratings: learn.ratings.lowest must be less"),
        ('[policy]\nname = "gredy"', "(did you mean greedy?)"),
        ("[policy.arms.new]\nshar = 0.1", "policy.arms.new.shar: is unknown (did you mean share?)"),
        ('[policy.arms.new]\nname = "dqn"', "policy.arms.new.share: is missing"),
        ('[learn.objective]\nbasket_types = ["purchases"]', "(did you mean purchase?)"),
    ],
)
def test_a_fault_is_said_in_plain_words_with_the_nearest_name(content: str, said: str) -> None:
    Path("millstream.toml").write_text(content)
    with pytest.raises(InvalidSettings, match=re.escape(said)) as refused:
        load_settings()
    assert "Value error" not in str(refused.value) and "Input should" not in str(refused.value)


TOGETHER = {
    "[serve]\nworkers = 2\n[metrics]\nserve = 0": "needs a metrics.serve that is not 0",
    '[serve]\nruntime = "onnx"\nprecision = "int8"': "computes in float32: leave out precision",
    '[learn.objective]\nbasket_types = ["view", "dislike"]': "names 'dislike', from which nothing is learned",
    '[learn.objective]\nbasket_types = ["return"]': "because signals.returned = -1: take it out",
    '[learn.objective]\nbasket_types = ["view"]\n[signals]\nview = 0': "because signals.view = 0",
    "[signals]\nview = 0\nclick = 0\ncart = 0\npurchase = 0\nlike = 0\nrating = 0": "no positive weight",
    '[serve]\nimpressions = false\n[policy.shadows.x]\nname = "greedy"': "shadows needs serve.impressions",
    "[learn.ratings]\nlowest = 0\nhighest = 1": "but learn.ratings.highest = 1: no rating is above",
    "[signals]\nrating_threshold = 5": "signals.rating_threshold = 5, but learn.ratings",
    "[retrain.plan]\ntrial_events = 1_000": "less than gate.least_targets = 2000, so every cand",
    "[gate]\nleast_targets = 4_001": "retrain.plan.trial_events = 4000 is less than",
    "[serve]\nprecision = 'int8'\n[learn.sizes]\ntuning = 'dora'": "learn.sizes.tuning = 'dora' leaves none",
    "[learn.segments]\nlength = 10": "overlap (10) is not less than length (10): no piece would be new",
    "[policy]\nname = 'plackett_luce'\npool = 2": "policy.pool = 2 is less than policy.explored_places = 3",
    "[log]\nretention_hours = 0.4": "rewards.minutes = 30 is longer than log.retention_hours = 0.4: raise",
    "[log]\nretention_hours = 24\n[policy]\nexperiment = 'a'\n[policy.arms.b]\nshare = 0.1": (
        "policy.experiment_hours = 24 and rewards.minutes = 30 together are longer than log.retention_hours"
    ),
    "[guard]\nfewest = 40\nreference = 39": "fewest (40) is more than reference (39)",
    "[guard]\nfewest = 1\nreference = 1": "reference (1) is one block, so that no fall would ever be",
    "[guard]\nblock = 3\nreference = 10\nfewest = 10": "block × reference (30) is less than 32 events to",
    "[guard]\nrecent = 1": "recent (1) is one block, so that no fall would ever be found: raise it",
    "[guard]\nfirst = 8\nprobation = 8": "probation (8) is over when its first 8 blocks are there, so that",
    "[guard]\nfirst = 1\nprobation = 2": "probation (2) is over when its first 2 blocks are there, so that",
    "[console.oidc]\nclient_id = 'millstream'": "console.oidc: without issuer nobody signs in by a provider",
    "[console.oidc]\nissuer = 'https://login.example.com/a b'": "must be a URL such as https://login.ex",
    "[learn.sizes]\nuser_attributes = ['country ']": "learn.sizes.user_attributes.0: must match pattern",
    "[tracing]\nendpoint = 'nonsense'": "tracing.endpoint: must match pattern",
    "[rewards]\nleast = 5": "rewards.least (5.0) to rewards.most (20.0) must have 0 in it",
    "[rewards]\nmost = -1": "rewards.least (-10.0) to rewards.most (-1.0) must have 0 in it",
    "[learn.replay]\nlength = 1": "learn.replay.length: must be greater than or equal to 2",
}


@pytest.mark.parametrize(("content", "said"), TOGETHER.items(), ids=TOGETHER.values())
def test_settings_that_cannot_work_together_are_refused(content: str, said: str) -> None:
    Path("millstream.toml").write_text(content)
    with pytest.raises(InvalidSettings, match=re.escape(said)):
        load_settings()


def test_an_arm_that_draws_more_places_than_it_has_items_is_refused() -> None:
    arm = {"share": 0.1, "name": "plackett_luce", "pool": 2}
    policy = {"name": "plackett_luce", "experiment": "one", "arms": {"x": arm}}
    with pytest.raises(
        InvalidSettings, match=r"policy\.arms\.x\.pool = 2 is less than policy\.arms\.x\.explored"
    ):
        load_settings(policy=policy)


def test_all_conflicts_are_said_at_once() -> None:
    content = "[serve]\nworkers = 2\n[metrics]\nserve = 0\n[learn.objective]\nbasket_types = ['skip']"
    Path("millstream.toml").write_text(content)
    with pytest.raises(InvalidSettings, match=r"names 'skip', .*; serve\.workers = 2 needs "):
        load_settings()


def test_all_faults_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("millstream.toml").write_text("[learn]\nseed = -1\nnegatives = 0\n[log]\npartitons = 4\n")
    with pytest.raises(InvalidSettings, match=r"log\.partitons: .*; learn\.seed: .*; learn\.negatives: "):
        load_settings()
    Path("millstream.toml").write_text("[learn]\n" + "\n".join(f"x{n} = 1" for n in range(14)))
    with pytest.raises(InvalidSettings, match=r"learn\.x9: .*; and 4 more; see docs/settings\.md"):
        load_settings()
    for name in ("MILLSTREAM_LERN__SEED", "MILLSTREAM_SERV__PORT"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(
        InvalidSettings, match=r"LERN__SEED .*LEARN__SEED\?.*; MILLSTREAM_SERV__PORT .*SERVE__PORT\?"
    ):
        load_settings()


@pytest.mark.parametrize(
    ("name", "culprit"),
    [
        ("MILLSTREAM_LEARN__SED", "learn.sed"),
        ("MILLSTREAM_LERN__SEED", "MILLSTREAM_LERN__SEED"),
        ("millstream_lern__seed", "millstream_lern__seed"),
        ("MILLSTREAM_LEARN__SEED", "learn.seed"),
        ("MILLSTREAM_LEARN", "^MILLSTREAM_LEARN is no JSON"),
        ("MILLSTREAM_LEARN_SEED", r"LEARN_SEED sets nothing.* \(did you mean MILLSTREAM_LEARN__SEED\?\)"),
        ("MILLSTREAM_SERVE_API_KEYS", "did you mean MILLSTREAM_SERVE__API_KEYS"),
        ("millstream_learn_replay_segments", "did you mean MILLSTREAM_LEARN__REPLAY__SEGMENTS"),
        (
            "MILLSTREAM_LEARN_SIZES__LORA_RANK",
            "two underscores .did you mean MILLSTREAM_LEARN__SIZES__LORA_RANK",
        ),
        (
            "MILLSTREAM_LEARN__SIZES_LORA_RANK",
            "two underscores .did you mean MILLSTREAM_LEARN__SIZES__LORA_RANK",
        ),
        (
            "MILLSTREAM_LEARN_SIZES__LORA_RNK",
            "no table learn_sizes .did you mean MILLSTREAM_LEARN__SIZES__LORA_R",
        ),
        ("MILLSTREAM_LEARN_SIZES__X", r"no table learn_sizes .did you mean MILLSTREAM_LEARN__SIZES\?"),
        ("MILLSTREAM_ZZZ__Q", "there is no table zzz; see"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, culprit: str
) -> None:
    monkeypatch.setenv(name, "nonsense")
    with pytest.raises(InvalidSettings, match=culprit):
        load_settings()


def test_faults_of_the_environment_do_not_hide_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("millstream.toml").write_text("[learn]\nsed = 1\n")
    monkeypatch.setenv("MILLSTREAM_LERN__SEED", "1")
    with pytest.raises(InvalidSettings, match=r"^MILLSTREAM_LERN__SEED sets .*; learn\.sed: is unknown"):
        load_settings()
    monkeypatch.setenv("MILLSTREAM_LOG__OPTIONS", "hush")
    with pytest.raises(InvalidSettings, match=r"LERN__SEED sets .*; MILLSTREAM_LOG__OPTIONS is no JSON"):
        load_settings()


def test_a_file_may_begin_with_a_byte_order_mark() -> None:
    Path("millstream.toml").write_bytes(b"\xef\xbb\xbf[learn]\r\nseed = 7\r\n")
    assert load_settings().learn.seed == 7


def test_a_threshold_below_the_scale_makes_every_rating_good() -> None:
    assert load_settings(signals={"rating_threshold": 0}).signals.rating_threshold == 0


def test_how_lines_are_written_is_read_whatever_else_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("millstream.toml").write_text('[logging]\nformat = "json"\n[learn]\nsed = 1\n')
    assert load_logging().format == "json"
    monkeypatch.setenv("MILLSTREAM_LOGGING__LEVEL", "warning")
    assert load_logging().level == "warning"
    monkeypatch.setenv("MILLSTREAM_LOGGING__LEVEL", "loud")
    assert load_logging() == LoggingConfig()


def test_a_variable_of_somebody_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Kubernetes, for services named millstream and millstream-serve
    monkeypatch.setenv("MILLSTREAM_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MILLSTREAM_SERVE_PORT", "tcp://10.0.0.2:8000")
    assert load_settings() == Settings()


@pytest.mark.parametrize("key", ["", "   ", " " * 40, "123456789012345"])
def test_a_short_key_is_refused_at_start(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ("SERVE__API_KEYS", f'["{key}"]'), ("SNAPSHOTS__KEY", key):
        with monkeypatch.context() as patch:
            patch.setenv(f"MILLSTREAM_{name}", value)
            with pytest.raises(InvalidSettings, match=r"^(serve.api_keys.0|snapshots.key): .*at least 16"):
                load_settings()


@pytest.mark.parametrize(
    "text", ["{one}", "{one},{other}", " {one} , {other}", '["{one}", "{other}"]', '"{one}"']
)
def test_keys_in_the_environment_are_divided_by_commas_or_json(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = "1234567890123456", "my-other-secret-key"
    monkeypatch.setenv("MILLSTREAM_SERVE__API_KEYS", text.replace("{one}", one).replace("{other}", other))
    keys = [key.get_secret_value() for key in load_settings().serve.api_keys]
    assert keys == [one, other][: len(keys)]
    assert len(keys) == 1 + ("other" in text)


@pytest.mark.parametrize("text", ["hush", '["hush"', '["hush"]', "hush,hush", "[1]", '{"hush": 1}'])
def test_keys_that_cannot_be_read_are_refused_by_name_and_not_printed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_SERVE__API_KEYS", text)
    with pytest.raises(InvalidSettings, match=r"^serve\.api_keys") as refused:
        load_settings()
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["MILLSTREAM_LOG", "MILLSTREAM_LOG__OPTIONS"])
def test_a_table_in_the_environment_that_cannot_be_read_is_not_printed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hush")
    with pytest.raises(InvalidSettings, match=f"^{name} is no JSON: write a table as .*, or set") as refused:
        load_settings()
    assert "hush" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xff")
    monkeypatch.setenv("MILLSTREAM_CONFIG", str(file))
    with pytest.raises(InvalidSettings, match=f"{file} cannot be read: "):
        load_settings()


def test_a_secret_that_is_not_set_is_printed_as_a_comment() -> None:
    assert "# key = …  # Shared by learner and servers" in to_toml(Settings())
    assert "**********" in to_toml(Settings(snapshots=SnapshotConfig(key=SecretStr("quiet" * 4))))


def test_secrets_are_masked() -> None:
    settings = Settings(
        log=LogConfig(options={"sasl_plain_password": SecretStr("hush")}),
        serve=ServeConfig(api_keys=(SecretStr("quiet" * 4),)),
    )
    printed = tomllib.loads(to_toml(settings))
    assert printed["log"]["options"] == {"sasl_plain_password": "**********"}
    assert printed["serve"]["api_keys"] == ["**********"]
    assert "hush" not in to_toml(settings) + repr(settings)
    assert "quiet" not in to_toml(settings) + repr(settings)


@given(
    url=st.text("abc/:\\\"'#é ", min_size=1, max_size=20),
    folder=st.text('abc\\" #=', min_size=1, max_size=10),
    rate=st.floats(1e-9, 10, allow_nan=False),
    seed=st.integers(0, 2**62),
    impressions=st.booleans(),
)
def test_what_is_printed_reads_as_the_same_settings(
    url: str, folder: str, rate: float, seed: int, impressions: bool
) -> None:
    settings = Settings(
        log=LogConfig(url=url),
        learn=LearnerConfig(mixer_rate=rate, seed=seed),
        checkpoints=CheckpointConfig(folder=Path(folder)),
        serve=ServeConfig(impressions=impressions),
        snapshots=SnapshotConfig(store=url),
    )
    assert Settings(**tomllib.loads(to_toml(settings))) == settings


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().learn.seed = 1


def test_what_is_not_recorded_is_not_explored() -> None:
    with pytest.raises(InvalidSettings, match="policy.name = 'plackett_luce' needs serve.impressions = true"):
        load_settings(policy={"name": "plackett_luce"}, serve={"impressions": False})
    arms = {"experiment": "one", "arms": {"bold": {"share": 0.1}}}
    with pytest.raises(InvalidSettings, match="policy.arms needs serve.impressions = true"):
        load_settings(policy=arms, serve={"impressions": False})
    assert load_settings(policy={"name": "plackett_luce"}).policy.explored_places == 3
    assert load_settings(serve={"impressions": False}).policy.name == "greedy"
