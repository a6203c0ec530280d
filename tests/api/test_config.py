"""The configuration file: what is accepted, and what each mistake is answered with."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from api.config import Configuration, Secrets, load_configuration
from connectors.battery.modbus import ModbusBatterySettings, NumberType, RegisterValue
from optimizer.domain.ids import EvseId, TariffId
from optimizer.domain.site import Phase
from optimizer.errors import InvalidConfiguration

EXAMPLE = Path(__file__).resolve().parents[2] / "api" / "example_site.yaml"
NO_SECRETS = Secrets.model_construct(entsoe_api_key=None, webhook_secret=None, storage_url=None)


@pytest.fixture
def example() -> dict[str, Any]:
    return yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))


def loaded(tmp_path: Path, content: object, secrets: Secrets = NO_SECRETS) -> Configuration:
    (tmp_path / "example_tariff.yaml").write_text("id: x", encoding="utf-8")
    path = tmp_path / "site.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return load_configuration(path, secrets)


def test_the_example_is_a_site_of_seven_stations() -> None:
    site = load_configuration(EXAMPLE, NO_SECRETS).site.to_site(TariffId("office-dynamic"))
    assert [station.id for station in site.stations][:2] == ["south-01", "north-01"]
    assert list(site.evses)[:3] == ["south-01-left", "south-01-right", "north-01"]
    assert [site.evses[EvseId(f"north-0{number}")].phases[0] for number in (1, 2, 3, 4)] == [
        Phase.L1,
        Phase.L2,
        Phase.L3,
        Phase.L1,
    ]
    assert site.grid_connection.import_limit_kw == 69


def at(place: str, value: object) -> Any:
    """A change of the example: sets what stands at a dotted place; ``...`` removes it."""

    def change(content: dict[str, Any]) -> dict[str, Any]:
        content = deepcopy(content)
        node: Any = content
        *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        for part in way:
            node = node[part]
        if value is ...:
            del node[last]
        else:
            node[last] = value
        return content

    return change


def with_battery(**control: object) -> Any:
    """A change of the example: a battery, and how it is told its power."""

    def change(content: dict[str, Any]) -> dict[str, Any]:
        battery = {"capacity_kwh": 40, "max_charge_kw": 20, "max_discharge_kw": 20}
        told = {"host": "inverter.local", "register_address": 40149, **control}
        return at("battery_control", told)(at("site.battery", battery)(content))

    return change


MISTAKES = {
    "a misspelt field": (at("site.grid_connection.import_limit_kW", 5), "site.grid_connection.import_limit_kW = 5",
                         "did you mean import_limit_kw?"),
    "a misspelt section": (at("ocp", {}), "ocp = {}", "did you mean ocpp?"),
    "a field nobody knows": (at("http.colour", "red"), "http.colour = 'red'", "known here are api_keys"),
    "a misspelt planning setting": (at("planning.time_limit", 3), "planning.time_limit = 3", "did you mean time_limit_s?"),
    "a misspelt control setting": (at("control.guard_period", 3), "control.guard_period = 3", "guard_period_s?"),
    "a missing field": (at("site.time_zone", ...), "site.time_zone = None", "this field is required"),
    "a missing section": (at("tariff", ...), "tariff = None", "this field is required"),
    "a time zone nobody knows": (at("site.time_zone", "Europe/Bonn"), "site.time_zone = 'Europe/Bonn'", "IANA"),
    "a word for a number": (at("site.greatest_building_kw", "much"), "site.greatest_building_kw = 'much'", "number"),
    "a negative limit": (at("site.grid_connection.import_limit_kw", -1), "import_limit_kw = -1", "greater than or equal"),
    "not a number": (at("site.grid_connection.import_limit_kw", float("nan")), "import_limit_kw = nan", "finite"),
    "no such tariff file": (at("tariff.file", "gone.yaml"), "tariff.file = 'gone.yaml'", "no such file; looked for"),
    "a circuit without a limit": (at("site.circuits.0.limit_a", ...), "site.circuits[0]", "give limit_a, limit_kw"),
    "fuses in a ring": (at("site.circuits.0.parent_id", "garage-north"), "site.circuits.main.parent_id", "tree"),
    "an EVSE on an unknown circuit": (at("site.station_groups.0.circuit_id", "roof"), "site.evses.north-01.circuit_id",
                                      "name one of the circuits"),
    "two EVSEs of one name": (at("site.stations.0.evses.1.id", "south-01-left"), "site.stations.evses", "its own id"),
    "a group named two ways": (at("site.station_groups.0.station_ids", ["a"]), "site.station_groups[0]", "id_pattern"),
    "a pattern without a number": (at("site.station_groups.0.id_pattern", "north"), "site.station_groups[0]", "{number}"),
    "a pattern of something else": (at("site.station_groups.0.id_pattern", "{row}"), "site.station_groups[0]", "{number}"),
    "an id that fits no URL": (at("site.stations.0.id", "south 01"), "site.stations[0].id = 'south 01'", "pattern"),
    "no station": (at("site", {"id": "s", "time_zone": "UTC", "currency": "EUR", "circuits": [{"id": "m", "limit_a": 1}],
                               "grid_connection": {"circuit_id": "m", "import_limit_kw": 1}}),
                   "site = ", "at least one station"),
    "security profile not stated": (at("ocpp.security_profile", ...), "ocpp.security_profile = None", "required"),
    "passwords forgotten": (lambda example: at("ocpp.passwords", [])(at("storage.url", "postgresql://nowhere/x")(example)),
                            "(file) = ", "security_profile 1 needs ocpp.passwords or a passwords_file"),
    "a battery told and none there": (at("battery_control", {"host": "inverter", "register_address": 40}),
                                      "(file) = ", "battery_control needs a battery in the site"),
    "a power without a sign": (with_battery(number_type="uint16"), "battery_control.number_type = ",
                               "a battery charges and discharges"),
    "TLS forgotten": (at("ocpp.security_profile", 2), "ocpp = ", "security_profile 2 needs tls"),
    "TLS forgotten at a further port": (at("ocpp.further", [{"port": 9001, "security_profile": 3}]), "ocpp.further[0] = ",
                                        "security_profile 3 needs tls"),
    "no API key": (at("http.api_keys", []), "http.api_keys = []", "at least 1 item"),
    "a key instead of its hash": (at("http.api_keys.0.sha256", "secret"), "http.api_keys[0].sha256", "pattern"),
    "a scope nobody knows": (at("http.api_keys.0.scopes", ["write"]), "http.api_keys[0].scopes[0] = 'write'", "'read'"),
    "a market nobody knows": (at("market_prices.source", "epex"), "market_prices", "'entsoe'"),
    "an accelerated clock without an anchor": (at("clock", {"kind": "accelerated", "speed": 10}),
                                               "clock.simulated_start = None", "required"),
    "a local time for an anchor": (at("clock", {"kind": "accelerated", "speed": 10, "wall_start": "2026-01-01T00:00:00",
                                                "simulated_start": "2026-01-01T00:00:00Z"}),
                                   "clock.wall_start", "UTC offset"),
    "a planning setting out of range": (at("planning.time_limit_s", 0), "planning.time_limit_s = 0", "above 0"),
    "a control setting out of range": (at("control.guard_period_s", 0), "control.guard_period_s = 0", "above 0"),
    "a database in no folder": (at("storage.url", "sqlite:///gone/x.db"), "storage.url", "no such folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_told_with_file_field_value_and_fix(tmp_path: Path, example: Any, mistake: str) -> None:
    change, field_and_value, fix = MISTAKES[mistake]
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(tmp_path, change(example))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'site.yaml'}: ")
    assert field_and_value in message
    assert fix in message


def test_a_battery_is_told_its_power_as_its_maker_says(tmp_path: Path, example: Any) -> None:
    first = [{"register_address": 40151, "value": 802, "number_type": "uint32"}]
    section = loaded(tmp_path, with_battery(number_type="int32", first=first)(example)).battery_control
    assert section is not None
    assert section.to_settings() == ModbusBatterySettings(
        "inverter.local", 40149, number_type=NumberType.INT32, first=(RegisterValue(40151, 802, NumberType.UINT32),)
    )


UNREADABLE = {
    "no YAML": ("site: [", "must be YAML"),
    "a field that stands twice": ("site: {}\nsite: {}\n", "site stands twice"),
    "a list": ("- site\n", "give sections"),
    "nothing": ("", "give sections"),
    "an object to be executed": ("site: !!python/object/apply:os.system ['true']\n", "must be YAML"),
}


@pytest.mark.parametrize("case", UNREADABLE, ids=str)
def test_a_file_that_is_no_configuration_is_told(tmp_path: Path, case: str) -> None:
    text, fix = UNREADABLE[case]
    with pytest.raises(InvalidConfiguration, match=r"site\.yaml") as caught:
        loaded(tmp_path, text)
    assert fix in str(caught.value)


def test_a_file_that_is_not_there_or_not_utf8_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="No such file"):
        load_configuration(tmp_path / "gone.yaml", NO_SECRETS)
    (tmp_path / "latin.yaml").write_bytes("site: {name: Büro}".encode("latin-1"))
    with pytest.raises(InvalidConfiguration, match="UTF-8"):
        load_configuration(tmp_path / "latin.yaml", NO_SECRETS)


def test_every_mistake_is_told_at_once(tmp_path: Path, example: Any) -> None:
    broken = at("site.time_zone", ...)(at("http.port", 70000)(example))
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(tmp_path, broken)
    assert "site.time_zone" in str(caught.value)
    assert [note for note in caught.value.__notes__ if "http.port = 70000" in note]


def test_paths_are_relative_to_the_file(tmp_path: Path, example: Any) -> None:
    configuration = loaded(tmp_path, example)
    assert configuration.tariff.file == tmp_path / "example_tariff.yaml"
    assert configuration.storage.url == f"sqlite:///{tmp_path}/chargehorizon.db"
    del example["storage"]
    assert loaded(tmp_path, example).storage.url == f"sqlite:///{tmp_path}/chargehorizon.db"


def test_the_environment_wins_over_the_file_and_is_not_shown(
    tmp_path: Path, example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGEHORIZON_ENTSOE_API_KEY", "entsoe-key")
    monkeypatch.setenv("CHARGEHORIZON_WEBHOOK_SECRET", "whsec_abc")
    monkeypatch.setenv("CHARGEHORIZON_STORAGE_URL", "postgresql://user:word@db/charge")
    example["billing_webhook"] = {"url": "https://billing.example/hook", "secret": "whsec_file"}
    configuration = loaded(tmp_path, example, Secrets())
    assert configuration.market_prices is not None
    assert configuration.market_prices.source == "entsoe"
    assert configuration.market_prices.api_key == SecretStr("entsoe-key")
    assert configuration.billing_webhook is not None
    assert configuration.billing_webhook.secret == SecretStr("whsec_abc")
    assert configuration.storage.url == "postgresql://user:word@db/charge"
    assert "entsoe-key" not in repr(configuration)
    assert "whsec_abc" not in repr(configuration)


def test_stations_with_several_evses_are_numbered(tmp_path: Path, example: Any) -> None:
    example["site"]["station_groups"] = [
        {
            "station_ids": ["A", "B"],
            "evses_per_station": 2,
            "circuit_id": "main",
            "max_current_a": 32,
            "wiring": "line_to_line",
            "voltage_v": 208,
            "phases_in_turn": [["L1", "L2"], ["L2", "L3"], ["L3", "L1"]],
        }
    ]
    example["ocpp"]["passwords"] = []
    site = loaded(tmp_path, example).site.to_site(TariffId("t"))
    rotations = {evse.id: evse.phases for evse in site.evses.values() if evse.station_id in ("A", "B")}
    assert list(rotations) == ["A-1", "A-2", "B-1", "B-2"]
    assert [phases[0] for phases in rotations.values()] == [Phase.L1, Phase.L2, Phase.L3, Phase.L1]
    assert [site.evses[EvseId(evse_id)].ocpp_evse_id for evse_id in rotations] == [1, 2, 1, 2]
