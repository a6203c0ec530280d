"""The page about a replay: whole in itself, readable by a stranger, and true to the figures."""

import re
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timedelta
from html import unescape

import pytest

from scenarios.replay import ReplayResult, replay
from scenarios.report import report_page
from scenarios.scenario_files import catalogue_path, load_scenario

HEADINGS = (
    "Load against limit and price",
    "Every stay",
    "Missing energy",
    "What it costs",
    "Duration curve",
    "How long planning took",
    "Small print",
)


@pytest.fixture(scope="module")
def result() -> ReplayResult:
    scenario = load_scenario(catalogue_path("acn_caltech_2019_08_28"), {"replan.every_minutes": 30})
    start = datetime.fromisoformat("2019-08-28T14:00:00-07:00")
    return replay(scenario.between(start, start + timedelta(hours=2.5)), "least_laxity")


@pytest.fixture(scope="module")
def page(result: ReplayResult) -> str:
    return report_page(result)


def test_it_needs_nothing_from_elsewhere(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert not re.search(r"""(src|href)\s*=|url\(|@import|<script|https?://""", page)
    assert '<meta name="viewport" content="width=device-width' in page


def test_every_part_is_there_and_every_chart_is_well_formed(page: str) -> None:
    headings = [unescape(text) for text in re.findall(r"<h2>(.*?)</h2>", page)]
    assert headings == list(HEADINGS)
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 6
    for chart in charts:
        drawn = ElementTree.fromstring(chart)
        assert drawn.find(".//path") is not None or drawn.find(".//rect") is not None


def test_it_tells_the_costs_beside_both_bounds(page: str, result: ReplayResult) -> None:
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    for figures in (result.figures, result.baselines.offline_optimum, result.baselines.uncontrolled):
        assert f"{figures.bill.total_cost:,.2f}" in text
    assert "saved" in text
    assert "which knows the future" in text


def test_each_stay_is_a_bar_that_tells_its_figures(page: str, result: ReplayResult) -> None:
    told = re.findall(r"<title>([^<]* of [^<]* kWh[^<]*)</title>", page)
    assert len(told) == len(result.course.stays)


def test_the_limit_falls_while_the_grid_operator_asks_for_less(page: str) -> None:
    chart = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)[0]
    limit = re.findall(r'<path d="([^"]*)"[^>]*stroke="#444c56"', chart)
    assert len(limit) == 1
    assert limit[0].count("V") == 2


def test_a_name_cannot_smuggle_markup_into_the_page(result: ReplayResult) -> None:
    from dataclasses import replace

    scenario = replace(result.scenario, name="<script>alert(1)</script>", description='"><img src=x>')
    page = report_page(replace(result, scenario=scenario))
    assert "<script" not in page
    assert "<img" not in page
