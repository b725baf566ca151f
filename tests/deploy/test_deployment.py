"""What deploys says what the code does: images, compose, chart and manifests fail here when it changes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import helm_python
import kubernetes_validate
import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from deploy.debian import environment
from deploy.kubernetes.render import CHART, FILE, HEAD, rendered
from docs.openapi import gateway, server
from pipeline.config import (
    BridgeConfig,
    ConsoleConfig,
    GatewayConfig,
    MetricsConfig,
    ServeConfig,
    load_settings,
)
from pipeline.metrics import HEALTH
from tests.support.debian import debian_program
from tests.support.secured_broker import RIGHTS, USER
from tests.support.shell_lines import check_line

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.31"
METRICS = MetricsConfig()
PORTS = {
    "serve": ServeConfig().port,
    "gateway": GatewayConfig().port,
    "bridge": BridgeConfig().port,
    "console": ConsoleConfig().port,
    "learn": METRICS.learn,
    "retrain": METRICS.retrain,
    "media": METRICS.media,
}
APPS = {"serve": server, "gateway": gateway}
EVERYTHING = {
    "secret": "millstream",
    "environmentSecret": "s3",
    "certificates": "kafka",
    "pullSecrets": [{"name": "registry"}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/m"}},
    "learn": {"storageClass": "fast"},
    "serve": {"autoscaling": {"latency": "150m"}},
    "console": {"enabled": True},
}
KEYS = {"MILLSTREAM_CONSOLE__NAMED_KEYS": f'{{"olga": {{"sha256": "{"0" * 64}", "scopes": ["admin"]}}}}'}
"""What a Secret has."""
NOTHING = {
    "createTopics": False,
    "learn": {"retrain": False},
    "serve": {"autoscaling": {"enabled": False}},
    "gateway": {"enabled": False},
    "networkPolicy": {"enabled": False},
}
VALUES: Mapping[str, Mapping[str, Any]] = {"defaults": {}, "everything": EVERYTHING, "nothing": NOTHING}


class Container(NamedTuple):
    """A container of a pod: its daemon's name, as Kubernetes has it, and the pod's ports by name."""

    name: str
    spec: Mapping[str, Any]


def manifests(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(rendered(values)) if one]


def of_kind(kind: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for one in manifests(values) if one["kind"] == kind]


def pods(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        one["spec"]["template"]["spec"]
        for one in manifests(values)
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}
    ]


def containers(values: Mapping[str, Any]) -> Iterator[Container]:
    for pod in pods(values):
        for spec in pod["containers"]:
            yield Container(spec["name"], spec)


def check_variables(variables: Mapping[str, str]) -> None:
    """Fail unless the settings take all variables together."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            if name != "MILLSTREAM_SECRETS":
                patch.setenv(name, value)
        load_settings()


def check_path(daemon: str, path: str) -> None:
    """Fail unless a daemon has a route of operation."""
    if daemon not in APPS:
        assert path == HEALTH, "all that a daemon without a server answers, beside its metrics"
        return
    assert TestClient(APPS[daemon]()).get(path).status_code in {200, 503}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_renders_what_kubernetes_takes(values: Mapping[str, Any]) -> None:
    found = manifests(values)
    assert len(found) >= 6
    for one in found:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_helm_finds_nothing_wrong() -> None:
    report = helm_python.lint(CHART, strict=True)
    assert not report["errors"]
    assert {one["error"] for one in report["messages"]} <= {"icon is recommended"}


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    assert FILE.read_text() == HEAD + rendered(), "run python -m deploy.kubernetes.render"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_charts_settings_are_settings(values: Mapping[str, Any]) -> None:
    (settings,) = of_kind("ConfigMap", values)
    check_variables(settings["data"])
    assert all(isinstance(value, str) for value in settings["data"].values())


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_charts_commands_ports_and_probes_are_the_daemons(values: Mapping[str, Any]) -> None:
    seen = set()
    for name, spec in containers(values):
        check_line(f"millstream {' '.join(spec['args'])}")
        assert spec["args"][0] == name
        check_variables({one["name"]: one["value"] for one in spec.get("env", ())} | KEYS)
        ports = {port["name"]: port["containerPort"] for port in spec.get("ports", ())}
        assert set(ports.values()) == ({PORTS[name]} if name in PORTS else set())
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in spec:
                check_path(name, spec[probe]["httpGet"]["path"])
                assert spec[probe]["httpGet"]["port"] in ports
        seen.add(name)
    assert {"learn", "serve"} <= seen
    for service in of_kind("Service", values):
        assert service["spec"]["ports"][0]["port"] == PORTS[component(service)]


def test_servers_with_a_certificate_are_asked_by_https() -> None:
    values = {
        "settings": {"SERVE__HTTP__CERTIFICATE": "/run/certificates/tls.crt"},
        "certificates": "tls",
        "console": {"enabled": True},
    }
    for name, spec in containers(values):
        asked = {spec[probe]["httpGet"].get("scheme", "HTTP") for probe in spec if probe.endswith("Probe")}
        if asked:
            assert asked == {"HTTPS" if name == "serve" else "HTTP"}
        variables = {one["name"]: one["value"] for one in spec.get("env", ())}
        if name == "console":
            assert variables["MILLSTREAM_CONSOLE__SERVER"].startswith("https://millstream-serve:")
            assert '"serve": "https://' in variables["MILLSTREAM_METRICS__URLS"]
            assert '"gateway": "http://' in variables["MILLSTREAM_METRICS__URLS"]


def test_settings_reach_the_daemons_as_they_were_written() -> None:
    values = {
        "settings": {
            "LEARN__SEED": 12_345_678,
            "RETRAIN__ENABLED": True,
            "SERVE__HTTP__PROXIES": ["10.0.0.7"],
        }
    }
    (settings,) = of_kind("ConfigMap", values)
    assert settings["data"]["MILLSTREAM_LEARN__SEED"] == "12345678"
    assert settings["data"]["MILLSTREAM_RETRAIN__ENABLED"] == "true"
    assert settings["data"]["MILLSTREAM_SERVE__HTTP__PROXIES"] == '["10.0.0.7"]'


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"serv": {"replicas": 3}}, "serv"),
        ({"serve": {"replica": 3}}, "replica"),
        ({"serve": {"drainSeconds": 2}}, "drainSeconds"),
        ({"gateway": {"resources": {"limits": {"memory": "1 gig"}}}}, "memory"),
        ({"settings": {"LEARN_SEED": 1}}, "LEARN_SEED"),
        ({"settings": {"SERVE__PORT": 9000}}, "SERVE__PORT"),
        ({"settings": {"SERVE__WORKERS": 4}}, "SERVE__WORKERS"),
        ({"settings": {"CHECKPOINTS__FOLDER": "/data"}}, "CHECKPOINTS__FOLDER"),
        ({"settings": {"MODEL__CACHE": "/data"}}, "MODEL__CACHE"),
        ({"settings": {"GATEWAY__HTTP__DRAIN_SECONDS": 3}}, "GATEWAY__HTTP__DRAIN_SECONDS"),
        ({"settings": {"CONSOLE__SERVER": "http://elsewhere:8000"}}, "CONSOLE__SERVER"),
        ({"settings": {"LOG__OPTIONS__SASL_PLAIN_PASSWORD": "hush"}}, "SASL_PLAIN_PASSWORD"),
        ({"settings": {"LOG__OPTIONS": {"sasl_plain_password": "hush"}}}, "sasl_plain_password"),
        ({"settings": {"LOG__OPTIONS": '{"ssl_password": "hush"}'}}, "LOG__OPTIONS"),
        ({"settings": {"SERVE__NAMED_KEYS": {"shop": {"secret": "hush", "scopes": ["read"]}}}}, "secret"),
    ],
)
def test_values_that_the_chart_does_not_take_are_refused(values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        rendered(values)


def component(manifest: Mapping[str, Any]) -> str:
    name: str = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
    return name


def test_pods_may_do_nothing_that_they_need_not() -> None:
    for pod in pods(EVERYTHING):
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    for _, spec in containers(EVERYTHING):
        context = spec["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert spec["resources"]["limits"]["memory"]
        assert {"secrets", "certificates", "tmp"} <= {mount["name"] for mount in spec["volumeMounts"]}


def test_there_is_one_learner_and_servers_leave_one_at_a_time() -> None:
    (learner,) = of_kind("StatefulSet", {})
    assert learner["spec"]["replicas"] == 1
    for one in of_kind("Deployment", {}):
        drain = float(
            of_kind("ConfigMap", {})[0]["data"][f"MILLSTREAM_{component(one).upper()}__HTTP__DRAIN_SECONDS"]
        )
        pod = one["spec"]["template"]["spec"]
        (spec,) = pod["containers"]
        probe = spec["readinessProbe"]
        assert probe["periodSeconds"] * (probe["failureThreshold"] + 1) < drain
        assert pod["terminationGracePeriodSeconds"] > drain + 5
        assert one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {component(one) for one in of_kind("PodDisruptionBudget", {})} == {"serve", "gateway"}
    (scaler,) = of_kind("HorizontalPodAutoscaler", EVERYTHING)
    assert [metric["type"] for metric in scaler["spec"]["metrics"]] == ["Resource", "Pods"]


@pytest.mark.parametrize(
    "change",
    [
        {"image": {"tag": "0.9.0"}},
        {"settings": {"LOG__PREFIX": "shop"}},
        {"certificates": "tls"},
        {"environmentSecret": "keys"},
    ],
)
def test_a_changed_job_has_another_name_because_jobs_cannot_be_changed(change: Mapping[str, Any]) -> None:
    (job,), (again,), (changed,) = (of_kind("Job", values) for values in ({}, {}, change))
    assert job == again
    assert job["metadata"]["name"] != changed["metadata"]["name"]
    assert max(len(one["metadata"]["name"]) for one in (job, changed)) <= 63


def test_each_pod_has_a_network_policy_that_selects_it() -> None:
    policies = of_kind("NetworkPolicy", {})
    selected = [one["spec"]["podSelector"]["matchLabels"] for one in policies]
    for one in manifests({}):
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            assert one["spec"]["template"]["metadata"]["labels"] in selected
    ports = {
        port["port"] for one in policies for rule in one["spec"].get("ingress", ()) for port in rule["ports"]
    }
    assert ports == {PORTS[name] for name in ("serve", "gateway", "learn", "retrain")}


def test_what_the_chart_sets_itself_is_no_setting_of_the_values() -> None:
    own = [
        name.removeprefix("MILLSTREAM_")
        for one in of_kind("ConfigMap", {"settings": {}})
        for name in one["data"]
    ]
    given = set(yaml.safe_load((CHART / "values.yaml").read_text())["settings"])
    own += [
        one["name"].removeprefix("MILLSTREAM_")
        for _, spec in containers({"console": {"enabled": True}})
        for one in spec.get("env", ())
    ]
    for name in {*own} - given:
        with pytest.raises(helm_python.HelmError, match=name):
            rendered({"settings": {name: "x"}})


@pytest.mark.parametrize(
    ("policy", "let_in"),
    [
        ({"monitoring": []}, {"serve": ["clients"], "gateway": ["clients"]}),
        ({"clients": []}, {"serve": ["monitors"], "gateway": ["monitors"], "learn": ["monitors"]}),
        ({"monitoring": [], "clients": []}, {}),
    ],
)
def test_where_nobody_is_named_nobody_is_let_in(
    policy: Mapping[str, Any], let_in: Mapping[str, list[str]]
) -> None:
    named = {who: [{"podSelector": {"matchLabels": {"is": who}}}] for who in ("clients", "monitors")}
    peers = {"clients": named["clients"], "monitoring": named["monitors"], **policy}
    found = {
        component(one): [
            peer["podSelector"]["matchLabels"]["is"]
            for rule in one["spec"]["ingress"]
            for peer in rule["from"]
        ]
        for one in of_kind("NetworkPolicy", {"networkPolicy": peers})
        if "ingress" in one["spec"]
    }
    assert found == let_in


def test_the_charts_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_composes_daemons_are_the_code() -> None:
    services = compose()["services"]
    daemons = {name: one for name, one in services.items() if one["image"] == "millstream"}
    assert {"topics", "learn", "retrain", "serve", "gateway", "console"} <= set(daemons)
    for name, one in daemons.items():
        check_line(f"millstream {' '.join(one['command'])}")
        check_variables(
            {
                name: value.replace("${CONSOLE_KEY_SHA256:-}", "0" * 64)
                for name, value in one["environment"].items()
            }
        )
        assert one["read_only"] and one["cap_drop"] == ["ALL"]
        for published in one.get("ports", ()):
            assert published == f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"
        if "healthcheck" in one:
            (at,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(one["healthcheck"]["test"]))
            assert int(at[0]) == PORTS[name]
            check_path(name, at[1])


def test_composes_broker_is_the_one_of_the_settings() -> None:
    kafka, serve = compose()["services"]["kafka"], compose()["services"]["serve"]
    listeners = kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{serve['environment']['MILLSTREAM_LOG__URL'].removeprefix('kafka://')}" in listeners
    jars = (DEPLOY / "kafka" / "pom.xml").read_text()
    assert kafka["image"].partition(":")[2] in jars


def test_composes_files_are_there() -> None:
    for one in compose()["services"].values():
        for volume in one.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in compose()["volumes"] or (DEPLOY / source).is_dir()
        if "build" in one:
            assert (ROOT / one["build"]["dockerfile"]).is_file()


def test_prometheus_finds_the_daemons_of_compose() -> None:
    folder = DEPLOY / "prometheus"
    tool = debian_program("prometheus", "promtool")
    done = subprocess.run(
        [tool, "check", "config", folder / "compose.yaml"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for job in yaml.safe_load((folder / "compose.yaml").read_text())["scrape_configs"]:
        (target,) = job["static_configs"][0]["targets"]
        daemon, _, port = target.partition(":")
        assert job["job_name"] == f"millstream-{daemon}" and int(port) == PORTS[daemon]
        assert daemon in compose()["services"]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards" / "millstream.yaml").read_text())["providers"]
    mounts = [volume.split(":")[:2] for volume in compose()["services"]["grafana"]["volumes"]]
    assert ["./grafana", provider["options"]["path"]] in mounts


def dockerfile() -> str:
    return (DEPLOY / "docker" / "Dockerfile").read_text()


def test_the_dockerfile_is_in_order() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [tool, DEPLOY / "docker" / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_the_code() -> None:
    text = dockerfile()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.search(r'^ENTRYPOINT \["(\w+)"\]$', text, re.MULTILINE)[1] in project["scripts"]  # type: ignore[index]
    extras = re.search(r'"/build\[(.*?)\]"', text)
    assert extras and set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert {"media", "schema-registry", "s3", "trace"} <= set(extras[1].split(",")), "all daemons are in it"
    check_variables(dict(re.findall(r"(MILLSTREAM_\w+)=(\S+)", text)))
    exposed = re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert exposed and set(map(int, exposed[1].split())) == set(PORTS.values())
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    torch = next(one for one in project["dependencies"] if one.startswith("torch"))
    assert (DEPLOY / "docker" / "torch.sh").read_text().count(f'"{torch}"') == 2


def test_what_is_copied_into_the_image_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile(), re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists()
            assert any(f"!{part}" in ignored for part in (path, str(Path(path).parent)))


def test_haproxy_takes_its_configuration() -> None:
    tool = debian_program("haproxy", "haproxy")
    done = subprocess.run(
        [tool, "-c", "-f", DEPLOY / "haproxy" / "haproxy.cfg"],
        env=environment("haproxy"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    (path,) = re.findall(r"option httpchk GET (\S+)", text)
    check_path("serve", path)
    assert f"127.0.0.1:{PORTS['serve']}" in text


def test_the_rights_in_the_docs_are_those_that_the_tests_give() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("kafka-acls.sh")]
    assert len(lines) == len(RIGHTS)
    for kind, operations in RIGHTS.items():
        option = f"--{kind.name.lower().replace('_', '-')} millstream"
        (line,) = (line for line in lines if option in line)
        named = {name.upper() for name in re.findall(r"--operation (\w+)", line)}
        assert named == {operation.name.replace("_", "") for operation in operations}
        assert "--resource-pattern-type prefixed" in line and f"User:{USER}" in line


def test_what_scales_servers_is_made_of_series_that_there_are() -> None:
    ((rule,),) = yaml.safe_load((DEPLOY / "kubernetes" / "metrics-adapter.yaml").read_text())[
        "rules"
    ].values()
    series = rule["seriesQuery"].partition("{")[0].removesuffix("_bucket")
    assert series in {family.name for family in REGISTRY.collect()}
    (scaler,) = of_kind("HorizontalPodAutoscaler", EVERYTHING)
    assert scaler["spec"]["metrics"][1]["pods"]["metric"]["name"] == rule["name"]["as"]
