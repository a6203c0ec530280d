"""Every scenario that is shipped can be read, and says where its data come from."""

from pathlib import Path

import pytest

import scenarios
from scenarios.scenario_files import catalogue_names, catalogue_path, load_scenario

FOLDER = Path(scenarios.__file__).parent / "catalogue"


@pytest.mark.parametrize("name", catalogue_names())
def test_a_shipped_scenario_is_read_and_nothing_is_lost_silently(name: str) -> None:
    scenario = load_scenario(catalogue_path(name))
    assert scenario.stays
    assert scenario.description
    assert all(row.reason for row in scenario.set_aside)
    assert all(scenario.start <= stay.session.arrived_at < scenario.end for stay in scenario.stays)


@pytest.mark.parametrize("name", catalogue_names())
def test_each_folder_tells_source_and_licence_of_each_of_its_files(name: str) -> None:
    told = (FOLDER / name / "SOURCE.md").read_text(encoding="utf-8")
    files = {path.name for path in (FOLDER / name).iterdir()} - {"SOURCE.md"}
    assert {file for file in files if f"`{file}`" not in told} == set()
    assert "licence" in told
