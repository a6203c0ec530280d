"""The one configuration file of a service: YAML, checked field by field, paths relative to the file itself.

Secrets may come from the environment, which wins over the file: ``CHARGEHORIZON_ENTSOE_API_KEY``,
``CHARGEHORIZON_WEBHOOK_SECRET`` and ``CHARGEHORIZON_STORAGE_URL``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.auth import ApiKey, Scope
from api.schemas import Instant
from connectors.battery.modbus import ModbusBatterySettings, NumberType, RegisterValue
from connectors.ocpp.settings import OcppSettings
from connectors.sections import FOLDER, ExistingFile, Section, fields_of, first_of, read_sections, section_errors
from connectors.site_section import Positive, SiteSection
from optimizer.control.settings import ControlSettings
from optimizer.domain.ids import StationId, TariffId
from optimizer.errors import InvalidConfiguration, InvalidInput
from optimizer.planning.settings import PlanningSettings

_SQLITE_FILE = "sqlite:///"
_SECTIONS_OF_KINDS = frozenset({"clock", "market_prices"})


def _storage_beside_the_file(url: str, validation: ValidationInfo) -> str:
    if not url.startswith(_SQLITE_FILE):
        return url
    path = Path((validation.context or {}).get(FOLDER, ".")) / url.removeprefix(_SQLITE_FILE)
    if not path.parent.is_dir():
        raise ValueError(f"no such folder; make {path.parent}")
    return f"{_SQLITE_FILE}{path}"


def _folder_beside_the_file(path: Path, validation: ValidationInfo) -> Path:
    found = Path((validation.context or {}).get(FOLDER, ".")) / path.expanduser()
    if not found.is_dir():
        raise ValueError(f"no such folder; make {found}")
    return found


def _new_file_beside_the_file(path: Path, validation: ValidationInfo) -> Path:
    return _folder_beside_the_file(path.parent, validation) / path.name


ExistingFolder = Annotated[Path, AfterValidator(_folder_beside_the_file)]
NewFile = Annotated[Path, AfterValidator(_new_file_beside_the_file)]
StorageUrl = Annotated[str, Field(min_length=1), AfterValidator(_storage_beside_the_file)]
Host = Annotated[str, Field(min_length=1, max_length=253)]
Port = Annotated[int, Field(ge=0, le=65535)]
Control = Annotated[ControlSettings, BeforeValidator(fields_of(ControlSettings))]
Planning = Annotated[PlanningSettings, BeforeValidator(fields_of(PlanningSettings))]
OcppBehaviour = Annotated[OcppSettings, BeforeValidator(fields_of(OcppSettings))]


class TariffSection(Section):
    """What the site pays."""

    file: ExistingFile
    """The tariff file."""


class EntsoePrices(Section):
    """Day-ahead prices of a bidding zone from the ENTSO-E transparency platform."""

    source: Literal["entsoe"]
    """Where prices come from."""
    area: Annotated[str, Field(pattern=r"^[A-Z0-9_]{2,16}$")]
    """Bidding zone as entsoe-py names it, for example DE_LU or DK_1."""
    api_key: SecretStr | None = None
    """Security token of the platform; better given by CHARGEHORIZON_ENTSOE_API_KEY."""
    fallback_price_per_kwh: Decimal | None = None
    """Price assumed where neither the source nor the past week tells one [currency/kWh]; left out: none."""


class FilePrices(Section):
    """Market prices from a file."""

    source: Literal["file"]
    """Where prices come from."""
    file: ExistingFile
    """The price file."""
    zone: str | None = None
    """Bidding zone or settlement point, where the file holds several."""
    fallback_price_per_kwh: Decimal | None = None
    """Price assumed where neither the source nor the past week tells one [currency/kWh]; left out: none."""


class ForecastSection(Section):
    """What is expected of building and PV."""

    building_file: ExistingFile | None = None
    """Load profile of the building; left out: what was metered at the same time of earlier days."""
    weather_file: ExistingFile | None = None
    """Expected weather; left out: a clear sky, corrected by what the arrays have just given."""
    long_term_clearness_share: Annotated[float, Field(gt=0, le=1.2)] | None = None
    """Share of the computed PV energy that arrives over a year; left out: what suits a temperate climate."""


class StorageSection(Section):
    """Where everything is kept."""

    url: StorageUrl = Field(default="sqlite:///chargehorizon.db", validate_default=True)
    """sqlite:///FILE, relative to this file, or postgresql://USER:PASSWORD@HOST/NAME."""
    kept_plans: Annotated[int, Field(ge=10)] = 2_000
    """How many plans are kept, each with what it followed from; sessions, records and bills are kept for ever."""
    meters_kept_days: Annotated[int, Field(ge=35)] | None = 400
    """How long meter values are kept [days]; the default is a year and a month, so that last year's bills can be made
    anew. What is not billed yet stays in any case; null: all is kept for ever."""
    backup_folder: ExistingFolder | None = None
    """Where a copy of a SQLite database is put each day; left out: none is made."""
    kept_backups: Annotated[int, Field(ge=1)] = 14
    """How many copies are kept; older ones are deleted."""

    @property
    def sqlite_file(self) -> Path | None:
        """The file of a SQLite database; ``None`` for any other."""
        return Path(self.url.removeprefix(_SQLITE_FILE)) if self.url.startswith(_SQLITE_FILE) else None

    @model_validator(mode="after")
    def _backs_up_what_it_can(self) -> Self:
        if self.backup_folder is not None and self.sqlite_file is None:
            raise ValueError("backup_folder is for SQLite; back up PostgreSQL with pg_dump")
        return self


class TlsSection(Section):
    """Certificate of an endpoint."""

    certificate: ExistingFile
    """The chain in PEM."""
    key: ExistingFile
    """The private key in PEM."""
    client_ca: ExistingFile | None = None
    """Certificates that sign stations' own ones, for security profile 3."""


class StationPassword(Section):
    """How one station proves who it is (security profiles 1 and 2)."""

    station_id: str
    """Which station."""
    password_hash: Annotated[str, Field(pattern=r"^pbkdf2-sha256\$\d+\$[0-9a-f]+\$[0-9a-f]+$")]
    """Hash of its password; `chargehorizon config new-password` makes both, `stations add` keeps it for you."""


class AuthoritySection(Section):
    """An authority of the site's own that signs the stations' certificates (security profile 3)."""

    certificate: ExistingFile
    """Its certificate in PEM; ``ocpp.tls.client_ca`` must trust it."""
    key: ExistingFile
    """Its private key in PEM, not encrypted."""
    valid_days: Annotated[int, Field(ge=1, le=3650)] = 365
    """How long a station's certificate is good [days]."""
    renew_before_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long before its end a station is asked to have a new one signed [days]."""

    @model_validator(mode="after")
    def _renews_before_the_end(self) -> Self:
        if self.renew_before_days >= self.valid_days:
            raise ValueError("renew_before_days must be below valid_days")
        return self


class EndpointSection(Section):
    """A port that stations connect to, with a security profile of its own."""

    host: Host = "0.0.0.0"
    """Address to listen on."""
    port: Port = 9000
    """Port to listen on; 0: any free one."""
    security_profile: Literal[0, 1, 2, 3]
    """0 none (only in a network of its own), 1 password, 2 password and TLS, 3 TLS with the stations' certificates."""
    tls: TlsSection | None = None
    """Certificate of the endpoint, for profiles 2 and 3."""

    @model_validator(mode="after")
    def _secured(self) -> Self:
        if self.security_profile in (2, 3) and self.tls is None:
            raise ValueError(f"security_profile {self.security_profile} needs tls")
        if self.security_profile == 3 and self.tls is not None and self.tls.client_ca is None:
            raise ValueError("security_profile 3 needs tls.client_ca")
        return self


class OcppSection(EndpointSection):
    """The endpoint that stations connect to."""

    further: tuple[EndpointSection, ...] = ()
    """More ports with other security profiles, for stations that differ, or while they move from one to the next."""
    passwords: tuple[StationPassword, ...] = ()
    """One a station, for profiles 1 and 2; those of ``passwords_file`` go before these."""
    passwords_file: NewFile | None = None
    """JSON file of the hashes that `chargehorizon stations add` and `rotate` make; left out: beside a SQLite
    database."""
    authority: AuthoritySection | None = None
    """Signs the stations' certificates, for profile 3; left out: they are signed elsewhere."""
    proven_forms_file: NewFile | None = None
    """JSON file of the forms in which each kind of station is proven to take limits; left out: beside a SQLite
    database, and with any other database found out anew after each start."""
    behaviour: OcppBehaviour = OcppSettings()
    """Waiting times and limits of the protocol."""


class ApiKeySection(Section):
    """Who may call the HTTP API."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,48}$")]
    """Name in the log."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the key, in hexadecimal; `chargehorizon config new-key` makes both."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    """What the key permits: read, reserve, grid, meter, operate, billing, admin."""

    def to_key(self) -> ApiKey:
        """The key as the service holds it."""
        return ApiKey(self.name, self.sha256, frozenset(self.scopes))


class HttpSection(Section):
    """The HTTP API."""

    host: Host = "127.0.0.1"
    """Address to listen on; put a proxy with TLS before it where callers come from outside."""
    port: Port = 8080
    """Port to listen on; 0: any free one."""
    body_limit_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    """Greatest size of a request's body."""
    api_keys: tuple[ApiKeySection, ...] = Field(min_length=1)
    """Who may call."""

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.api_keys]
            if len(set(values)) != len(values):
                raise ValueError(f"api_keys need a {field} of their own each")
        return self


class SystemClockSection(Section):
    """Real time."""

    kind: Literal["system"] = "system"
    """Which clock."""


class AcceleratedClockSection(Section):
    """A clock that runs faster than the wall's, for demonstrations.

    What takes time on the wall keeps it: a guard step comes at most every 50 ms of the wall, other work every 0.5 s.
    """

    kind: Literal["accelerated"]
    """Which clock."""
    simulated_start: Instant
    """What the clock shows at ``wall_start``."""
    wall_start: Instant
    """The anchor in real time; a restart with the same anchor goes on with the same time."""
    speed: Positive
    """Seconds of this clock in one second of the wall."""


class JobSection(Section):
    """How often the work beside control is done, in seconds of the service's clock."""

    settle_s: Positive = 60.0
    """Provisional records of sessions that have ended."""
    deliver_s: Positive = 10.0
    """Hand-over of queued records to billing."""
    refresh_prices_s: Positive = 900.0
    """Reading market prices anew."""
    upkeep_s: Positive = 3600.0
    """Looking whether meter values are old enough to be deleted, or a backup is due."""
    alerts_s: Positive = 60.0
    """Looking for alerts of stations, for log and metrics; the HTTP API tells them at any time."""
    ready_after_missed: Annotated[int, Field(ge=2)] = 3
    """Periods without a plan or guard step after which /readyz says no."""


class BillingSection(Section):
    """How the site's energy is billed."""

    window: Literal["month", "day"] = "month"
    """What one bill covers: a local calendar month or day."""
    day_begins: time = time(0)
    """Local time at which a billing day begins, for bills of a day."""
    patience_minutes: Annotated[float, Field(ge=0)] = 60.0
    """How long missing meter values are waited for before a record is made from what is there [minutes]."""


class WebhookSection(Section):
    """Where energy-cost records are sent."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    """Address of the billing system."""
    secret: SecretStr | None = None
    """Signing secret, whsec_...; better given by CHARGEHORIZON_WEBHOOK_SECRET."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 15.0
    """Time the billing system has to answer [s of the wall]."""
    allow_private_address: bool = False
    """Whether the address may lie in a private network."""


class RegisterSection(Section):
    """A value that a register of the battery's controller must hold for its power to count."""

    register_address: Annotated[int, Field(ge=0, le=65535)]
    """Address, from 0."""
    value: int
    """What it must hold."""
    number_type: NumberType = NumberType.UINT16
    """int16, uint16, int32, uint32 or float32."""


class BatteryControlSection(Section):
    """How the stationary battery is told its power: a register over Modbus/TCP."""

    host: Host
    """Name or address of the battery's inverter or its gateway."""
    register_address: Annotated[int, Field(ge=0, le=65535)]
    """Address of the register that takes the power, from 0; it stands in the maker's list of registers."""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    """Its port."""
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    """Its unit identifier."""
    number_type: NumberType = NumberType.INT16
    """int16, int32 or float32."""
    count_w: Positive = 1.0
    """Power of one count of the register [W]."""
    charging_is_positive: bool = False
    """Whether a power above zero charges; most inverters count what they give as positive."""
    first: tuple[RegisterSection, ...] = ()
    """What is written before it each time, such as the switch to control from outside."""
    period_s: Positive = 5.0
    """Time between two looks at what the battery is to do [s]."""

    def to_settings(self) -> ModbusBatterySettings:
        """The adapter's settings."""
        first = tuple(RegisterValue(one.register_address, one.value, one.number_type) for one in self.first)
        return ModbusBatterySettings(
            self.host,
            self.register_address,
            self.port,
            self.unit,
            self.number_type,
            self.count_w,
            self.charging_is_positive,
            first,
        )


class LoggingSection(Section):
    """What is written to the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level."""
    format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""


class Configuration(Section):
    """The whole file."""

    site: SiteSection
    """The site."""
    tariff: TariffSection
    """What it pays."""
    market_prices: Annotated[EntsoePrices | FilePrices, Field(discriminator="source")] | None = None
    """Day-ahead prices, where the tariff has them."""
    forecasts: ForecastSection = ForecastSection()
    """What is expected of building and PV."""
    storage: StorageSection = Field(default={}, validate_default=True)
    """Where everything is kept."""
    ocpp: OcppSection
    """The endpoint that stations connect to."""
    http: HttpSection
    """The HTTP API."""
    clock: Annotated[SystemClockSection | AcceleratedClockSection, Field(discriminator="kind")] = SystemClockSection()
    """The service's time."""
    jobs: JobSection = JobSection()
    """How often the work beside control is done."""
    control: Control = ControlSettings()
    """Choices about loop, guard and dispatch, with their periods."""
    planning: Planning = PlanningSettings()
    """Choices of the planner."""
    billing: BillingSection = BillingSection()
    """How the site's energy is billed."""
    billing_webhook: WebhookSection | None = None
    """Where energy-cost records are sent; left out: they stay in the store."""
    battery_control: BatteryControlSection | None = None
    """How the stationary battery is told its power; left out: it is planned, and told by nobody."""
    logging: LoggingSection = LoggingSection()
    """What is written to the log."""

    @property
    def passwords_file(self) -> Path | None:
        """Where the password hashes are kept that service and command line make; ``None``: nowhere."""
        return self.ocpp.passwords_file or self.beside_the_database("passwords.json")

    def beside_the_database(self, ending: str) -> Path | None:
        """A file beside a SQLite database; ``None`` with any other."""
        database = self.storage.sqlite_file
        return database.with_name(f"{database.name}.{ending}") if database is not None else None

    @model_validator(mode="after")
    def _battery_is_there(self) -> Self:
        if self.battery_control is not None:
            if self.site.battery is None:
                raise ValueError("battery_control needs a battery in the site")
            self.battery_control.to_settings()
        return self

    @model_validator(mode="after")
    def _passwords_have_a_place(self) -> Self:
        asking = [one.security_profile for one in (self.ocpp, *self.ocpp.further) if one.security_profile in (1, 2)]
        if asking and not self.ocpp.passwords and self.passwords_file is None:
            raise ValueError(f"security_profile {asking[0]} needs ocpp.passwords or a passwords_file")
        return self


class Secrets(BaseSettings):
    """What the environment may give instead of the file."""

    model_config = SettingsConfigDict(env_prefix="CHARGEHORIZON_", extra="ignore", frozen=True)

    entsoe_api_key: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    storage_url: str | None = None


def load_configuration(path: Path, secrets: Secrets | None = None) -> Configuration:
    """Read and check a configuration file.

    Args:
        path: The file.
        secrets: What wins over the file; ``None``: the environment.

    Raises:
        InvalidConfiguration: The first thing that is wrong; whatever else is wrong is noted on it.
    """
    content = read_sections(path, InvalidConfiguration, "site, tariff, ocpp, http")
    given = _with_secrets(content, secrets if secrets is not None else Secrets())
    try:
        configuration = Configuration.model_validate(given, context={FOLDER: path.parent})
    except ValidationError as error:
        raise first_of(section_errors(error, str(path), InvalidConfiguration, _SECTIONS_OF_KINDS)) from error
    except InvalidInput as error:
        # Checks of the planner's and the OCPP endpoint's own settings, which name their section themselves.
        raise InvalidConfiguration(error.field, error.value, error.fix, where=str(path)) from error
    try:
        site = configuration.site.to_site(TariffId(""))
    except InvalidInput as error:
        # The domain's own checks: fuses that are no tree, two EVSEs of one name.
        raise InvalidConfiguration(f"site.{error.field}", error.value, error.fix, where=str(path)) from error
    for field, station_id in _named_stations(configuration.ocpp):
        if station_id not in {station.id for station in site.stations}:
            raise InvalidConfiguration(field, station_id, f"name a station of site {site.id!r}", where=str(path))
    return configuration


def _named_stations(ocpp: OcppSection) -> Iterator[tuple[str, StationId]]:
    """The stations that settings are for, each with the field that names it."""
    for one in ocpp.passwords:
        yield "ocpp.passwords.station_id", StationId(one.station_id)
    behaviour = ocpp.behaviour
    for name, station_ids in {
        "assumed_versions": behaviour.assumed_versions,
        "no_ping_stations": behaviour.no_ping_stations,
        "never_zero_stations": behaviour.never_zero_stations,
        "stop_to_pause_stations": behaviour.stop_to_pause_stations,
        "station_maxima_kw": behaviour.station_maxima_kw,
    }.items():
        for station_id in sorted(station_ids):
            yield f"ocpp.behaviour.{name}", station_id


def _with_secrets(given: dict[str, Any], secrets: Secrets) -> dict[str, Any]:
    """The file's content with what the environment says in its place."""
    merged = dict(given)
    prices, webhook = given.get("market_prices"), given.get("billing_webhook")
    if secrets.entsoe_api_key is not None and isinstance(prices, dict) and prices.get("source") == "entsoe":
        merged["market_prices"] = prices | {"api_key": secrets.entsoe_api_key}
    if secrets.webhook_secret is not None and isinstance(webhook, dict):
        merged["billing_webhook"] = webhook | {"secret": secrets.webhook_secret}
    if secrets.storage_url is not None:
        storage = given.get("storage")
        merged["storage"] = (storage if isinstance(storage, dict) else {}) | {"url": secrets.storage_url}
    return merged
