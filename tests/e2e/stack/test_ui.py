"""Airflow's UI as a person meets it, in a real browser: what is visible says what happened."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from playwright.sync_api import Locator, Page, expect

from lab import browser
from lab.processes import until
from tests.e2e.stack.compose import DAGS, LOGS, MEBI, PATIENCE, RSYNC, USER, Run, Stack

PICTURES = LOGS / "screenshots"


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    """The browser is there, or it is said what to install."""
    try:
        browser.chromium()
    except FileNotFoundError as error:
        if os.environ.get("REQUIRE_DOCKER") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


class Ui:
    """A page of the UI and what a person does there: only roles, labels and texts that are seen."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page, self.stack = page, stack

    def keep(self, name: str) -> None:
        """Keep what is seen now as a picture."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    def log_in(self, password: str) -> None:
        self.page.goto("/")
        self.page.get_by_label("Username").fill(USER)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def open_list(self) -> None:
        """Go to the list of DAGs; the home page has links of the DAGs' names too, so its end is waited for."""
        self.page.get_by_role("link", name="Dags").first.click()
        expect(self.page.get_by_role("heading", name=re.compile(r"^\d+ Dags?$"))).to_be_visible()

    def open(self, dag_id: str) -> None:
        """Go to a DAG by the list of them."""
        self.open_list()
        self.page.get_by_role("link", name=dag_id, exact=True).click()
        expect(self.page.get_by_role("heading", name=dag_id, exact=True)).to_be_visible()

    def open_run(self, run: Run) -> None:
        """Go from the list of DAGs to a run, by the list of the DAG's runs."""
        self.open(run.dag_id)
        self.page.get_by_role("link", name="Runs", exact=True).click()
        self.page.get_by_role("row").filter(has=self.page.locator(f'[href$="/runs/{run.id}"]')).get_by_role("link").first.click()
        expect(self.page.get_by_role("heading", name=run.id)).to_be_visible()

    def task(self, task_id: str, route: str = "") -> Locator:
        """The row of a task, of a route if it has one, among the tasks of the run."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_role("link", name=task_id, exact=True))
        return row.filter(has=self.page.get_by_role("link", name=route, exact=True)) if route else row

    def open_log(self, task_id: str, route: str = "") -> None:
        """Go from a run to the log of a task."""
        self.task(task_id, route).get_by_role("link", name=task_id, exact=True).click()
        expect(self.page.get_by_role("heading", name=f"{task_id} [{route}]" if route else task_id, exact=True)).to_be_visible()

    def back_to_run(self) -> None:
        """Go up from a task to its run."""
        self.page.get_by_role("navigation", name="breadcrumb").get_by_role("link", name=re.compile(r"^manual__")).click()
        expect(self.page.get_by_role("heading", name=re.compile(r"\d Task Instances$"))).to_be_visible()

    def line(self, text: str | re.Pattern[str]) -> Locator:
        """A line of the log that is shown."""
        return self.page.get_by_role("code").filter(has_text=text).last

    def sees(self, *lines: str | re.Pattern[str]) -> None:
        """The log shows each of these."""
        for text in lines:
            expect(self.line(text)).to_be_visible()


@contextlib.contextmanager
def ui(stack: Stack, name: str) -> Iterator[Ui]:
    """A browser at the stack's address, logged in; a failure leaves failed-<name>.png."""
    with browser.page(stack.url, PICTURES / f"failed-{name}.png", patience=60) as page:
        seen = Ui(page, stack)
        seen.log_in(stack.password())
        expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
        yield seen


def test_only_the_password_opens_the_ui(stack: Stack) -> None:
    with browser.page(stack.url, PICTURES / "failed-login.png", patience=60) as page:
        seen = Ui(page, stack)
        seen.log_in("not the password")
        expect(page.get_by_text("Invalid login")).to_be_visible()
        seen.keep("login")
        seen.log_in(stack.password())
        expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
        for part in ("MetaDatabase", "Scheduler", "Triggerer", "Dag Processor"):
            expect(page.get_by_text(part, exact=True)).to_be_visible()
        seen.keep("home")


def test_the_dags_say_what_they_are(stack: Stack) -> None:
    with ui(stack, "dags") as seen:
        page = seen.page
        seen.open_list()
        for dag_id in DAGS:
            expect(page.get_by_role("link", name=dag_id, exact=True)).to_be_visible()
        seen.keep("dags")
        seen.open(RSYNC)
        page.get_by_role("button", name="Dag Docs").click()
        documentation = page.get_by_role("dialog")
        expect(documentation).to_contain_text("so that the bytes go from server to server")
        expect(documentation).to_contain_text(f"come from the Variable {RSYNC}")
        seen.keep("documentation")


def test_a_run_is_started_by_the_form_and_followed_to_its_report(stack: Stack) -> None:
    routes = (stack.route("photos", 80 * MEBI, bandwidth="6M"), stack.route("letters"))
    stack.configure(RSYNC, *routes)
    until(lambda: not stack.rest.unfinished(RSYNC), "the end of earlier runs", timeout=PATIENCE, every=0.5)
    with ui(stack, "run") as seen:
        page = seen.page
        seen.open(RSYNC)
        page.get_by_role("button", name="Trigger Dag").click()
        form = page.get_by_role("dialog")
        for title in ("Routes", "Dry run", "Verify", "Bandwidth"):
            expect(form.get_by_role("group").filter(has_text=title).first).to_be_visible()
        expect(form.get_by_text("copy nothing")).to_be_visible()
        form.get_by_role("group").filter(has_text="Routes").get_by_role("textbox").fill("photos")
        seen.keep("form")
        form.get_by_role("button", name="Trigger", exact=True).click()
        page.wait_for_url("**/runs/manual__*")
        run = Run(stack, RSYNC, unquote(page.url.rstrip("/").rpartition("/")[2]), "photos")

        # The page looks again by itself while the run goes on.
        expect(seen.task("route.small", "photos")).to_contain_text("Running", timeout=1000 * PATIENCE)
        seen.keep("run")
        seen.open_log("route.small", "photos")
        seen.sees(re.compile(r"progress \d+% .* MB of .* MB, .*/s, .* left"))
        seen.keep("progress")
        run.good()

        seen.sees(re.compile(r"small: 4 files"))
        expect(page.get_by_text("Success", exact=True).first).to_be_visible()
        seen.back_to_run()
        for step in ("plan", "small", "finish"):
            expect(seen.task(f"route.{step}", "photos")).to_contain_text("Success")
        expect(page.get_by_role("link", name="letters")).to_have_count(0)  # the form named the other route alone
        seen.open_log("route.finish", "photos")
        seen.sees(
            re.compile(r"^route +photos: sftp_source_conn:~/cases/photos -> sftp_target_conn:~/copies/photos$"),
            re.compile(r"^backend +rsync, target kind shell$"),
            re.compile(r"^state +ok$"),
            re.compile(r"^files +4 scanned, .*\b4 moved$"),
            re.compile(r"^bytes +83\.9 MB of files, .* kB over the worker$"),
            re.compile(r"^digests +equal, [0-9a-f]{16}… \(SHA-256, computed by each end from its own files\)$"),
            re.compile(r"^photos: ok, 4 files, 83\.9 MB in .*, both ends equal$"),
        )
        seen.keep("report")

        page.get_by_role("link", name="Rendered Templates").click()
        script = page.get_by_role("code").filter(has_text="# Step finish of route photos, made by fs-sync. It holds no secret")
        expect(script.first).to_be_visible()
        seen.keep("rendered")
    assert stack.same("photos")


def test_progress_and_report_in_one_log(stack: Stack) -> None:
    """Too little for `transfer`, so that `finish` copies alone: the picture of the README."""
    run = stack.begin("albums", 40 * MEBI, bandwidth="8M").good()
    with ui(stack, "log") as seen:
        seen.open_run(run)
        expect(seen.task("route.small")).to_contain_text("Skipped")
        seen.open_log("route.finish", "albums")
        seen.sees(re.compile(r"^progress \d+% "), re.compile("both ends equal$"))
        seen.keep("log")


def test_a_failed_route_and_a_held_file_are_seen(stack: Stack) -> None:
    held = stack.route("reports")
    stack.sh("source", "cd ~/cases/reports && { [ -p pipe ] || mkfifo pipe; }")
    lost = {"name": "lost", "source": {"path": "~/cases/is-not-there"}, "target": {"path": "~/copies/lost"}}
    stack.configure(RSYNC, held, lost)
    run = stack.trigger(RSYNC)
    assert run.wait() == "failed"
    with ui(stack, "failure") as seen:
        seen.open_run(run)
        expect(seen.page.get_by_text("Failed", exact=True).first).to_be_visible()
        for step, route, state in (
            ("plan", "reports", "Success"),
            ("finish", "reports", "Success"),
            ("plan", "lost", "Failed"),
            ("finish", "lost", "Failed"),
        ):
            expect(seen.task(f"route.{step}", route)).to_contain_text(state)
        seen.keep("failed-run")
        seen.open_log("route.plan", "lost")
        expect(seen.page.get_by_text(re.compile("SourceError: the source path .*is-not-there does not exist on ")).first).to_be_visible()
        seen.keep("failure")
        seen.back_to_run()
        seen.open_log("outcome")
        seen.sees(re.compile("^reports: ok, .* 1 held$"), re.compile("^lost: failed in plan"))
        expect(seen.page.get_by_text(re.compile(r"1 of 2 routes failed: lost \(in plan\)")).first).to_be_visible()
        seen.keep("outcome")
        seen.back_to_run()
        seen.open_log("route.finish", "reports")
        seen.sees(re.compile("^held +special-file: pipe$"), re.compile("both ends equal, 1 held$"))
        seen.keep("held")
