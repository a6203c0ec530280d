"""Frames that no station should send: malformed, cut short, oversized, out of order. Nobody else must notice."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from datetime import timedelta

import pytest

from optimizer.domain.charger import LimitCommand, LimitPeriod
from optimizer.domain.ids import EvseId, StationId, TransactionId

S16 = StationId("S16")
VERSIONS = [("D16", "ocpp1.6"), ("S201", "ocpp2.0.1"), ("DC", "ocpp2.1")]

SEEDS = [
    ("BootNotification", {"chargePointVendor": "M", "chargePointModel": "1"}),
    ("Heartbeat", {}),
    ("StatusNotification", {"connectorId": 1, "status": "Charging", "errorCode": "NoError", "timestamp": "2026-03-02T08:00:00Z"}),
    ("Authorize", {"idTag": "TAG-1"}),
    ("StartTransaction", {"connectorId": 1, "idTag": "TAG-1", "meterStart": 5, "timestamp": "2026-03-02T08:00:00Z"}),
    ("StopTransaction", {"transactionId": 101, "meterStop": 7, "timestamp": "2026-03-02T08:10:00Z", "transactionData": []}),
    ("MeterValues", {"connectorId": 1, "transactionId": 101, "meterValue": [{"timestamp": "2026-03-02T08:00:00Z", "sampledValue": [{"value": "1", "unit": "Wh", "phase": "L1"}]}]}),
    ("DataTransfer", {"vendorId": "x", "data": "y"}),
    ("TransactionEvent", {"eventType": "Updated", "timestamp": "2026-03-02T08:00:00Z", "seqNo": 1, "triggerReason": "Trigger", "transactionInfo": {"transactionId": "t", "chargingState": "Charging"}, "evse": {"id": 1}, "idToken": {"idToken": "TAG-1", "type": "eMAID"}, "meterValue": [{"timestamp": "2026-03-02T08:00:00Z", "sampledValue": [{"value": 1.5, "unitOfMeasure": {"unit": "kWh", "multiplier": 0}}]}]}),
    ("NotifyEVChargingNeeds", {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "AC_three_phase", "departureTime": "2026-03-02T18:00:00Z", "acChargingParameters": {"energyAmount": 30000, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 400}}}),
    ("NotifyChargingLimit", {"evseId": 1, "chargingLimit": {"chargingLimitSource": "EMS"}, "chargingSchedule": [{"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}]}]}),
    ("SecurityEventNotification", {"type": "StartupOfTheDevice", "timestamp": "2026-03-02T08:00:00Z"}),
    ("SignCertificate", {"csr": "-----BEGIN CERTIFICATE REQUEST-----", "certificateType": "ChargingStationCertificate"}),
    ("NotifyEVChargingSchedule", {"evseId": 1, "timeBase": "2026-03-02T08:00:00Z", "chargingSchedule": {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 7000}]}}),
    ("ReportChargingProfiles", {"requestId": 1, "chargingLimitSource": "SO", "evseId": 1, "chargingProfile": [{"id": 9, "stackLevel": 0, "chargingProfilePurpose": "ChargingStationExternalConstraints", "chargingProfileKind": "Absolute", "chargingSchedule": [{"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 3000.0}]}]}]}),
    ("ClearedChargingLimit", {"evseId": 1, "chargingLimitSource": "SO"}),
    ("PullDynamicScheduleUpdate", {"chargingProfileId": 2}),
    ("FirmwareStatusNotification", {"status": "Downloading"}),
]  # fmt: skip

STRANGE = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    1e300,
    "",
    "x" * 400,
    "\ud800\x00\n",
    "NaN",
    "-1",
    [],
    [[]],
    {},
    {"a": {}},
    [None],
]


def mutated(chance: random.Random, value):
    """The same JSON with one thing in it replaced, removed or doubled."""
    if chance.random() < 0.15:
        return chance.choice(STRANGE)
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        changed = dict(value)
        if chance.random() < 0.2:
            del changed[name]
        else:
            changed[name] = mutated(chance, changed[name])
        return changed
    if isinstance(value, list) and value:
        changed = list(value)
        place = chance.randrange(len(changed))
        changed[place] = mutated(chance, changed[place])
        return changed * 2 if chance.random() < 0.1 else changed
    return chance.choice(STRANGE)


def frame_of(chance: random.Random, number: int) -> str:
    """A frame that is wrong in one of many ways, or in none."""
    action, payload = chance.choice(SEEDS)
    parts = [chance.choice([2, 2, 2, 2, 2, 2, 3, 4, 5, 6, 7]), f"f{number}", action, payload]
    for _ in range(chance.randrange(3)):
        parts = mutated(chance, parts) if chance.random() < 0.3 else [*parts[:3], mutated(chance, payload), *parts[4:]] if isinstance(parts, list) else parts  # fmt: skip
    text = json.dumps(parts)
    if chance.random() < 0.15:
        text = text[: chance.randrange(len(text) + 1)]
    if chance.random() < 0.1 and text:
        place = chance.randrange(len(text))
        text = text[:place] + chance.choice('{}[],:"\\0aé ') + text[place + 1 :]
    return text


def shuffled_transaction(chance: random.Random, number: int, version: str) -> list[str]:
    """A transaction's messages, whole each, in any order, some twice."""
    stamps = [f"2026-03-02T{8 + minute // 60:02}:{minute % 60:02}:00Z" for minute in range(0, 50, 10)]
    if version == "ocpp1.6":
        told = [
            ("StartTransaction", {"connectorId": 1, "idTag": "TAG-1", "meterStart": number, "timestamp": stamps[0]})
        ]
        told += [
            (
                "MeterValues",
                {
                    "connectorId": 1,
                    "transactionId": 101,
                    "meterValue": [{"timestamp": stamp, "sampledValue": [{"value": str(number + index)}]}],
                },
            )
            for index, stamp in enumerate(stamps)
        ]
        told.append(("StopTransaction", {"transactionId": 101, "meterStop": number + 9, "timestamp": stamps[-1]}))
    else:
        told = [
            (
                "TransactionEvent",
                {
                    "eventType": kind,
                    "timestamp": stamp,
                    "seqNo": index,
                    "triggerReason": "Trigger",
                    "evse": {"id": 1},
                    "transactionInfo": {"transactionId": f"tx-{number}"},
                    "meterValue": [{"timestamp": stamp, "sampledValue": [{"value": float(number + index)}]}],
                },
            )
            for index, (kind, stamp) in enumerate(
                zip(("Started", "Updated", "Updated", "Updated", "Ended"), stamps, strict=True)
            )
        ]
    told += chance.sample(told, 2)
    chance.shuffle(told)
    return [json.dumps([2, f"t{number}-{index}", *message]) for index, message in enumerate(told)]


class Fuzz:
    """One station that says anything, on a central system that steers another one meanwhile."""

    def __init__(self, bench, station_id: str, version: str) -> None:
        self.bench = bench
        self.station_id = station_id
        self.version = version
        self.chance = random.Random(f"frames of {version}")
        self.said = 0
        self.oversized = 0

    async def connect(self) -> None:
        self.fuzzed = await self.bench.booted(self.station_id, self.version)
        self.fuzzed.replies["SetChargingProfile"] = self._any_reply

    def _any_reply(self, _payload):
        return self.chance.choice([{"status": "Accepted"}, {"status": 7}, {}, "InternalError", None, {"status": "No"}])

    async def say_all(self, frames: int) -> None:
        """Say ``frames`` frames, each hundredth one oversized, each fiftieth a whole transaction out of order."""
        while self.said < frames:
            self.said += 1
            if self.said % 1000 == 0:
                await self._say_too_much()
            elif self.said % 50 == 0:
                for text in shuffled_transaction(self.chance, self.said, self.version):
                    await self.fuzzed.say(text)
                    self.said += 1
            else:
                await self.fuzzed.say(frame_of(self.chance, self.said))
            if self.said % 250 == 0:
                await self._look_around()

    async def _say_too_much(self) -> None:
        await self.fuzzed.say('[2,"big","DataTransfer",{"vendorId":"x","data":"' + "y" * 300_000 + '"}]')
        # Where the rest of it still comes in when the connection ends, the network itself cuts it.
        assert await self.fuzzed.gone() in (1009, 1006)
        self.oversized += 1
        await self.connect()

    async def _look_around(self) -> None:
        """The other station is served, and steered; what tests keep is let go."""
        assert (await self.other.call("Heartbeat"))["currentTime"]
        periods = (LimitPeriod(self.bench.clock.at, 6.9), LimitPeriod(self.bench.clock.at + timedelta(hours=1), 4.14))
        told = [
            self.bench.system.set_limit(LimitCommand(StationId(name), EvseId(f"{name}-1"), transaction, periods))
            for name, transaction in (("S16", None), (self.station_id, TransactionId("101")))
        ]
        replies = await asyncio.gather(*told)
        assert replies[0].state == "accepted"
        while not self.fuzzed.raw.empty():
            self.fuzzed.raw.get_nowait()
        for kept in (self.fuzzed.calls, self.fuzzed.call_ids, self.other.calls, self.other.call_ids):
            kept.clear()

    async def check(self) -> None:
        assert (await self.fuzzed.call("Heartbeat"))["currentTime"]
        assert (await self.other.call("Heartbeat"))["currentTime"]
        health = self.bench.system.health(StationId(self.station_id))
        assert health.failed_answers == 0, health
        assert health.connections == 1 + self.oversized
        assert len(health.violations) < 25, "kinds of violations are few, whatever is said"
        assert health.violations.total() > self.said / 10
        assert self.bench.system.health(S16).violations.total() == 0
        assert self.bench.system.health(S16).connections == 1
        assert all(sample.evse_id.startswith(self.station_id) for sample in self.bench.events.samples)


async def fuzz(bench, station_id: str, version: str) -> Fuzz:
    running = Fuzz(bench, station_id, version)
    running.other = await bench.booted("S16")
    await running.connect()
    return running


@pytest.mark.parametrize(("station_id", "version"), VERSIONS)
async def test_fuzz_crashes_nothing_and_disturbs_nobody(bench, station_id: str, version: str) -> None:
    running = await fuzz(bench, station_id, version)
    await running.say_all(1100)
    await running.check()


@pytest.mark.study
@pytest.mark.parametrize(("station_id", "version"), VERSIONS)
async def test_fifty_thousand_frames_leave_nothing_behind(bench, station_id: str, version: str) -> None:
    running = await fuzz(bench, station_id, version)
    sizes = []
    for frames in (10_000, 30_000, 50_000):
        await running.say_all(frames)
        bench.events.happened.clear()
        bench.events.opened.clear()
        bench.stations[:] = [running.other, running.fuzzed]
        gc.collect()
        sizes.append((len(gc.get_objects()), len(asyncio.all_tasks())))
    await running.check()
    (first, _), (second, _), (last, _) = sizes
    assert last - second < 2000, f"objects grow: {sizes}"
    assert second - first < 5000, f"objects grow: {sizes}"
    assert max(tasks for _, tasks in sizes) < 20, "tasks are left behind"
